"""One arm of a trial whose program is somebody's script: a clean folder, its own environment, and what came of it.

The script finds beside it what its recipe names, the data where the community's scripts look for them, and of ours
nothing but the marker by which its processes are found. What it prints is the arm's ``train.log``; what it writes stays
in the arm's ``work``, but for files that are larger than any model of the challenge.
"""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jobs.contract.files import write_record
from jobs.contract.records import Machine
from jobs.contract.shards import TRAIN_SHARDS, VAL_SHARDS

from ..errors import UserError, naming
from ..processes.environment import kept
from ..processes.supervisor import MARKER, Guard, Order
from ..runs.node import Node
from ..runs.paths import ArmPaths, RunPaths
from ..runs.plan import Cause, Failure, Trial
from ..runs.reading import read_record
from ..runs.script import Script
from ..scripts.landing import contradictions
from ..scripts.outcome import Unread, files_left, result_of
from ..scripts.output import Misled, Output
from ..scripts.source import read_source
from .environment import FileMeeting, caches_in
from .part import Patience
from .tail import PROGRAM, end_of

KEPT_BYTES = 256 * 2**20  # of one file that a script leaves; larger ones are removed when it has ended well
USUAL_DATA, USUAL_TOKENIZER = "data/datasets/fineweb10B_sp1024", "data/tokenizers/fineweb_1024_bpe.model"
SHIM = "shim"  # the folder in front of what it imports


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A script that has ended well, as ``ended.json`` keeps it: its log can be read again without running it."""

    phases: dict[str, float]  # wall seconds
    machine: Machine
    removed: tuple[str, ...]  # files above KEPT_BYTES, each with its bytes


def has_ended(trial: Trial, arm: str) -> bool:
    """Whether its script has ended well before, and no result was taken of it then."""
    paths = trial.paths.arm(arm)
    return paths.ended.is_file() and paths.log.is_file() and not paths.result.exists()


def read_again(trial: Trial, arm: str) -> Failure | None:
    """Take the result of a script that has ended, from what it left; why there is none, where there still is none."""
    paths = trial.paths.arm(arm)
    try:
        failure = _taken(trial, arm, read_record(Ended, paths.ended))
    except ValueError as error:
        failure = _told(trial, arm, str(error), PROGRAM, paths)
    return failure and replace(failure, reason=f"{failure.reason} (read again; without {paths.ended} it is run again)")


def started(
    trial: Trial, arm: str, *, marker: str, patience: Patience, locks: Sequence[int] = ()
) -> tuple[Guard, Output]:
    """Start the script of ``arm``; what it prints is to be looked at by what comes with it."""
    script, paths = trial.script, trial.paths.arm(arm)
    assert script is not None, "the trial of a script"
    paths.folder.mkdir(parents=True, exist_ok=True)
    _furnish(trial, script, paths)
    scratch = Path(tempfile.mkdtemp(prefix="fairway-job-"))
    meeting = FileMeeting(scratch=scratch)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(trial.processes)),
        *meeting.options,
        script.name,
    ]
    told = script.settings(arm, trial.seed)
    with naming(trial.paths.job_log), trial.paths.job_log.open("a") as file:
        file.write(f"=== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC on {socket.gethostname()}: {' '.join(command)}\n")
        file.write(f"=== in {paths.work}: {' '.join(f'{name}={value}' for name, value in told.items())}\n")
    environment = script_environment(trial, arm, scratch=scratch, inherited=os.environ)
    output = Output(paths.log, paths.metrics, check=lambda text: _require_heeded(text, trial, arm))
    guard = Guard(
        Order(
            command=command,
            environment={**environment, MARKER: marker},
            folder=str(paths.work),
            log=str(paths.log),
            scratch=str(scratch),
            grace_seconds=patience.grace_seconds,
        ),
        held=locks,
    )
    return guard, output


def script_environment(trial: Trial, arm: str, *, scratch: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """What the script of ``arm`` finds in its environment, on a machine whose own is ``inherited``."""
    script, work = trial.script, trial.paths.arm(arm).work
    assert script is not None, "the trial of a script"
    meeting = {name: value for name, value in FileMeeting(scratch=scratch).settings.items() if name != "RANKS_FILE"}
    settings = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # what lies in its folder is what it leaves
        "OMP_NUM_THREADS": str(max(1, trial.cpus // trial.processes)),
        "TMPDIR": str(scratch),
        **caches_in(scratch),  # its own clock may run while it compiles, and a submission starts with nothing
        **meeting,
    }
    if trial.gpus == 0:
        settings["CUDA_VISIBLE_DEVICES"] = ""
    if script.shim:
        settings["PYTHONPATH"] = str(work / SHIM)
    data = {script.data_env: str(work / USUAL_DATA), script.tokenizer_env: str(work / USUAL_TOKENIZER)}
    return {**kept(inherited), **settings, **data, **script.settings(arm, trial.seed)}


def _require_heeded(text: str, trial: Trial, arm: str) -> None:
    """Raises Misled where the script prints other settings than those it was told."""
    script = trial.script
    if script is None or script.allow_ignored:
        return
    try:
        source = read_source(trial.paths.arm(arm).work / script.name)
    except UserError:  # nothing of it can be told
        return
    if found := contradictions(source, text, script.settings(arm, trial.seed)):
        said = "; ".join(map(str, found))
        raise Misled(f"{said}; where that is meant, --allow-ignored runs it all the same")


def settle(trial: Trial, arm: str, output: Output, node: Node | None) -> Failure | None:
    """A script has ended well: keep what it left, take its result; why there is none, where there is none."""
    paths = trial.paths.arm(arm)
    machine = _machine(trial, node)
    ended = Ended(phases=output.phases, machine=machine, removed=tuple(_too_large(paths.work)))
    failure = _taken(trial, arm, ended)
    with naming(paths.ended):
        write_record(paths.ended, ended)
    for left in files_left(paths.work):  # only now: their sizes were held against what it says
        if left.size > KEPT_BYTES:
            with suppress(OSError):
                left.path.unlink()
    return failure


def _taken(trial: Trial, arm: str, ended: Ended) -> Failure | None:
    paths = trial.paths.arm(arm)
    try:
        result = result_of(trial, arm, log=paths.log, work=paths.work, phases=ended.phases, machine=ended.machine)
    except Unread as error:
        return _told(trial, arm, str(error), "refused", paths)
    except OSError as error:
        return _told(trial, arm, f"what it left cannot be read: {error}", PROGRAM, paths)
    notes = [*result.notes, *(f"removed when it had ended: {one}" for one in ended.removed)]
    if trial.script and trial.script.shim:
        notes.append(f"in front of its imports stood {', '.join(trial.script.shim)}")
    with naming(paths.result):
        write_record(paths.result, replace(result, notes=tuple(notes)))
    return None


def _told(trial: Trial, arm: str, reason: str, cause: Cause, paths: ArmPaths) -> Failure:
    return Failure(
        seed=trial.seed, phase="score", arm=arm, reason=reason, log_tail=end_of(paths.log, 0), arms=(arm,), cause=cause
    )


def _furnish(trial: Trial, script: Script, paths: ArmPaths) -> None:
    """The folder that the script works in: itself, what it needs, and the data where it may look for them."""
    work, run = paths.work, RunPaths(trial.run_path)
    work.mkdir(parents=True)
    shutil.copyfile(run.program, work / script.name)
    for name in script.files:
        place = work / SHIM / Path(name).name if name in script.shim else work / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.files / name, place)
    _lay_out(trial, work)


def _lay_out(trial: Trial, work: Path) -> None:
    """Links to data and tokenizer where scripts look for them, under the names that they look for.

    Most of them read ``fineweb_train_*.bin`` and ``fineweb_val_*.bin`` and nothing else.
    """
    tokenizer = work / USUAL_TOKENIZER
    tokenizer.parent.mkdir(parents=True)
    for link in {tokenizer, tokenizer.with_name(trial.tokenizer_path.name)}:
        link.symlink_to(trial.tokenizer_path)
    data = work / USUAL_DATA
    data.mkdir(parents=True)
    for part, pattern in (("train", TRAIN_SHARDS), ("val", VAL_SHARDS)):
        for shard in sorted(trial.data_path.glob(pattern)):
            (data / f"fineweb_{part}_{shard.name.rpartition(f'_{part}_')[2]}").symlink_to(shard)
    if trial.data_path.name != data.name:
        data.with_name(trial.data_path.name).symlink_to(data.name)


def _too_large(work: Path) -> list[str]:
    return [f"{left.name}, {left.size:,} bytes" for left in files_left(work) if left.size > KEPT_BYTES]


def _machine(trial: Trial, node: Node | None) -> Machine:
    """Where it ran, in the words of our own jobs; a card has the name that its driver tells."""
    cards = [card.name for card in node.cards] if node is not None else []
    device = f"{trial.gpus}x {cards[0] if cards else 'GPU'}" if trial.gpus else f"cpu x{trial.processes}"
    return Machine(world_size=trial.processes, device=device, torch_version=version("torch"))
