"""``--budget-hours`` and ``--budget-usd`` of a real launch: what is run, what is not, and what is said of it."""

import json
import os
import signal
from pathlib import Path

from platform.runs.events import LAUNCH_EVENTS, Ended, OverBudget, Reader, Retried, Started
from platform.runs.spending import spells
from tests.faults.gated import ARMS, Gated
from tests.faults.matrix import target
from tests.history import History
from tests.launching import PATIENCE_SECONDS

HOUR = 3600


def known(gated: Gated, *, whole: float, sgd: float | None = None) -> None:
    """Let an earlier launch have taken so many seconds for a whole trial, and for the arm sgd of one."""
    history = History(gated.plan.run_path, "earlier")
    history.begun(7, at=0, arms=ARMS)
    history.ended(7, at=whole)
    if sgd is not None:
        history.begun(11, at=0, arms=("sgd",), trains=False)
        history.ended(11, at=sgd)


def events(gated: Gated) -> list[tuple[type, int]]:
    """What happened in real launches, by seed."""
    read = Reader(gated.plan.paths.events, LAUNCH_EVENTS).new()
    return [(type(event), event.seed) for event in read if event.launch != "earlier"]


def test_a_budget_that_not_even_the_first_trial_fits_is_refused_with_numbers(gated: Gated) -> None:
    known(gated, whole=HOUR)
    before = sorted(gated.plan.run_path.rglob("*"))
    for option, numbers in (
        (("--budget-hours", "0.5"), "a budget of 0.5 node-hours is too small for the first trial: gated/1337, "),
        (
            ("--budget-usd", "23"),
            "expected to take 1.000 node-hours, 24.00 USD (measured, mean of 1 trial of this run",
        ),
        (("--budget-usd", "23", "--dry-run"), "a budget of 23 USD is too small"),
        (("--budget-hours", "0"), "0.0 is not in the range x>0"),
    ):
        with gated.launch((1337,), *option) as launched:
            assert launched.ended(PATIENCE_SECONDS) == 2 and numbers in launched.stderr, launched.stderr
    assert sorted(gated.plan.run_path.rglob("*")) == before and not events(gated), "nothing was written"


def test_what_the_budget_does_not_hold_is_not_run_and_the_next_launch_runs_it(gated: Gated) -> None:
    """Of 1337 the arm sgd is left, which takes seconds; 42 is to be trained, which takes an hour."""
    gated.open()
    with gated.launch((1337,), "--arms", "plain", "--budget-hours", "1") as launched:
        assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
        assert "gated: cost of 1 trial cannot be told: no trial of it has ended yet" in launched.stderr
        assert "cost: " in launched.stdout and "; 1 attempt, failed ones included" in launched.stdout
        assert "USD" not in launched.stdout, "nobody said a price"
    known(gated, whole=HOUR, sgd=36)
    with gated.launch((1337, 42), "--budget-hours", "0.5") as launched:
        assert launched.ended(PATIENCE_SECONDS) == 1, launched.stderr
        said, shown = launched.stderr, launched.stdout
    assert gated.scores() == gated.expected((1337,)) and not (gated.plan.run_path / "seed_42").exists()
    assert "gated: cost measured: 1 trial × 0.010 node-hours = 0.010 node-hours, 0.24 USD" in said
    assert "gated/42  not run: budget" in said
    assert "not run: budget: gated/42; " in said and "of 0.5 node-hours are spent; next would be gated/42" in said
    assert "expected to take 1.000 node-hours (measured, mean of 1 trial of this run that ended (3600 s))" in said
    last = said.splitlines()[-1]
    assert "the same budget is too small for what is next" in said
    assert "--seeds 1337,42, --runs" in last and "--budget-hours" not in last
    assert "seed 42 not run: budget: " in shown and "no result, no failure" not in shown
    assert not gated.plan.paths.given_up.exists() and events(gated)[-1] == (OverBudget, 42)
    assert "42" in json.loads(gated.plan.paths.report_json.read_text())["not_run_for_budget"]
    with gated.launch((1337, 42)) as launched:
        assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
        assert "not run: budget" not in launched.stdout
        assert "USD: the whole of it, divided by 2 arms that a record may claim" in launched.stdout
    assert gated.scores() == gated.expected((1337, 42))


def test_a_trial_waits_until_those_before_it_leave_it_room(gated: Gated) -> None:
    """Both would fit on the machine at once, and together they are quoted at two hours; the first takes seconds."""
    known(gated, whole=HOUR)
    gated.open()
    with gated.launch((1337, 42), "--budget-usd", "36") as launched:
        assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
    order = [event for event in events(gated) if event[0] in (Started, Ended)]
    assert order == [(Started, 1337), (Ended, 1337), (Started, 42), (Ended, 42)]
    assert [one.usd_per_hour for one in spells(gated.plan.run_path)] == [24, 24, 24], "as the last launch had it"


def test_a_further_attempt_that_the_budget_does_not_hold_is_not_made(gated: Gated) -> None:
    known(gated, whole=HOUR)
    with gated.launch((1337,), "--budget-hours", "1") as launched:
        gated.wait_at("train", 1337, launched)
        os.kill(target(gated, launched, "worker", 1337), signal.SIGKILL)
        gated.open()
        assert launched.ended(PATIENCE_SECONDS) == 1, launched.stderr
        said = launched.stderr
    kinds = [kind for kind, _ in events(gated)]
    assert kinds.count(Started) == 1 and kinds[-2:] == [Retried, OverBudget]
    assert "its Ray worker died" in said and "not run: budget: gated/1337; " in said
    assert "the same command runs only what is missing" in said and "--budget-hours 1" in said.splitlines()[-1]


def test_a_launch_that_is_stopped_says_when_its_trials_ended(gated: Gated, tmp_path: Path) -> None:
    with gated.launch((1337,)) as launched:
        gated.wait_at("train", 1337, launched)
        os.kill(launched.process.pid, signal.SIGTERM)
        assert launched.ended(PATIENCE_SECONDS) == 143
    (spell,) = spells(gated.plan.run_path)
    assert spell.end is not None and spell.end.__name__ == "Stopped" and spell.node_seconds > 0
