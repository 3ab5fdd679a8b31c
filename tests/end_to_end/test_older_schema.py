"""A run that an earlier version left: read, continued with one more seed by its own program, and submitted.

The fixture was made by the last version of schema 1: two seeds of a tiny recipe on byte tokens, with their trunks.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from jobs.contract.files import SCHEMA_VERSION
from platform.paths import ROOT
from platform.runs.plan import read
from platform.runs.results import read_run

ARCHIVE = ROOT / "tests" / "fixtures" / "run_of_schema_1.tar.gz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("an older run")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def run_path(folder: Path) -> Path:
    (path,) = (folder / "runs").glob("tiny-*")
    return path


def command(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    elsewhere = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    environment = {variable: value for variable, value in os.environ.items() if variable not in elsewhere}
    return subprocess.run(
        [sys.executable, "-m", f"platform.{name}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_it_is_of_the_older_schema(run_path: Path) -> None:
    trunks = run_path.parent.glob("trunks/*/*/trunk.json")
    files = [run_path / "plan.json", *run_path.glob("seed_*/*/result.json"), *trunks]
    assert {json.loads(path.read_text())["schema_version"] for path in files} == {1} and len(files) == 7


def test_it_is_read(run_path: Path) -> None:
    run = read_run(run_path)
    assert run.complete and run.plan.seeds == (1337, 42) and list(run.arms) == ["no_ttt", "score_first"]
    for result in run.results:
        told = json.loads((run_path / f"seed_{result.seed}" / result.arm / "result.json").read_text())
        assert (result.val_bpb, result.trunk.steps) == (told["val_bpb"], told["steps"])
        assert result.trunk.machine == result.machine, "the whole record of the trunk stands in its own file"
        assert result.trunk == run.trunks[result.seed] and result.trunk.weights_sha256
    done = command("report", run_path)
    assert done.returncode == 0 and "tiny, scale smoke: 2 seeds, 2 arms" in done.stdout, done.stderr


def test_without_its_trunks_what_was_not_copied_is_untold(run_path: Path, tmp_path: Path) -> None:
    moved = tmp_path / run_path.name
    shutil.copytree(run_path, moved)
    (result, *_) = read_run(moved).results
    assert result.trunk.machine is None and result.trunk.weights_sha256 is None and result.trunk.steps == 6
    assert "a machine that no file names" in command("report", moved).stdout


def test_it_is_continued_with_one_more_seed(run_path: Path, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_path.glob("seed_*/*/result.json")}
    data = ("--data", folder / "data", "--tokenizer", folder / "data" / "fineweb_pure_byte_260.json")
    done = command("launch", run_path, "--seeds", 3, *data)
    assert done.returncode == 0, done.stderr
    assert "3 trials, 2 done already" in done.stderr and "tiny, scale smoke: 3 seeds, 2 arms" in done.stdout
    run = read_run(run_path)
    assert run.complete and run.plan.seeds == (1337, 42, 2024)
    assert all(path.stat().st_mtime_ns == written for path, written in before.items()), "what was there is untouched"
    assert json.loads(read(run_path).paths.plan.read_text())["schema_version"] == SCHEMA_VERSION
    programs = {result.program_sha256 for result in run.results}
    assert programs == {run.plan.program_sha256}, "by the very program that it began with"
    trunks = {trial.trunk_path.parent for trial in run.plan.trials}
    assert len(trunks) == 1 and all(trial.trunk.record.is_file() for trial in run.plan.trials)


def test_what_a_run_has_decided_is_no_option(run_path: Path) -> None:
    done = command("launch", run_path, "--scale", "laptop")
    assert done.returncode == 2 and "--scale: a run goes on as it was begun" in done.stderr


def test_it_is_submitted(run_path: Path, tmp_path: Path) -> None:
    done = command("submit", run_path, "--arm", "score_first", "--non-record", "--out", tmp_path / "record")
    assert done.returncode == 0, done.stderr
    assert command("verify", tmp_path / "record").returncode == 0
    found = json.loads((tmp_path / "record" / "submission.json").read_text())
    assert found["seeds"] == [1337, 42, 2024] and found["hardware"] == "cpu x1, 1 threads each"
