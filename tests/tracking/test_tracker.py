"""MLflow is a copy of the files: the same numbers to the last digit, however often and by whomever it is made."""

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.files import write_record
from platform.errors import RunFailed, UserError
from platform.reports import files
from platform.runs.paths import tracker_database
from platform.runs.plan import NOT_STORED, write_failure
from platform.tracking import server, tracker
from platform.tracking import tracked as tracked_module

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., Any]
SCORES = {
    "no_ttt": {1337: 2.3012345678901234, 42: 2.305},
    "adamw": {1337: 2.2011111111111117, 42: 2.203},
}
QUESTION = "What does test-time training add, and what is memorisation?"


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def make(make_run: MakeRun, empty_database: Path, tmp_path: Path) -> MakeRun:
    """``make_run`` in a folder with a space, with a database."""
    runs = tmp_path / "my runs"
    runs.mkdir()
    shutil.copy(empty_database, tracker_database(runs))

    def make(scores: object = SCORES, **options: object) -> Any:
        return make_run(scores, runs=runs, **options)

    return make


def client_of(recorded: tracker.Recorded) -> Any:
    return tracker._client(recorded.address.for_mlflow())


def tracked(recorded: tracker.Recorded) -> dict[str, Any]:
    """Every active run of the experiment, by name; names are unique."""
    found = tracker._search(client_of(recorded), recorded.experiment_id, "")
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found)
    return named


def dump(folder: Any) -> list[str]:
    with sqlite3.connect(tracker_database(folder.path.parent)) as database:
        return list(database.iterdump())


def test_numbers_are_those_of_the_files_to_the_last_digit(make: MakeRun) -> None:
    folder = make()
    made = files.write(folder.path)
    recorded = tracker.record(folder.path)
    runs = tracked(recorded)
    assert set(runs) == {
        "leaky_cosine (laptop)",
        *(f"leaky_cosine/{arm}/{seed}" for arm in SCORES for seed in (1337, 42)),
    }
    for arm, scores in SCORES.items():
        for seed in scores:
            run = runs[f"leaky_cosine/{arm}/{seed}"]
            result = json.loads((folder.path / f"seed_{seed}" / arm / "result.json").read_text())
            for name in (
                *("val_bpb", "val_loss_nats", "artifact_bytes", "code_bytes", "train_seconds", "eval_seconds"),
                *("step_ms_mean", "step_ms_median"),
            ):
                assert run.data.metrics[name] == {**result["trunk"], **result}[name], name
            assert run.info.status == "FINISHED"
            assert run.data.tags["mlflow.parentRunId"] == recorded.parent_id
            assert (
                run.data.params["seed"] == str(seed)
                and run.data.params["trunk_sha256"] == result["trunk"]["trunk_sha256"]
            )
    parent = runs["leaky_cosine (laptop)"]
    assert parent.info.status == "FINISHED" and parent.data.tags["mlflow.note.content"] == QUESTION
    for arm in made.arms:
        assert arm.val_bpb is not None
        assert parent.data.metrics[f"{arm.name}/n"] == 2
        assert parent.data.metrics[f"{arm.name}/val_bpb_mean"] == arm.val_bpb.mean
        assert parent.data.metrics[f"{arm.name}/val_bpb_std"] == arm.val_bpb.sample_std
    (delta,) = made.deltas
    assert parent.data.metrics["adamw - no_ttt/delta_bpb_mean"] == delta.mean
    assert parent.data.metrics["adamw - no_ttt/p"] == delta.p

    client = client_of(recorded)
    child = recorded.child_ids["leaky_cosine/adamw/42"]
    curve = client.get_metric_history(child, "train/train_loss")
    assert [(one.step, one.value) for one in curve] == [(step, 6 / step**0.5) for step in range(1, 41)]
    assert curve[1].timestamp - curve[0].timestamp in (105, 106)  # the clock of the training: 105.5 ms a step
    written_ms = folder.plan.trial(42).trunk.metrics.stat().st_mtime * 1000
    assert curve[-1].timestamp == pytest.approx(written_ms, abs=1)
    assert len(client.get_metric_history(child, "running_bpb")) == 40
    assert {one.path for one in client.list_artifacts(child)} == {"result.json", "train.log", "metrics.jsonl"}
    names = {one.path for one in client.list_artifacts(recorded.parent_id)}
    assert names == {"train_gpt.py", "recipe.yaml", "plan.json", "report.md", "report.json", "results.csv", "figures"}
    copied = Path(client.download_artifacts(recorded.parent_id, "report.json"))
    assert copied.read_bytes() == (folder.path / "report.json").read_bytes()


