"""Somebody's cluster: one that lets in everybody is refused by asking it, one that does not let us in says why."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.processes.supervisor import users_of
from platform.running import cluster
from platform.running.cluster import require_closed
from tests.faults.gated import Gated
from tests.faults.launched import proc, wait_until
from tests.launching import PATIENCE_SECONDS

HEAD = """
import ray, sys
ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@contextmanager
def somebodys(folder: Path, **auth: str) -> Iterator[str]:
    """A cluster of somebody else on this machine: its address."""
    blank = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", **auth}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(folder)],
        env={**blank, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert head.stdin is not None and head.stdout is not None
    try:
        yield head.stdout.readline().strip()
    finally:
        head.stdin.close()
        head.wait(PATIENCE_SECONDS)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def test_a_cluster_that_lets_in_everybody_is_refused_whatever_the_environment_says(
    short_tmp: Path, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with somebodys(short_tmp, RAY_AUTH_MODE="disabled") as address:
        for mode in ("token", "disabled", None):
            if mode is None:
                monkeypatch.delenv("RAY_AUTH_MODE")
            else:
                monkeypatch.setenv("RAY_AUTH_MODE", mode)
            monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
            with pytest.raises(UserError, match="it lets in whoever reaches its port"):
                require_closed(address)


def test_a_cluster_with_a_token_is_joined_with_it_and_with_nothing_else(
    short_tmp: Path, token: Path, gated: Gated, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.touch(mode=0o600)
    other.write_text("0" * 64)
    with somebodys(short_tmp, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)) as address:
        for settings, says in (
            ({"RAY_AUTH_MODE": "", "RAY_AUTH_TOKEN_PATH": str(token)}, "it wants a token"),
            (
                {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(other)},
                f"token in {other}: it is not the one",
            ),
        ):
            with gated.launch((1337,), "--cluster", address, environment=settings) as launched:
                assert launched.ended(PATIENCE_SECONDS) == 2 and says in launched.stderr, launched.stderr
        gated.open()
        right = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        with gated.launch((1337,), "--cluster", address, environment=right) as launched:
            assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
            assert gated.scores() == gated.expected((1337,))
            assert launched.left(60) == []


def test_a_port_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "JOIN_SECONDS", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(UserError, match="no answer within 4 s"):
        require_closed(f"127.0.0.1:{deaf.getsockname()[1]}")


def test_a_token_that_others_can_read_is_refused(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UserError, match=f"chmod 600 {token}"):
        require_closed(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_cluster_that_is_gone_ends_the_launch_with_a_report(short_tmp: Path, token: Path, gated: Gated) -> None:
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with (
        somebodys(short_tmp, **auth) as address,
        gated.launch((1337, 42), "--cluster", address, environment=auth) as launched,
    ):
        gated.wait_at("train", 1337, launched)
        for pid in pids_of(short_tmp, "gcs_server"):
            os.kill(pid, signal.SIGKILL)
        wait_until("the loss is told", lambda: "has not answered" in launched.stderr, launched)
        assert launched.ended(PATIENCE_SECONDS) == 1, launched.stderr
        assert "the same command runs only what is missing" in launched.stderr
        assert "gated, scale laptop" in launched.stdout, "the report"
        assert launched.left(60) == []


def pids_of(folder: Path, name: str) -> list[int]:
    """The processes of this name that have a file open below ``folder``."""
    return [pid for pid in users_of(str(folder)) if proc(pid, "cmdline").split(b"\0")[0].endswith(name.encode())]
