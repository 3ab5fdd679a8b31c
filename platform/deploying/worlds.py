"""The worlds that a launch can be brought to, each with the file that it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import UserError
from ..paths import shown
from . import kuberay, ray_up, runpod, slurm
from .deployment import Deployment


@dataclass(frozen=True)
class World:
    """What to call the file, what makes it, and what a scale must say of its cluster, each with an example."""

    file: str
    text: Callable[[Deployment], str]
    needs: Mapping[str, str]


WORLDS: Mapping[str, World] = {
    "kuberay": World("rayjob.yaml", kuberay.rayjob, kuberay.NEEDS),
    "slurm": World("slurm.sbatch", slurm.sbatch, slurm.NEEDS),
    "ray-up": World("ray_up.yaml", ray_up.cluster_file, ray_up.NEEDS),
    "runpod": World("runpod.sh", runpod.script, runpod.NEEDS),
}


def file_for(world: str, deployment: Deployment) -> str:
    """The file that brings the launch to ``world``.

    Raises:
        UserError: the scale does not say what this world needs, all of it at once; or says what it cannot have.
    """
    missing = {name: one for name, one in WORLDS[world].needs.items() if getattr(deployment.cluster, name) is None}
    if missing:
        example = ", ".join(f"{name}: {one}" for name, one in missing.items())
        raise UserError(
            f"{shown(deployment.scale_file)}: cluster: {world} needs {', '.join(missing)}, and nothing is said of it; "
            f"say what yours is, such as\n  cluster: {{{example}}}"
        )
    return WORLDS[world].text(deployment)
