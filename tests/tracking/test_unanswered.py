"""A server that is deaf, drips or is gone, and files that somebody else holds: told at once, and waited for once.

``MLFLOW_HTTP_REQUEST_TIMEOUT`` is a second here, so that the limit is four; it is 15 where nobody sets it.
"""

import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.locks import held
from platform.tracking import server

from .commands import ENDS, PATIENCE_SECONDS, database, deaf, dripping, ended, line_of, listening, started, told, track

SCORES = {"no_ttt": {1337: 2.3, 42: 2.305}}
SOON = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}


@pytest.fixture
def run(make_run: Callable[..., Any], empty_database: Path, tmp_path: Path) -> Path:
    path: Path = make_run(SCORES).path
    shutil.copy(empty_database, database(path.parent))
    return path


def ways(run: Path) -> dict[str, tuple[str, ...]]:
    return {"launch": ("-c", ENDS, str(run)), "track": ("-m", "platform.track", str(run))}


@pytest.mark.parametrize(("answer", "way"), [(deaf, "launch"), (dripping, "launch"), (deaf, "track")])
def test_a_server_that_does_not_answer(answer: Any, way: str, run: Path) -> None:
    with listening(answer) as address:
        done = ended(*ways(run)[way], MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_MAX_RETRIES="10", **SOON)
    assert done.returncode == 1
    waiting, failed, *after = done.stderr.splitlines()
    assert waiting == f"waiting for MLflow at {address}: 4 s at most"
    assert failed.strip().removeprefix("failed: ") == f"waited 4 s for MLflow at {address}, in vain"
    repairs = ["  The results are safe in their files; this records them:", f"  python -m platform.track {run}"]
    assert after == (repairs if way == "launch" else [])


def test_a_server_that_takes_too_long_each_time(run: Path) -> None:
    with listening(deaf) as address:
        done = track(run, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", **SOON)
    said = f"failed: MLflow at {address} did not answer within 1 s (MLFLOW_HTTP_REQUEST_TIMEOUT), each time\n"
    assert (done.returncode, told(done)) == (1, said)


def test_a_server_that_is_gone_is_told_once_and_the_command_repairs(run: Path) -> None:
    address = server.url_of(server.free_port(27000))
    done = ended("-c", ENDS, str(run), MLFLOW_TRACKING_URI=address, **SOON)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    *_, failed, safe, command = done.stderr.splitlines()
    assert failed.startswith(f"  MLflow at {address} could not be written: ") and "refused" in failed
    assert safe == "  The results are safe in their files; this records them:"
    again = ended(*shlex.split(command)[1:])
    assert again.returncode == 0 and again.stdout.startswith(f"recorded:  {run}\ncompare:   ")


@pytest.mark.parametrize("way", ["launch", "track"])
def test_ctrl_c_ends_the_waiting(way: str, run: Path) -> None:
    with listening(deaf) as address:
        process = started(*ways(run)[way], MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="10000")
        line_of(process, "waiting for MLflow at")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) in (130, -signal.SIGINT)


def test_whoever_else_writes_is_named_and_waited_for_within_the_limit(run: Path) -> None:
    lock = database(run.parent).with_suffix(".lock")
    with held(lock):
        holder = lock.read_text().strip()
        done = track(run, **SOON)
        assert done.returncode == 1
        what = f"{holder}, who writes to MLflow at {database(run.parent)}"
        assert done.stderr == f"waiting for {what}: 4 s at most\nfailed: waited 4 s for {what}, in vain\n"
        process = started("-m", "platform.track", str(run))
        line_of(process, holder)
    assert process.wait(PATIENCE_SECONDS) == 0, "it goes on when the other one has ended"


@pytest.mark.parametrize("kind", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_database_that_another_program_has_locked(kind: str, run: Path) -> None:
    with sqlite3.connect(database(run.parent)) as other:
        other.execute(f"BEGIN {kind}")
        done = track(run)
        assert done.returncode == 1
        *_, last = done.stderr.splitlines()
        assert last.startswith(f"failed: {database(run.parent)} is locked by another program")
        assert "Traceback" not in done.stderr
    other.close()
    assert track(run).returncode == 0


def test_a_launch_that_cannot_record_ends_all_the_same(run: Path) -> None:
    """The thread is in the middle of a call that never ends, and the process has nothing more to do."""
    code = ENDS.partition("failures =")[0]
    with listening(dripping) as address:
        process = started("-c", code, str(run), MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="10000")
        try:
            assert process.wait(PATIENCE_SECONDS) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            raise
