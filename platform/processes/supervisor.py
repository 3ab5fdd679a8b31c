"""The guard of one job: starts it, and sees to it that nothing of it outlives it or who wanted it: a trial, a command.

A file of its own process (``python -I supervisor.py``, standard library only), because everything else dies too early:
torchrun gives each rank its own session, where a kill of the process group does not reach it, and a Ray worker is
killed without a chance to clean up. Who wants a job writes one line of JSON, an ``Order``, to the guard's standard
input and keeps it open; the guard answers with one line, an ``ExitReport``, when all is over.

What ends a job: its own end, the end of who wanted it (the pipe closes, whoever killed that), a signal to the guard. In
each case every descendant gets SIGTERM, a grace, then SIGKILL. Descendants are found because the guard is their
subreaper: on Linux even a daemon that forked twice becomes its child. Should the guard itself be killed, the job gets
SIGTERM by PR_SET_PDEATHSIG, and who wanted it ends what is left by ``sweep``: the processes that carry the job's marker
in their environment. Elsewhere (macOS) the tree is read from ``ps`` and process groups have to do.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

MARKER = "FAIRWAY_JOB"  # environment variable of every process of a job: <launch>/<job>
GUARD_MARKER = "FAIRWAY_GUARD"  # the same for its guard, which a sweep must leave alone
GRACE_SECONDS = 5.0
RAY_SECONDS = 5.0  # for a cluster of ours to end by itself, once its driver has
NOT_STARTED = 127  # the status of a command that is not there, as shells have it
UNKILLABLE_SECONDS = 60.0  # a process inside a dead file system or driver does not heed even SIGKILL
LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the guard is to run."""

    command: list[str]
    environment: dict[str, str]
    folder: str  # the job's working directory
    log: str  # what the job and the guard say, appended
    scratch: str  # removed when all is over
    stdout: int | None = None  # for this output of the job in place of the log: a file that is open here
    stderr: int | None = None
    grace_seconds: float = GRACE_SECONDS


@dataclass(frozen=True, kw_only=True)
class ExitReport:
    """How the job ended. ``status`` is its exit status; minus the signal that ended it, as ``subprocess`` has it."""

    status: int
    stopped_by: str | None  # None: it ended by itself
    left_behind: int  # processes that were still there after its end
    killed: int  # of all its processes, those that SIGTERM did not end within the grace


class Guard:
    """A job under guard, as who wanted it sees it. The job does not outlive this object, nor its process."""

    def __init__(self, order: Order, *, held: Sequence[int] = ()) -> None:
        """Start it. The files ``held`` stay open, and thereby locked, until nothing of the job is left."""
        self._order = order
        self._report: ExitReport | None = None
        outputs = [output for output in (order.stdout, order.stderr) if output is not None]
        with Path(order.log).open("ab") as log:
            self._orders, self._answers = _started(
                asdict(order),
                marker={GUARD_MARKER: order.environment[MARKER]},
                held=[*held, *outputs],
                stderr=log.fileno(),
            )

    def wait(self, seconds: float) -> ExitReport | None:
        """How the job ended, once it has; None if it still runs after ``seconds``."""
        if self._report is None and select.select([self._answers], [], [], seconds)[0]:
            answer = self._answers.read()  # to the end of the pipe: the guard is gone
            if answer.endswith(b"\n"):
                self._report = ExitReport(**json.loads(answer))
            else:
                left_behind = sweep(self._order.environment[MARKER], self._order.grace_seconds)
                shutil.rmtree(self._order.scratch, ignore_errors=True)
                self._report = ExitReport(
                    status=-signal.SIGKILL, stopped_by="its guard died", left_behind=left_behind, killed=0
                )
        return self._report

    def stop(self) -> ExitReport:
        """End the job, if it has not ended, and wait until nothing of it is left."""
        self._orders.close()
        while (report := self.wait(60.0)) is None:
            pass
        return report


