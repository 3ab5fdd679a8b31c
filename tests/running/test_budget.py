"""What a budget allows, refuses and counts, without a cluster; a real launch is in tests/faults/test_budget.py."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform.errors import UserError
from platform.running import budget as budgets
from platform.running.budget import Budget, Limit, at_once
from platform.running.cluster import Node
from platform.running.experiment import Experiment
from platform.running.feed import Feed
from platform.running.launch import Batch, Launch
from platform.runs.plan import Failure, Trial
from tests.history import History
from tests.running.test_quote import continued, experiment_at

MakeRun = Callable[..., Any]  # of tests/conftest.py
FAILURE = Failure(seed=1, phase="train", arm=None, reason="lost", log_tail="", arms=("no_ttt",))


class Clock:
    """The monotonic clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(budgets, "time", self)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def experiment(make_run: MakeRun) -> Experiment:
    """Of its trials one has ended, after an hour at 24 dollars."""
    folder = make_run({"no_ttt": {}}, seeds=(1, 2, 3))
    history = History(folder.path)
    history.begun(7, at=0)
    history.ended(7, at=3600)
    return continued(folder)


def trials_of(experiment: Experiment) -> list[Trial]:
    return experiment.trials((1, 2, 3))


def test_what_is_out_counts_as_it_was_quoted_and_what_has_ended_as_it_was(experiment: Experiment, clock: Clock) -> None:
    one, two, three = trials_of(experiment)
    budget = Budget(Limit(hours=2.5), [experiment])
    assert budget.allows(one) and budget.allows(two) and not budget.allows(three)
    assert budget.why == (
        "2.000 node-hours of 2.5 node-hours are spent; next would be leaky_cosine/3, expected to take 1.000 node-hours "
        "(measured, mean of 1 trial of this run that ended (3600 s))"
    )
    budget.started(one)
    clock.now += 1200
    assert not budget.allows(three), "it has run for less than it is quoted"
    budget.finished(one)
    assert budget.allows(three), "1/3 + 1 + 1 hours"


def test_what_runs_for_longer_than_it_was_quoted_counts_as_long_as_it_runs(
    experiment: Experiment, clock: Clock
) -> None:
    one, two, _ = trials_of(experiment)
    budget = Budget(Limit(hours=3), [experiment])
    assert budget.allows(one)
    budget.started(one)
    clock.now += 7201
    assert not budget.allows(two) and budget.why.startswith("2.000 node-hours of 3 node-hours")


@pytest.mark.parametrize("lost", ["failed", "retried"])
def test_an_attempt_that_failed_has_cost_what_it_took(experiment: Experiment, clock: Clock, lost: str) -> None:
    one, two, _ = trials_of(experiment)
    budget = Budget(Limit(usd=30), [experiment])
    assert budget.allows(one) and not budget.allows(two)
    budget.started(one)
    clock.now += 600  # 4 dollars
    budget.failed(one, FAILURE) if lost == "failed" else budget.retried(one, FAILURE, 10)
    assert budget.allows(one), "4 + 24 of 30"
    budget.started(one)
    clock.now += 900
    budget.retried(one, FAILURE, 10)
    assert not budget.allows(one)
    assert budget.why.startswith("0.417 node-hours, 10.00 USD of 30 USD are spent; next would be leaky_cosine/1, expec")


def test_a_trial_that_waits_again_before_it_began_is_not_counted_twice(experiment: Experiment, clock: Clock) -> None:
    one, *_ = trials_of(experiment)
    budget = Budget(Limit(hours=1.5), [experiment])
    assert budget.allows(one) and budget.allows(one)


def test_where_nothing_tells_how_long_one_takes_its_training_is_reckoned_with(tmp_path: Path, clock: Clock) -> None:
    box = experiment_at(tmp_path, "eight_h100")
    one, two, three = trials_of(box)
    Budget(Limit(usd=4), [box]).require_one([one])
    with pytest.raises(UserError) as refused:
        Budget(Limit(usd=3.99), [box]).require_one([one])
    assert str(refused.value) == (
        "a budget of 3.99 USD is too small for the first trial: priced/1, expected to take 0.167 node-hours, 4.00 USD, "
        "for its training alone (no trial of it has ended yet, and at scale eight_h100 nothing is measured of it)"
    )
    budget = Budget(Limit(usd=25), [box])
    assert budget.allows(one) and budget.fits_alone(three)
    budget.started(one)
    clock.now += 1500  # 10 dollars
    box.draft.run_path.mkdir(parents=True)
    history = History(box.draft.run_path)
    history.begun(1, at=0)
    history.ended(1, at=1500)
    budget.finished(one)
    assert budget.allows(two) and not budget.allows(three), "from then on it is known: 10 + 10 + 10"


