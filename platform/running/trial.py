"""One trial, in a Ray worker or wherever it is called: a folder, a clean environment, a guarded torchrun, a verdict.

One torchrun trains the trunk and scores every arm. If an arm crashes, it stands as failed and torchrun is started again
for the arms that are left: the trunk is there by then. A trial is done when each of its arms has a result of the
program, seed and data that were planned, from a job that ended well.
"""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from jobs.contract.files import write_record
from jobs.contract.shards import file_sha256

from ..errors import RunFailed, UserError, of_file
from ..locks import held
from ..processes.supervisor import ExitReport, Guard
from ..runs.events import JOB_EVENTS, Reader
from ..runs.node import Node
from ..runs.paths import RunPaths
from ..runs.plan import Cause, Failure, Trial, read_failure, write_failure
from ..runs.reading import read_trunk
from ..scripts.output import Misled
from . import part, parts, script_job
from .disks import DiskWatch
from .memory import MemoryWatch
from .part import Patience, unseen
from .parts import Parts
from .progress import Progress
from .tail import DISK, HUNG, INFRASTRUCTURE, PROGRAM, end_of, reason_in

POLL_SECONDS = 0.25
REPORT_SECONDS = 1.0  # between reports of mere steps


class JobFailed(RunFailed):
    """The trial stands as failed; its ``failure.json`` says how."""

    def __init__(self, trial: Trial, failure: Failure) -> None:
        super().__init__(f"{trial.name}: {failure.where}: {failure.said} ({trial.paths.job_log})")
        self.failure = failure

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return RunFailed, self.args  # Ray carries it to the driver


Report = Callable[[Progress], None]


def run(
    trial: Trial,
    report: Report,
    *,
    launch: str = "alone",
    patience: Patience | None = None,
    attempt: int = 1,
    node: Node | None = None,
) -> None:
    """Train the trunk unless it is there, score the arms that have no result, judge what came out.

    Args:
        report: called with every change worth looking at, about once a second; may block.
        launch: names the command that wants it, in the environment of every process of the job.
        attempt: which one of this launch it is.
        node: what this machine is, to be recorded beside what is measured here.

    Raises:
        JobFailed: an arm has no acceptable result; ``failure.json`` is written.
    """
    _require_here(trial)
    try:
        failure = _seen_through(trial, report, launch, patience or Patience(), attempt, node)
    except OSError as error:  # of the folders of results or of TMPDIR, which are full or cannot be written
        failure = _of_disk(trial, error, attempt)
    if failure:
        raise JobFailed(trial, failure)


def _seen_through(
    trial: Trial, report: Report, launch: str, patience: Patience, attempt: int, node: Node | None
) -> Failure | None:
    """As many jobs as it takes; what went wrong, if anything did."""
    with ExitStack() as stack:
        lock = stack.enter_context(held(trial.paths.lock, _waits_for(trial.name, report)))
        failures: list[Failure] = []
        while arms := tuple(arm for arm in trial.unscored_arms if not any(arm in failure.arms for failure in failures)):
            with ExitStack() as stay:
                locks = [lock]
                if trial.script is not None:  # each arm is a training of its own
                    arms = arms[:1]
                elif trial.end_to_end or not _trunk_is_there(trial):
                    # Another recipe of the same trunk text may be about to train this very trunk.
                    locks.append(
                        stay.enter_context(held(trial.trunk.lock, _waits_for(f"the trunk of {trial.name}", report)))
                    )
                failure = _attempt(
                    trial,
                    arms,
                    report,
                    locks=[file.fileno() for file in locks],
                    marker=f"{launch}/{trial.name}.{os.urandom(4).hex()}",
                    patience=patience,
                    node=node,
                )
            if failure:
                failures.append(replace(failure, node=hostname(), attempt=attempt))
        return _record(trial, failures)


def hostname() -> str:
    """This machine's name: what a Ray worker is asked first, to see that it starts and has our code."""
    return socket.gethostname()


