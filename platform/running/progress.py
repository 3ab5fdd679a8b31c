"""How far a trial is, from the events of its job."""

from dataclasses import dataclass, replace

from jobs.contract.events import ArmChange, EpochAdapted, Event, PhaseChange, ScoreSoFar, StepDone


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

    def after(self, event: Event) -> "Progress":
        """The progress once ``event`` has happened."""
        match event:
            case PhaseChange(state="start"):
                return replace(self, phases=(*self.phases, event.phase))
            case PhaseChange() if event.phase in self.phases:
                last = len(self.phases) - 1 - self.phases[::-1].index(event.phase)
                return replace(self, phases=self.phases[:last])
            case ArmChange(state="start"):
                return Progress(arm=event.arm)
            case ArmChange():
                return replace(self, arm_ended=True)
            case StepDone():
                return replace(
                    self,
                    step=event.step,
                    train_loss=event.train_loss,
                    train_ms=event.train_ms,
                    step_ms=event.step_ms,
                )
            case EpochAdapted():
                return replace(self, epoch=event.epoch)
            case ScoreSoFar():
                return replace(self, scored_tokens=event.position, running_bpb=event.running_bpb)
        return self

    def __str__(self) -> str:
        """``train: step 120, loss 4.12, 82 ms a step, 31 s`` or ``adamw: adapt: epoch 2``."""
        if self.waiting:
            return f"waiting: {self.waiting}"
        parts: list[str] = []
        if self.step is not None and not self.arm_ended:
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
