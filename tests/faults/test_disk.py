"""Disks that are full, read-only or out of files, before a launch and under it: one message, and nothing is lost."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform import corpus
from platform.errors import UserError, explained, of_file, refusing
from platform.paths import ROOT
from platform.program import recipe, size
from platform.runs.paths import tracker_database
from platform.runs.results import read_run
from tests.faults.disks import Disk, mounted
from tests.faults.gated import Gated
from tests.faults.launched import remains
from tests.launching import PATIENCE_SECONDS

SEEDS = (1337, 42)
NOT_WRITABLE: dict[str, tuple[Callable[[Disk], None], str]] = {
    "full": (Disk.fill, "No space left on device"),
    "out of files": (Disk.use_up_files, "No space left on device"),
    "read-only": (Disk.make_read_only, "Read-only file system"),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "a disk") as found:
        yield found


@pytest.fixture
def on_disk(disk: Disk, tmp_path: Path, tiny_data: tuple[Path, Path]) -> Gated:
    """A gated run whose results, and nothing else, lie on the disk."""
    return Gated(tmp_path / "a run", *tiny_data, runs=disk.folder / "runs")


# --- under a launch


def test_a_disk_that_fills_up_under_a_launch_costs_what_could_not_be_written(on_disk: Gated, disk: Disk) -> None:
    """One trial has scored one arm, another trains; both are told, in words, and the same command ends both."""
    with on_disk.launch(SEEDS) as launched:
        on_disk.wait_at("result", 1337, launched)
        on_disk.wait_at("train", 42, launched)
        disk.fill()
        on_disk.open()
        assert launched.ended(PATIENCE_SECONDS) == 1, launched.stderr
        said, printed = launched.stderr, launched.stdout
        assert launched.left(60) == []
    told = said.partition("\nfailed:")[2]
    assert "gated/1337: score sgd: " in told and "gated/42: train: " in told, said
    assert told.count(f"the disk of {on_disk.plan.run_path} was full (0.0 MB left): make room there") == 2, said
    assert f"the report of {on_disk.plan.run_path} was not written: " in told and "attempt 2" not in said, said
    assert "the same command runs only what is missing" in told and "Traceback" not in told, said
    assert on_disk.scores() == {"1337/plain": on_disk.expected(SEEDS)["1337/plain"]}
    assert not list(disk.folder.rglob("*.part"))
    assert "plain" in printed, "the report is printed all the same"

    disk.make_room()
    with on_disk.launch(SEEDS) as launched:
        assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
    assert on_disk.scores() == on_disk.expected(SEEDS)
    assert not read_run(on_disk.plan.run_path).failures


def test_temporary_files_without_room_cost_a_trial_and_not_the_launch(gated: Gated, disk: Disk) -> None:
    with gated.launch(SEEDS, environment={"TMPDIR": str(disk.folder)}) as launched:
        gated.wait_at("train", 1337, launched)
        gated.wait_at("train", 42, launched)
        disk.use_up_files()
        (gated.gates / "1337.open").touch()
        gated.wait_failed(1337, launched)
        disk.make_room()
        gated.open()
        assert launched.ended(PATIENCE_SECONDS) == 1, launched.stderr
        said = launched.stderr
        assert not remains(disk.folder)
    told = said.partition("\nfailed:")[2]
    assert f"the disk of {disk.folder} was full" in told and "gated/42" not in told and "Traceback" not in said, said
    assert gated.scores() == gated.expected([42])


# --- before a launch


@pytest.mark.parametrize("how", ["too small", "out of files", "read-only"])
def test_results_without_room_are_refused_before_anything_starts(on_disk: Gated, disk: Disk, how: str) -> None:
    spoil, found = {
        "too small": (lambda: disk.resized(size="4m"), "gated in {runs}: 13.0 MB and 90 files are needed, 4.2 MB and"),
        "out of files": (disk.use_up_files, "gated in {runs}: 13.0 MB and 90 files are needed, 1,073.7 MB and 0 files"),
        "read-only": (disk.make_read_only, "{run}/.lock: Read-only file system (1,073.7 MB and 99,99"),
    }[how]
    before = sorted(disk.folder.rglob("*"))
    spoil()
    refused = on_disk.launch_here(SEEDS[:1])
    run = on_disk.plan.run_path
    assert refused.exit_code == 2 and found.format(run=run, runs=run.parent) in refused.stderr, refused.stderr
    assert refused.stderr.endswith("keep the results elsewhere: --runs DIR\n") and "Traceback" not in refused.stderr
    assert sorted(disk.folder.rglob("*")) == before


@pytest.mark.parametrize("how", ["full", "out of files", "read-only", "not there"])
def test_no_room_for_temporary_files_is_refused(
    gated: Gated, disk: Disk, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself would take another folder, without a word."""
    folder = disk.folder / "nowhere" if how == "not there" else disk.folder
    if how != "not there":
        NOT_WRITABLE[how][0](disk)
    monkeypatch.setenv("TMPDIR", str(folder))
    refused = gated.launch_here(SEEDS[:1])
    assert refused.exit_code == 2 and str(folder) in refused.stderr, refused.stderr
    assert refused.stderr.endswith("set TMPDIR to a folder elsewhere\n") and refused.stderr.count("\n") == 1
    assert not (gated.plan.run_path / "seed_1337").exists()


