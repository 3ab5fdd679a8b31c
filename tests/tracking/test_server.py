"""The server of the dashboard, as a process: it ends with whoever wanted it, by whatever signal that one ends.

A small web server with a worker stands for MLflow, which takes seconds to start; tests/browser has the real one.
"""

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
from platform.processes.supervisor import GUARD_MARKER, marked
from platform.tracking import server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc")

# Answers /health; its worker is deaf to SIGTERM.
SERVES = """
import http.server, os, signal, subprocess, sys
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", deaf])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(repr(sorted(os.environ)).encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of every process that the test starts: a folder that is not there, first in PATH."""
    tag = f"/nowhere/{uuid.uuid4().hex}"
    monkeypatch.setenv("PATH", f"{tag}:{os.environ['PATH']}")
    yield tag
    for pid in marked("PATH", tag):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small server, and no patience with its worker."""
    monkeypatch.setattr(server, "_command", lambda _, port: [sys.executable, "-c", SERVES, str(port)])
    monkeypatch.setattr(server, "STOP_SECONDS", 0.2)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_it_serves_while_the_block_lasts(
    tag: str, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from urllib.request import urlopen

    for name in ("MLFLOW_TRACKING_URI", "HF_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    port = server.free_port(22000)
    url = server.url_of(port)
    with server.serving(tmp_path / "mlflow.db", port) as served:
        assert served.wait(0.0) is None and not server.is_free(port)
        wait_until(lambda: len(marked("PATH", tag)) == 3)  # guard, server, worker
        with urlopen(url, timeout=900) as reply:
            names = set(eval(reply.read()))
    assert {"PATH", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"} <= names
    assert not {"MLFLOW_TRACKING_URI", "HF_TOKEN", "PYTHONPATH"} & names
    assert server.is_free(port) and not marked("PATH", tag)


def test_one_that_ends_by_itself_is_noticed(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_command", lambda _, port: [sys.executable, "-c", SERVES, str(port)])
    with server.serving(tmp_path / "mlflow.db", server.free_port(26000)) as served:
        for pid in marked("PATH", tag) - marked(GUARD_MARKER, ""):
            os.kill(pid, signal.SIGKILL)
        assert (ended := served.wait(600.0)) is not None and ended.status == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_it_ends_with_whoever_wanted_it(tag: str, tmp_path: Path, number: signal.Signals) -> None:
    """A process that serves and does nothing about signals."""
    port = server.free_port(23000)
    serves = f"""
import signal, sys
from pathlib import Path
from platform.tracking import server
server._command = lambda _, port: [sys.executable, "-c", {SERVES!r}, str(port)]
server.STOP_SECONDS = 0.2
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
with server.serving(Path({str(tmp_path / "mlflow.db")!r}), {port}):
    print(server.url_of({port}), flush=True)
    signal.pause()
"""
    process = subprocess.Popen([sys.executable, "-c", serves], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == f"http://127.0.0.1:{port}\n"
    assert not server.is_free(port) and len(marked("PATH", tag)) >= 3
    process.send_signal(number)
    assert process.wait(600) == -number
    wait_until(lambda: not marked("PATH", tag) and server.is_free(port))


def test_one_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_command", lambda *_: [sys.executable, "-c", "import no_such_server"])
    with (
        pytest.raises(RunFailed, match=r"(?s)ended with status 1; .*server\.log ends with.*No module named 'no_such"),
        server.serving(tmp_path / "mlflow.db", server.free_port(24000)),
    ):
        pytest.fail("it is not up")


def test_one_that_does_not_answer_is_ended(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_command", lambda *_: [sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(server, "START_SECONDS", 0.5)
    with (
        pytest.raises(RunFailed, match="did not answer within 0 s"),
        server.serving(tmp_path / "mlflow.db", server.free_port(25000)),
    ):
        pytest.fail("it is not up")
    assert not marked("PATH", tag)
