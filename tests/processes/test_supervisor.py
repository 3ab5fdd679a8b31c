"""The guard of a job, with real processes: whatever ends, and however, nothing of the job is left."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from platform.processes.supervisor import GUARD_MARKER, MARKER, Guard, Order, marked, sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreaper and /proc are Linux; elsewhere it degrades")

OBEDIENT = "import time; print('working', flush=True); time.sleep(60)"
DEFIANT = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('working', flush=True); time.sleep(60)"
)
# Two ranks in sessions of their own, as torchrun starts them, one of them deaf; and a daemon that forked twice.
TREE = f"""
import os, subprocess, sys, time
for program in ({OBEDIENT!r}, {DEFIANT!r}):
    subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", {DEFIANT!r}])
    os._exit(0)
os.wait()
"""
TREE_PROCESSES = 4  # the parent included, where it stays


@pytest.fixture
def marker() -> Iterator[str]:
    marker = uuid.uuid4().hex
    yield marker
    sweep(marker)


def order(folder: Path, marker: str, program: str, grace_seconds: float = 0.5) -> Order:
    scratch = folder / "scratch of the job"
    scratch.mkdir()
    return Order(
        command=[sys.executable, "-c", program],
        environment={MARKER: marker, "GREETING": "hello"},
        folder=str(folder),
        log=str(folder / "job.log"),
        scratch=str(scratch),
        grace_seconds=grace_seconds,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def working(folder: Path, processes: int) -> Callable[[], bool]:
    return lambda: (folder / "job.log").exists() and (folder / "job.log").read_text().count("working") == processes


def test_a_job_that_ends_by_itself_is_reported_with_its_status_and_its_output(tmp_path: Path, marker: str) -> None:
    program = "import os, sys; print(os.getcwd(), os.environ['GREETING'], len(os.environ)); sys.exit(3)"
    report = Guard(order(tmp_path, marker, program)).wait(60)
    assert report is not None
    assert (report.status, report.stopped_by, report.left_behind, report.killed) == (3, None, 0, 0)
    assert (tmp_path / "job.log").read_text().startswith(f"{tmp_path} hello ")
    assert not (tmp_path / "scratch of the job").exists()


def test_a_job_ended_by_a_signal_says_which(tmp_path: Path, marker: str) -> None:
    report = Guard(order(tmp_path, marker, "import os; os.kill(os.getpid(), 11)")).wait(60)
    assert report is not None and report.status == -signal.SIGSEGV


def test_a_job_that_cannot_be_started_says_why(tmp_path: Path, marker: str) -> None:
    report = Guard(replace(order(tmp_path, marker, ""), command=["/no/such program"])).wait(60)
    assert report is not None and report.status == 127
    assert report.stopped_by is not None and "No such file or directory: '/no/such program'" in report.stopped_by
    assert not (tmp_path / "scratch of the job").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_does_not_cost_the_report(tmp_path: Path, marker: str) -> None:
    lingers = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    report = Guard(replace(order(tmp_path, marker, lingers), log="/dev/full")).wait(60)
    assert report is not None and (report.status, report.stopped_by, report.left_behind) == (0, None, 1)
    assert not (tmp_path / "scratch of the job").exists()


def test_what_outlives_the_job_is_ended(tmp_path: Path, marker: str) -> None:
    waits = "import time\nwhile open('job.log').read().count('working') < 3: time.sleep(0.02)"
    report = Guard(order(tmp_path, marker, TREE + waits)).wait(60)
    assert report is not None
    assert (report.status, report.stopped_by, report.left_behind) == (0, None, TREE_PROCESSES - 1)
    assert report.killed == 2, "the two that ignore SIGTERM"
    assert not marked(MARKER, marker)
    assert "3 processes outlived the job" in (tmp_path / "job.log").read_text()


def test_stopping_reaches_every_session_and_every_daemon(tmp_path: Path, marker: str) -> None:
    guard = Guard(order(tmp_path, marker, TREE + "time.sleep(60)"))
    wait_until(working(tmp_path, 3))
    assert guard.wait(0.01) is None
    assert len(marked(MARKER, marker)) == TREE_PROCESSES
    report = guard.stop()
    assert report.stopped_by is not None and report.killed == 2
    assert not marked(MARKER, marker) and not marked(GUARD_MARKER, marker)
    assert not (tmp_path / "scratch of the job").exists()


def test_the_grace_lets_a_job_end_well(tmp_path: Path, marker: str) -> None:
    program = (
        "import signal, sys, time\n"
        "def leave(*_): time.sleep(0.5); print('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave); print('working', flush=True); time.sleep(60)"
    )
    guard = Guard(order(tmp_path, marker, program, grace_seconds=10))
    wait_until(working(tmp_path, 1))
    report = guard.stop()
    assert (report.status, report.killed) == (0, 0)
    assert "saved" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_the_death_of_the_trial_ends_the_job(tmp_path: Path, marker: str, number: signal.Signals) -> None:
    trial = (
        "import sys, time; from platform.processes.supervisor import Guard, Order; from dataclasses import fields\n"
        f"guard = Guard({order(tmp_path, marker, TREE + 'time.sleep(60)')!r})\n"
        "time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", trial], env=environment)
    wait_until(working(tmp_path, 3))
    process.send_signal(number)
    process.wait()
    wait_until(lambda: not marked(MARKER, marker) and not marked(GUARD_MARKER, marker))
    assert not (tmp_path / "scratch of the job").exists()


def test_when_the_guard_itself_is_killed_the_sweep_finds_the_job(tmp_path: Path, marker: str) -> None:
    guard = Guard(order(tmp_path, marker, TREE + "time.sleep(60)"))
    wait_until(working(tmp_path, 3))
    (pid,) = marked(GUARD_MARKER, marker)
    os.kill(pid, signal.SIGKILL)
    report = guard.wait(60)
    assert report is not None and report.stopped_by == "its guard died"
    assert not marked(MARKER, marker)
    assert not (tmp_path / "scratch of the job").exists()


@pytest.mark.parametrize("to", ["the guard", "the job"])
def test_sigint_is_heeded_though_it_was_blocked_where_the_guard_was_started(
    tmp_path: Path, marker: str, to: str
) -> None:
    """As in a Ray worker: a process that is started inherits what is blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        guard = Guard(order(tmp_path, marker, OBEDIENT, grace_seconds=30))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    wait_until(working(tmp_path, 1))
    (pid,) = marked(GUARD_MARKER if to == "the guard" else MARKER, marker)
    os.kill(pid, signal.SIGINT)
    report = guard.wait(60)
    assert report is not None
    assert report.stopped_by == ("the guard got SIGINT" if to == "the guard" else None)
    assert report.status == (-signal.SIGTERM if to == "the guard" else -signal.SIGINT)


def test_a_held_file_stays_locked_as_long_as_the_job_lives(tmp_path: Path, marker: str) -> None:
    def free() -> bool:
        return subprocess.run(["flock", "--nonblock", str(tmp_path / "lock"), "true"], check=False).returncode == 0

    import fcntl

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        guard = Guard(order(tmp_path, marker, OBEDIENT), held=[lock.fileno()])
    wait_until(working(tmp_path, 1))
    assert not free(), "we closed it, the guard did not"
    guard.stop()
    assert free()


def test_a_sweep_leaves_other_jobs_alone(tmp_path: Path, marker: str) -> None:
    guard = Guard(order(tmp_path, f"{marker}.a", OBEDIENT))
    wait_until(working(tmp_path, 1))
    assert sweep(f"{marker}.b") == 0
    assert len(marked(MARKER, f"{marker}.a")) == 1
    guard.stop()
