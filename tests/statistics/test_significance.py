"""Known numbers of public records, scipy as a second opinion, and simulations that show the stated error rates."""

import math
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.statistics.significance import (
    BPB,
    Amount,
    Comparison,
    Design,
    NatsPerByte,
    NatsPerToken,
    Scores,
    UnitError,
    holm,
    known_sigma,
    one_sample,
    paired,
    summarize,
    welch,
)

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A public record against its predecessor, worked out elsewhere from the 8-decimal losses of the logs."""

    losses: tuple[float, ...]
    previous: tuple[float, ...] | float  # losses of the seeds where they are public, else their mean
    one_sample: tuple[float, float]  # t, p with a margin of 0.005 nats per token
    one_sample_no_margin: tuple[float, float]
    welch: tuple[float, float, float] | None = None  # t, df, p
    welch_no_margin: tuple[float, float, float] | None = None


LEAKY = (1.88976776, 1.8891919, 1.89110239)
KNOWN = {
    "LongContextSeq2048": Known(
        losses=(2.03588345, 2.03657529, 2.03823779),
        previous=2.05104604,
        one_sample=(13.09308165, 0.00289139),
        one_sample_no_margin=(20.24996376, 0.00121489),
    ),
    "11L_XSA4_EMA": Known(
        losses=(1.90301335, 1.9051803, 1.90563076),
        previous=1.90915845,
        one_sample=(-0.55659336, 0.68311385),
        one_sample_no_margin=(5.63208644, 0.01505446),
    ),
    "ValCalib_GPTQ": Known(
        losses=(1.88276292, 1.88156874, 1.88220393),
        previous=LEAKY,
        one_sample=(8.23898701, 0.00720697),
        one_sample_no_margin=(22.73325603, 0.00096469),
        welch=(4.28881782, 3.30629964, 0.00954957),
        welch_no_margin=(11.83383265, 3.30629964, 0.00040339),
    ),
}
PER_TOKEN = NatsPerToken(1.688454)
MARGIN = Amount(0.005, PER_TOKEN)


def check(found: Comparison, t: float, p: float, df: float | None = None) -> None:
    # 1e-5: the known numbers come from losses with 8 decimals, differences of about 0.005
    assert found.statistic == pytest.approx(t, rel=1e-5)
    assert found.p == pytest.approx(p, rel=1e-5, abs=5e-9)
    if df is not None:
        assert found.df == pytest.approx(df, rel=1e-5)


@pytest.mark.parametrize("name", KNOWN)
def test_t_and_p_of_public_records(name: str) -> None:
    known = KNOWN[name]
    new = Scores(known.losses, PER_TOKEN)
    previous = known.previous if isinstance(known.previous, tuple) else (known.previous,)
    bar = Amount(statistics.mean(previous), PER_TOKEN)
    check(one_sample(new, bar, MARGIN), *known.one_sample)
    check(one_sample(new, bar), *known.one_sample_no_margin)
    if known.welch and known.welch_no_margin:
        for margin, (t, df, p) in ((MARGIN, known.welch), (None, known.welch_no_margin)):
            check(welch(new, Scores(previous, PER_TOKEN), margin), t, p, df)


def test_a_record_whose_tokenizer_changed_is_judged_after_conversion_only() -> None:
    """SP8192 over SP4096: the predecessor's 1.08971631 BPB makes 2.81485 of the new tokenizer's nats."""
    losses = (2.80405024, 2.80170263, 2.80406725, 2.80467299, 2.80691494)
    new = Scores(losses, NatsPerToken(2.583104))
    with pytest.raises(UnitError, match="different tokenizers"):
        one_sample(new, Amount(2.50746708, NatsPerToken(2.301027)))
    converted = Amount(1.08971631, BPB).to(new.unit)
    assert converted.value == pytest.approx(2.81485056, abs=2e-6)  # the ratio is known to six decimals
    found = one_sample(new, converted, Amount(0.005, new.unit))
    assert found.statistic == pytest.approx(6.69496109, rel=2e-3)
    assert found.df == 4


def test_std_conventions() -> None:
    summary = summarize((1.20576485, 1.2061746, 1.20715923))
    assert summary.sample_std == pytest.approx(0.0007166690174922859, rel=1e-12)
    assert summary.population_std == pytest.approx(0.0005851578024392841, rel=1e-12)
    assert summary.interval is not None
    assert summary.interval.high - summary.mean == pytest.approx(4.302652729911275 * 0.00071666901749 / math.sqrt(3))


def test_one_score_has_no_spread_no_interval_and_no_p() -> None:
    summary = summarize([1.2])
    assert (summary.sample_std, summary.interval, summary.population_std) == (None, None, 0.0)
    alone = Scores((1.2,), BPB, trunks=("t",))
    for found in (
        one_sample(alone, Amount(1.3, BPB)),
        welch(alone, Scores((1.2, 1.3), BPB)),
        welch(Scores((1.2, 1.3), BPB), alone),
        paired(alone, Scores((1.3,), BPB, trunks=("t",))),
    ):
        assert (found.statistic, found.p, found.p_two_sided, found.gain_interval) == (None,) * 4
        assert found.passes(0.05) is None and "no spread" in found.note
    assert known_sigma(alone, Amount(1.3, BPB), Amount(0.01, BPB)).passes(0.01)


def test_identical_scores_give_no_p_instead_of_certainty() -> None:
    """0.1 + 0.2 style noise must not pass for a spread: the gains here are all 0.1 but for their last bit."""
    new = Scores((1.1, 1.2, 1.3), BPB, trunks=("a", "b", "c"))
    against = Scores((1.2, 1.3, 1.4), BPB, trunks=("a", "b", "c"))
    found = paired(new, against)
    assert found.gain == pytest.approx(0.1) and found.p is None and "identical" in found.note
    assert one_sample(Scores((1.1, 1.1), BPB), Amount(1.2, BPB)).p is None


def test_pairing_follows_trunks_not_positions() -> None:
    new = Scores((1.00, 2.00, 3.01), BPB, trunks=("a", "b", "c"))
    against = Scores((3.11, 1.11, 2.10, 9.0), BPB, trunks=("c", "a", "b", "d"))
    found = paired(new, against)
    assert found.n == 3 and "1 scored on one side only" in found.note
    assert found.gain == pytest.approx((0.11 + 0.10 + 0.10) / 3)
    with pytest.raises(ValueError, match="without that proof"):
        paired(Scores((1.0, 2.0), BPB), against)
    with pytest.raises(ValueError, match="share no trunk"):
        paired(Scores((1.0,), BPB, trunks=("x",)), against)
    with pytest.raises(ValueError, match="one score a trunk"):
        Scores((1.0, 2.0), BPB, trunks=("a", "a"))


def test_the_pairing_decides_a_real_case() -> None:
    """PR #1925 over #1855 (deltas -0.83, -0.65, -0.79 mBPB): p = 0.0025 paired; unpaired they show nothing."""
    new = Scores((1.06, 1.0605, 1.0610), BPB, trunks=("a", "b", "c"))
    gains = (0.00083, 0.00065, 0.00079)
    old = Scores(tuple(x + g for x, g in zip(new.values, gains, strict=True)), BPB, trunks=("a", "b", "c"))
    matched, unmatched = paired(new, old).p, welch(new, old).p
    assert matched == pytest.approx(0.0025, abs=0.0001) and unmatched is not None and unmatched > 0.05