def test_dollars_without_a_price_are_refused_with_the_file_and_the_key(tmp_path: Path, make_run: MakeRun) -> None:
    smoke = experiment_at(tmp_path, "smoke")
    with pytest.raises(UserError) as refused:
        Budget(Limit(usd=50), [smoke])
    assert "--budget-usd 50: of priced nobody said what an hour of a node costs" in str(refused.value)
    assert "cluster.usd_per_hour of recipes/scales/smoke.yaml, such as\n  cluster: {usd_per_hour: 24}" in str(
        refused.value
    )
    Budget(Limit(hours=50), [smoke])
    with pytest.raises(UserError, match=r"cluster.usd_per_hour of the scale laptop, when its recipe is launched"):
        Budget(Limit(usd=50), [continued(make_run({"no_ttt": {}}, seeds=(1,)))])


def test_both_limits_hold(experiment: Experiment) -> None:
    one, *_ = trials_of(experiment)
    for limit, holds in ((Limit(hours=1, usd=24), True), (Limit(hours=1, usd=23), False), (Limit(hours=0.9), False)):
        assert Budget(limit, [experiment]).fits_alone(one) is holds
    with pytest.raises(UserError, match=r"a budget of 0.9 node-hours and 24 USD is too small"):
        Budget(Limit(hours=0.9, usd=24), [experiment]).require_one([one])


def test_what_may_not_begin_waits_while_something_is_out_and_is_held_back_where_nothing_is(
    experiment: Experiment,
) -> None:
    one, two, three = trials_of(experiment)
    allowed = {one.key, two.key}
    feed = Feed([one, three, two], may_begin=lambda trial, out: trial.key in allowed)
    feed.close()
    assert (attempt := feed.next()) is not None and attempt.trial == one
    assert feed.next() is None and not feed.held_back and not feed.exhausted, "in order: two does not overtake three"
    feed.over(one)
    assert feed.next() is None and feed.exhausted
    assert [attempt.trial for attempt in feed.held_back] == [three, two]


def test_as_many_run_at_once_as_the_nodes_hold(experiment: Experiment) -> None:
    trial = replace(trials_of(experiment)[0], gpus=4, cpus=2)
    nodes = [Node(name="a", gpus=8, cpus=16), Node(name="b", gpus=8, cpus=3), Node(name="c", gpus=0, cpus=64)]
    assert [at_once(trial, nodes[:count]) for count in (1, 2, 3)] == [2, 3, 3]
    assert at_once(replace(trial, gpus=0), nodes) == 8 + 1 + 32
    assert at_once(replace(trial, gpus=16, cpus=6, nodes=2), nodes) == 1, "half of it on each of the first two"


def test_each_node_of_a_trial_counts(experiment: Experiment, clock: Clock) -> None:
    experiment = replace(experiment, draft=replace(experiment.draft, nodes=2))
    one, two, _ = trials_of(experiment)
    budget = Budget(Limit(hours=3), [experiment])
    assert budget.allows(one)
    budget.started(one)
    clock.now += 3600 * 1.1
    budget.finished(one)
    assert not budget.allows(two) and budget.why.startswith("2.200 node-hours of 3 node-hours")


def test_it_is_decided_when_a_node_is_free_and_no_earlier(experiment: Experiment) -> None:
    """Tune asks for many more trials than can begin; what they may cost is known better later."""
    running = Launch([], budget=Budget(Limit(hours=9), [experiment]), note=lambda _: None)
    running._nodes = (Node(name="a", gpus=0, cpus=4),)
    running.add(Batch(trials=tuple(trials_of(experiment)), audits=()))
    assert [one and one.trial.seed for one in (running._feed.next() for _ in range(3))] == [1, 2, None]
    running._feed.over(trials_of(experiment)[0])
    assert (third := running._feed.next()) is not None and third.trial.seed == 3
    free = Launch([], note=lambda _: None)
    free.add(Batch(trials=tuple(trials_of(experiment)), audits=()))
    assert all(free._feed.next() for _ in range(3)), "without a budget Tune gets what it asks for"


def test_the_real_clock_is_used() -> None:
    assert budgets.time is time
