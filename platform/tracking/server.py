"""An MLflow server of our own on this machine: found where it is up, else started, and ended with us, however we end.

It listens on loopback only, since MLflow asks nobody for a password. MLflow itself runs as a process of its own and is
not imported here.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ..errors import RunFailed, UserError
from ..processes import guarded
from ..processes.environment import kept
from ..processes.supervisor import Guard
from ..runs.paths import tracker_artifacts
from .address import Address

PORT = 5055  # tried first; 5000, MLflow's own, is often somebody else's
EXPERIMENT = "fairway"
IDENTITY_TAG = "fairway.id"  # of the experiment: tells our server from any other that answers on the port
HOST = "127.0.0.1"
START_SECONDS = 120.0  # MLflow takes 5 to 15 s to come up on two busy cores
STOP_SECONDS = 10.0


def url_of(port: int) -> str:
    return f"http://{HOST}:{port}"


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(first: int = PORT) -> int:
    """The first free port from ``first`` on.

    Raises:
        UserError: a hundred are taken.
    """
    for port in range(first, min(first + 100, 65536)):
        if is_free(port):
            return port
    raise UserError(f"no free port between {first} and {first + 99}; name one with --port")


def identity_at(port: int) -> str | None:
    """The identity of the Fairway experiment that is served on this port; None where none is."""
    query = f"{url_of(port)}/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}"
    try:
        with urlopen(query, timeout=2.0) as reply:
            answer: Any = json.load(reply)
        tags = {tag["key"]: tag["value"] for tag in answer["experiment"].get("tags", [])}
    except (OSError, ValueError, KeyError, TypeError):  # nobody there, not MLflow, or not ours
        return None
    return tags.get(IDENTITY_TAG)


@contextmanager
def serving(database: Path, port: int) -> Iterator[Guard]:
    """An MLflow server on this SQLite file; it is up when this returns and ended afterwards.

    What comes tells, by its ``wait``, whether the server has ended by itself.

    Raises:
        RunFailed: it did not come up; with the end of what it said.
    """
    log = database.with_suffix(".server.log")
    log.write_text("")
    with guarded.started(
        _command(database.resolve(), port),
        # Without the worker pools, it takes 0.5 instead of 2.3 GB.
        environment=kept(os.environ)
        | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        log=log,
        folder=database.parent,  # not the checkout, whose platform/ the server has no use for
        grace_seconds=STOP_SECONDS,
    ) as server:
        _wait_until_up(server, port, log)
        yield server


def _command(database: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", Address.of_database(database).uri),
        *("--artifacts-destination", tracker_artifacts(database.parent).as_uri()),
    ]


def _wait_until_up(server: Guard, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ended := server.wait(0.2):
            raise RunFailed(f"the MLflow server ended with status {ended.status}; {log} ends with\n{_tail(log)}")
        try:
            with urlopen(f"{url_of(port)}/health", timeout=2.0) as reply:
                if reply.status == 200:
                    return
        except OSError:
            continue
    raise RunFailed(f"the MLflow server did not answer within {START_SECONDS:.0f} s; {log} ends with\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