def test_units_are_never_mixed() -> None:
    bpb = Scores((1.1, 1.2), BPB)
    per_byte = bpb.to(NatsPerByte())
    assert per_byte.values[0] == pytest.approx(1.1 * math.log(2))
    with pytest.raises(UnitError, match="different units"):
        welch(bpb, per_byte)  # type: ignore[arg-type, misc, type-var]
    with pytest.raises(UnitError, match="different units"):
        one_sample(bpb, Amount(1.0, BPB), Amount(0.005, NatsPerByte()))  # type: ignore[arg-type, misc, type-var]
    with pytest.raises(UnitError, match="different tokenizers"):  # equal ratios, but two tokenizers by name
        welch(bpb.to(NatsPerToken(1.7, "aa")), bpb.to(NatsPerToken(1.7, "bb")))
    welch(bpb.to(NatsPerToken(1.688457)), bpb.to(NatsPerToken(1.688454, "aa")))  # the same but for rounding
    with pytest.raises(ValueError, match="above 0"):
        NatsPerToken(0.0)
    with pytest.raises(ValueError, match="outcome"):
        Scores((1.0, math.nan), BPB)


def test_the_margin_in_three_units() -> None:
    """0.005 nats: 2.96 mBPB per token of SP1024, 7.21 mBPB per byte; PG#1855: 0.01992 BPB are 0.04359 nats."""
    assert Amount(0.005, PER_TOKEN).to(BPB).value == pytest.approx(0.00296129, abs=5e-9)
    assert Amount(0.005, NatsPerByte()).to(BPB).value == pytest.approx(0.00721, abs=5e-6)
    assert Amount(0.01992, BPB).to(NatsPerToken(2.188371)).value == pytest.approx(0.04359, abs=5e-6)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.03), None, pytest.approx(0.08)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


