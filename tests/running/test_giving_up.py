"""``--stop-when-hopeless``: when a run is given up, when that is taken back, and how the run says so."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.errors import UserError
from platform.reports import build, files, tables
from platform.running import giving_up
from platform.runs.plan import GivenUp, read_given_up
from platform.runs.results import read_run

MakeRun = Callable[..., Any]  # of tests/conftest.py
SEEDS = (1337, 42, 2024)


def judged(run_path: Path, bar: str) -> GivenUp | None:
    found = giving_up.judge(run_path, giving_up.bar_of(bar))
    assert found == read_given_up(run_path), "what was decided is in the run"
    return found


def test_a_run_far_above_the_bar_is_given_up_and_one_far_below_is_not(make_run: MakeRun) -> None:
    path = make_run({"no_ttt": {1337: 1.15}}, seeds=SEEDS).plan.run_path
    found = judged(path, "1.1228")
    assert found is not None
    assert (found.arm, found.scored, found.planned) == ("no_ttt", 1, 3)
    assert found.chance < 0.001 and found.sigma == 0.00068 and found.alpha == 0.01
    one = next(read_run(path).results)
    nats_per_bpb = math.log(2) * one.scored_bytes / one.scored_tokens
    assert found.margin == pytest.approx(0.005 / nats_per_bpb), "0.005 nats per token, in BPB of this text"
    assert judged(path, "1.2") is None, "a lower hurdle: it is taken back"


def test_only_arms_that_a_record_may_claim_give_hope(make_run: MakeRun) -> None:
    path = make_run({"no_ttt": {1337: 1.15}, "sgd": {1337: 1.05}}, seeds=SEEDS).plan.run_path
    found = judged(path, "1.1228")
    assert found is not None and found.arm == "no_ttt", "sgd learned from what it was scored on"
    alone = make_run({"sgd": {1337: 1.05}}, seeds=SEEDS, recipe="diagnostic").plan.run_path
    assert judged(alone, "1.1228") is None, "a run of diagnostics is judged by them"


def test_a_finished_run_is_never_given_up(make_run: MakeRun) -> None:
    path = make_run({"no_ttt": {seed: 1.15 + seed / 1e6 for seed in SEEDS}}).plan.run_path
    assert judged(path, "1.1228") is None


def test_before_the_first_score_nothing_is_known(make_run: MakeRun) -> None:
    assert judged(make_run({"no_ttt": {}}, seeds=SEEDS).plan.run_path, "1.1228") is None


def test_seeds_that_spread_more_than_public_ones_keep_more_hope(make_run: MakeRun) -> None:
    """Two seeds 0.02 apart: a third could still be anywhere, though no t test will pass with three of them."""
    wide = {1337: 1.13, 42: 1.11}
    found = judged(make_run({"no_ttt": wide}, seeds=SEEDS).plan.run_path, "1.15")
    assert found is None or found.sigma == pytest.approx(0.02 / math.sqrt(2))


def test_the_report_says_which_seeds_were_not_run_and_why(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1337: 1.15}, "sgd": {1337: 1.05}}, seeds=SEEDS)
    judged(folder.plan.run_path, "1.1228")
    built = build.build(read_run(folder.plan.run_path))
    text = tables.to_markdown(built)
    assert "seeds not run: 42, 2024; given up after 1 of 3 seeds: the chance to beat the given score" in text
    assert "no result, no failure" not in text and "1 of 3" in text
    written = json.loads(files.to_json(built))
    assert written["given_up"]["arm"] == "no_ttt" and written["failed"] == []


def test_a_record_folder_is_a_bar_and_another_text_is_not(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run({"no_ttt": {1337: 1.15}}, seeds=SEEDS).plan.run_path
    other = make_run({"no_ttt": {7: 1.12, 8: 1.124}}, recipe="better")
    bar = giving_up.bar_of(str(other.plan.run_path))
    assert bar.mean_bpb == pytest.approx(1.122)
    found = giving_up.judge(run, bar)
    assert found is not None and found.name.startswith("better-")
    one = next(read_run(run).results)
    elsewhere = make_run({"no_ttt": {7: 1.12}}, recipe="elsewhere")
    elsewhere.result(7, "no_ttt", 1.12, scored_bytes=one.scored_bytes * 2)
    with pytest.raises(UserError, match="of another text"):
        giving_up.judge(run, giving_up.bar_of(str(elsewhere.plan.run_path)))


@pytest.mark.parametrize("text", ["0", "-1.1", "inf", "nan"])
def test_a_number_that_is_no_score_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="a score is above 0"):
        giving_up.bar_of(text)


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="no such folder"):
        giving_up.bar_of("records/nowhere")
