"""How far a trial is, from the events of its job."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is known of a running trial."""

    waiting: str | None = None  # for what, before its job begins
    phases: tuple[str, ...] = ()  # that the job is in, the innermost last
    arm: str | None = None  # being scored
    step: int | None = None
    train_loss: float | None = None  # nats per token
    train_ms: float | None = None  # in optimizer steps so far
    step_ms: float | None = None
    arm_ended: bool = False
    epoch: int | None = None  # of the arm's adaptation
    scored_tokens: int | None = None
    running_bpb: float | None = None

    def after(self, event: Mapping[str, Any]) -> "Progress":
        """The progress once ``event`` has happened; unknown events change nothing."""
        kind = event["event"]
        if kind == "phase" and event.get("state") == "start":
            return replace(self, phases=(*self.phases, str(event.get("phase"))))
        if kind == "phase":
            return replace(self, phases=self.phases[:-1])
        if kind == "arm" and event.get("state") == "start":
            return Progress(arm=str(event.get("arm")))
        if kind == "arm":
            return replace(self, arm_ended=True)
        if kind == "step":
            return replace(
                self,
                step=event.get("step"),
                train_loss=event.get("train_loss"),
                train_ms=event.get("train_ms"),
                step_ms=event.get("step_ms"),
            )
        if kind == "adapt":
            return replace(self, epoch=event.get("epoch"))
        if kind == "score":
            return replace(self, scored_tokens=event.get("position"), running_bpb=event.get("running_bpb"))
        return self

    def __str__(self) -> str:
        """``train: step 120, loss 4.12, 82 ms a step, 31 s`` or ``adamw: adapt: epoch 2``."""
        if self.waiting:
            return f"waiting: {self.waiting}"
        parts: list[str] = []
        if self.arm is None and self.step is not None:
            parts.append(f"step {self.step}")
            if self.train_loss is not None:
                parts.append(f"loss {self.train_loss:.3f}")
            if self.step_ms is not None:
                parts.append(f"{self.step_ms:.0f} ms a step")
            if self.train_ms is not None:
                parts.append(f"{self.train_ms / 1000:.0f} s")
        if self.phases[-1:] == ("adapt",) and self.epoch is not None:
            parts.append(f"epoch {self.epoch}")
        if self.phases[-1:] == ("score",) and self.scored_tokens and self.running_bpb is not None:
            parts.append(f"{self.scored_tokens:,} tokens, {self.running_bpb:.4f} bpb")
        where = [self.arm] if self.arm else []
        if self.phases:
            where.append(self.phases[-1])
        elif self.arm_ended:
            where.append("scored")
        elif not self.arm:
            where.append("starting" if self.step is None else "trained")
        return ": ".join([*where, *([", ".join(parts)] if parts else [])])
