"""What a job finds in its environment: the machine's settings and its assignment, nothing of ours."""

import sys
from collections.abc import Mapping
from pathlib import Path

from jobs.contract.assignment import Assignment

from ..runs.plan import Trial

DROPPED = frozenset(
    {
        # Its own assignment: a MAX_WALLCLOCK_SECONDS left in somebody's shell would change the experiment.
        *(
            "SEED",
            "DATA_PATH",
            "TOKENIZER_PATH",
            "OUTPUT_PATH",
            "TRUNK_PATH",
            "ARMS",
            "MAX_WALLCLOCK_SECONDS",
            "FORCE",
            "RUN_ID",
        ),
        # Our import path: a job sees the standard library's `platform`.
        *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "LD_PRELOAD"),
        # Another launcher's, where the launch itself was started by one.
        *(
            "RANK",
            "LOCAL_RANK",
            "WORLD_SIZE",
            "LOCAL_WORLD_SIZE",
            "GROUP_RANK",
            "ROLE_RANK",
            "MASTER_ADDR",
            "MASTER_PORT",
        ),
    }
)
DROPPED_PREFIXES = ("MLFLOW_", "RAY_", "TUNE_", "TORCHELASTIC_", "PET_", "FAIRWAY_", "PYTEST_")
DROPPED_SUFFIXES = ("_TOKEN", "_SECRET", "_PASSWORD", "_API_KEY", "_ACCESS_KEY")  # a job needs none, and logs travel


def kept(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a program gets of the environment of its machine."""
    return {
        name: value
        for name, value in inherited.items()
        if name not in DROPPED and not name.startswith(DROPPED_PREFIXES) and not name.upper().endswith(DROPPED_SUFFIXES)
    }


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
