"""Machine, code and attempts as tags of what MLflow gets of a run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.files import write_record
from platform.reports import files
from platform.runs.paths import tracker_database
from platform.tracking import tracker
from tests.nodes import CHECKOUT, node
from tests.tracking.test_tracker import client_of

SCORES = {"no_ttt": {1337: 2.301, 42: 2.305}}


def tags(folder: Any) -> dict[str, dict[str, str]]:
    """Of each recorded run, by name, those of ours."""
    recorded = tracker.record(folder.path)
    found = tracker._search(client_of(recorded), recorded.experiment_id, "")
    return {
        run.info.run_name: {
            name.removeprefix("fairway."): value for name, value in run.data.tags.items() if name.startswith("fairway.")
        }
        for run in found
    }


def test_machine_code_and_attempts_are_tags(
    make_run: Callable[..., Any], tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    older, folder = (make_run(SCORES, runs=tmp_path / name) for name in ("older", "runs"))
    for one in (older, folder):
        shutil.copy(empty_database, tracker_database(one.path.parent))
    files.write(older.path)
    told = tags(older)["leaky_cosine (laptop)"]
    assert not {"node", "commit", "probe", "attempts"} & set(told), "nothing is said that no file tells"
    a = replace(node("a"), driver="570.86")
    b = replace(node("b", 700), checkout=replace(CHECKOUT, diff_sha256="d" * 64))
    write_record(folder.plan.trial(42).trunk.node, a)
    write_record(folder.plan.trial(42).paths.arm("no_ttt").node, b)
    common = {"time": "2026-04-01T10:00:00", "launch": "one", "seed": 42}
    died = {"phase": "train", "arm": None, "reason": "it died", "arms": [], "seconds": 1.0, "cause": "infrastructure"}
    events = [{"event": "started"}, {"event": "retried", **died}, {"event": "started"}]
    folder.plan.paths.events.write_text("".join(json.dumps({**common, **event}) + "\n" for event in events))
    files.write(folder.path)
    found = tags(folder)
    child, parent = found["leaky_cosine/no_ttt/42"], found["leaky_cosine (laptop)"]
    assert (child["node"], child["trained_node"], child["trained_driver"]) == ("b", "a", "570.86")
    assert child["probe"].startswith("probe 700 TFLOP/s") and child["trained_probe"].startswith("probe 800 TFLOP/s")
    assert (child["commit"], child["diff_sha256"]) == (CHECKOUT.commit, "d" * 64)
    assert "trained_diff_sha256" not in child and "driver" not in child
    assert (child["attempts"], child["lost_attempts"]) == ("2", "infrastructure")
    assert parent["node"] == "a; b" and parent["commit"] == CHECKOUT.commit and parent["attempts"] == "2"
    assert "node" not in found["leaky_cosine/no_ttt/1337"] and "attempts" not in found["leaky_cosine/no_ttt/1337"]
