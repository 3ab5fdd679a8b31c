"""The guard of one job: starts it, and sees to it that nothing of it outlives it or the trial that wanted it.

A file of its own process (``python -I supervisor.py``, standard library only), because everything else dies too early:
torchrun gives each rank its own session, where a kill of the process group does not reach it, and a Ray worker is
killed without a chance to clean up. The trial writes one line of JSON, an ``Order``, to the guard's standard input and
keeps it open; the guard answers with one line, an ``ExitReport``, when all is over.

What ends a job: its own end, the end of the trial (the pipe closes, PR_SET_PDEATHSIG), a signal to the guard. In each
case every descendant gets SIGTERM, a grace, then SIGKILL. Descendants are found because the guard is their subreaper:
on Linux even a daemon that forked twice becomes its child. Should the guard itself be killed, torchrun gets SIGTERM by
PR_SET_PDEATHSIG, and the trial ends what is left by ``sweep``: the processes that carry the job's marker in their
environment. Elsewhere (macOS) the tree is read from ``ps`` and process groups have to do.
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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MARKER = "FAIRWAY_JOB"  # environment variable of every process of a job: <launch>/<job>
GUARD_MARKER = "FAIRWAY_GUARD"  # the same for its guard, which a sweep must leave alone
GRACE_SECONDS = 5.0
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
    log: str  # both outputs of the job, appended
    scratch: str  # removed when all is over
    grace_seconds: float = GRACE_SECONDS


@dataclass(frozen=True, kw_only=True)
class ExitReport:
    """How the job ended. ``status`` is its exit status; minus the signal that ended it, as ``subprocess`` has it."""

    status: int
    stopped_by: str | None  # None: it ended by itself
    left_behind: int  # processes that were still there after its end
    killed: int  # of all its processes, those that SIGTERM did not end within the grace


class Guard:
    """A job under guard, as the trial sees it. One that is garbage collected or whose process dies ends its job."""

    def __init__(self, order: Order, *, held: Sequence[int] = ()) -> None:
        """Start it. The files ``held`` stay open, and thereby locked, until nothing of the job is left."""
        self._marker, self._grace_seconds = order.environment[MARKER], order.grace_seconds
        self._report: ExitReport | None = None
        with Path(order.log).open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    __file__,
                ],  # -I: nothing of our environment, and not our folder as a place to import from
                env={"PATH": os.environ.get("PATH", os.defpath), GUARD_MARKER: self._marker},
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a kill of the trial's process group must not reach it
                pass_fds=held,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        self._process.stdin.flush()

    def wait(self, seconds: float) -> ExitReport | None:
        """How the job ended, once it has; None if it still runs after ``seconds``."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        if self._report is None:
            assert self._process.stdout is not None
            answer = self._process.stdout.read()
            if answer.endswith(b"\n"):
                self._report = ExitReport(**json.loads(answer))
            else:
                left_behind = sweep(self._marker, self._grace_seconds)
                self._report = ExitReport(
                    status=-signal.SIGKILL, stopped_by="its guard died", left_behind=left_behind, killed=0
                )
        return self._report

    def stop(self) -> ExitReport:
        """End the job, if it has not ended, and wait until nothing of it is left."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        report = None
        while report is None:
            report = self.wait(1.0)
        return report


def guard(order: Order) -> ExitReport:
    """Run the job of ``order`` to its end, or to ours; nothing of it is left afterwards."""
    stop = _Stop()
    if LINUX:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    with Path(order.log).open("ab", buffering=0) as log:
        job = subprocess.Popen(  # where this fails, the traceback goes to the log and the trial finds no answer
            order.command,
            env=order.environment,
            cwd=order.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # This process has one thread, so running Python between fork and exec is safe.
            preexec_fn=(lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)) if LINUX else None,
        )
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
        report = ExitReport(status=job.wait(), stopped_by=stop.reason, left_behind=len(left_behind), killed=killed)
        if stop.reason:
            log.write(f"\n[guard] ended: {stop.reason}; {killed} of its processes did not heed SIGTERM\n".encode())
        elif left_behind:
            log.write(f"\n[guard] {len(left_behind)} processes outlived the job and were ended\n".encode())
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


def kill(pids: set[int]) -> None:
    """SIGKILL to each of ``pids`` that is still there."""
    _signal(pids, signal.SIGKILL)


class _Stop:
    """Why the job has to end before its own end, once there is a reason."""

    def __init__(self) -> None:
        self.reason: str | None = None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def wait(self, seconds: float) -> None:
        """Wait for a reason, at most ``seconds``."""
        readable, _, _ = select.select([0], [], [], seconds)
        if readable and not os.read(0, 4096):
            self.reason = self.reason or "the trial told it to stop or went away"

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


def _proc(pid: int, name: str) -> bytes:
    """A file of ``/proc/<pid>``; empty where the process is gone or somebody else's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _order_from_standard_input() -> Order:
    line = b""
    while not line.endswith(b"\n"):  # byte by byte: nothing behind the line may be swallowed, its end is the stop sign
        byte = os.read(0, 1)
        if not byte:
            sys.exit("the guard of a job is started by platform/trial.py, not by hand")
        line += byte
    return Order(**json.loads(line))


if __name__ == "__main__":
    print(json.dumps(asdict(guard(_order_from_standard_input()))), flush=True)
