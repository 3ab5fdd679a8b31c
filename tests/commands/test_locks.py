"""One process at a time: others wait, and go on when it ends, however it ends."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from platform.errors import UserError
from platform.locks import exclusive, held

ROOT = Path(__file__).parents[2]
HOLDS = {
    "file": "from platform.locks import held as held",
    "folder": "from platform.locks import exclusive as held",
}
HOLDER = """
import sys
from pathlib import Path
{imported}
with held(Path(sys.argv[1])):
    print("holds it", flush=True)
    sys.stdin.read()
    if sys.argv[2:]:
        Path(sys.argv[1]).rename(sys.argv[2])
"""


def holder(path: Path, kind: str, *then: Path) -> subprocess.Popen[str]:
    """A process that holds ``path`` until its input ends; ``then``: where it moves it to before it lets go."""
    command = [sys.executable, "-c", HOLDER.format(imported=HOLDS[kind]), str(path), *map(str, then)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("kind", HOLDS)
@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_another_process_waits_until_it_ends(tmp_path: Path, kind: str, killed: bool) -> None:
    first = holder(tmp_path / "lock", kind)
    assert first.stdout and first.stdout.readline() == "holds it\n"
    second = holder(tmp_path / "lock", kind)
    assert second.stdout
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1.5)
    if killed:
        first.kill()
        first.wait()
    else:
        first.communicate("", timeout=10)
    assert second.stdout.readline() == "holds it\n"
    second.communicate("", timeout=10)


def test_who_waits_is_told_for_whom(tmp_path: Path) -> None:
    first = holder(tmp_path / "lock", "file")
    assert first.stdout and first.stdout.readline() == "holds it\n"
    threading.Timer(2.0, first.communicate, [""]).start()
    told: list[str] = []
    with held(tmp_path / "lock", told.append):
        assert told and told[0].startswith(f"process {first.pid} on ")


def test_a_folder_that_its_holder_moved_away_is_made_again(tmp_path: Path) -> None:
    first = holder(tmp_path / "folder", "folder", tmp_path / "done")
    assert first.stdout and first.stdout.readline() == "holds it\n"
    threading.Timer(1.0, first.communicate, [""]).start()
    with exclusive(tmp_path / "folder"):
        assert (tmp_path / "done").is_dir()
        assert (tmp_path / "folder").is_dir(), "a new one, not the lock of the one that was moved"


@pytest.mark.parametrize("take", [held, exclusive])
def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: object) -> None:
    def refuses(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(UserError, match=r"no file locks \(No locks available\).*--runs DIR"), take(tmp_path / "x"):  # type: ignore[operator]
        pass


def test_a_folder_that_is_gone_before_it_is_opened_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process renames what it held at any moment."""
    folder, done, original = tmp_path / "folder", [], os.open

    def gone_once(*given: Any, **named: Any) -> int:
        if not done:
            done.append(folder.rename(tmp_path / "finished"))
        return original(*given, **named)

    monkeypatch.setattr(os, "open", gone_once)
    with exclusive(folder):
        assert done and folder.is_dir()
