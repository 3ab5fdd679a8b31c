"""Whether the disks have room for what a launch is going to write, asked before it starts.

What it writes, measured on runs of 181,392, 240,339 and 778,643 parameters at scales smoke and laptop:

- a trunk: ``weights.pt`` of 4.09, 4.08 and 4.02 bytes a parameter (float32 and the names of tensors), ``artifact.bin``
  of 0.69, 0.49 and 0.60, which ``program/size.py`` estimates, and 7 to 11 kB of logs and records;
- an arm: 11 to 18 kB of logs and records, and an artifact of its own where it changes weights before they are packed;
- a run: 0.4 to 0.7 MB of figures, report and program, and about 1 MB for MLflow;
- temporary files of a launch: 2.5 MB, Ray's included. On GPUs each process keeps what it compiles there while a job
  runs: 2 GB for all of them is assumed, not measured.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, free_at, refusing, room_at
from ..paths import shown
from ..runs.plan import Trial, read_if_whole
from ..runs.reading import read_trunk
from ..words import counted
from .experiment import Experiment

WEIGHTS_BYTES = 4.1  # a parameter
LOGS_BYTES = 1_000_000  # of a trunk or an arm: long runs write more than those above
RUN_BYTES = 10_000_000
TRUNK_FILES, ARM_FILES, RUN_FILES = 10, 10, 60
TEMPORARY_BYTES, TEMPORARY_BYTES_ON_GPUS = 50_000_000, 2_000_000_000
TEMPORARY_FILES = 2_000


@dataclass(frozen=True)
class Need:
    """What is going to be written under ``folder``."""

    folder: Path
    bytes: int
    files: int
    what: str


def require(experiments: Sequence[Experiment], todo: Sequence[Trial]) -> None:
    """Refuse a launch whose trials would run out of room in the folders of results, or that has none for its own files.

    Raises:
        UserError: how much is needed, how much there is and where, and what to do.
    """
    needs: dict[int, list[Need]] = {}
    trained: set[Path] = set()
    for experiment in experiments:
        folder = experiment.draft.run_path.parent
        trials = [trial for trial in todo if trial.run_path == experiment.draft.run_path]
        if trials:
            with refusing("keep the results elsewhere: --runs DIR"):
                needs.setdefault(room_at(folder).device, []).append(need_of(experiment, trials, trained))
    for wanted in needs.values():
        folder, what = wanted[0].folder, ", ".join(need.what for need in wanted)
        needed, files = sum(need.bytes for need in wanted), sum(need.files for need in wanted)
        _require(folder, needed, files, f"{what} in {shown(folder)}", "keep the results elsewhere: --runs DIR")
    temporary = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    with refusing("set TMPDIR to a folder elsewhere"):
        Path(tempfile.mkdtemp(prefix="fairway-run-", dir=temporary)).rmdir()  # Python itself would take another folder
    on_gpus = any(trial.gpus for trial in todo)
    needed = TEMPORARY_BYTES_ON_GPUS if on_gpus else TEMPORARY_BYTES
    what = f"temporary files{' and compiled code' if on_gpus else ''} in {temporary}"
    _require(temporary, needed, TEMPORARY_FILES, what, "set TMPDIR to a folder elsewhere")


def _require(folder: Path, needed: int, files: int, what: str, elsewhere: str) -> None:
    there = room_at(folder)
    if there.bytes < needed or (there.files is not None and there.files < files):
        raise UserError(
            f"too little room for {what}: {needed / 1e6:,.1f} MB and {files:,} files are needed, {free_at(folder)}; "
            f"make room there, or {elsewhere}"
        )


def need_of(experiment: Experiment, trials: Sequence[Trial], trained: set[Path]) -> Need:
    """What these trials of an experiment write, without the trunks ``trained``; the new ones are added there."""
    new = {trial.trunk_path for trial in trials if trial.end_to_end or not trial.trunk.record.exists()} - trained
    trained |= new
    arms = sum(len(trial.unscored_arms) for trial in trials)
    parameters, artifact_bytes = _size(experiment)
    return Need(
        folder=experiment.draft.run_path.parent,
        bytes=int(
            len(new) * (WEIGHTS_BYTES * parameters + artifact_bytes + LOGS_BYTES)
            + arms * (artifact_bytes + LOGS_BYTES)
            + RUN_BYTES
        ),
        files=TRUNK_FILES * len(new) + ARM_FILES * arms + RUN_FILES,
        what=f"{counted(len(new), 'trunk')} and {counted(arms, 'arm')} of {experiment.name}",
    )


def _size(experiment: Experiment) -> tuple[int, int]:
    """Parameters and bytes of the artifact: of the model, or of a trunk of the run; zeros where nobody knows yet."""
    if (measured := experiment.measured_size()) is not None:
        return measured.parameters, measured.high_bytes
    plan = read_if_whole(experiment.draft.run_path)
    for trial in plan.trials if plan else ():
        try:
            trunk = read_trunk(trial.trunk.record)
        except ValueError:
            continue
        return trunk.parameters or 0, trunk.model_bytes or 0
    return 0, 0
