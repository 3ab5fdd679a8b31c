"""The rule that gives up: what it costs in wins, what it saves in seeds, and that it cannot make a wrong claim."""

import numpy as np
import pytest

from platform.statistics.futility import StoppingRule, chance_to_pass, is_hopeless, simulate
from platform.statistics.significance import BPB, Amount, Design, Scores, UnitError, one_sample, welch

SIGMA = 0.00068
NO_MARGIN = Amount(0.0, BPB)


@pytest.mark.parametrize(("test", "planned", "n_against"), [("Welch t", 3, 3), ("one-sample t", 4, 0)])
def test_it_saves_hopeless_seeds_and_hardly_any_win(test: str, planned: int, n_against: int) -> None:
    rule = StoppingRule(test=test, planned=planned, sigma=SIGMA)  # type: ignore[arg-type]
    design = Design(test=rule.test, sigma=SIGMA, n_against=n_against or None)
    detectable = design.detectable(planned)
    assert detectable is not None
    won = simulate(rule, excess=detectable, n_against=n_against, repeats=2000)
    assert won.pass_rate_without == pytest.approx(0.8, abs=0.036)  # 4 standard errors: the power, by simulation
    assert won.pass_rate > won.pass_rate_without - 0.02
    assert won.seeds_saved < 0.1
    nothing = simulate(rule, excess=0.0, n_against=n_against, repeats=2000)
    assert nothing.pass_rate <= nothing.pass_rate_without <= 0.01 + 4 * np.sqrt(0.01 / 2000)
    assert nothing.seeds_saved > 0.4
    worse = simulate(rule, excess=-0.005, n_against=n_against, repeats=200)
    assert worse.seeds_saved == pytest.approx(1 - 1 / planned)  # given up after the first seed, every time


def test_the_chance_is_that_of_the_real_test_on_imagined_seeds() -> None:
    """Two of four seeds seen; the others drawn here one by one and judged by the functions that decide at the end."""
    seen, old = (1.0984, 1.0975), (1.1, 1.1009, 1.0993)
    rng = np.random.default_rng(1)
    passed = []
    for _ in range(3000):
        mean = rng.normal(np.mean(seen), SIGMA / np.sqrt(2))
        final = Scores((*seen, *rng.normal(mean, SIGMA, 2).tolist()), BPB)
        passed.append((welch(final, Scores(old, BPB)).passes(0.01), one_sample(final, Amount(1.1, BPB)).passes(0.01)))
    by_welch, by_one_sample = np.mean(passed, axis=0)
    rule = StoppingRule(test="Welch t", planned=4, sigma=SIGMA)
    found = chance_to_pass(Scores(seen, BPB), Scores(old, BPB), NO_MARGIN, rule)
    assert 0.1 < by_welch < 0.9 and found == pytest.approx(by_welch, abs=0.05)
    rule = StoppingRule(test="one-sample t", planned=4, sigma=SIGMA)
    found = chance_to_pass(Scores(seen, BPB), Amount(1.1, BPB), NO_MARGIN, rule)
    assert 0.1 < by_one_sample < 0.9 and found == pytest.approx(by_one_sample, abs=0.05)


def test_a_margin_turns_hope_into_hopelessness() -> None:
    new, old = Scores((1.098,), BPB), Scores((1.1, 1.1005, 1.0995), BPB)
    rule = StoppingRule(test="Welch t", planned=3, sigma=SIGMA)
    assert not is_hopeless(new, old, NO_MARGIN, rule)
    assert is_hopeless(new, old, Amount(0.005, BPB), rule)
    complete = Scores((1.2, 1.21, 1.2), BPB)
    assert chance_to_pass(complete, old, NO_MARGIN, rule) == 0.0
    assert not is_hopeless(complete, old, NO_MARGIN, rule)  # nothing left to stop


def test_one_score_of_the_other_side_is_not_an_exact_number() -> None:
    """With sigma known, one score carries sigma of its own: the chance is lower than against a number."""
    new, rule = Scores((1.0988,), BPB), StoppingRule(test="known-sigma z", planned=3, sigma=SIGMA)
    number = chance_to_pass(new, Amount(1.1, BPB), NO_MARGIN, rule)
    score = chance_to_pass(new, Scores((1.1,), BPB), NO_MARGIN, rule)
    assert score < number - 0.1
    with pytest.raises(ValueError, match="use one-sample"):
        chance_to_pass(new, Scores((1.1,), BPB), NO_MARGIN, StoppingRule(test="Welch t", planned=3, sigma=SIGMA))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma"):
        StoppingRule(test="Welch t", planned=3, sigma=0.0)
    from platform.statistics.significance import NatsPerByte

    rule = StoppingRule(test="one-sample t", planned=3, sigma=SIGMA)
    with pytest.raises(UnitError):
        chance_to_pass(Scores((1.1,), BPB), Amount(1.1, BPB), Amount(0.005, NatsPerByte()), rule)  # type: ignore[arg-type]
