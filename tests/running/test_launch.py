"""A launch as a function: what it refuses, in which order it runs what, and who looks on."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.records import SCORE_FIRST
from platform.errors import RunFailed, UserError
from platform.paths import ROOT
from platform.running import audit
from platform.running.cluster import Cluster
from platform.running.command import _say_what_next
from platform.running.experiment import Experiment, Request, prepare
from platform.running.launch import Batch, Launch, launch
from platform.running.observers import EventFile, Observer, Observers
from platform.running.progress import Progress
from platform.runs.audits import ArmAudit, Audit
from platform.runs.events import LAUNCH_EVENTS, Ended, Failed, GaveUp, PhaseReached, Planned, Reader, Started
from platform.runs.plan import Failure, Trial
from platform.runs.results import read_run
from tests.finished import audited, finish, small_data

MakeRun = Callable[..., Any]  # of tests/conftest.py
RECIPE = """
question: Can a launch be called?
base: naive_baseline
arms: {no_ttt: no_adaptation, late: {score_first: {optimizer: sgd, learning_rate: 0.002, epochs: 1}}}
"""
SEEDS = (1337, 42)


def nowhere(cpus: int) -> AbstractContextManager[Cluster]:
    raise AssertionError("nothing is to be started")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment whose two seeds are done."""
    folder = tmp_path_factory.mktemp("launch")
    data, tokenizer = small_data(folder / "data")
    (folder / "called.yaml").write_text(RECIPE)
    request = Request(scale="smoke", runs=folder / "runs", data=data, tokenizer=tokenizer)
    experiment = prepare(folder / "called.yaml", request)
    finish(experiment, SEEDS)
    return experiment


def verdicts(experiment: Experiment, **said: str) -> Callable[..., Audit]:
    """In the place of an audit: one that says this."""

    def run(program: str, arms: tuple[str, ...], **_: object) -> Audit:
        found = {
            arm: ArmAudit(
                verdict=said.get(arm, SCORE_FIRST), declared=SCORE_FIRST, agrees=arm not in said, detectors={}
            )
            for arm in arms
        }
        return Audit(program_sha256="x", recipe="called", scale="smoke", sizes={}, seconds=0.0, arms=found)

    experiment.draft.paths.audit.unlink(missing_ok=True)
    return run


def test_what_is_done_is_not_run_again(finished: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "run", verdicts(finished))
    said: list[str] = []
    outcome = launch([finished], SEEDS, connect=nowhere, note=said.append)
    assert [(one.trial.seed, one.state, one.ran) for one in outcome.trials] == [(s, "done", False) for s in SEEDS]
    assert any("2 trials, 2 done already" in line for line in said) and not outcome.unaudited


def test_an_audit_that_disagrees_ends_it_before_anything_starts(
    finished: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "run", verdicts(finished, late="violates D2, D3"))
    with pytest.raises(RunFailed, match=r"disagrees with its program:\n  late: violates D2, D3"):
        launch([finished], (1337, 7), connect=nowhere)