def test_recording_again_changes_nothing(make: MakeRun) -> None:
    folder = make()
    files.write(folder.path)
    first = tracker.record(folder.path)
    before = dump(folder)
    assert tracker.record(folder.path) == first
    assert dump(folder) == before
    files.write(folder.path)  # the same report, written later
    tracker.record(folder.path)
    assert dump(folder) == before


def test_failures_are_failed_runs_until_they_are_scored(make: MakeRun) -> None:
    folder = make({**SCORES, "adamw": {1337: 2.2}})
    folder.failure(42, ("adamw",), reason="out of memory \x1b[31m")
    first = tracker.record(folder.path)
    runs = tracked(first)
    failed = runs["leaky_cosine/adamw/42"]
    assert (failed.info.status, runs["leaky_cosine (laptop)"].info.status) == ("FAILED", "FAILED")
    assert failed.data.tags["mlflow.note.content"] == "Failed in score: out of memory  "
    assert "val_bpb" not in failed.data.metrics and runs["leaky_cosine (laptop)"].data.metrics["adamw/n"] == 1
    client = client_of(first)
    assert {one.path for one in client.list_artifacts(failed.info.run_id)} == {"failure.json", "job.log"}

    folder.plan.trial(42).paths.failure.unlink()
    folder.result(42, "adamw", 2.25)
    second = tracker.record(folder.path)
    runs = tracked(second)
    assert runs["leaky_cosine/adamw/42"].data.metrics["val_bpb"] == 2.25
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["leaky_cosine (laptop)"].data.metrics["adamw/val_bpb_mean"] == pytest.approx(2.225)
    same = {name: run for name, run in first.child_ids.items() if name != "leaky_cosine/adamw/42"}
    assert same.items() <= second.child_ids.items() and second.parent_id == first.parent_id


@pytest.mark.parametrize("arms", [(), ("no_ttt",), ("no_ttt", "adamw")], ids=lambda arms: "+".join(arms) or "none")
def test_a_failure_of_arms_that_are_scored_is_none(arms: tuple[str, ...], make: MakeRun) -> None:
    """A worker that dies when its results are there leaves a failure that says nothing about any score."""
    folder = make()
    first = tracker.record(folder.path)
    failure = folder.failure(42, ("no_ttt",))
    write_failure(folder.plan.trial(42).paths.failure, replace(failure, arms=arms))
    second = tracker.record(folder.path)
    assert second.child_ids == first.child_ids, "no finished run is replaced"
    assert {run.info.status for run in tracked(second).values()} == {"FINISHED"}


def test_a_failure_of_one_arm_leaves_the_others_of_its_job_as_they_are(make: MakeRun) -> None:
    folder = make({**SCORES, "adamw": {1337: 2.2}})
    first = tracker.record(folder.path)
    folder.failure(42, ("no_ttt", "adamw"))
    second = tracker.record(folder.path)
    runs = tracked(second)
    assert first.child_ids.items() <= second.child_ids.items()
    assert runs["leaky_cosine/no_ttt/42"].info.status == "FINISHED"
    assert runs["leaky_cosine/no_ttt/42"].data.metrics["val_bpb"] == SCORES["no_ttt"][42]
    assert (runs["leaky_cosine/adamw/42"].info.status, runs["leaky_cosine (laptop)"].info.status) == ("FAILED",) * 2


