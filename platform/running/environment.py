"""What a job finds in its environment: the machine's settings and its assignment, nothing of ours."""

import sys
from collections.abc import Mapping
from pathlib import Path

from jobs.contract.assignment import Assignment

from ..processes.environment import kept
from ..runs.plan import Trial


def job_environment(
    trial: Trial, arms: tuple[str, ...], *, scratch: Path, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a job of ``trial`` that scores ``arms``, on a machine whose own is ``inherited``."""
    settings = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a program is one file: what lies beside it is not for import
        "OMP_NUM_THREADS": str(max(1, trial.cpus // trial.processes)),
        "TMPDIR": str(scratch),
        # Of its own for every job: a shared cache would let the first seed pay the compile time of the others.
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
    }
    if trial.gpus == 0:
        settings["CUDA_VISIBLE_DEVICES"] = ""
        settings["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"  # all ranks are on this machine
    assignment = Assignment(
        seed=trial.seed,
        data_path=trial.data_path,
        tokenizer_path=trial.tokenizer_path,
        output_path=trial.paths.folder,
        trunk_path=trial.trunk_path,
        arms=arms,
        max_wallclock_seconds=None,
        force=trial.force,
    )
    return {**kept(inherited), **settings, **assignment.to_environment()}
