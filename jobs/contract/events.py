"""What happens in a job, as it happens: frozen dataclasses, one line of JSON each, appended to a metrics.jsonl.

``append`` is the one writer; the one reader, of files of any version, is ``platform/runs/events.py``.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal


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
    train_ms: float | None  # in optimizer steps so far; None, here and below: its program does not say
    step_ms: float | None
    lr_scale: float | None  # share of the peak rate


@dataclass(frozen=True, kw_only=True)
class ValidationDone(Event):
    """The model as it is, scored in disjoint windows during the training."""

    kind = "validation"
    step: int
    val_loss_nats: float | None  # per token
    val_bpb: float | None
    train_ms: float | None


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


def to_line(event: Event) -> str:
    """``event`` as one line of a file, line end included."""
    return json.dumps({"event": event.kind, **asdict(event)}) + "\n"


def append(path: Path, event: Event) -> None:
    """Add ``event`` to the file: one write, so that lines of several writers do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, to_line(event).encode())
    finally:
        os.close(file)