class LastOneOut:
    """Sees to it that nothing of a launch is left on this machine, even where its driver is killed.

    Some of Ray's processes stay for minutes then; they are known by their logs, which are open in a folder of ours.
    """

    def __init__(self, launch: str, folder: Path) -> None:
        """``folder`` is this launch's own; it is removed when all is over."""
        told = {"launch": launch, "driver": os.getpid(), "folder": str(folder)}
        self._orders, self._answers = _started(told, marker={}, held=(), stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        """The launch is over: wait until nothing of it is left."""
        self._orders.close()
        self._answers.read()


def see_out(launch: str, driver: int, folder: str) -> None:
    """Wait until the driver of ``launch`` closes our standard input or dies; then end what is left of the launch."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    for left_over, seconds in (
        (lambda: users_of(folder) - {driver}, RAY_SECONDS),
        (lambda: marked(GUARD_MARKER, launch), GRACE_SECONDS + RAY_SECONDS),
    ):
        deadline = time.monotonic() + seconds
        while (pids := left_over()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 2)
        _signal(pids, signal.SIGKILL)
    sweep(launch)
    shutil.rmtree(folder, ignore_errors=True)


def guard(order: Order) -> ExitReport:
    """Run the job of ``order`` to its end, or to ours; nothing of it is left afterwards."""
    stop = _Stop()
    if LINUX:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        job = subprocess.Popen(
            order.command,
            env=order.environment,
            cwd=order.folder,
            stdin=subprocess.DEVNULL,
            stdout=2 if order.stdout is None else order.stdout,  # our own standard error is the log
            stderr=order.stderr,
            start_new_session=True,
            # This process has one thread, so running Python between fork and exec is safe.
            preexec_fn=(lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)) if LINUX else None,
        )
    except OSError as error:
        shutil.rmtree(order.scratch, ignore_errors=True)
        return ExitReport(status=NOT_STARTED, stopped_by=f"it cannot be started: {error}", left_behind=0, killed=0)
    seen: set[int] = set()  # of use where there is no subreaper: who was below us before being orphaned
    while stop.reason is None and _reaped(job) is None:
        stop.wait(_POLL_SECONDS)
        if not LINUX:
            seen |= _descendants()
    left_behind = set() if stop.reason else _descendants() | (seen & _parents().keys())

    def living() -> set[int]:
        _reaped(job)
        return _descendants() | (seen & _parents().keys())

    killed = _end(living, order.grace_seconds)
    try:
        status = job.wait(UNKILLABLE_SECONDS)
    except subprocess.TimeoutExpired:  # the kernel does not let go of it; nothing more can be done here
        status = -signal.SIGKILL
    report = ExitReport(status=status, stopped_by=stop.reason, left_behind=len(left_behind), killed=killed)
    with contextlib.suppress(OSError):  # a full disk must not cost the report
        if stop.reason:
            os.write(2, f"\n[guard] ended: {stop.reason}; {killed} of its processes did not heed SIGTERM\n".encode())
        elif left_behind:
            os.write(2, f"\n[guard] {len(left_behind)} processes outlived the job and were ended\n".encode())
    shutil.rmtree(order.scratch, ignore_errors=True)
    return report


def sweep(marker: str, grace_seconds: float = 0.0) -> int:
    """End every process of the jobs whose marker begins so; returns how many there were. Linux only.

    The last resort: it finds what fell out of every tree, but not what cleared its environment.
    """
    found = marked(MARKER, marker)
    if found:
        _end(lambda: marked(MARKER, marker), grace_seconds)
    return len(found)


def marked(variable: str, marker: str) -> set[int]:
    """The living processes started with ``variable=marker...``, this one excepted; none but on Linux."""
    wanted = f"\0{variable}={marker}".encode()
    return {
        pid for pid in (_parents() if LINUX else ()) if pid != os.getpid() and wanted in b"\0" + _proc(pid, "environ")
    }


def _started(
    told: Mapping[str, object], *, marker: dict[str, str], held: Sequence[int], stderr: int
) -> tuple[IO[bytes], IO[bytes]]:
    """This file as a process of its own, told its task: the pipe whose end tells it to stop, the pipe of its answer."""
    starter = subprocess.Popen(
        [sys.executable, "-I", __file__],  # -I: nothing of our environment, and no import from our folder
        env={"PATH": os.environ.get("PATH", os.defpath), **marker},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,  # a kill of our process group must not reach it
        pass_fds=held,
    )
    assert starter.stdin is not None and starter.stdout is not None
    starter.stdin.write(json.dumps(told).encode() + b"\n")
    starter.stdin.flush()
    starter.wait()
    return starter.stdin, starter.stdout


class _Stop:
    """Why the job has to end before its own end, once there is a reason."""

    def __init__(self) -> None:
        self.reason: str | None = None
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in numbers:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # Ray blocks SIGINT for all it starts; the job is told too

    def wait(self, seconds: float) -> None:
        """Wait for a reason, at most ``seconds``."""
        readable, _, _ = select.select([0], [], [], seconds)
        if readable and not os.read(0, 4096):
            self.reason = self.reason or "who wanted it told it to stop or went away"

    def _on_signal(self, number: int, _frame: object) -> None:
        self.reason = self.reason or f"the guard got {signal.Signals(number).name}"


def _end(living: Callable[[], set[int]], grace_seconds: float) -> int:
    """SIGTERM to all that ``living()`` names, after the grace SIGKILL until it names none; returns how many that took.

    It is asked again and again: what is being ended may be forking.
    """
    deadline = time.monotonic() + grace_seconds
    asked: set[int] = set()
    while (pids := living()) and time.monotonic() < deadline:
        _signal(pids - asked, signal.SIGTERM)
        asked |= pids
        time.sleep(_POLL_SECONDS / 2)
    killed: set[int] = set()
    deadline = time.monotonic() + UNKILLABLE_SECONDS
    while (pids := living()) and time.monotonic() < deadline:
        _signal(pids, signal.SIGKILL)
        killed |= pids
        time.sleep(_POLL_SECONDS / 10)
    return len(killed)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _reaped(job: "subprocess.Popen[bytes]") -> int | None:
    """The status of the job once it has ended. Orphans that became our children and ended are buried on the way."""
    if hasattr(os, "waitid"):
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid == job.pid:
                    job.poll()
                else:
                    os.waitpid(ended.si_pid, 0)
    return job.poll()


def _descendants() -> set[int]:
    """All living processes below this one."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo.extend(below)
    return found


def _parents() -> dict[int, int]:
    """Every living process and its parent; a zombie lives no more."""
    rows: Iterable[list[bytes]]
    if LINUX:
        pids = (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit())
        rows = ([pid.encode(), *_proc(int(pid), "stat").rpartition(b")")[2].split()[:2]] for pid in pids)
    else:
        listing = subprocess.run(["ps", "-axo", "pid=,stat=,ppid="], capture_output=True, check=False).stdout
        rows = (line.split()[:3] for line in listing.splitlines())
    return {int(row[0]): int(row[2]) for row in rows if len(row) == 3 and not row[1].startswith(b"Z")}


def users_of(folder: str) -> set[int]:
    """The processes that have a file open under ``folder``; none but on Linux."""
    pids = _parents() if LINUX else ()
    return {pid for pid in pids if any(name.startswith(f"{folder}/") for name in open_files(pid))}


def open_files(pid: int) -> list[str]:
    """What the process has open, as ``/proc/<pid>/fd`` names it."""
    names = []
    with contextlib.suppress(OSError):  # the process is gone, or somebody else's
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                names.append(str(link.readlink()))
    return names


def _proc(pid: int, name: str) -> bytes:
    """A file of ``/proc/<pid>``; empty where the process is gone or somebody else's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _line_from_standard_input() -> bytes:
    line = b""
    while not line.endswith(b"\n"):  # byte by byte: nothing behind the line may be swallowed, its end is the stop sign
        byte = os.read(0, 1)
        if not byte:
            sys.exit("this is started by platform/processes/ and platform/running/, not by hand")
        line += byte
    return line


if __name__ == "__main__":
    told = json.loads(_line_from_standard_input())
    if os.fork():  # A Ray worker that exits kills its children with SIGKILL. We are none of them, but an orphan.
        os._exit(0)
    if "launch" in told:
        see_out(**told)
    else:
        report = guard(Order(**told))
        with contextlib.suppress(BrokenPipeError):  # nobody left to read it
            os.write(1, json.dumps(asdict(report)).encode() + b"\n")
