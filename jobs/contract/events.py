"""What happens, as it happens: frozen dataclasses, one line of JSON each, one writer and one reader.

A job writes its events to the ``metrics.jsonl`` of its trunk and of each arm. Programs of older versions wrote the same
lines, so their files are read as well.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from jobs.contract.files import from_data


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; ``kind`` is its name in a file."""

    kind: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class PhaseChange(Event):
    """A phase of the job begins or ends; phases lie inside each other."""

    kind = "phase"
    phase: str
    state: Literal["start", "end"]
    seconds: float  # of wall time since the log was opened


@dataclass(frozen=True, kw_only=True)
class ArmChange(Event):
    """The scoring of an arm begins or ends."""

    kind = "arm"
    arm: str
    state: Literal["start", "end"]


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """An optimizer step that is worth a line of the log."""

    kind = "step"
    step: int  # from 1
    train_loss: float  # mean over the batch, nats per token
    train_ms: float  # in optimizer steps so far
    step_ms: float
    lr_scale: float  # share of the peak rate


@dataclass(frozen=True, kw_only=True)
class ValidationDone(Event):
    """The model as it is, scored in disjoint windows during the training."""

    kind = "validation"
    step: int
    val_loss_nats: float  # per token
    val_bpb: float
    train_ms: float


@dataclass(frozen=True, kw_only=True)
class EpochAdapted(Event):
    """An epoch of an adaptation that learns before it scores."""

    kind = "adapt"
    epoch: int  # from 1
    loss_nats: float  # per token
    seconds: float
    phase: str | None = None  # of the adaptation, where it has several: "first", "second"


@dataclass(frozen=True, kw_only=True)
class ScoreSoFar(Event):
    """How far the scoring of the validation stream is."""

    kind = "score"
    position: int  # targets scored
    running_bpb: float
    seconds: float


JOB_EVENTS: dict[str, type[Event]] = {
    one.kind: one for one in (PhaseChange, ArmChange, StepDone, ValidationDone, EpochAdapted, ScoreSoFar)
}


def to_line(event: Event) -> str:
    """``event`` as one line of a file, line end included."""
    return json.dumps({"event": event.kind, **asdict(event)}) + "\n"


def from_line(line: str | bytes, kinds: Mapping[str, type[Event]]) -> Event | None:
    """The event in ``line``; None where it is none of these ``kinds``, or was cut off. Fields it lacks, or that nobody
    knows, make it none: what decides about a trial are its records, this is what people look at."""
    try:
        found = json.loads(line)
        kind = kinds[found.pop("event")]
        known = {one.name for one in fields(kind)}
        return from_data(kind, {name: value for name, value in found.items() if name in known})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def append(path: Path, event: Event) -> None:
    """Add ``event`` to the file: one write, so that lines of several writers do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, to_line(event).encode())
    finally:
        os.close(file)


class Reader:
    """Reads a file of events, from its beginning or from its end, and then what is added to it, again and again."""

    def __init__(self, path: Path, kinds: Mapping[str, type[Event]], *, from_end: bool = False) -> None:
        """The file need not be there yet."""
        self._path, self._kinds = path, kinds
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
                if (event := from_line(line, self._kinds)) is not None:
                    yield event
                else:
                    self.passed_over += 1

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
