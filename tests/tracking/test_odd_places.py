"""Folders with any characters in their names, and servers with a password: recorded, compared, served, never told."""

import base64
import json
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from platform.tracking import server

from .commands import ENDS, PATIENCE_SECONDS, database, ended, listening, started, told, track

SCORES = {"no_ttt": {1337: 2.3, 42: 2.305}}
PASSWORD = "pl4nted/secret"
USER_INFO = "ann:pl4nted%2Fsecret"
MakeRun = Callable[..., Any]


def recorded_at(address: str) -> dict[str, str]:
    """Ids of all runs that a server shows, by name."""
    query = json.dumps({"experiment_ids": ["1"]}).encode()
    request = Request(f"{address}/api/2.0/mlflow/runs/search", query, {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE_SECONDS) as reply:
        return {run["info"]["run_name"]: run["info"]["run_id"] for run in json.load(reply)["runs"]}


@pytest.mark.parametrize("name", ["wo?r", "per%20cent #;ü 'x"])
def test_a_folder_of_any_name_is_recorded_and_served(
    name: str, make_run: MakeRun, empty_database: Path, tmp_path: Path
) -> None:
    runs = tmp_path / name
    run = make_run(SCORES, runs=runs).path
    shutil.copy(empty_database, database(runs))
    there = {path.name for path in tmp_path.iterdir()}
    done = ended("-c", ENDS, str(run))
    assert (done.returncode, told(done).strip()) == (0, "")
    command = re.search(r"compare: +(python -m platform\.dashboard .*)\n", done.stdout)
    assert command is not None and name.replace("'", "'\"'\"'") in command[1]

    port = server.free_port(28000)
    process = started("-m", "platform.dashboard", "--runs", str(runs), "--port", str(port))
    assert process.stdout is not None
    link = process.stdout.readline()
    assert link.startswith(f"{server.url_of(port)}/#/experiments/1/runs?"), process.communicate()
    shown = recorded_at(server.url_of(port))
    assert set(shown) == {"leaky_cosine (laptop)", "leaky_cosine/no_ttt/1337", "leaky_cosine/no_ttt/42"}
    address = f"{server.url_of(port)}/get-artifact?path=plan.json&run_uuid={shown['leaky_cosine (laptop)']}"
    with urlopen(address, timeout=PATIENCE_SECONDS) as reply:
        assert json.load(reply)["recipe"] == "leaky_cosine"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert {path.name for path in tmp_path.iterdir()} == there, "no file or folder beside it"


@pytest.fixture(scope="module")
def mlflow_server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a real server."""
    path = tmp_path_factory.mktemp("served") / "mlflow.db"
    shutil.copy(empty_database, path)
    port = server.free_port(29000)
    with server.serving(path, port):
        yield f"{server.HOST}:{port}"


def test_a_server_with_a_password_is_written_to_and_the_password_not_told(
    mlflow_server: str, make_run: MakeRun
) -> None:
    run = make_run(SCORES).path
    named = {"MLFLOW_TRACKING_URI": f"http://{USER_INFO}@{mlflow_server}"}
    done = [
        ended("-c", ENDS, str(run), **named),
        track(run, **named),
        ended("-m", "platform.dashboard", "--runs", str(run.parent), **named),
    ]
    for one in done:
        assert one.returncode == 0 and told(one).strip() == "", one.stderr
        assert "pl4nted" not in one.stdout
        assert f"http://{mlflow_server}/#/experiments/1/runs?" in one.stdout
    assert len(recorded_at(f"http://{mlflow_server}")) == 3
    assert not [path for path in run.parent.rglob("*") if path.is_file() and b"pl4nted" in path.read_bytes()]


def refusing(heads: list[bytes]) -> Callable[[socket.socket], None]:
    """Keeps what is asked, and says that it is not allowed, with all that it was told."""

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            heads.append(connection.recv(2**16))
            body = b'{"error_code": "PERMISSION_DENIED", "message": "not with this password"}'
            head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)

    return answer


@pytest.mark.parametrize(
    ("way", "user"), [("launch", USER_INFO), ("track", USER_INFO), ("dashboard", USER_INFO), ("launch", "pl4nted")]
)
def test_no_failure_tells_a_password(way: str, user: str, make_run: MakeRun) -> None:
    run = make_run(SCORES).path
    words = {
        "launch": ("-c", ENDS, str(run)),
        "track": ("-m", "platform.track", str(run)),
        "dashboard": ("-m", "platform.dashboard", "--runs", str(run.parent)),
    }[way]
    heads: list[bytes] = []
    with listening(refusing(heads)) as address:
        named = address.replace("http://", f"http://{user}@")
        done = ended(*words, MLFLOW_TRACKING_URI=named, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert done.returncode == 1 and address in done.stderr and "Traceback" not in done.stderr
    assert "pl4nted" not in done.stdout + done.stderr
    sent = base64.b64encode(f"ann:{PASSWORD}".encode()) in heads[0]
    assert sent is (user == USER_INFO), "without a password MLflow sends neither"