def _attempt(
    trial: Trial,
    arms: tuple[str, ...],
    report: Report,
    *,
    locks: list[int],
    marker: str,
    patience: Patience,
    node: Node | None,
) -> Failure | None:
    """One torchrun for ``arms``, seen through to its end; what went wrong, if anything did."""
    if trial.script is not None and script_job.has_ended(trial, arms[0]):
        return script_job.read_again(trial, arms[0])
    _clear(trial, arms)
    if node is not None:
        _write_node(trial, arms, node)
    if trial.script is not None:
        return _attempt_script(trial, arms[0], report, locks=locks, marker=marker, patience=patience, node=node)
    log, program = trial.paths.job_log, RunPaths(trial.run_path).program
    start = log.stat().st_size if log.exists() else 0
    watched = [trial.trunk.metrics, *(trial.paths.arm(arm).metrics for arm in arms)]
    readers = [Reader(path, JOB_EVENTS, from_end=True) for path in watched]
    memory, disks = MemoryWatch(), DiskWatch([trial.run_path, trial.trunk_path, Path(tempfile.gettempdir())])
    start_job = part.started if trial.nodes == 1 else parts.started
    guard: Guard | Parts = start_job(trial, arms, log=log, marker=marker, patience=patience, locks=locks)
    try:
        ended = _follow(guard, readers, [log, *watched], report, patience, (memory, disks))
    finally:
        guard.stop()  # nothing to do where it has ended; where following was cut short, the job goes too
    cause: Cause
    if ended and ended.status == 0:
        flaws = {arm: flaw for arm in arms if (flaw := trial.flaw(arm))}
        if not flaws:
            return None
        at = _Failed("score", next(iter(flaws)), tuple(flaws))
        reason, cause = f"torchrun ended well and left no result to accept: {flaws[at.lost[0]]}", PROGRAM
    else:
        at = _where_it_failed(trial, arms)
        if ended is None:
            reason, cause = f"neither log nor metrics for {patience.stall_seconds:.0f} s: ended as hung", HUNG
        elif ended.stopped_by:
            reason, cause = ended.stopped_by, INFRASTRUCTURE
        else:
            reason, cause = reason_in(log, start, status=ended.status, program=program)
    if (full := disks.said()) and cause in (INFRASTRUCTURE, PROGRAM, DISK):
        reason, cause = reason + full, DISK
    if at.phase == "teardown":  # every result is there
        if cause == INFRASTRUCTURE:  # and the job was ended from outside: results decide, not who died after them
            return None
        last = trial.paths.arm(arms[-1])  # some rank failed by itself: it may have seen what the others did not
        last.result.replace(last.rejected)
    if cause == INFRASTRUCTURE:
        reason += memory.said()
    _remove_parts(trial, arms)
    return Failure(
        seed=trial.seed,
        phase=at.phase,
        arm=at.arm,
        reason=reason,
        log_tail=end_of(log, start),
        arms=at.lost,
        cause=cause,
        blameless=at.lost if cause == INFRASTRUCTURE else (),
    )


def _attempt_script(
    trial: Trial,
    arm: str,
    report: Report,
    *,
    locks: list[int],
    marker: str,
    patience: Patience,
    node: Node | None,
) -> Failure | None:
    """One run of somebody's script for ``arm``, seen through to its end; what went wrong, if anything did."""
    paths = trial.paths.arm(arm)
    memory, disks = MemoryWatch(), DiskWatch([trial.run_path, Path(tempfile.gettempdir())])
    guard, output = script_job.started(trial, arm, marker=marker, patience=patience, locks=locks)
    readers, misled = [Reader(paths.metrics, JOB_EVENTS)], ""
    ended: ExitReport | None = None
    try:
        ended = _follow(guard, readers, [paths.log, paths.metrics], report, patience, (memory, disks, output), arm)
        output.close()
    except Misled as error:
        misled = str(error)
    finally:
        guard.stop()
    if not misled and ended and ended.status == 0:
        return script_job.settle(trial, arm, output, node)
    cause: Cause
    if misled:
        reason, cause = misled, "refused"
    elif ended is None:
        reason, cause = f"it printed nothing for {patience.stall_seconds:.0f} s: ended as hung", HUNG
    elif ended.stopped_by:
        reason, cause = ended.stopped_by, INFRASTRUCTURE
    else:
        reason, cause = reason_in(paths.log, 0, status=ended.status, program=paths.work)
    if (full := disks.said()) and cause in (INFRASTRUCTURE, PROGRAM, DISK):
        reason, cause = reason + full, DISK
    if cause == INFRASTRUCTURE:
        reason += memory.said()
    return Failure(
        seed=trial.seed,
        phase=next(reversed(output.phases), "start"),
        arm=arm,
        reason=reason,
        log_tail=end_of(paths.log, 0),
        arms=(arm,),
        cause=cause,
        blameless=(arm,) if cause == INFRASTRUCTURE else (),
    )


class Watch(Protocol):
    """Looks at something now and then while a job runs."""

    def look(self) -> None: ...


def _follow(
    guard: Guard | Parts,
    readers: list[Reader],
    files: list[Path],
    report: Report,
    patience: Patience,
    watches: Sequence[Watch],
    arm: str | None = None,
) -> ExitReport | None:
    """Pass on what the job says until it ends; None once it has said nothing for too long.

    ``arm``: that all of it is about, where the job does not say so itself.
    """
    progress = told = Progress(arm=arm)
    report(told)
    told_at = time.monotonic()
    size, silent_since = _size(files), time.monotonic()
    allowed = patience.start_seconds
    while True:
        ended = guard.wait(POLL_SECONDS)
        for watch in watches:
            watch.look()
        for reader in readers:
            for event in reader.new():
                progress = progress.after(event)
        now = time.monotonic()
        moved_on = (progress.arm, progress.phases) != (told.arm, told.phases)
        if progress != told and (moved_on or ended or now - told_at > REPORT_SECONDS):
            report(progress)
            told, told_at = progress, now
        if ended:
            return ended
        if (grown := _size(files)) != size:
            size, silent_since, allowed = grown, now, patience.stall_seconds
        elif now - silent_since > allowed:
            return None


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())