def calls_of(record: Callable[..., Any]) -> int:
    """How often MLflow is asked for something."""
    asked: list[str] = []
    record(waiting=lambda what: asked.append(what) if what else None)
    return len(asked)


def test_what_is_recorded_costs_no_call_and_no_reading_of_curves(
    make: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = make({"no_ttt": {1337: 2.3}}), make(SCORES, recipe="many")
    first = [calls_of(partial(tracker.record, folder.path)) for folder in (few, many)]
    assert first[1] - first[0] <= 3 * 7, "calls of each child"

    def unwanted(*_: object) -> None:
        pytest.fail("nothing has changed")

    for name in ("_curve", "_running_score", "_knobs"):
        monkeypatch.setattr(tracked_module, name, unwanted)
    monkeypatch.setattr(tracker, "build", unwanted)
    again = [calls_of(partial(tracker.record, folder.path)) for folder in (few, many)]
    assert again[0] == again[1] <= 4, "whatever there is of it"


def test_a_recording_that_broke_off_at_its_very_end_is_ended(make: MakeRun) -> None:
    folder = make({"no_ttt": {1337: 2.3}})
    first = tracker.record(folder.path)
    child = first.child_ids["leaky_cosine/no_ttt/1337"]
    client_of(first).update_run(child, "RUNNING")
    second = tracker.record(folder.path)
    assert second.child_ids == first.child_ids
    assert tracked(second)["leaky_cosine/no_ttt/1337"].info.status == "FINISHED"


@pytest.mark.parametrize("points", [0, 20, 2000])
def test_a_child_of_any_length_has_all_its_points_before_it_counts_as_recorded(
    points: int, make: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks off after its last points: what says that all is there is not there."""
    folder = make({"no_ttt": {1337: 2.3}})
    folder.trunk(1337, steps=points)
    first = tracker.record(folder.path)
    client, child = client_of(first), first.child_ids["leaky_cosine/no_ttt/1337"]
    there = client.get_metric_history(child, "train/train_loss")
    assert len(there) == (points if points < 1000 else points // 2 + 1)

    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    monkeypatch.setattr(SqlAlchemyStore, "_set_tags", lambda *given: 1 / 0 if given[-1] else None)
    folder.result(1337, "no_ttt", 2.4)
    with pytest.raises(RunFailed, match="division by zero"):
        tracker.record(folder.path)
    monkeypatch.undo()
    (half,) = tracker._search(client, first.experiment_id, "attributes.status = 'RUNNING'")
    assert tracker.CONTENT not in half.data.tags and half.data.metrics["val_bpb"] == 2.4
    assert len(client.get_metric_history(half.info.run_id, "train/train_loss")) == len(there)
    again = tracker.record(folder.path)
    assert tracked(again)["leaky_cosine/no_ttt/1337"].info.run_id not in (child, half.info.run_id)


def test_open_seeds_and_dead_recorders(make: MakeRun) -> None:
    """RUNNING only while somebody is at work; what a dead process left is closed and recorded again."""
    folder = make({"no_ttt": {1337: 2.3}}, seeds=(1337, 42))
    assert tracked(tracker.record(folder.path, launching=True))["leaky_cosine (laptop)"].info.status == "RUNNING"
    recorded = tracker.record(folder.path)
    assert tracked(recorded)["leaky_cosine (laptop)"].info.status == "KILLED"

    client = client_of(recorded)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    child = recorded.child_ids["leaky_cosine/no_ttt/1337"]
    stranger = client.create_run(recorded.experiment_id, run_name="somebody else's").info.run_id
    for run_id in (child, recorded.parent_id):  # as a recorder that was killed half way leaves them
        client.update_run(run_id, "RUNNING")
        client.set_tag(run_id, tracker.PID, gone.stdout.decode().strip())
        client.delete_tag(run_id, tracker.CONTENT)
    folder.result(42, "no_ttt", 2.25)
    runs = tracked(tracker.record(folder.path))
    assert runs["leaky_cosine/no_ttt/1337"].info.status == "FINISHED"
    assert runs["leaky_cosine/no_ttt/1337"].info.run_id != child
    assert runs["leaky_cosine (laptop)"].info.status == "FINISHED"
    assert client.get_run(child).info.status == "KILLED"
    assert client.get_run(stranger).info.status == "RUNNING"


def test_a_run_of_the_arms_that_were_asked_for_is_finished(make: MakeRun) -> None:
    folder = make({"no_ttt": {1337: 2.3}, "sgd": {}}, seeds=(1337,))
    plan = folder.plan
    assert tracked(tracker.record(folder.path))["leaky_cosine (laptop)"].info.status == "KILLED"
    asked = replace(plan, planned=(replace(plan.planned[0], arms=("no_ttt",)),))
    write_record(plan.paths.plan, asked, but=NOT_STORED)
    assert tracked(tracker.record(folder.path))["leaky_cosine (laptop)"].info.status == "FINISHED"


def test_what_another_machine_measured_stays(make: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines with one tracker measure the same seed: neither removes what the other recorded."""
    folder = make({"no_ttt": {1337: 2.3}})
    first = tracker.record(folder.path)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    folder.result(1337, "no_ttt", 2.31)
    second = tracker.record(folder.path)
    ours, theirs = (one.child_ids["leaky_cosine/no_ttt/1337"] for one in (first, second))
    client = client_of(first)
    assert ours != theirs
    assert [client.get_run(one).info.lifecycle_stage for one in (ours, theirs)] == ["active", "active"]
    assert [client.get_run(one).data.metrics["val_bpb"] for one in (ours, theirs)] == [2.3, 2.31]


def test_two_processes_may_record_into_a_database_that_is_not_there_yet(make_run: MakeRun, tmp_path: Path) -> None:
    runs = tmp_path / "fresh"
    folders = [make_run({"no_ttt": {1337: 2.3}}, recipe=name, runs=runs) for name in ("one", "two")]
    code = "import sys, pathlib; from platform.tracking import tracker; tracker.record(pathlib.Path(sys.argv[1]))"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(one.path)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for one in folders
    ]
    for process in started:
        _, said = process.communicate(timeout=900)
        assert (process.returncode, said) == (0, ""), said  # no chatter of alembic either
    assert set(tracked(tracker.record(folders[0].path))) == {
        *("one (laptop)", "one/no_ttt/1337"),
        *("two (laptop)", "two/no_ttt/1337"),
    }


def test_comparison_names_a_command_and_a_view_of_these_runs(make: MakeRun) -> None:
    folder = make()
    recorded = tracker.record(folder.path)
    port = server.free_port(21000)
    found = tracker.comparison([recorded], port)
    assert found.command == f"python -m platform.dashboard --runs '{folder.path.parent}' --port {port}"
    assert found.link.startswith(f"http://127.0.0.1:{port}/#/experiments/{recorded.experiment_id}/runs?")
    tags = client_of(recorded).get_experiment(recorded.experiment_id).tags
    (view,) = [json.loads(tags[key]) for key in tags if key.removeprefix("mlflow.sharedViewState.") in found.link]
    shown = tracker._search(client_of(recorded), recorded.experiment_id, view["searchFilter"])
    assert {run.info.run_name for run in shown} == set(recorded.child_ids)
    grouped = view["groupBy"]["groupByKeys"][0]["groupByData"]
    assert {run.data.params[grouped] for run in shown} == {
        f"leaky_cosine/{arm} (laptop, data b2b2b2b2)" for arm in ("no_ttt", "adamw")
    }
    columns = {name.split("`")[1] for name in view["selectedColumns"]}
    assert columns <= {*shown[0].data.metrics, *shown[0].data.params}


def test_a_port_that_somebody_else_has_is_not_ours(make: MakeRun) -> None:
    import socket

    recorded = tracker.record(make().path)
    with socket.socket() as other:
        other.bind((server.HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {taken} is in use"):
            tracker.port_for(recorded, taken)
