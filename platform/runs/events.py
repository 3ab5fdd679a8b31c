"""The events of a run: what its jobs left in metrics.jsonl files, and what its launches left in ``launch.jsonl``."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from jobs.contract.events import (
    ArmChange,
    EpochAdapted,
    Event,
    PhaseChange,
    ScoreSoFar,
    StepDone,
    ValidationDone,
)

from .reading import from_data

AnEvent = TypeVar("AnEvent", bound=Event)


@dataclass(frozen=True, kw_only=True)
class LaunchEvent(Event):
    """Something that a launch did with a trial."""

    time: str  # UTC, ISO 8601
    launch: str  # names the launch
    seed: int


@dataclass(frozen=True, kw_only=True)
class Planned(LaunchEvent):
    """The launch is going to run this seed."""

    kind = "planned"
    arms: tuple[str, ...]  # that have no result yet


@dataclass(frozen=True, kw_only=True)
class Started(LaunchEvent):
    """A worker has begun with it."""

    kind = "started"
    usd_per_hour: float | None = None  # of a node; nobody said so to this launch, or an older version did not tell
    nodes: int = 1  # that it has


@dataclass(frozen=True, kw_only=True)
class PhaseReached(LaunchEvent):
    """Its job is in another phase."""

    kind = "phase"
    arm: str | None
    phase: str


@dataclass(frozen=True, kw_only=True)
class Ended(LaunchEvent):
    """Every arm has its score."""

    kind = "ended"
    val_bpb: dict[str, float]  # by arm


@dataclass(frozen=True, kw_only=True)
class Failed(LaunchEvent):
    """Some arms have none, and why."""

    kind = "failed"
    phase: str
    arm: str | None
    reason: str
    arms: tuple[str, ...]
    cause: str | None = None  # as ``Failure`` has it, and the next two
    node: str = ""
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class Retried(Failed):
    """Some arms have none, by no fault of their own: it is tried again."""

    kind = "retried"
    seconds: float  # from now


@dataclass(frozen=True, kw_only=True)
class GaveUp(LaunchEvent):
    """It was not run, because no arm could win any more."""

    kind = "gave up"


@dataclass(frozen=True, kw_only=True)
class OverBudget(LaunchEvent):
    """It was not run, or not again: the launch would have cost more than it may."""

    kind = "over budget"
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stopped(LaunchEvent):
    """It ran when its launch was stopped."""

    kind = "stopped"


LAUNCH_EVENTS: dict[str, type[Event]] = {
    event.kind: event for event in (Planned, Started, PhaseReached, Ended, Failed, Retried, GaveUp, OverBudget, Stopped)
}


JOB_EVENTS: dict[str, type[Event]] = {
    event.kind: event for event in (PhaseChange, ArmChange, StepDone, ValidationDone, EpochAdapted, ScoreSoFar)
}


def from_line(line: str | bytes, kinds: Mapping[str, type[Event]]) -> Event | None:
    """The event in ``line``; None where it is none of these ``kinds``, or was cut off. Fields it lacks, or that nobody
    knows, make it none: what decides about a trial are its records, this is what people look at."""
    try:
        content = json.loads(line)
        kind = kinds[content.pop("event")]
        known = {field.name for field in fields(kind)}
        return from_data(kind, {name: value for name, value in content.items() if name in known})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


class Reader:
    """Reads a file of events, from its beginning or from its end, and then what is added to it, again and again."""

    def __init__(self, path: Path, kinds: Mapping[str, type[Event]], *, from_end: bool = False) -> None:
        """The file need not be there yet."""
        self._path, self._kinds = path, kinds
        self._names = [kind.encode() for kind in kinds]  # a line in which none stands need not be read
        self._offset = self._size() if from_end else 0
        self.passed_over = 0  # complete lines that were no event

    def new(self) -> Iterator[Any]:
        """Each event of each complete line since the last call. A file that got shorter has been begun again."""
        size = self._size()
        if size == self._offset:
            return
        if size < self._offset:
            self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # being written, or cut off by a kill
                    break
                self._offset += len(line)
                named = any(name in line for name in self._names)
                if named and (event := from_line(line, self._kinds)) is not None:
                    yield event
                else:
                    self.passed_over += 1

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


def read(path: Path, kind: type[AnEvent]) -> Iterator[AnEvent]:
    """The events of this kind, in order; none where there is no file."""
    return Reader(path, {kind.kind: kind}).new()


def own_seconds(phases: Mapping[str, float], path: Path) -> dict[str, float]:
    """Wall seconds of each phase without those of the phases inside it, in the order in which they began.

    Args:
        phases: whole seconds of each, as a record has them.
        path: the metrics.jsonl of that record; says which phase lies in which. Without it none does.
    """
    own: dict[str, float] = {}
    around: list[PhaseChange] = []  # the starts of the phases that are open
    now = 0.0
    for change in read(path, PhaseChange):
        if change.seconds < now:  # the job was started again and appended: the record has the last one
            own, around = {}, []
        now = change.seconds
        name, opened = change.phase, [start.phase for start in around]
        if name in phases and change.state == "start":
            own.setdefault(name, phases[name])
            around.append(change)
        elif name in opened:
            seconds = change.seconds - around[opened.index(name)].seconds
            del around[opened.index(name) :]
            if around:
                own[around[-1].phase] = max(0.0, own[around[-1].phase] - seconds)
    return {**own, **{name: seconds for name, seconds in phases.items() if name not in own}}