# --- nothing is to run


def test_a_finished_run_on_a_read_only_disk_is_reported_with_what_could_not_be_written(
    on_disk: Gated, disk: Disk, empty_database: Path
) -> None:
    on_disk.finish(SEEDS)
    tracker_database(on_disk.plan.run_path.parent).write_bytes(empty_database.read_bytes())
    disk.make_read_only()
    shown = on_disk.launch_here(SEEDS)
    assert shown.exit_code == 1 and "all trials are done: nothing to run" in shown.stderr
    assert f"{on_disk.expected(SEEDS)['1337/plain']:.8f}"[:6] in shown.stdout and "plain" in shown.stdout
    where = on_disk.plan.run_path
    assert f"the report of {where} was not written: {where}/" in shown.stderr, shown.stderr
    assert re.search(r"Read-only file system \([\d,.]+ MB and [\d,]+ files free\)", shown.stderr), shown.stderr
    assert "Traceback" not in shown.stderr
    disk.make_writable()
    shown = on_disk.launch_here(SEEDS)
    assert shown.exit_code == 0 and on_disk.plan.paths.report_md.exists(), shown.stderr


@pytest.mark.parametrize("how", NOT_WRITABLE)
def test_mlflow_without_room_leaves_the_results_and_is_made_up_for(
    gated: Gated, disk: Disk, how: str, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated.finish(SEEDS)
    database = disk.folder / "mlflow.db"
    database.write_bytes(empty_database.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    NOT_WRITABLE[how][0](disk)
    shown = gated.launch_here(SEEDS)
    told = shown.stderr.partition("failed:")[2]
    assert shown.exit_code == 1 and f"MLflow at {database} could not be written: " in told, shown.stderr
    assert re.search(r"\([\d,.]+ MB and [\d,]+ files free\)[:;] make", told), told
    assert "results are safe in their files" in told and "Traceback" not in shown.stderr
    disk.make_writable()
    disk.make_room()
    assert gated.launch_here(SEEDS).exit_code == 0


# --- data


@pytest.mark.parametrize("how", NOT_WRITABLE)
def test_a_corpus_without_room_leaves_nothing_and_is_made_later(disk: Disk, how: str, tmp_path: Path) -> None:
    data = disk.folder / "data"
    data.mkdir()
    texts = [tmp_path / f"{number}.txt" for number in range(2)]
    for text in texts:
        text.write_text("\n".join(f"line {number} of {text.name}, {number**2} words" for number in range(2000)))
    spoil, words = NOT_WRITABLE[how]
    spoil(disk)
    said = rf"{data}.*({words}) \(.* free\); .*, or name data that is there"
    with pytest.raises(UserError, match=said), refusing("name data that is there"):
        corpus.from_text(texts, data_root=data, vocabulary=300)
    disk.make_writable()
    assert not list(data.rglob("*.bin"))


def test_what_a_count_of_parameters_leaves_is_done_without(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "DATA", disk.folder)
    choices = recipe.load(ROOT / "recipes" / "naive_baseline.yaml", "smoke")
    disk.make_read_only()
    counted = size.estimate(choices, code_bytes=1, processes=1)
    assert counted.parameters > 100_000 and not list(disk.folder.iterdir())


# --- words


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, r"No space left on device \(.* MB and .* files free\); make room there, or else"),
        (errno.EDQUOT, r"Disk quota exceeded \(.* free\); the quota is used up, .*, or else"),
        (errno.EROFS, r"Read-only file system \(.* free\); make it writable, or else"),
        (errno.EACCES, r"Permission denied; or else|Permission denied; else"),
    ],
)
def test_what_is_said_of_a_file(tmp_path: Path, number: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "runs" / ".plan.json.123.0123abcd.part"
    error = OSError(number, os.strerror(number), str(part))
    assert re.fullmatch(f"{tmp_path}/runs/plan.json: ({says})", of_file(error, "else")), of_file(error, "else")
    with pytest.raises(SystemExit) as end, explained():
        raise error
    assert end.value.code == 1 and "Traceback" not in capsys.readouterr().err
