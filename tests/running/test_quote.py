"""What a launch is quoted at, from hand-written histories and from recipes; nothing is ever made up."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.files import write_record
from jobs.contract.records import Machine, TrunkRecord
from platform.paths import ROOT
from platform.running import preview, quote
from platform.running.experiment import Experiment, Request, prepare
from platform.running.quote import OVERHEAD_SECONDS, Price, Work, expected
from platform.runs.paths import TrunkPaths
from platform.runs.plan import NOT_STORED, Trial
from tests.history import History

MakeRun = Callable[..., Any]  # of tests/conftest.py
RECIPE = """
question: What does it cost?
base: naive_baseline
arms: {no_ttt: no_adaptation}
scales:
  laptop: {budget: {train_seconds: 90}, cluster: {usd_per_hour: 36}}
"""


def experiment_at(folder: Path, scale: str, name: str = "priced") -> Experiment:
    (folder / f"{name}.yaml").write_text(RECIPE)
    return prepare(folder / f"{name}.yaml", Request(scale=scale, runs=folder / "runs", make_data=False))


def trial_of(folder: Any, seed: int) -> Trial:
    trial: Trial = folder.plan.trial(seed)
    return trial


def continued(folder: Any) -> Experiment:
    """The run as it goes on by its folder."""
    plan = folder.plan
    rest: dict[str, Any] = {"question": "", "program": "", "readable": None, "missing": None, "choices": None}
    return Experiment(path=folder.path, draft=plan, arms=plan.arms, **rest)


def test_trials_of_the_run_that_ended_tell_the_rest(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {}, "sgd": {}}, seeds=(1, 2, 3))
    history = History(folder.path)
    for seed, seconds in ((1, 700), (2, 900)):
        history.begun(seed, at=0, arms=("no_ttt", "sgd"))
        history.ended(seed, at=seconds)
    history.begun(4, at=0, arms=("no_ttt", "sgd"))
    history.failed(4, at=5)  # what failed says nothing of how long one takes
    found = expected(Work.of(trial_of(folder, 3)), None)
    assert (found.seconds, found.how) == (800, "measured, mean of 2 trials of this run that ended (700 to 900 s)")


def test_one_that_had_more_to_do_is_a_bound_and_one_that_had_less_says_nothing(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {}, "sgd": {}}, seeds=(1, 2))
    work = Work.of(trial_of(folder, 2))
    assert work.trains and work.arms == ("no_ttt", "sgd")
    history = History(folder.path)
    history.begun(1, at=0, arms=("no_ttt",))  # one arm less
    history.ended(1, at=100)
    history.begun(3, at=0, arms=("no_ttt", "sgd"), trains=False)  # its trunk was there
    history.ended(3, at=50)
    assert expected(work, None).seconds is None
    history.begun(5, at=0, arms=("no_ttt", "sgd", "adamw"))
    history.ended(5, at=400)
    assert expected(work, None).seconds == 400 and expected(work, None).how.endswith("more to do: so at most")
    history.begun(6, at=0, arms=("no_ttt", "sgd"))
    history.ended(6, at=300)
    assert (expected(work, None).seconds, "at most" in expected(work, None).how) == (300, False)


def test_runs_with_the_same_training_tell_where_this_one_cannot(make_run: MakeRun) -> None:
    folder, other = (make_run({"no_ttt": {}}, seeds=(1,), recipe=name) for name in ("new", "old"))
    history = History(other.path)
    history.begun(1, at=0)
    history.ended(1, at=500)
    work = Work.of(trial_of(folder, 1))
    assert expected(work, None).how == "measured, mean of 1 trial of runs with the same training that ended (500 s)"
    for change in ({"trunk_text_sha256": "8" * 64}, {"scale": "smoke"}, {"machine": "8xgpu"}):
        write_record(other.plan.paths.plan, replace(other.plan, **change), but=NOT_STORED)
        assert expected(work, None).seconds is None, change
    other.plan.paths.plan.write_text("{")
    assert expected(work, None).seconds is None


def test_what_no_trial_tells_the_budget_and_what_was_measured_do_and_nothing_else(tmp_path: Path) -> None:
    laptop = experiment_at(tmp_path, "laptop")
    found = expected(Work.of(laptop.trials((1,))[0]), laptop.choices)
    assert found.seconds == 90 + OVERHEAD_SECONDS["laptop"] and "scoring takes is not known and not in it" in found.how
    box = experiment_at(tmp_path, "eight_h100")
    found = expected(Work.of(box.trials((1,))[0]), box.choices)
    assert (found.seconds, found.training_seconds, found.known_seconds) == (None, 600, 600)
    assert "at scale eight_h100 nothing is measured" in found.how
    two = replace(Work.of(laptop.trials((1,))[0]), trial=replace(laptop.trials((1,))[0], nodes=2))
    assert expected(two, laptop.choices).seconds == 2 * (90 + OVERHEAD_SECONDS["laptop"])
    trunk = replace(Work.of(box.trials((1,))[0]), trains=False)
    assert (expected(trunk, box.choices).seconds, expected(trunk, box.choices).training_seconds) == (None, 0)


def test_the_overheads_are_those_that_were_measured() -> None:
    row = re.search(r"\| Ray, torchrun and their like, .* \| 3 to (\d+) s \|", (ROOT / "docs/measured.md").read_text())
    assert row and {"laptop": float(row[1])} == OVERHEAD_SECONDS, "measured on two cores, which is scale laptop"


def test_the_lines_multiply(tmp_path: Path) -> None:
    said = list(quote.lines(experiment_at(tmp_path, "laptop"), (1, 2, 3)))
    price = "36 USD an hour (cluster.usd_per_hour of recipes/scales/laptop.yaml)"
    total = f"3 trials × 0.026 node-hours = 0.078 node-hours, 2.82 USD, at {price}"
    assert said[0] == f"assumed: {total}; no GPU: 282 node-seconds"
    assert said[1].startswith("a trial: assumed 90 s of training at most, as its recipe says; measured 4 s for Ray")
    box = list(quote.lines(experiment_at(tmp_path, "eight_h100"), (1, 2)))
    assert box[0].startswith("of 2 trials cannot be told: no trial of it has ended yet")
    assert box[1].startswith("training alone, assumed: 2 trials × 0.167 node-hours = 0.333 node-hours, 8.00 USD, at 24")
    assert box[1].endswith("; 8 GPUs × node-seconds = 9,600 GPU seconds")
    assert box[2] == "a training: assumed 600 s of training at most, as its recipe says"
    assert "no price: nobody said cluster.usd_per_hour of recipes/scales/smoke.yaml" in " ".join(
        quote.lines(experiment_at(tmp_path, "smoke"), (1,))
    )


def trained_before(experiment: Experiment, step_ms: float, seed: int, **names: str) -> None:
    """A training by another run; ``names``: what its trunk is called by, where that is not what ``experiment`` says."""
    draft = experiment.draft
    text, machine = names.get("text", draft.trunk_text_sha256), names.get("machine", draft.machine)
    record = TrunkPaths.of(draft.run_path.parent, text, names.get("data", "5" * 64), machine, seed).record
    record.parent.mkdir(parents=True)
    known = ("trunk_sha256", "program_sha256", "weights_sha256", "artifact_sha256", "data_sha256", "tokenizer_sha256")
    counts = {"parameters": 1, "model_bytes": 1, "steps": 1, "train_tokens": 1, "train_seconds": 1.0}
    trained = TrunkRecord(
        recipe="other",
        scale=draft.scale,
        seed=seed,
        step_ms_mean=step_ms,
        step_ms_median=step_ms,
        machine=Machine(world_size=2, device="cpu x2", torch_version="2"),
        **dict.fromkeys(known, "5" * 64),
        **counts,  # type: ignore[arg-type]
    )
    write_record(record, trained)


def test_steps_that_another_run_measured_tell_how_long_the_training_is(tmp_path: Path) -> None:
    laptop = experiment_at(tmp_path, "laptop")  # 400 iterations in 90 s at most
    trial = laptop.trials((1,))[0]
    trained_before(laptop, 1.0, 1, text="6" * 64)
    trained_before(laptop, 1.0, 1, machine="8xgpu")
    trained_before(laptop, 1.0, 1, machine="12xcpu")
    broken = TrunkPaths.of(laptop.draft.run_path.parent, laptop.draft.trunk_text_sha256, "4" * 64, "2xcpu", 9).record
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert expected(Work.of(trial), laptop.choices).how.startswith("assumed 90 s"), "of another text, or machine"
    trained_before(laptop, 100.0, 2)
    trained_before(laptop, 200.0, 3, data="7" * 64)
    found = expected(Work.of(trial), laptop.choices)
    assert (found.seconds, found.basis) == (60 + OVERHEAD_SECONDS["laptop"], "assumed")
    assert found.how.startswith(
        "assumed 60.0 s of training: its 400 iterations × 150.00 ms, measured as the mean of 2 trainings of the same "
        "text on cpu x2; measured 4 s for Ray"
    )
    trained_before(laptop, 1000.0, 5)
    found = expected(Work.of(trial), laptop.choices)
    assert found.seconds == 90 + OVERHEAD_SECONDS["laptop"], "its clock ends it before"
    assert "assumed 90 s of training at most, as its recipe says, which ends before 400 iterations × 433" in found.how


def test_a_launch_is_told_as_a_whole_by_what_is_measured_and_what_is_assumed(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run({"no_ttt": {}}, seeds=(1, 2))
    history = History(folder.path)
    history.begun(3, at=0)
    history.ended(3, at=900)
    measured, box = continued(folder), experiment_at(tmp_path, "eight_h100")
    assert quote.whole([measured], (1, 2)) == "measured 0.500 node-hours, 12.00 USD"
    on_cards = replace(measured, draft=replace(measured.draft, gpus=8))
    assert quote.whole([on_cards], (1, 2)) == "measured 14,400 GPU seconds, 0.500 node-hours, 12.00 USD"
    two_nodes = replace(measured, draft=replace(measured.draft, gpus=16, nodes=2))
    assert quote.whole([two_nodes], (1, 2)).startswith("measured 14,400 GPU seconds"), "8 on each"
    assert quote.whole([on_cards, box], (1, 2)) == (
        "measured 14,400 GPU seconds, 0.500 node-hours, 12.00 USD; "
        "assumed 9,600 GPU seconds, 0.333 node-hours, 8.00 USD; "
        "of 2 trials not more than the training is in it, if that"
    )
    unpriced = experiment_at(tmp_path, "smoke")
    assert quote.whole([unpriced, experiment_at(tmp_path, "laptop")], (1,)).startswith(
        "assumed 0.193 node-hours, no price"
    )
    assert not quote.whole([continued(make_run({"no_ttt": {1: 1.25}}, recipe="done"))], (1,)), "nothing is left to do"


def test_a_dry_run_prints_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preview.show([experiment_at(tmp_path, "eight_h100")], (1, 2), None, force=True)
    said = capsys.readouterr().out
    assert "in all, before it starts: assumed 9,600 GPU seconds, 0.333 node-hours, 8.00 USD; of 2 trials" in said
    assert "training alone, assumed: 2 trials" in said


def test_trials_that_have_less_to_do_are_quoted_apart(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1: 1.25}, "sgd": {}}, seeds=(1, 2))
    history = History(folder.path)
    history.begun(3, at=0, arms=("no_ttt", "sgd"))
    history.ended(3, at=720)
    history.begun(4, at=0, arms=("sgd",), trains=False)
    history.ended(4, at=72)
    experiment = continued(folder)
    said = [line for line in quote.lines(experiment, (1, 2)) if "=" in line]
    assert [line.partition(", at 24")[0] for line in said] == [
        "measured: 1 trial × 0.020 node-hours = 0.020 node-hours, 0.48 USD",
        "measured: 1 trial × 0.200 node-hours = 0.200 node-hours, 4.80 USD",
    ]
    assert not list(quote.lines(replace(experiment, arms=("no_ttt",)), (1,))), "done"


def test_a_run_that_is_continued_has_the_price_of_its_last_launch(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {}}, seeds=(1,))
    experiment = continued(folder)
    assert Price.of(experiment).usd_per_hour is None
    for launch, usd in (("a", 24.0), ("b", 36.0), ("c", None)):
        History(folder.path, launch).begun(1, at=0, usd=usd)
    assert Price.of(experiment).usd_per_hour == 36
