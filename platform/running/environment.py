"""What a job finds in its environment: the machine's settings and its assignment, nothing of ours.

No process of a job on one machine opens a port to the network. torchrun's own way to bring processes together would: a
store on every interface, which takes orders from anybody and unpickles what it is told. So torchrun and the ranks meet
in files of the job's private folder, and what gloo and NCCL say to each other stays on loopback.
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.assignment import Assignment

from ..paths import cache
from ..processes.environment import kept
from ..runs.plan import Trial

UNUSED_SECONDS = 30 * 86_400.0  # after which what was compiled for a program is removed
LOOPBACK = "lo" if sys.platform == "linux" else "lo0"


@dataclass(frozen=True, kw_only=True)
class FileMeeting:
    """The processes of a job on one machine find each other in files of its scratch folder."""

    scratch: Path

    @property
    def options(self) -> list[str]:
        """Of torchrun."""
        return [
            *("--nnodes", "1", "--local-addr", "127.0.0.1", "--rdzv-id", "job", "--rdzv-backend", "c10d"),
            *("--rdzv-conf", "store_type=file", "--rdzv-endpoint", str(self.scratch / "rendezvous")),
        ]

    @property
    def settings(self) -> dict[str, str]:
        return {
            "RANKS_FILE": str(self.scratch / "ranks"),
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # torchrun would open one for the ranks
            "GLOO_SOCKET_IFNAME": LOOPBACK,
            "NCCL_SOCKET_IFNAME": LOOPBACK,
        }


@dataclass(frozen=True, kw_only=True)
class PortMeeting:
    """The processes of a job on several nodes find each other at a port of the first."""

    nodes: int
    rank: int  # of this node
    host: str
    port: int
    interface: str | None  # of this node, to the others; None: as gloo and NCCL choose

    @property
    def options(self) -> list[str]:
        """Of torchrun. Its static rendezvous keeps numbers in the store and unpickles nothing from it."""
        return [
            *("--nnodes", str(self.nodes), "--node-rank", str(self.rank), "--rdzv-backend", "static"),
            *("--master-addr", self.host, "--master-port", str(self.port)),
        ]

    @property
    def settings(self) -> dict[str, str]:
        return dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), self.interface) if self.interface else {}


Meeting = FileMeeting | PortMeeting


def compile_caches(trial: Trial, scratch: Path) -> dict[str, str]:
    """Where torch.compile keeps what it makes.

    Seeds and arms of a program share it on a machine: the first of them compiles, and each says how long that took. A
    program that trains and scores as a submission does starts with nothing, because a submission pays for it.
    """
    if trial.gpus and not trial.end_to_end:
        shared = cache() / "compiled"
        with suppress(OSError, RuntimeError):  # nobody has a home, or cannot write there
            shared.mkdir(parents=True, exist_ok=True)
            _remove_unused(shared)
            kept_here = shared / trial.program_sha256[:12]
            kept_here.mkdir(mode=0o700, exist_ok=True)
            os.utime(kept_here)
            return caches_in(kept_here)
    return caches_in(scratch)


def caches_in(folder: Path) -> dict[str, str]:
    """Caches in ``folder``: of a scratch folder there is nothing in them yet."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}


def _remove_unused(shared: Path) -> None:
    """Of programs that have not run here for a month."""
    for folder in shared.iterdir():
        if time.time() - folder.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def job_environment(
    trial: Trial, arms: tuple[str, ...], *, scratch: Path, meeting: Meeting, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a job of ``trial`` that scores ``arms``, on a machine whose own is ``inherited``."""
    settings = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a program is one file: what lies beside it is not for import
        "OMP_NUM_THREADS": str(max(1, trial.cpus // trial.processes)),
        "TMPDIR": str(scratch),
        **compile_caches(trial, scratch),
        **meeting.settings,
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
        kernel=trial.kernel,
    )
    return {**kept(inherited), **settings, **assignment.to_environment()}
