"""When to stop paying for seeds: the chance that a planned comparison still passes, given the scores so far.

The rule stops where that chance, averaged over what the true gain may be after these scores (flat prior, spread of
seeds known), is below ``least_chance``. It only ever stops to give up, so it can make no wrong claim: the error rate of
the test at the end stays at most alpha. Its price is a win now and then that it gave up on; ``simulate`` counts them.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .significance import Amount, BitsPerByte, Scores, TestName, check_same_unit, normal_quantile, t_quantile, welch_df

if TYPE_CHECKING:
    from numpy import ndarray

SIGMA, SIGMA_SOURCE = 0.00068, "median over the public records with two seed logs or more"  # BPB
LEAST_CHANCE = 0.02
IMAGINED = 1000  # draws of the seeds to come; the chance is then known to +-0.005 at the threshold


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """The comparison that is planned, and when it is given up.

    Args:
        test: "Welch t" against scores, "one-sample t" against a number, "known-sigma z" against either. A paired
            comparison is a one-sample one: the gains with their sign changed, against the number 0.
        planned: seeds of the new side when nothing is stopped.
        sigma: assumed std of one score over seeds; used to imagine the seeds to come, not by the t tests at the end.
        alpha: of the test at the end, one-sided.
        least_chance: stop below this chance to pass.
    """

    test: TestName
    planned: int
    sigma: float
    alpha: float = 0.01
    least_chance: float = LEAST_CHANCE

    def __post_init__(self) -> None:
        if not self.sigma > 0 or not 0 < self.alpha < 1 or not 0 < self.least_chance < 1:
            raise ValueError(f"sigma must be above 0, alpha and least_chance in (0, 1): {self}")


def chance_to_pass(
    new: Scores[BitsPerByte],
    against: Scores[BitsPerByte] | Amount[BitsPerByte],
    margin: Amount[BitsPerByte],
    rule: StoppingRule,
) -> float:
    """Chance that the comparison passes once all planned seeds are there, given the scores so far."""
    import numpy as np

    check_same_unit(new.unit, against.unit)
    check_same_unit(new.unit, margin.unit)
    exact = isinstance(against, Amount)
    theirs = np.array([(against.value,) if isinstance(against, Amount) else against.values])
    excess = theirs.mean() - margin.value - np.array([new.values])
    return float(_chances(excess, _Other.of(theirs, exact=exact), rule)[0])


def is_hopeless(
    new: Scores[BitsPerByte],
    against: Scores[BitsPerByte] | Amount[BitsPerByte],
    margin: Amount[BitsPerByte],
    rule: StoppingRule,
) -> bool:
    """Whether to stop paying: the chance to pass is below ``rule.least_chance``. Never after the last planned seed."""
    return len(new.values) < rule.planned and chance_to_pass(new, against, margin, rule) < rule.least_chance


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the rule does at one true gain, simulated."""

    excess: float  # true gain minus margin
    pass_rate: float
    pass_rate_without: float  # of the same runs, had none been stopped
    seeds_saved: float  # share of the planned seeds that were not run


def simulate(rule: StoppingRule, *, excess: float, n_against: int = 0, repeats: int = 3000, seed: int = 0) -> Outcome:
    """What the rule does to ``repeats`` imagined runs, seed after seed, with a true gain ``excess`` over the margin."""
    import numpy as np

    rng = np.random.default_rng(seed)
    theirs = rng.normal(0.0, rule.sigma, (repeats, n_against)) if n_against else np.zeros((repeats, 1))
    excesses = theirs.mean(axis=1, keepdims=True) - rng.normal(-excess, rule.sigma, (repeats, rule.planned))
    running, seeds_run = np.ones(repeats, dtype=bool), np.zeros(repeats)
    for k in range(1, rule.planned):
        seeds_run += running
        chances = _chances(excesses[running, :k], _Other.of(theirs[running], exact=not n_against), rule)
        running[running] = chances >= rule.least_chance
    seeds_run += running
    passed = _chances(excesses, _Other.of(theirs, exact=not n_against), rule) == 1
    return Outcome(
        excess=excess,
        pass_rate=float((passed & running).mean()),
        pass_rate_without=float(passed.mean()),
        seeds_saved=float(1 - seeds_run.mean() / rule.planned),
    )


@dataclass(frozen=True)
class _Other:
    """The other side of many comparisons: how many scores (0: an exact number), and their mean's squared error."""

    n: int
    error2: "ndarray"

    @staticmethod
    def of(scores: "ndarray", *, exact: bool) -> "_Other":
        n = scores.shape[1]
        return _Other(0 if exact else n, scores.var(axis=1, ddof=1) / n if n > 1 else scores[:, 0] * 0)


def _chances(excess: "ndarray", other: _Other, rule: StoppingRule) -> "ndarray":
    """Chance to pass for each row of ``excess``, (comparisons, seeds so far)."""
    import numpy as np

    k, to_come = excess.shape[1], rule.planned - excess.shape[1]
    mean = excess.mean(axis=1, keepdims=True)
    squares = ((excess - mean) ** 2).sum(axis=1, keepdims=True)
    if to_come <= 0:  # nothing to imagine: 0 or 1
        return _verdicts(mean, squares, k, other, rule)[:, 0].astype(float)
    rng = np.random.default_rng(to_come)  # the same imagined seeds for everybody: a verdict can be repeated
    z = rng.standard_normal((IMAGINED, to_come))
    # future mean - mean so far: the true mean is uncertain by sigma / sqrt(k), the seeds scatter around it
    shift = rule.sigma * (rng.standard_normal(IMAGINED) / math.sqrt(k) + z.mean(axis=1))
    future_squares = rule.sigma**2 * ((z - z.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    final_mean = mean + shift * to_come / rule.planned
    final_squares = squares + future_squares + shift**2 * k * to_come / rule.planned
    return _verdicts(final_mean, final_squares, rule.planned, other, rule).mean(axis=1)


def _verdicts(mean: "ndarray", squares: "ndarray", n: int, other: _Other, rule: StoppingRule) -> "ndarray":
    """Which comparisons pass; ``squares`` sums the squared deviations of ``n`` seeds from their ``mean``."""
    import numpy as np

    error2 = np.maximum(squares, 1e-300) / (n - 1) / n if n > 1 else np.zeros_like(squares)
    if rule.test == "known-sigma z":
        error = rule.sigma * math.sqrt(1 / n + (1 / other.n if other.n else 0))
        return mean / error > normal_quantile(1 - rule.alpha)
    if n < 2:
        return np.zeros_like(mean, dtype=bool)
    if rule.test != "Welch t":
        return mean / np.sqrt(error2) > t_quantile(1 - rule.alpha, n - 1)
    if other.n < 2:
        raise ValueError("a Welch test needs two scores or more on the other side; use one-sample t")
    b = other.error2[:, None]
    df = welch_df(error2, n, b, other.n)  # type: ignore[arg-type]  # the same formula on arrays
    grid = np.linspace(min(n, other.n) - 1, n + other.n - 2, 200)  # Welch's df lie in between
    bars = np.array([t_quantile(1 - rule.alpha, value) for value in grid])
    return mean / np.sqrt(error2 + b) > np.interp(df, grid, bars)
