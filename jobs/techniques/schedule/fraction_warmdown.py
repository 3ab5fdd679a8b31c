from dataclasses import dataclass

from jobs.contract.errors import Refused
from jobs.knobs import Share
from jobs.recipe import Budget


@dataclass(frozen=True, kw_only=True)
class FractionWarmdown:
    """Full rate, then linear to zero over the last ``fraction`` of the budget, whichever of clock and steps is further.

    Unlike a warmdown counted in steps it is the same share of the run on any machine.

    Source: the field's RTX 5090 record, which found a step count to be longer than the run there.
    """

    fraction: Share = 0.4  # of the run, in (0, 1]

    def scale(self, *, step: int, elapsed_seconds: float, budget: Budget) -> float:
        if not 0 < self.fraction <= 1:
            raise Refused(f"schedule.fraction_warmdown.fraction: {self.fraction} must be above 0 and at most 1")
        progress = max(elapsed_seconds / budget.train_seconds, step / budget.iterations)
        return max(0.0, min(1.0, (1 - progress) / self.fraction))
