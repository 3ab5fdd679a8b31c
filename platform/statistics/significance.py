"""What a handful of scores can show: means with intervals, one-sided tests with a margin, and the power of each test.

Scores are losses, so lower is better. A *gain* is ``against - new``: positive where the new scores are lower, and the
excess of a gain is what it has beyond the margin it must beat. Every test has the hypothesis "the gain is above
the margin" declared beforehand; its ``p`` is one-sided. Where no spread can be known (one score, or all
equal) there is no statistic and no p: None, never NaN.

Scores carry their unit as a type. Nats per token, nats per byte and bits per byte are never mixed, and nats per
token of two tokenizers are never compared: ``Scores.to`` converts, on purpose and in sight.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

SAME_RATIO = 1e-4  # two measured nats per BPB within this are one tokenizer: scores printed to 4 decimals give 5e-5
NO_SPREAD = 1e-12  # a std below this share of the values is the noise of floating point, not of seeds

TestName = Literal["one-sample t", "Welch t", "paired t", "known-sigma z"]


@dataclass(frozen=True)
class BitsPerByte:
    """The score of the leaderboard; the same text makes it comparable across tokenizers."""

    name = "BPB"
    per_bpb = 1.0


@dataclass(frozen=True)
class NatsPerByte:
    """Natural logarithm, per byte of the validation text: BPB times ln 2."""

    name = "nats per byte"
    per_bpb = math.log(2)


@dataclass(frozen=True)
class NatsPerToken:
    """The loss as a training script prints it; means something only beside its tokenizer.

    Args:
        per_bpb: nats per token that one BPB makes: ln 2 times bytes per token, or val_loss / val_bpb of a log.
        tokenizer: its hash, where known; "" where only the ratio is.
    """

    per_bpb: float
    tokenizer: str = ""
    name = "nats per token"

    def __post_init__(self) -> None:
        if not self.per_bpb > 0 or not math.isfinite(self.per_bpb):
            raise ValueError(f"nats per BPB is {self.per_bpb}; it is ln 2 times the bytes per token, above 0")


Unit = BitsPerByte | NatsPerByte | NatsPerToken
U = TypeVar("U", BitsPerByte, NatsPerByte, NatsPerToken)
V = TypeVar("V", BitsPerByte, NatsPerByte, NatsPerToken)
BPB = BitsPerByte()


class UnitError(ValueError):
    """Two numbers of different units, or of different tokenizers, were put side by side."""


def check_same_unit(left: Unit, right: Unit) -> None:
    """Do nothing where numbers of the two units may be compared.

    Raises:
        UnitError: they may not; says what to convert.
    """
    if type(left) is not type(right):
        raise UnitError(f"{left.name} and {right.name} are different units: convert one with .to(unit)")
    same_ratio = math.isclose(left.per_bpb, right.per_bpb, rel_tol=SAME_RATIO)
    tokenizers = {unit.tokenizer for unit in (left, right) if isinstance(unit, NatsPerToken) and unit.tokenizer}
    if not same_ratio or len(tokenizers) > 1:
        raise UnitError(
            f"nats per token of different tokenizers ({left.per_bpb:.6f} and {right.per_bpb:.6f} nats per BPB"
            f"{''.join(f', {name[:12]}' for name in sorted(tokenizers))}): "
            "compare in BPB, or convert one with .to(unit)"
        )


@dataclass(frozen=True)
class Amount(Generic[U]):
    """One number with its unit: a margin, a sigma, a score to beat."""

    value: float
    unit: U

    def to(self, unit: V) -> "Amount[V]":
        """The same amount in another unit, by way of BPB."""
        return Amount(self.value / self.unit.per_bpb * unit.per_bpb, unit)


@dataclass(frozen=True)
class Scores(Generic[U]):
    """Scores of one configuration, one a seed, in one unit.

    Args:
        values: finite; a seed that failed is not a score, and who leaves it out has to say so.
        trunks: names of the trunks that the scores were measured on, in the same order; what proves a pairing.
    """

    values: tuple[float, ...]
    unit: U
    trunks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("no scores")
        if not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"a score is not a finite number: {self.values}; a failed seed is an outcome, not a score")
        if self.trunks and len(set(self.trunks)) != len(self.values):
            raise ValueError(
                f"{len(self.values)} scores of {len(set(self.trunks))} trunks: one score a trunk is needed"
            )

    def to(self, unit: V) -> "Scores[V]":
        """The same scores in another unit, by way of BPB."""
        factor = unit.per_bpb / self.unit.per_bpb
        return Scores(tuple(value * factor for value in self.values), unit, self.trunks)


# --- one group -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one group of scores says of itself; ``sample_std`` and ``interval`` are None for a single score."""

    n: int
    mean: float
    sample_std: float | None  # divides by n - 1: the estimate of the spread of seeds
    population_std: float  # divides by n: what some records print; too small as an estimate
    interval: Interval | None  # two-sided t interval of the mean
    level: float


