from dataclasses import dataclass

from jobs.knobs import Count
from jobs.recipe import Budget


@dataclass(frozen=True, kw_only=True)
class WallclockWarmdown:
    """Full rate, then linear to zero over the last ``iterations`` steps that the clock will allow.

    The steps that are left are estimated from the mean step time so far; where the iteration limit comes before the
    clock, it is what the rate falls towards. On a machine so slow that ``iterations`` steps are more than the whole
    run, the rate falls from the first step on.

    Source: the challenge's naive baseline.
    """

    iterations: Count = 1200  # length of the warmdown, in steps

    small = {
        "laptop": {"iterations": {"times": 0.066}},
        "smoke": {"iterations": 4},
        "one_gpu_quick": {"iterations": {"times": 0.075}},  # as its training is, 45 s of 600
    }

    def scale(self, *, step: int, elapsed_seconds: float, budget: Budget) -> float:
        if self.iterations <= 0:
            return 1.0
        by_steps = (budget.iterations - step) / self.iterations
        if step == 0 or elapsed_seconds <= 0:
            return max(0.0, min(1.0, by_steps))
        warmdown_seconds = self.iterations * elapsed_seconds / step
        by_clock = (budget.train_seconds - elapsed_seconds) / warmdown_seconds
        return max(0.0, min(1.0, by_steps, by_clock))
