"""``platform.track``: MLflow made again from the files, whatever has become of its database."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.tracking.address import Address

from .commands import database, ended, told, track

SCORES = {"no_ttt": {1337: 2.3, 42: 2.305}}
MakeRun = Callable[..., Any]


@pytest.fixture
def runs(make_run: MakeRun, empty_database: Path, tmp_path: Path) -> Path:
    """A folder with two runs, recorded into a database that is there."""
    folder = tmp_path / "my runs"
    for recipe in ("one", "two"):
        make_run(SCORES, recipe=recipe, runs=folder)
    shutil.copy(empty_database, database(folder))
    return folder


def names(runs: Path) -> set[str]:
    """Every run that MLflow has, those in its bin left out."""
    with sqlite3.connect(database(runs)) as opened:
        found = opened.execute("SELECT name FROM runs WHERE lifecycle_stage = 'active'").fetchall()
    assert len(found) == len(set(found))
    return {name for (name,) in found}


ALL = {f"{recipe}{ending}" for recipe in ("one", "two") for ending in (" (laptop)", "/no_ttt/1337", "/no_ttt/42")}


def random_bytes(path: Path) -> None:
    path.write_bytes(bytes(range(1, 256)) * 100)


def text(path: Path) -> None:
    path.write_text("no database\n" * 1000)


def newer_mlflow(path: Path) -> None:
    with sqlite3.connect(path) as opened:
        opened.execute("UPDATE alembic_version SET version_num = 'fffffffffffe'")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_a_table(path: Path) -> None:
    with sqlite3.connect(path) as opened:
        opened.execute("ALTER TABLE latest_metrics RENAME TO lost")


@pytest.mark.parametrize("breaks", [random_bytes, text, newer_mlflow, cut_off, without_a_table])
def test_a_database_that_cannot_be_used(breaks: Callable[[Path], None], runs: Path) -> None:
    breaks(database(runs))
    before = database(runs).read_bytes()
    done = track("--runs", runs)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"failed: MLflow at {database(runs)} could not be written: " in done.stderr
    assert done.stderr.endswith(f"\n  python -m platform.track --fresh --runs '{runs}'\n"), done.stderr
    assert breaks is without_a_table or database(runs).read_bytes() == before
    if breaks in (random_bytes, newer_mlflow):  # making a database takes seconds
        anew(runs, before)


def anew(runs: Path, before: bytes) -> None:
    (one, _) = sorted(runs.glob("*/plan.json"))
    done = track("--fresh", one.parent)  # all of its folder, since all of it is gone from MLflow
    assert done.returncode == 0, done.stderr
    moved = Path(told(done).splitlines()[0].removeprefix("moved to "))
    assert moved.parent == runs and moved.name.startswith("mlflow.2") and moved.suffix == ".db"
    assert moved.read_bytes() == before
    assert names(runs) == ALL


def test_what_is_lost_is_recorded_again_and_what_is_there_stays(runs: Path) -> None:
    done = track("--runs", runs)
    assert done.returncode == 0 and done.stdout.count("recorded:  ") == 2 and done.stdout.count("compare:   ") == 1
    with sqlite3.connect(database(runs)) as opened:
        first = list(opened.iterdump())
    assert track("--runs", runs).returncode == 0
    with sqlite3.connect(database(runs)) as opened:
        assert list(opened.iterdump()) == first
        opened.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'one/no_ttt/42'")  # in MLflow's page
    opened.close()
    assert track(*sorted(path.parent for path in runs.glob("*/plan.json"))).returncode == 0
    assert names(runs) == ALL

    database(runs).write_bytes(b"")
    assert track("--runs", runs).returncode == 0
    assert names(runs) == ALL
    database(runs).unlink()
    done = track("--fresh", "--runs", runs)
    assert (done.returncode, told(done)) == (0, "no database yet\n")
    assert names(runs) == ALL


def test_one_run_that_cannot_be_read_costs_no_other(runs: Path) -> None:
    plan = next(runs.glob("one-*/plan.json"))
    plan.write_text("{")
    done = track("--runs", runs)
    assert done.returncode == 2 and str(plan) in done.stderr and "Traceback" not in done.stderr
    assert names(runs) == {name for name in ALL if name.startswith("two")}


def test_what_is_no_folder_of_runs(tmp_path: Path, runs: Path) -> None:
    nothing = track("--runs", tmp_path / "nothing")
    assert nothing.returncode == 2 and "no run there yet" in nothing.stderr
    nowhere = track(tmp_path / "nowhere")
    assert nowhere.returncode == 2 and "nowhere" in nowhere.stderr
    elsewhere = track("--fresh", "--runs", runs, MLFLOW_TRACKING_URI="http://ann:pl4nted@127.0.0.1:9")
    assert elsewhere.returncode == 2
    assert elsewhere.stderr.endswith("a SQLite database away; these runs are tracked on http://127.0.0.1:9\n")


def test_a_database_that_the_environment_names(runs: Path, empty_database: Path, tmp_path: Path) -> None:
    named = tmp_path / "other?" / "tracked.db"
    named.parent.mkdir()
    shutil.copy(empty_database, named)
    done = track("--runs", runs, MLFLOW_TRACKING_URI=Address.of_database(named).uri)
    assert done.returncode == 0, done.stderr
    assert not (runs / "mlflow.lock").exists() and (named.parent / "tracked.lock").exists()
    moved = track("--runs", runs, "--fresh", MLFLOW_TRACKING_URI=Address.of_database(named).uri)
    assert moved.returncode == 0 and told(moved).startswith(f"moved to {named.parent}/tracked.2")


def test_it_imports_nothing_heavy_before_it_has_to() -> None:
    code = "import sys; from platform.track import main; from platform.tracking import recording; "
    code += "print(sorted({'mlflow', 'ray', 'torch', 'sqlalchemy', 'matplotlib'} & set(sys.modules)))"
    assert ended("-c", code).stdout == "[]\n"