def summarize(values: Sequence[float], *, level: float = 0.95) -> Summary:
    """Mean, both stds and the t interval of ``values``; sums are exact, so the order of the seeds cannot matter."""
    if not values:
        raise ValueError("no values to summarize")
    n, mean = len(values), float(statistics.mean(values))
    sample_std = statistics.stdev(values) if n > 1 else None
    interval = None
    if sample_std is not None:
        half = t_quantile(0.5 + level / 2, n - 1) * sample_std / math.sqrt(n)
        interval = Interval(mean - half, mean + half)
    population_std = statistics.pstdev(values)
    return Summary(n=n, mean=mean, sample_std=sample_std, population_std=population_std, interval=interval, level=level)


# --- tests -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One test, with everything needed to print it or to do it again by hand."""

    test: TestName
    unit: str
    n: int
    n_against: int  # 0: a single number to beat, taken as exact
    gain: float  # mean of against - new
    margin: float  # the gain has to be above this
    standard_error: float | None
    df: float | None  # None: normal distribution
    statistic: float | None
    p: float | None  # one-sided, for "the gain is above the margin"
    p_two_sided: float | None  # for "the gain is not the margin": what goes with the interval
    gain_std: float | None = None  # sample std of the paired gains; None for the other tests
    gain_interval: Interval | None  # two-sided 95 %
    note: str = ""  # why there is no p, or what was left out

    def passes(self, alpha: float) -> bool | None:
        """Whether p is below ``alpha``; None where there is no p."""
        return None if self.p is None else self.p < alpha


def one_sample(new: Scores[U], against: Amount[U], margin: Amount[U] | None = None) -> Comparison:
    """t test of ``new`` against one number that is taken as exact, n - 1 degrees of freedom."""
    bar = _margin(new, against.unit, margin)
    summary = summarize(new.values)
    error = None if summary.sample_std is None else summary.sample_std / math.sqrt(summary.n)
    return _compared(
        "one-sample t", new, against.value - summary.mean, bar, error, df=summary.n - 1, scale=against.value
    )


def welch(new: Scores[U], against: Scores[U], margin: Amount[U] | None = None) -> Comparison:
    """t test of two independent groups whose spreads may differ; degrees of freedom by Welch and Satterthwaite."""
    bar = _margin(new, against.unit, margin)
    ours, theirs = summarize(new.values), summarize(against.values)
    error, df = None, None
    if ours.sample_std is not None and theirs.sample_std is not None:
        a, b = ours.sample_std**2 / ours.n, theirs.sample_std**2 / theirs.n
        error = math.sqrt(a + b)
        df = welch_df(a, ours.n, b, theirs.n) if error else None
    return _compared("Welch t", new, theirs.mean - ours.mean, bar, error, df=df, n_against=theirs.n, scale=theirs.mean)


