"""What of a job runs on one node: torchrun under a guard, in an environment and a folder of its own."""

import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import naming
from ..processes.supervisor import GRACE_SECONDS, MARKER, Guard, Order
from ..runs.paths import RunPaths
from ..runs.plan import Trial
from .environment import FileMeeting, PortMeeting, job_environment

STALL_SECONDS = 1800.0  # without a line of log or metrics; the longest silence known is a compile of some minutes
START_SECONDS = 1800.0  # until the first line: torchrun and its ranks import torch, on a busy machine for minutes


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a trial waits for its job."""

    stall_seconds: float = STALL_SECONDS
    start_seconds: float = START_SECONDS
    grace_seconds: float = GRACE_SECONDS


def started(
    trial: Trial,
    arms: tuple[str, ...],
    *,
    log: Path,
    marker: str,
    patience: Patience,
    locks: Sequence[int] = (),
    at: PortMeeting | None = None,
) -> Guard:
    """Start it.

    Args:
        log: what it says is appended here.
        marker: names it in the environment of each of its processes.
        locks: files that stay locked until nothing of it is left.
        at: where it meets its parts on other nodes; None: the job is on this node alone.
    """
    scratch = Path(tempfile.mkdtemp(prefix="fairway-job-"))
    meeting = at or FileMeeting(scratch=scratch)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(trial.processes // trial.nodes)),
        *meeting.options,
        str(RunPaths(trial.run_path).program),
    ]
    with naming(log), log.open("a") as file:
        file.write(f"=== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC on {socket.gethostname()}: {' '.join(command)}\n")
        file.write(f"=== seed {trial.seed}, arms {', '.join(arms)}, program {trial.program_sha256}\n")
    environment = job_environment(trial, arms, scratch=scratch, meeting=meeting, inherited=os.environ)
    return Guard(
        Order(
            command=command,
            environment={**environment, MARKER: marker},
            folder=str(trial.paths.folder),
            log=str(log),
            scratch=str(scratch),
            grace_seconds=patience.grace_seconds,
        ),
        held=locks,
    )


def unseen(trial: Trial) -> str | None:
    """What this node lacks of what the driver saw, and the remedy; None where it sees all."""
    for path in (RunPaths(trial.run_path).program, trial.data_path, trial.tokenizer_path):
        if not path.exists():
            return (
                f"{socket.gethostname()} does not see {path}; a trial on several nodes needs the folders of runs and "
                f"data on a file system that each of them has at the same path"
            )
    return None
