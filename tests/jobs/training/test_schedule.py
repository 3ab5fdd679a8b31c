"""Learning-rate schedules as functions of step and clock; the clock is the test's own."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.recipe import Budget
from tests.jobs.tiny import Case, every, technique

BUDGET = Budget(train_seconds=600.0, iterations=20_000)


def run(schedule: object, *, step_seconds: float, budget: Budget = BUDGET) -> list[float]:
    """The scales of a run on a machine with this step time, until clock or iterations end it."""
    scales = []
    while len(scales) < budget.iterations and len(scales) * step_seconds < budget.train_seconds:
        step = len(scales)
        scales.append(schedule.scale(step=step, elapsed_seconds=step * step_seconds, budget=budget))  # type: ignore[attr-defined]
    return scales


@pytest.mark.parametrize("case", every("schedule"), ids=str)
@pytest.mark.parametrize("step_seconds", [0.02, 0.1, 1.0, 30.0])
def test_every_schedule_falls_from_the_peak_to_zero(case: Case, step_seconds: float) -> None:
    schedule = case.made()
    scales = run(schedule, step_seconds=step_seconds)
    assert scales[0] == 1.0
    assert all(0.0 <= scale <= 1.0 for scale in scales)
    assert all(later <= earlier for earlier, later in pairwise(scales))
    assert scales[-1] <= 1.1 * max(step_seconds / 600, 1 / len(scales)) / 0.05  # nearly zero, as far as steps allow
    for steps in (len(scales), 2 * len(scales)):
        assert schedule.scale(step=steps, elapsed_seconds=600.0, budget=BUDGET) == 0.0
        assert schedule.scale(step=steps, elapsed_seconds=601.0, budget=BUDGET) == 0.0, "and never below"


@pytest.mark.parametrize("case", every("schedule"), ids=str)
def test_without_a_clock_the_iterations_count(case: Case) -> None:
    budget = replace(BUDGET, train_seconds=1e9, iterations=3000)
    scales = run(case.made(), step_seconds=0.001, budget=budget)
    assert scales[0] == 1.0 and 0 < scales[-1] < 0.01


def test_wallclock_warmdown_written_out() -> None:
    """Steps of 0.1 s fit 6,000 times; the last 1,200 of them fall linearly."""
    scales = run(technique("schedule", "wallclock_warmdown", iterations=1200), step_seconds=0.1)
    assert len(scales) == 6000
    for step, scale in enumerate(scales):
        assert scale == pytest.approx(min(1.0, (6000 - step) / 1200), abs=1e-9)


def test_wallclock_warmdown_towards_the_iteration_limit() -> None:
    budget = replace(BUDGET, iterations=2000)
    scales = run(technique("schedule", "wallclock_warmdown", iterations=1000), step_seconds=0.1, budget=budget)
    assert len(scales) == 2000
    for step, scale in enumerate(scales):
        assert scale == pytest.approx(min(1.0, (2000 - step) / 1000), abs=1e-9)


def test_a_warmdown_longer_than_the_run_falls_from_the_first_step() -> None:
    scales = run(technique("schedule", "wallclock_warmdown", iterations=1200), step_seconds=1.0)
    assert len(scales) == 600 and scales[0] == 1.0 and scales[1] == pytest.approx(599 / 1200)


def test_no_warmdown_at_all() -> None:
    assert set(run(technique("schedule", "wallclock_warmdown", iterations=0), step_seconds=1.0)) == {1.0}


@given(step_seconds=st.floats(0.05, 20.0), fraction=st.floats(0.05, 1.0))
def test_fraction_warmdown_is_the_same_share_on_every_machine(step_seconds: float, fraction: float) -> None:
    scales = run(technique("schedule", "fraction_warmdown", fraction=fraction), step_seconds=step_seconds)
    for step, scale in enumerate(scales):
        progress = max(step * step_seconds / 600, step / 20_000)
        assert scale == pytest.approx(min(1.0, (1 - progress) / fraction))


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        technique("schedule", "fraction_warmdown", fraction=fraction).scale(step=0, elapsed_seconds=0.0, budget=BUDGET)