def paired(new: Scores[U], against: Scores[U], margin: Amount[U] | None = None) -> Comparison:
    """t test of the gains per trunk: for arms that scored the same trunks, matched by the trunks' names.

    Raises:
        ValueError: scores without trunks, or no trunk in common: the same seed alone is no pairing.
    """
    bar = _margin(new, against.unit, margin)
    if not new.trunks or not against.trunks:
        raise ValueError("a paired test needs the trunk of every score; without that proof use welch")
    theirs = dict(zip(against.trunks, against.values, strict=True))
    ours = dict(zip(new.trunks, new.values, strict=True))
    common = [trunk for trunk in new.trunks if trunk in theirs]
    if not common:
        raise ValueError("the two sides share no trunk, so nothing is paired; use welch")
    gains = [theirs[trunk] - ours[trunk] for trunk in common]
    summary = summarize(gains)
    error = None if summary.sample_std is None else summary.sample_std / math.sqrt(summary.n)
    compared = _compared(
        "paired t", new, summary.mean, bar, error, df=summary.n - 1, n_against=len(common), scale=new.values[0]
    )
    alone = len(ours.keys() ^ theirs.keys())
    note = f"{alone} scored on one side only, left out" if alone else ""
    return replace(
        compared, n=len(common), gain_std=summary.sample_std, note="; ".join(filter(None, (compared.note, note)))
    )