scores = st.lists(st.floats(1.0, 1.3).map(lambda x: round(x, 8)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(scores, scores, st.floats(0, 0.01))
def test_scipy_agrees(new: list[float], old: list[float], margin: float) -> None:
    from scipy import stats

    if statistics.stdev(new) < 1e-9 or statistics.stdev(old) < 1e-9:
        return
    ours, theirs = Scores(tuple(new), BPB), Scores(tuple(old), BPB)
    found = welch(ours, theirs, Amount(margin, BPB))
    truth = stats.ttest_ind(np.array(old) - margin, new, equal_var=False, alternative="greater")
    assert found.p == pytest.approx(truth.pvalue, rel=1e-6, abs=1e-12)
    single = one_sample(ours, Amount(1.2, BPB), Amount(margin, BPB))
    truth = stats.ttest_1samp(new, 1.2 - margin, alternative="less")
    assert single.p == pytest.approx(truth.pvalue, rel=1e-6, abs=1e-12)
    assert single.gain_interval is not None
    low, high = stats.ttest_1samp(new, 1.2).confidence_interval(0.95)
    assert (1.2 - single.gain_interval.high, 1.2 - single.gain_interval.low) == pytest.approx((low, high))


# --- error rates -----------------------------------------------------------------------------------------------------

SIGMA, DRAWS = 0.0007, 3000
TRUNKS = ("a", "b", "c")


@pytest.mark.parametrize("test", ["one-sample t", "Welch t", "paired t", "known-sigma z"])
def test_wrong_verdicts_are_as_rare_as_stated(test: str) -> None:
    """At a true gain exactly equal to the margin, p is below alpha in a share alpha of the cases (Welch: at most)."""
    rng = np.random.default_rng(5)
    margin, sigma = Amount(0.003, BPB), Amount(SIGMA, BPB)
    common = rng.normal(0, 0.01, (DRAWS, 3)) if test == "paired t" else 0.0  # what a shared trunk brings to both arms
    old = rng.normal(1.1, SIGMA, (DRAWS, 3)) + common
    new = rng.normal(1.1 - margin.value, SIGMA, (DRAWS, 3)) + common
    p_values = []
    for a, b in zip(new.tolist(), old.tolist(), strict=True):
        ours, theirs = Scores(tuple(a), BPB, TRUNKS), Scores(tuple(b), BPB, TRUNKS)
        found = {
            "one-sample t": lambda ours=ours: one_sample(ours, Amount(1.1, BPB), margin),
            "Welch t": lambda ours=ours, theirs=theirs: welch(ours, theirs, margin),
            "paired t": lambda ours=ours, theirs=theirs: paired(ours, theirs, margin),
            "known-sigma z": lambda ours=ours, theirs=theirs: known_sigma(ours, theirs, sigma, margin),
        }[test]()
        assert found.p is not None
        p_values.append(found.p)
    for alpha in (0.05, 0.25):
        rate, tolerance = np.mean(np.array(p_values) < alpha), 4 * math.sqrt(alpha * (1 - alpha) / DRAWS)
        assert rate < alpha + tolerance
        assert rate > alpha - tolerance or test == "Welch t"  # its df make it cautious with 3 + 3
    assert np.mean(np.array(p_values) < 0.25) > 0.15


def test_the_interval_covers_the_mean_in_95_of_100() -> None:
    rng = np.random.default_rng(6)
    summaries = [summarize(row) for row in rng.normal(1.1, SIGMA, (DRAWS, 3)).tolist()]
    covered = np.mean([s.interval is not None and s.interval.low < 1.1 < s.interval.high for s in summaries])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / DRAWS))