def test_an_audit_that_crashes_is_told_and_kept(finished: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the run later sees that its arms were not audited, and why; the next launch tries again."""
    asked: list[tuple[str, ...]] = []

    def crash(program: str, arms: tuple[str, ...], **_: object) -> Audit:
        asked.append(arms)
        raise RunFailed("the audit ended with status 1:\nRuntimeError: boom")

    finished.draft.paths.audit.unlink(missing_ok=True)
    monkeypatch.setattr(audit, "run", crash)
    for _ in range(2):
        outcome = launch([finished], SEEDS, connect=nowhere)
        assert len(outcome.unaudited) == 2 and "late: failed: the audit ended with status 1: " in outcome.unaudited[1]
    assert asked == [("no_ttt", "late")] * 2
    assert "boom" in finished.draft.paths.audit.read_text()
    monkeypatch.setattr(audit, "run", verdicts(finished))
    finished.draft.paths.audit.touch()
    assert not launch([finished], SEEDS, connect=nowhere).unaudited


def test_trials_that_share_a_trunk_are_not_side_by_side(make_run: MakeRun) -> None:
    one, other = (make_run({"no_ttt": {}}, seeds=(1, 2), recipe=name).plan for name in ("one", "other"))
    apart = replace(make_run({"no_ttt": {}}, seeds=(1, 2), recipe="apart").plan, trunk_text_sha256="0" * 64)
    trials = tuple(plan.trial(seed) for seed in (1, 2) for plan in (one, other, apart))
    assert one.trial(1).trunk_path == other.trial(1).trunk_path != apart.trial(1).trunk_path
    running = Launch([], note=lambda _: None)
    running.add(Batch(trials=trials, audits=()))
    order = []
    while (attempt := running._feed.next()) is not None:
        order.append(attempt.trial.name)
    assert order == ["one/1", "apart/1", "one/2", "apart/2", "other/1", "other/2"]


def test_an_observer_that_raises_does_not_touch_the_others(make_run: MakeRun) -> None:
    (trial,) = make_run({"no_ttt": {1: 1.25}}).plan.trials

    class Broken(Observer):
        def started(self, trial: Trial) -> None:
            raise RuntimeError("no terminal")

    class Calm(Observer):
        def __init__(self) -> None:
            self.said: list[str] = []

        def started(self, trial: Trial) -> None:
            self.said.append("started")

        def finished(self, trial: Trial) -> None:
            self.said.append("finished")

    told: list[str] = []
    calm = Calm()
    several = Observers([Broken(), calm], told.append)
    several.started(trial)
    several.started(trial)
    several.finished(trial)
    assert calm.said == ["started", "started", "finished"]
    assert told == ["Broken looks on no more: RuntimeError: no terminal"]


def test_the_event_file_is_the_history_of_a_run(make_run: MakeRun) -> None:
    plan = make_run({"no_ttt": {1: 1.25}, "sgd": {1: 1.2}}, seeds=(1, 2, 3)).plan
    first, second, third = plan.trials
    failure = Failure(seed=2, phase="score", arm="sgd", reason="boom", log_tail="", arms=("sgd",))
    file = EventFile("launch-1")
    file.planned(plan.trials)
    file.started(first)
    for progress in (Progress(phases=("train",)), Progress(phases=("train",), step=2), Progress(phases=("pack",))):
        file.advanced(first, progress)
    file.finished(first)
    file.failed(second, failure)
    file.given_up(third)
    events = list(Reader(plan.paths.events, LAUNCH_EVENTS).new())
    assert [type(event) for event in events] == [
        *(Planned, Planned, Planned, Started, PhaseReached, PhaseReached, Ended, Failed, GaveUp)
    ]
    assert {event.launch for event in events} == {"launch-1"} and [event.seed for event in events[-3:]] == [1, 2, 3]
    ended, failed = events[-3:-1]
    assert ended.val_bpb == {"no_ttt": 1.25, "sgd": 1.2} and (failed.reason, failed.arms) == ("boom", ("sgd",))


def test_more_seeds_are_the_next_of_the_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["launch", "a.yaml", "--seeds", "3"])
    cases: Sequence[tuple[tuple[int, ...], str]] = (((1337, 42), "3"), ((1337, 7), "1337,7,42"), ((5,), "5,1337"))
    for seeds, more in cases:
        _say_what_next([], seeds)
        assert capsys.readouterr().out == f"more:      python -m platform.launch a.yaml --seeds {more}\n"


def test_a_run_goes_on_as_it_was_begun(finished: Experiment, tmp_path: Path) -> None:
    """Named by its folder, whatever the recipe says by now."""
    draft = finished.draft
    audited(draft, no_ttt=SCORE_FIRST, late=SCORE_FIRST)
    given = {"data": draft.data_path, "tokenizer": draft.tokenizer_path}
    with pytest.raises(UserError, match=r"--runs .*: a run goes on where it lies"):
        prepare(draft.run_path, Request(runs=tmp_path, **given))
    again = prepare(draft.run_path, Request(runs=draft.run_path.parent, arms=("late",), **given))
    assert again.choices is None and again.program == finished.program and again.arms == ("late",)
    outcome = launch([again], SEEDS, connect=nowhere)
    assert [one.state for one in outcome.trials] == ["done", "done"]


def test_a_trunk_is_not_reused_on_another_machine(tmp_path: Path) -> None:
    """The same training at two scales, one for a machine of one process, the other for one of two."""
    machine = "machine: {processes: 1, gpus: 0, cpus: 1"
    smoke = (ROOT / "recipes" / "scales" / "smoke.yaml").read_text()
    assert machine in smoke
    (tmp_path / "scales").mkdir()
    (tmp_path / "scales" / "smoke2.yaml").write_text(smoke.replace(machine, "machine: {processes: 2, gpus: 0, cpus: 2"))
    (tmp_path / "twice.yaml").write_text("question: Where?\nbase: naive_baseline\n")
    data, tokenizer = small_data(tmp_path / "data")
    trunks = []
    for scale in ("smoke", "smoke2"):
        request = Request(scale=scale, runs=tmp_path / "runs", data=data, tokenizer=tokenizer)
        experiment = prepare(tmp_path / "twice.yaml", request)
        trunks.append(experiment.trials((1337,))[0].trunk_path)
        finish(experiment, (1337,))
        (result,) = read_run(experiment.draft.run_path).results
        assert result.trunk.program_sha256 == experiment.draft.program_sha256, "trained by this very program"
    assert [path.parent.name.rpartition("-")[2] for path in trunks] == ["1xcpu", "2xcpu"]
    assert trunks[0].parent.name.rpartition("-")[0] == trunks[1].parent.name.rpartition("-")[0], "the same training"
