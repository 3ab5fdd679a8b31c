"""The commands that write to MLflow, in processes of their own, and servers that do not do what they should."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platform.paths import ROOT

PATIENCE_SECONDS = 900  # with anything that is started: no test depends on a quiet machine
# As ``launch`` ends: what happened to the trials has been recorded meanwhile, and then all of it is.
ENDS = """
import sys
from pathlib import Path
from platform.reports import build
from platform.running import command
from platform.running.observers import Recorder
from platform.runs.results import read_run
from platform.tracking.patience import Patience

report = build.build(read_run(Path(sys.argv[1])))
patience = Patience(command._note)
recorder = Recorder(patience)
recorder.planned(report.run.plan.trials)
for trial in report.run.plan.trials:
    recorder.finished(trial)
recorder.closed()
failures = list(command._record([report], patience))
print(*failures, sep="\\n", file=sys.stderr)
sys.exit(1 if failures else 0)
"""


def started(*words: str, **environment: str) -> subprocess.Popen[str]:
    """``python WORDS``, from the checkout, with nothing of MLflow in its environment but what is given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    process = started(*words, **environment)
    said, told = process.communicate(timeout=PATIENCE_SECONDS)
    return subprocess.CompletedProcess(words, process.returncode, said, told)


def track(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return ended("-m", "platform.track", *map(str, words), **environment)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Its standard error, without what a busy machine may add: that a call takes its time."""
    return "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("waiting for MLflow"))


def line_of(process: subprocess.Popen[str], text: str) -> str:
    """The first line of its standard error with this text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"it ended with {process.wait()} and never said {text!r}")


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a socket that accepts everybody and does with each what ``answer`` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def deaf(connection: socket.socket) -> None:
    """Reads, and never answers."""
    with suppress(OSError):
        while connection.recv(2**16):
            pass


def dripping(connection: socket.socket) -> None:
    """Answers a byte at a time and comes to no end: no time limit of a single read is ever reached."""
    with suppress(OSError):
        connection.recv(2**16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.2)


def database(runs: Path) -> Path:
    return runs / "mlflow.db"