def test_holm_keeps_the_family_and_plain_p_values_do_not() -> None:
    p = np.random.default_rng(7).uniform(size=(4000, 5)).tolist()
    wrong = np.mean([any(q is not None and q < 0.05 for q in holm(row)) for row in p])
    assert wrong == pytest.approx(0.05, abs=0.014)
    assert np.mean([min(row) < 0.05 for row in p]) > 0.2


@pytest.mark.parametrize(
    ("test", "n", "n_against", "excess"),
    [
        ("one-sample t", 3, None, 0.004),
        ("paired t", 5, None, 0.0015),
        ("Welch t", 3, 3, 0.0034),
        ("Welch t", 5, 3, 0.0018),
        ("Welch t", 2, 4, 0.003),
        ("Welch t", 3, 3, 0.0),
        ("known-sigma z", 3, 3, 0.002),
        ("known-sigma z", 1, 0, 0.002),
    ],
)
def test_power_is_what_simulation_gives(test: str, n: int, n_against: int | None, excess: float) -> None:
    """The formulas against 400,000 draws of the test itself, done in numpy without them."""
    from scipy import special

    draws, alpha = 400_000, 0.01
    rng = np.random.default_rng(8)
    new = rng.normal(-excess, SIGMA, (draws, n))
    if test in ("one-sample t", "paired t"):
        p = special.stdtr(n - 1, new.mean(1) / (new.std(1, ddof=1) / math.sqrt(n)))
    elif test == "known-sigma z":
        old = rng.normal(0, SIGMA, (draws, n_against)).mean(1) if n_against else 0.0
        p = special.ndtr((new.mean(1) - old) / (SIGMA * math.sqrt(1 / n + (1 / n_against if n_against else 0))))
    else:
        assert n_against is not None
        old = rng.normal(0, SIGMA, (draws, n_against))
        a, b = new.var(1, ddof=1) / n, old.var(1, ddof=1) / n_against
        df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (n_against - 1))
        p = special.stdtr(df, (new.mean(1) - old.mean(1)) / np.sqrt(a + b))
    design = Design(test=test, sigma=SIGMA, alpha=alpha, n_against=n_against)  # type: ignore[arg-type]
    assert design.power(n, excess) == pytest.approx(np.mean(p < alpha), abs=4 * 0.5 / math.sqrt(draws))


def test_detectable_gains_and_seeds_agree_with_the_power() -> None:
    """Simulated by others at the corpus' median sigma: 0.0034, 0.0022, 0.0018, 0.0015, 0.0013 BPB for n + n seeds."""
    design = Design(test="Welch t", sigma=0.00068)
    for n, published in ((3, 0.0034), (4, 0.0022), (5, 0.0018), (6, 0.0015), (8, 0.0013)):
        detectable = design.detectable(n)
        assert detectable == pytest.approx(published, abs=0.0001)
        assert design.power(n, detectable) == pytest.approx(0.8)
        assert design.seeds_needed(detectable) == n
    assert design.seeds_needed(0.0018) == 5
    assert design.seeds_needed(0.0) is None
    assert design.seeds_needed(1e-6, at_most=50) is None
    assert Design(test="one-sample t", sigma=1.0).detectable(1) is None
    assert Design(test="known-sigma z", sigma=1.0, n_against=0).seeds_needed(10.0) == 1


def test_scipy_is_imported_only_when_a_distribution_is_needed() -> None:
    code = "import sys, platform.statistics.significance as s; s.summarize([1.0]); sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
