"""A launch in a process of its own and everything that it starts, known by a tag in the environment. Linux only."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from platform.paths import ROOT
from platform.processes.supervisor import open_files

TAG = "FIELD_TEST_OF_FAULTS"  # no prefix of ours or of Ray's: it reaches every process
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}  # as the kernel writes


def heeding_signals() -> None:
    """Of a test that runs under nohup, say, a child inherits that hang-ups are ignored, and a launch keeps to it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Launched:
    """``python -m platform.launch`` and all its processes; used as a context, behind which nothing of it is left."""

    def __init__(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self.tag = os.urandom(8).hex()
        self._folder = Path(tempfile.mkdtemp(prefix="f-", dir="/tmp"))
        self.temporary = self._folder / "t"
        self.temporary.mkdir()
        inherited = {
            name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
        }
        # A path that is nowhere, in PATH: the one variable that even a guard and a server are started with.
        path = f"{inherited['PATH']}:/{TAG}/{self.tag}"
        self._known: dict[int, bool] = {}
        self.begun = time.monotonic()
        with (self._folder / "stdout").open("wb") as out, (self._folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "platform.launch", *words],
                cwd=ROOT,
                env={**inherited, "PATH": path, "TMPDIR": str(self.temporary), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=heeding_signals,
            )

    def __enter__(self) -> "Launched":
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + 30
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")

    def goes_on(self, seconds: float) -> bool:
        """Whether it still runs, a moment later. Raises AssertionError where it has run for longer than ``seconds``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.02)
            return False
        assert time.monotonic() - self.begun < seconds, f"it does not end:\n{self.stderr[-3000:]}"
        return True

    def ended(self, seconds: float) -> int:
        """Its exit status. Raises AssertionError where it has not ended within ``seconds``."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended after {seconds:g} s:\n{self.stderr[-3000:]}") from None

    def pids(self) -> set[int]:
        """Its living processes."""
        wanted = f"/{TAG}/{self.tag}".encode()
        alive = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        for pid in alive - self._known.keys():
            if environment := proc(pid, "environ"):
                self._known[pid] = wanted in environment
        for pid in self._known.keys() - alive:
            del self._known[pid]
        return {pid for pid in alive if self._known.get(pid) and state_of(pid) not in ("Z", "X", "")}

    def role(self, pid: int) -> str:
        """What one of its processes is: driver, audit, worker, guard, torchrun, rank, raylet, gcs, ..."""
        words = [word.decode(errors="replace") for word in proc(pid, "cmdline").split(b"\0")]
        first = Path(words[0]).name if words else ""
        if pid == self.process.pid:
            return "driver"
        if first in ("raylet", "gcs_server"):
            return first.removesuffix("_server")
        if any(word.endswith("supervisor.py") for word in words):
            return "guard" if b"FAIRWAY_GUARD=" in proc(pid, "environ") else "last one out"
        if any(word.endswith("audit.py") for word in words):
            return "audit"
        if "torch.distributed.run" in words:
            return "torchrun"
        if words and words[0].startswith("ray::"):
            return "worker"
        if any(word.endswith("train_gpt.py") for word in words):
            return "rank"
        return " ".join(words)[:60].strip() or "?"

    def of(self, role: str, marked: str = "") -> list[int]:
        """The processes with this role, of those whose environment holds ``marked``."""
        return sorted(pid for pid in self.pids() if self.role(pid) == role and marked.encode() in proc(pid, "environ"))

    def open_ports(self) -> set[tuple[str, str]]:
        """Every port that one of its processes listens on and that others than this machine reach: (role, address)."""
        owners = {name: pid for pid in self.pids() for name in open_files(pid) if name.startswith("socket:")}
        found = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                owner = owners.get(f"socket:[{fields[9]}]")
                address = fields[1].rpartition(":")[0]
                if fields[3] == "0A" and owner is not None and address not in LOOPBACK:
                    found.add((self.role(owner), address))
        return found

    def left(self, seconds: float) -> list[str]:
        """The roles of those that are still there after at most ``seconds``, and what it left in its TMPDIR."""
        deadline = time.monotonic() + seconds
        while True:
            found = sorted(self.role(pid) for pid in self.pids())
            found += remains(self.temporary)
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def remains(temporary: Path) -> list[str]:
    """What is in a folder for temporary files and should be gone; the probe of this machine is kept."""
    return sorted(path.name for path in temporary.iterdir() if not path.name.startswith("fairway-probe-"))


def wait_until(what: str, happened: Callable[[], bool], launched: Launched, seconds: float = 300) -> None:
    """Wait for ``happened()``. Raises AssertionError where the launch ends before, or it takes too long."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert launched.process.poll() is None, f"it ended before {what}:\n{launched.stderr[-3000:]}"
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s:\n{launched.stderr[-3000:]}"
        time.sleep(0.02)


def proc(pid: int, name: str) -> bytes:
    """A file of ``/proc/<pid>``; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def state_of(pid: int) -> str:
    fields = proc(pid, "stat").rpartition(b")")[2].split()
    return fields[0].decode() if fields else ""
