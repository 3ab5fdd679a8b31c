"""What a run has cost, held against histories written by hand."""

from pathlib import Path

import pytest

from platform.runs.spending import held_back, spells, spent
from tests.history import History


def test_every_attempt_counts_whatever_ended_it(tmp_path: Path) -> None:
    first = History(tmp_path, "a")
    first.begun(1, at=10, arms=("no_ttt", "sgd"))
    first.begun(2, at=20)
    first.ended(1, at=610)  # 600 s
    first.retried(2, at=120)  # 100 s
    first.again(2, at=130)
    first.failed(2, at=180)  # 50 s
    second = History(tmp_path, "b")
    second.begun(2, at=1000, usd=36)
    second.stopped(2, at=1200)  # 200 s at another price
    found = spent(tmp_path)
    assert found is not None and not found.at_least
    assert (found.node_seconds, found.attempts, found.open) == (950, 4, 0)
    assert found.usd == pytest.approx((750 * 24 + 200 * 36) / 3600) and found.prices == (24, 36)
    assert str(found) == "0.264 node-hours, 7.00 USD at 24 and 36 USD an hour; 4 attempts, failed ones included"


def test_a_launch_that_was_killed_counts_to_the_last_that_was_heard_of_it(tmp_path: Path) -> None:
    killed = History(tmp_path, "a")
    killed.begun(1, at=0)
    killed.phase(1, at=900, phase="score", arm="no_ttt")
    again = History(tmp_path, "b")
    again.begun(1, at=5000, trains=False)
    again.ended(1, at=5100)
    found = spent(tmp_path)
    assert found is not None and (found.node_seconds, found.open, found.at_least) == (1000, 1, True)
    assert str(found).startswith("at least 0.278 node-hours, 6.67 USD at 24 USD an hour; 2 attempts, failed ones")
    assert "1 of them without a known end, counted to the last event" in str(found)


def test_without_a_price_there_are_hours_and_with_some_prices_the_dollars_of_those(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.begun(1, at=0, usd=None)
    history.ended(1, at=3600)
    found = spent(tmp_path)
    assert found is not None and found.usd is None and "USD" not in str(found) and not found.at_least
    history.begun(2, at=4000)
    history.ended(2, at=4000 + 1800)
    found = spent(tmp_path)
    assert found is not None and (found.node_seconds, found.usd, found.unpriced_seconds) == (5400, 12, 3600)
    assert str(found).startswith("at least 1.500 node-hours, 12.00 USD") and "known of 1.000 node-hours" in str(found)


def test_what_each_attempt_was_to_do_is_known(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.begun(1, at=0, arms=("no_ttt", "sgd"))
    history.retried(1, at=100, arms=("sgd",))
    history.again(1, at=200, trains=False)
    history.ended(1, at=220)
    assert [(one.arms, one.trained, one.node_seconds) for one in spells(tmp_path)] == [
        (("no_ttt", "sgd"), True, 100),
        (("sgd",), False, 20),
    ]


def test_each_of_the_nodes_that_a_trial_has_counts(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.begun(1, at=0, nodes=2)
    history.ended(1, at=1800)
    found = spent(tmp_path)
    assert found is not None and (found.node_seconds, found.usd) == (3600, 24)


def test_lines_that_say_nothing_are_passed_over_and_a_clock_that_was_set_back_costs_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.failed(3, at=0)  # its worker never began
    history.begun(1, at=100)
    history.ended(1, at=40)
    with history.path.open("a") as file:
        file.write('{"event": "started", "time": "noon", "launch": "a", "seed": 7}\n{"event": "star')
    found = spent(tmp_path)
    assert found is not None and (found.node_seconds, found.attempts) == (0, 1)
    assert spent(tmp_path / "elsewhere") is None, "nothing is known, which is not nothing"


def test_a_seed_is_held_back_until_a_launch_plans_it_again(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.begun(1, at=0)
    history.ended(1, at=10)
    history.over_budget(2, at=11, reason="too dear")
    assert held_back(tmp_path) == {2: "too dear"}
    History(tmp_path, "b").begun(2, at=20)
    assert held_back(tmp_path) == {}
