"""Folders that dead processes left: removed a day later, unless somebody else owns or some process uses them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.processes import scratch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who uses a folder is read from /proc")
TWO_DAYS = 2 * 86_400


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path


def old(folder: Path, seconds: float = TWO_DAYS) -> Path:
    folder.mkdir()
    (folder / "cache").mkdir()
    (folder / "cache" / "kernel").write_text("compiled")
    then = time.time() - seconds
    os.utime(folder, (then, then))
    return folder


def test_what_dead_processes_left_is_removed_after_a_day(temporary: Path) -> None:
    left = [old(temporary / f"{prefix}abc") for prefix in scratch.PREFIXES]
    new = [old(temporary / f"{prefix}new", seconds=3600) for prefix in scratch.PREFIXES]
    others = [old(temporary / "fairway-notes"), old(temporary / "somebody's")]
    scratch.remove_old()
    assert not any(folder.exists() for folder in left)
    assert all((folder / "cache" / "kernel").exists() for folder in (*new, *others))


def test_a_link_a_file_and_what_is_another_user_s_stay(temporary: Path) -> None:
    there = old(temporary / "of a person")
    link, file = temporary / "fairway-job-link", temporary / "fairway-run-file"
    link.symlink_to(there)
    file.write_text("text")
    kept = [link, file]
    for path in kept:
        os.utime(path, (0, 0), follow_symlinks=False)
    if os.getuid() == 0:
        kept.append(old(temporary / "fairway-job-theirs"))
        os.chown(kept[-1], 65534, 65534)
        os.utime(kept[-1], (0, 0))
    scratch.remove_old()
    assert all(path.exists() for path in kept) and (there / "cache" / "kernel").exists()


@pytest.mark.parametrize("use", ["TMPDIR", "an open file"])
def test_a_folder_that_a_process_uses_stays(temporary: Path, use: str) -> None:
    folder = old(temporary / "fairway-job-long")
    program = f"import sys; file = open({str(folder / 'cache' / 'kernel')!r}); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program if use == "an open file" else "import sys; print(flush=True); sys.stdin.read()"],
        env={"TMPDIR": str(folder)} if use == "TMPDIR" else {},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdout.readline()
        scratch.remove_old()
        assert folder.exists()
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
    scratch.remove_old()
    assert not folder.exists()
