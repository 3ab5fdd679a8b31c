"""Reading a run: every planned seed is there as results, failure or open, and nothing that is not its own."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.contract.files import write_record
from platform.errors import UserError
from platform.runs.plan import NOT_STORED
from platform.runs.results import Open, read_run

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., object]
SCORES = {"no_ttt": {1337: 1.25, 42: 1.5}, "adamw": {1337: 1.125, 42: 1.25}}


def test_everything_that_was_measured_is_there(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    run = read_run(folder.path)
    assert {arm: {s: r.val_bpb for s, r in found.items()} for arm, found in run.arms.items()} == SCORES
    assert list(run.arms) == ["no_ttt", "adamw"] and run.plan.seeds == (1337, 42)
    assert run.complete and set(run.trunks) == {1337, 42}
    unit = run.nats_per_token()
    assert unit is not None and unit.per_bpb == pytest.approx(math.log(2) * 2.5)
    first = next(run.results)
    assert first.val_bpb * unit.per_bpb == pytest.approx(first.val_loss_nats)


def test_planned_seeds_without_a_result_are_failed_or_open_never_gone(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1337: 1.25, 42: 1.5}, "adamw": {1337: 1.125}}, seeds=(1337, 42, 7))
    folder.failure(42, ("adamw",), reason="out of memory")
    run = read_run(folder.path)
    assert [(one.seed, one.arms, one.reason) for one in run.failures] == [(42, ("adamw",), "out of memory")]
    assert run.open == tuple(Open(seed=7, arm=arm, reason="no result.json") for arm in ("no_ttt", "adamw"))
    assert not run.complete


def test_a_score_that_is_not_a_number_is_a_failure(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    folder.result(42, "adamw", math.nan)
    run = read_run(folder.path)
    assert list(run.arms["adamw"]) == [1337]
    assert len(run.failures) == 1 and "val_bpb is nan in seed_42/adamw/result.json" in run.failures[0].reason


@pytest.mark.parametrize("field", ["program_sha256", "data_sha256", "tokenizer_sha256"])
def test_a_result_of_something_else_is_not_counted(make_run: MakeRun, field: str) -> None:
    folder = make_run(SCORES)
    folder.result(42, "adamw", 1.0, **{field: "0" * 64})
    run = read_run(folder.path)
    assert list(run.arms["adamw"]) == [1337]
    assert run.open[0].arm == "adamw" and f"has {field} 000" in run.open[0].reason


def test_pairing_needs_equal_trunks(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    paired = read_run(folder.path).compare("adamw", "no_ttt")
    assert paired is not None and paired.test == "paired t" and paired.gain == pytest.approx((0.125 + 0.25) / 2)
    folder.result(1337, "adamw", 1.125, trunk_sha256="0" * 64)
    half = read_run(folder.path).compare("adamw", "no_ttt")
    assert half is not None and (half.test, half.n) == ("paired t", 1) and half.p is None
    folder.result(42, "adamw", 1.25, trunk_sha256="1" * 64)
    unpaired = read_run(folder.path).compare("adamw", "no_ttt")
    assert unpaired is not None and unpaired.test == "Welch t" and unpaired.p is not None


def test_table(make_run: MakeRun) -> None:
    run = read_run(make_run(SCORES).path)
    rows = run.rows()
    assert [(row["arm"], row["seed"], row["val_bpb"]) for row in rows] == [
        (arm, seed, bpb) for arm, by_seed in SCORES.items() for seed, bpb in by_seed.items()
    ]
    assert {row["claimable"] for row in rows} == {True, False}
    last = rows[-1]
    assert json.loads((run.path / str(last["path"])).read_text())["val_bpb"] == last["val_bpb"] == 1.25
    assert (last["steps"], last["device"], last["trained_device"]) == (40, "cpu", "cpu")


def test_a_moved_run_is_read_where_it_is_now(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(SCORES)
    moved = tmp_path / "with a space"
    folder.path.parent.rename(moved)
    run = read_run(moved / folder.path.name)
    assert run.complete and set(run.trunks) == {1337, 42}


def test_what_cannot_be_read_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.json: no such file"):
        read_run(tmp_path)
    folder = make_run(SCORES)
    folder.plan.trial(42).paths.failure.write_text("{}")
    folder.plan.paths.given_up.write_text("[]")
    folder.plan.trial(42).trunk.record.write_text("{")
    run = read_run(folder.path)
    assert run.complete and run.given_up is None and len(run.notes) == 3
    told = " ".join(run.notes)
    assert all(name in told for name in ("failure.json", "given_up.json", "trunk.json"))
    assert run.trunks[42].steps == 40, "what the results say of the training"


@pytest.mark.parametrize("score", ["null", '"low"', "[]", "true"])
def test_a_result_of_wrong_types_is_open_with_the_reason(make_run: MakeRun, score: str) -> None:
    folder = make_run(SCORES)
    path = folder.plan.trial(42).paths.arm("adamw").result
    path.write_text(path.read_text().replace('"val_bpb": 1.25', f'"val_bpb": {score}'))
    run = read_run(folder.path)
    assert list(run.arms["adamw"]) == [1337]
    assert [one.arm for one in run.open] == ["adamw"] and "val_bpb is " in run.open[0].reason


def test_a_failure_whose_arms_were_scored_all_the_same_is_none(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    folder.failure(42, ("adamw",), reason="its Ray worker died")
    failure = folder.failure(1337, ("adamw",), reason="its Ray worker died")
    write_record(folder.plan.trial(1337).paths.failure, replace(failure, arms=()))
    assert read_run(folder.path).complete


def test_arms_that_nobody_asked_for_are_not_open(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1337: 1.25}, "adamw": {}}, seeds=(1337,))
    plan = folder.plan
    batch = replace(plan.planned[0], arms=("no_ttt",))
    write_record(plan.paths.plan, replace(plan, planned=(batch,)), but=NOT_STORED)
    assert read_run(folder.path).complete


def test_reading_imports_nothing_heavy() -> None:
    code = "import sys, platform.runs.results, platform.report; sys.exit(any(m in sys.modules for m in HEAVY))"
    heavy = "HEAVY = ('pandas', 'numpy', 'scipy', 'torch', 'ray', 'mlflow', 'matplotlib', 'rich')\n"
    assert subprocess.run([sys.executable, "-c", heavy + code], cwd=ROOT, check=False).returncode == 0
