"""What a job finds in its environment: the machine's settings and its assignment, nothing of ours.

No process of a job on one machine opens a port to the network. torchrun's own way to bring processes together would: a
store on every interface, which takes orders from anybody and unpickles what it is told. So torchrun and the ranks meet
in files of the job's private folder, and what gloo and NCCL say to each other stays on loopback.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from jobs.contract.assignment import Assignment

from ..processes.environment import kept
from ..runs.plan import Trial

LOOPBACK = "lo" if sys.platform == "linux" else "lo0"


def meeting_in(scratch: Path) -> list[str]:
    """The options with which torchrun's processes on one machine find each other in a file of ``scratch``."""
    return [
        *("--nnodes", "1", "--local-addr", "127.0.0.1", "--rdzv-id", "job", "--rdzv-backend", "c10d"),
        *("--rdzv-conf", "store_type=file", "--rdzv-endpoint", str(scratch / "rendezvous")),
    ]


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
        "RANKS_FILE": str(scratch / "ranks"),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # torchrun would open one for the ranks
        "GLOO_SOCKET_IFNAME": LOOPBACK,
        "NCCL_SOCKET_IFNAME": LOOPBACK,
    }
    if trial.gpus == 0:
        settings["CUDA_VISIBLE_DEVICES"] = ""
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
