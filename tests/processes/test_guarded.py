"""A program run under guard: what it said and how it ended; and nothing of it is left, whatever ends it or us."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform.errors import RunFailed
from platform.paths import ROOT
from platform.processes import guarded
from platform.processes.guarded import Ended
from platform.processes.supervisor import marked

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="subreaper and /proc are Linux; elsewhere it degrades")

WAIT_SECONDS = 60.0  # for what takes a moment on a quiet machine
# A child in a session of its own that no SIGTERM ends, as a rank of torchrun may be, and a parent that waits for ever.
HANGS = """
import os, signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
open(os.path.join(os.environ["TMPDIR"], "half done"), "w").close()
print("hanging", file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.fixture
def tag() -> Iterator[str]:
    """A folder that is not there, first in PATH: by that every process which a test starts is known, guards too."""
    tag = f"/nowhere/{uuid.uuid4().hex}"
    yield tag
    for pid in marked("PATH", tag):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def temporary(tmp_path: Path, tag: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files with nothing in it, for us and for what we start."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("PATH", f"{tag}:{os.environ['PATH']}")
    return folder


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def run(program: str, **options: object) -> Ended:
    told: dict[str, object] = {"environment": dict(os.environ), "seconds": WAIT_SECONDS, **options}
    return guarded.run([sys.executable, "program.py"], files={"program.py": program}, **told)  # type: ignore[arg-type]


def test_status_and_both_outputs(temporary: Path) -> None:
    ended = run("import sys; print('for one'); print('für the other', file=sys.stderr); sys.exit(3)")
    assert ended == Ended(status=3, stdout="for one\n", stderr="für the other\n", timed_out=False)
    assert run("import os; os.kill(os.getpid(), 11)").status == -signal.SIGSEGV
    assert not list(temporary.iterdir())


def test_it_runs_where_it_is_told_with_what_it_is_given(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = "import os, sys; print(os.getcwd(), sorted(os.environ), os.environ['A'], os.environ['TMPDIR'], sep='\\n')"
    command = [sys.executable, "-c", says]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    environment = {"A": "b c", "TMPDIR": "/"}
    ended = guarded.run(command, environment=environment, seconds=WAIT_SECONDS, folder=Path("here"))
    folder, names, value, scratch = ended.stdout.splitlines()
    assert (folder, value) == (str(tmp_path / "here"), "b c") and Path(scratch).parent == temporary
    assert {"A", "FAIRWAY_JOB", "TMPDIR"} <= set(eval(names)) <= {"A", "FAIRWAY_JOB", "TMPDIR", "LC_CTYPE"}


def test_lines_are_told_while_it_runs(temporary: Path, tmp_path: Path) -> None:
    """It goes on when we have heard its first line, not before."""
    program = (
        "import os, sys, time\n"
        "print('first', 'line', file=sys.stderr, flush=True)\n"
        f"while not os.path.exists({str(tmp_path / 'heard')!r}): time.sleep(0.02)\n"
        "sys.stderr.write('second\\nthe third has no end')\n"
    )
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        (tmp_path / "heard").touch()

    ended = run(program, tell=tell)
    assert told == ["first line", "second", "the third has no end"]
    assert ended == Ended(status=0, stdout="", stderr="first line\nsecond\nthe third has no end", timed_out=False)


@on_linux
def test_its_time_ends(temporary: Path, tag: str) -> None:
    begun = time.monotonic()
    ended = run(HANGS, seconds=3.0, grace_seconds=0.2)
    assert ended.timed_out and ended.status == -signal.SIGTERM and time.monotonic() - begun < WAIT_SECONDS
    assert not marked("PATH", tag) and not list(temporary.iterdir())


@on_linux
def test_one_that_never_falls_silent_is_ended_in_time(temporary: Path, tag: str) -> None:
    told: list[int] = []
    program = "import sys\nwhile True: print('x' * 1000, file=sys.stderr)"
    ended = run(program, seconds=1.0, grace_seconds=0.2, tell=lambda line: told.append(len(line)))
    assert ended.timed_out and len(told) >= ended.stderr.count("\n") > 0 and set(told[:-1]) == {1000}
    assert not marked("PATH", tag)


@on_linux
def test_what_it_leaves_behind_is_ended(temporary: Path, tag: str) -> None:
    leaves = HANGS.rpartition("time.sleep")[0]
    ended = run(leaves, grace_seconds=0.2)
    assert (ended.status, ended.stderr, ended.timed_out) == (0, "hanging\n", False)
    assert not marked("PATH", tag) and not list(temporary.iterdir())


@on_linux
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_of_who_listens_ends_it(temporary: Path, tag: str, error: type[BaseException]) -> None:
    def tell(line: str) -> None:
        assert line == "hanging" and len(marked("PATH", tag)) == 3  # guard, program, child
        raise error

    with pytest.raises(error):
        run(HANGS, tell=tell, grace_seconds=0.2)
    assert not marked("PATH", tag) and not list(temporary.iterdir())


@on_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_our_end_is_its_end(temporary: Path, tag: str, number: signal.Signals) -> None:
    """A process that runs a program is ended by a signal that it does nothing about."""
    runs = (
        "import os, sys; from platform.processes import guarded\n"
        f"guarded.run([sys.executable, '-c', {HANGS!r}], environment=dict(os.environ), seconds=600.0,\n"
        "            tell=lambda line: print(line, flush=True), grace_seconds=0.2)\n"
    )
    ours = subprocess.Popen([sys.executable, "-c", runs], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert ours.stdout is not None and ours.stdout.readline() == b"hanging\n"
    assert len(marked("PATH", tag)) == 4 and len(list(temporary.iterdir())) == 1  # we, guard, program, child
    ours.send_signal(number)
    ours.wait(WAIT_SECONDS)
    wait_until(lambda: not marked("PATH", tag) and not list(temporary.iterdir()))


@on_linux
def test_the_end_of_its_guard_is_told(temporary: Path, tag: str) -> None:
    def tell(line: str) -> None:
        for pid in marked("FAIRWAY_GUARD", "run/") & marked("PATH", tag):
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(RunFailed, match=r"program\.py: its guard died"):
        run(HANGS, tell=tell, grace_seconds=0.2)
    assert not marked("PATH", tag) and not list(temporary.iterdir())


def test_what_cannot_be_started_says_so(temporary: Path) -> None:
    with pytest.raises(RunFailed, match=r"/no/such thing: it cannot be started: .*No such file"):
        guarded.run(["/no/such thing"], environment={}, seconds=WAIT_SECONDS)
    assert not list(temporary.iterdir())


@on_linux
def test_a_program_that_is_kept_running_ends_with_the_block(temporary: Path, tag: str, tmp_path: Path) -> None:
    log = tmp_path / "its.log"
    command = [sys.executable, "-c", HANGS]
    with guarded.started(command, environment=dict(os.environ), log=log, folder=tmp_path, grace_seconds=0.2) as server:
        wait_until(lambda: log.exists() and "hanging" in log.read_text())
        assert server.wait(0.01) is None and len(marked("PATH", tag)) == 3
    assert not marked("PATH", tag) and not list(temporary.iterdir())