@dataclass(frozen=True)
class _Failed:
    phase: str
    arm: str | None
    lost: tuple[str, ...]  # the arms that are without a result because of it


def _where_it_failed(trial: Trial, arms: tuple[str, ...]) -> _Failed:
    """What a job that did not end well was doing, told from the files that it left."""
    if not _trunk_is_there(trial):
        return _Failed("train" if trial.trunk.metrics.exists() else "start", None, arms)
    unscored = [arm for arm in arms if trial.flaw(arm)]
    begun = [arm for arm in unscored if trial.paths.arm(arm).metrics.exists()]
    if begun:
        return _Failed("score", begun[0], (begun[0],))
    if len(unscored) == len(arms):
        return _Failed("start", None, arms)
    if unscored:
        return _Failed("score", unscored[0], (unscored[0],))
    return _Failed("teardown", arms[-1], (arms[-1],))


def _clear(trial: Trial, arms: tuple[str, ...]) -> None:
    """Make room: what an earlier attempt left half done would be taken for this one's."""
    if trial.script is None and (trial.end_to_end or not _trunk_is_there(trial)):
        trial.trunk_path.mkdir(parents=True, exist_ok=True)
        _empty(trial.trunk_path, keep={trial.trunk.lock})
    for arm in arms:
        paths = trial.paths.arm(arm)
        if paths.result.exists():
            paths.result.replace(paths.rejected)
        if paths.folder.exists():
            _empty(paths.folder, keep={paths.rejected})


def _write_node(trial: Trial, arms: tuple[str, ...], node: Node) -> None:
    """Say which machine measures what this job is going to leave; where that cannot be written it stays untold."""
    trains = trial.script is None and (trial.end_to_end or not _trunk_is_there(trial))
    with suppress(OSError):
        for path in (*((trial.trunk.node,) if trains else ()), *(trial.paths.arm(arm).node for arm in arms)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_record(path, node)


def _remove_parts(trial: Trial, arms: tuple[str, ...]) -> None:
    """Give back the room of what was being written when the job ended."""
    for folder in (trial.trunk_path, *(trial.paths.arm(arm).folder for arm in arms)):
        for path in (*folder.glob("*.part"), *folder.glob(".*.part")):
            with suppress(OSError):
                path.unlink()


def _empty(folder: Path, *, keep: set[Path]) -> None:
    for path in folder.iterdir():
        if path in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _trunk_is_there(trial: Trial) -> bool:
    try:
        read_trunk(trial.trunk.record)
    except ValueError:
        return False
    return True


def _record(trial: Trial, failures: list[Failure]) -> Failure | None:
    """Leave ``failure.json`` as it is now true: an earlier failure stands until its arms are scored.

    Returns that of now, all in one; it is told where there is no room to write it.
    """
    path = trial.paths.failure
    try:
        earlier = read_failure(path)
    except UserError:
        earlier = None
    still = replace(trial, arms=earlier.arms).unscored_arms if earlier else ()
    lost = dict.fromkeys([*(arm for failure in failures for arm in failure.arms), *still])
    if failures:
        first, *others = failures
        also = tuple(f"{failure.where}: {failure.reason}" for failure in others)
        blameless = tuple(arm for failure in failures for arm in failure.blameless)
        failure = replace(first, arms=tuple(lost), also=also, blameless=blameless)
        with suppress(OSError):
            write_failure(path, failure)
        return failure
    if not still:
        path.unlink(missing_ok=True)
    return None


def _of_disk(trial: Trial, error: OSError, attempt: int) -> Failure | None:
    """The failure of a trial that could not write; None where all its results are there."""
    arms = trial.unscored_arms
    if not arms:
        return None
    at = _where_it_failed(trial, arms)
    failure = Failure(
        seed=trial.seed,
        phase=at.phase,
        arm=at.arm,
        reason=of_file(error),
        log_tail="",
        arms=arms,
        cause=DISK,
        node=hostname(),
        attempt=attempt,
    )
    return _record(trial, [failure])


def _require_here(trial: Trial) -> None:
    """Refuse a node that does not see what the driver saw, or a program that somebody edited."""
    reason = seen = unseen(trial)
    program = RunPaths(trial.run_path).program
    if reason is None and file_sha256(program) != trial.program_sha256:
        reason = f"{program} was changed after it was planned: its sha256 is no longer {trial.program_sha256}"
    if reason:
        failure = Failure(
            seed=trial.seed, phase="start", arm=None, reason=reason, log_tail="", arms=trial.arms, cause="refused"
        )
        if seen is None:
            with suppress(OSError):
                trial.paths.folder.mkdir(exist_ok=True)
            _record(trial, [failure])
        raise JobFailed(trial, failure)


def _waits_for(what: str, report: Report) -> Callable[[str], None]:
    return lambda owner: report(Progress(waiting=f"{what} is being run by {owner}"))