def known_sigma(
    new: Scores[U], against: Scores[U] | Amount[U], sigma: Amount[U], margin: Amount[U] | None = None
) -> Comparison:
    """z test with a spread of seeds known from elsewhere; say where from. Works for a single score too."""
    bar = _margin(new, against.unit, margin)
    check_same_unit(new.unit, sigma.unit)
    if not sigma.value > 0:
        raise ValueError(f"sigma is {sigma.value}; it must be above 0")
    n_against = len(against.values) if isinstance(against, Scores) else 0
    level = statistics.mean(against.values) if isinstance(against, Scores) else against.value
    error = sigma.value * math.sqrt(1 / len(new.values) + (1 / n_against if n_against else 0))
    gain = level - statistics.mean(new.values)
    return _compared("known-sigma z", new, gain, bar, error, df=None, n_against=n_against, scale=level)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted by Holm for being a family: the smallest times m, the next times m - 1, never decreasing.

    A test that could not be made (None) stays None and still counts as one of the family.
    """
    ranked = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(ranked):
        running = max(running, min(1.0, p * (len(p_values) - rank)))
        adjusted[i] = running
    return adjusted


def welch_df(a: float, n_a: int, b: float, n_b: int) -> float:
    """Degrees of freedom by Welch and Satterthwaite; ``a`` and ``b`` are the squared standard errors of the means."""
    return (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))


def _margin(new: Scores[U], unit: U, margin: Amount[U] | None) -> float:
    check_same_unit(new.unit, unit)
    if margin is None:
        return 0.0
    check_same_unit(new.unit, margin.unit)
    return margin.value


def _compared(
    test: TestName,
    new: Scores[U],
    gain: float,
    margin: float,
    error: float | None,
    *,
    df: float | None,
    scale: float,
    n_against: int = 0,
) -> Comparison:
    comparison = Comparison(
        test=test,
        unit=new.unit.name,
        n=len(new.values),
        n_against=n_against,
        gain=gain,
        margin=margin,
        standard_error=error,
        df=df,
        statistic=None,
        p=None,
        p_two_sided=None,
        gain_interval=None,
    )
    if error is None:
        return replace(comparison, df=None, note="a single score has no spread: no test")
    if error <= NO_SPREAD * abs(scale):
        return replace(comparison, df=None, note="the scores are identical: no spread, no test")
    statistic = (gain - margin) / error
    if df is None:
        upper, half = normal_upper(statistic), normal_quantile(0.975) * error
        two_sided = 2 * normal_upper(abs(statistic))
    else:
        upper, half = t_upper(statistic, df), t_quantile(0.975, df) * error
        two_sided = 2 * t_upper(abs(statistic), df)
    interval = Interval(gain - half, gain + half)
    return replace(comparison, statistic=statistic, p=upper, p_two_sided=two_sided, gain_interval=interval)


# --- power -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Design:
    """How a comparison will be made, before a score is there.

    Args:
        test: as in the functions above. For "paired t" ``sigma`` is the std of the gains, not of the scores.
        sigma: assumed std of one score over seeds, in any one unit that gains are then given in.
        alpha: one-sided.
        n_against: seeds of the other side; None: as many as the new side; 0: an exact number (known sigma only).
    """

    test: TestName
    sigma: float
    alpha: float = 0.01
    n_against: int | None = None

    def __post_init__(self) -> None:
        if not self.sigma > 0 or not 0 < self.alpha < 1:
            raise ValueError(f"sigma must be above 0 and alpha in (0, 1); found {self.sigma} and {self.alpha}")

    @property
    def fewest(self) -> int:
        """The smallest n that the test can be made with."""
        return 1 if self.test == "known-sigma z" else 2

    def power(self, n: int, excess: float) -> float:
        """Chance that ``n`` seeds pass when the true gain is ``excess`` above the margin.

        Source: noncentral t for the one-group tests. Welch: given the share of the first group's variance in the sum
        (a beta variable) its degrees of freedom are fixed and the statistic is a scaled noncentral t, so one
        quadrature over that share is exact for equal sigmas; textbooks take the pooled test instead, which promises
        too much (0.0027 BPB for 0.0034 at 3 + 3 seeds, p < 0.01, sigma 0.00068).
        """
        if n < self.fewest:
            return 0.0
        if self.test == "Welch t":
            return self._welch_power(n, n if self.n_against is None else self.n_against, excess)
        if self.test == "known-sigma z":
            m = n if self.n_against is None else self.n_against
            error = self.sigma * math.sqrt(1 / n + (1 / m if m else 0))
            return normal_upper(normal_quantile(1 - self.alpha) - excess / error)
        return _noncentral_t_upper(t_quantile(1 - self.alpha, n - 1), n - 1, excess / self.sigma * math.sqrt(n))

    def seeds_needed(self, excess: float, *, power: float = 0.8, at_most: int = 1000) -> int | None:
        """Fewest seeds whose power is at least ``power``; None where ``at_most`` are not enough."""
        if excess <= 0:
            return None
        low, high = self.fewest, self.fewest
        while self.power(high, excess) < power:
            if high >= at_most:
                return None
            low, high = high + 1, min(2 * high, at_most)
        while low < high:  # power grows with n
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(middle, excess) >= power else (middle + 1, high)
        return low

    def detectable(self, n: int, *, power: float = 0.8) -> float | None:
        """Smallest excess over the margin that ``n`` seeds show with ``power``; None where the test cannot be made."""
        if n < self.fewest:
            return None
        low, high = 0.0, self.sigma
        while self.power(n, high) < power:
            low, high = high, 2 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(n, middle) >= power else (middle, high)
        return high

    def _welch_power(self, n: int, m: int, excess: float) -> float:
        from scipy import special

        if m < 2:
            return 0.0
        # share = (n-1)s1² / ((n-1)s1² + (m-1)s2²) is Beta((n-1)/2, (m-1)/2), independent of the sum.
        nodes, weights = special.roots_jacobi(32, (m - 3) / 2, (n - 3) / 2)
        total, shift = 0.0, excess / (self.sigma * math.sqrt(1 / n + 1 / m))
        for node, weight in zip(nodes, weights, strict=True):
            share = (1 + node) / 2
            a, b = share / (n - 1) / n, (1 - share) / (m - 1) / m
            bar = t_quantile(1 - self.alpha, welch_df(a, n, b, m)) * math.sqrt((a + b) * (n + m - 2) / (1 / n + 1 / m))
            total += weight * _noncentral_t_upper(bar, n + m - 2, shift)
        return float(total / weights.sum())


# --- distributions: scipy.special is imported inside (0.3 s; scipy.stats would be 0.7 s) ------------------------------


def t_upper(statistic: float, df: float) -> float:
    """Chance that a t variable is above ``statistic``."""
    from scipy import special

    return float(special.stdtr(df, -statistic))


def t_quantile(probability: float, df: float) -> float:
    """The t value that ``probability`` lies below."""
    from scipy import special

    return float(special.stdtrit(df, probability))


def normal_upper(statistic: float) -> float:
    """Chance that a standard normal variable is above ``statistic``."""
    return math.erfc(statistic / math.sqrt(2)) / 2


def normal_quantile(probability: float) -> float:
    """The standard normal value that ``probability`` lies below."""
    return statistics.NormalDist().inv_cdf(probability)


def _noncentral_t_upper(statistic: float, df: float, shift: float) -> float:
    from scipy import special

    return float(1 - special.nctdtr(df, shift, statistic))
