"""What a script prints, while it prints: steps, losses and validations as the events that our own jobs write.

One pass over what is new since the last look. Of training lines that came together the last becomes an event, so a
script that prints a million lines costs reading them; the log itself keeps every line.
"""

import time
from collections.abc import Callable
from pathlib import Path

from jobs.contract.events import Event, PhaseChange, StepDone, ValidationDone, append

from ..logs.grammar import Line, Number, parse
from ..logs.run_reader import HIGHEST_BPB, TRAINING

MOST_CONFIGURATION = 2**22  # bytes in front of the first step
LONGEST_PIECE = 2**22  # bytes read at once
TRAINING_KEYS = ("train_loss", "loss")
BPB_KEYS, LOSS_KEYS = ("val_bpb", "bpb", "BPB", "val/bpb"), ("val_loss", "val/loss")
TIME_KEYS, STEP_KEYS = ("train_time", "time", "elapsed"), ("step_avg", "step_time", "ms/step")
MILLISECONDS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Misled(Exception):
    """A script that prints other settings than it was told; what it measures is not what was asked."""


class Output:
    """The output of one arm's script, followed as it grows; what it says becomes events in ``metrics``."""

    def __init__(self, log: Path, metrics: Path, check: Callable[[str], None] = lambda _: None) -> None:
        """``check``: called once, with the log in front of its first training step; raises ``Misled``."""
        self._log, self._metrics, self._offset, self._check = log, metrics, 0, check
        self._begun = time.monotonic()
        self._rest = b""  # of a line that is being written
        self._number = 0
        self._phase: str | None = None
        self._since = 0.0
        self._step = -1
        self.phases: dict[str, float] = {}  # wall seconds until the first step, of the steps, and of what came after
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text("")
        self._reach("start")

    def look(self) -> None:
        """Read what is new. Raises Misled as ``check`` does."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._offset)
                while piece := file.read(LONGEST_PIECE):
                    self._offset += len(piece)
                    *lines, self._rest = (self._rest + piece).split(b"\n")
                    self._take(lines)
        except FileNotFoundError:
            return

    def close(self) -> None:
        """The script has ended."""
        self.look()
        self._reach(None)

    def _take(self, lines: list[bytes]) -> None:
        last: bytes | Line | None = None  # of training; parsed where it becomes an event
        for line in lines:
            self._number += 1
            if TRAINING.match(line):
                last = line
                continue
            if b"loss" not in line and b"bpb" not in line and b"BPB" not in line:
                continue
            found = parse(self._number, line.decode("utf-8", "replace").strip())
            if found is None:
                continue
            step = found.values.get("step")
            validates = _first(found, BPB_KEYS) or _first(found, LOSS_KEYS)
            if step is None or step.of is None:
                if validates and self._step >= 0:
                    self._training(last)
                    last = None
                    self._reach("evaluate")
            elif validates:
                self._training(last)
                last = None
                self._validation(found, step)
            elif _first(found, TRAINING_KEYS):
                last = found
        self._training(last)

    def _training(self, line: bytes | Line | None) -> None:
        if isinstance(line, bytes):
            line = parse(self._number, line.decode("utf-8", "replace").strip())
        if line is None or "step" not in line.values or (loss := _first(line, TRAINING_KEYS)) is None:
            return
        step = int(line.values["step"].decimal)
        if step < self._step or self._phase == "evaluate":  # of a learning that comes after the training
            return
        self._reach("train")
        self._step = step
        self._tell(
            StepDone(
                step=step,
                train_loss=float(loss.decimal),
                train_ms=_milliseconds(_first(line, TIME_KEYS)),
                step_ms=_milliseconds(_first(line, STEP_KEYS)),
                lr_scale=None,
            )
        )

    def _validation(self, line: Line, step: Number) -> None:
        bpb, loss = _first(line, BPB_KEYS), _first(line, LOSS_KEYS)
        self._reach("train")
        self._step = max(self._step, int(step.decimal))
        self._tell(
            ValidationDone(
                step=int(step.decimal),
                val_loss_nats=float(loss.decimal) if loss else None,
                val_bpb=float(bpb.decimal) if bpb and float(bpb.decimal) < HIGHEST_BPB else None,
                train_ms=_milliseconds(_first(line, TIME_KEYS)),
            )
        )

    def _reach(self, phase: str | None) -> None:
        if phase == self._phase:
            return
        now = time.monotonic() - self._begun
        if self._phase is not None:
            self.phases[self._phase] = self.phases.get(self._phase, 0.0) + now - self._since
            self._tell(PhaseChange(phase=self._phase, state="end", seconds=now))
        if phase is not None:
            self._tell(PhaseChange(phase=phase, state="start", seconds=now))
        was, self._phase, self._since = self._phase, phase, now
        if was == "start":
            with self._log.open("rb") as file:
                self._check(file.read(MOST_CONFIGURATION).decode("utf-8", "replace"))

    def _tell(self, event: Event) -> None:
        append(self._metrics, event)


def _first(line: Line, keys: tuple[str, ...]) -> Number | None:
    return next((line.values[key] for key in keys if key in line.values), None)


def _milliseconds(number: Number | None) -> float | None:
    """Of a time with its unit; without one it is not known what it means."""
    if number is None or number.unit not in MILLISECONDS:
        return None
    return float(number.decimal) * MILLISECONDS[number.unit]
