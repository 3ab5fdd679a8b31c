"""A Ray cluster of several nodes on this machine, each with a view of the file system of its own. Linux, as root."""

import functools
import os
import secrets
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.launched import proc

Begin = Callable[[], "subprocess.Popen[bytes]"]

HEAD_ADDRESS = "127.0.0.1"
COUNT = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)))
"""


def can_hide_folders() -> bool:
    """Whether this machine lets us give a process its own view of the file system."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@dataclass
class Nodes:
    """The address of the head, what a driver needs in its environment, and the raylet of each other node."""

    address: str
    environment: dict[str, str]
    raylets: dict[int, int] = field(default_factory=dict)  # number of the node: pid


@contextmanager
def nodes(folder: Path, count: int, *, cpus: int, gpus: int = 0, hidden: Sequence[Path] = ()) -> Iterator[Nodes]:
    """A head without resources that sees everything, and ``count`` nodes to which the ``hidden`` folders are empty.

    Args:
        folder: with a short name, for what Ray writes.
        hidden: each of the nodes has an empty folder of its own in their place.
    """
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    blank = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",
    }
    with socket.create_server((HEAD_ADDRESS, 0)) as server:
        port = server.getsockname()[1]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"]
    store = ["--object-store-memory", str(80 * 2**20)]
    head = [
        *(*ray, "--head", f"--port={port}", f"--node-ip-address={HEAD_ADDRESS}", "--include-dashboard=false"),
        *("--num-cpus=0", "--num-gpus=0", *store, f"--temp-dir={folder / 'ray'}", "--block"),
    ]
    started = [_started(head, {**blank, **settings}, folder / "head.log")]
    found = Nodes(address=f"{HEAD_ADDRESS}:{port}", environment=settings)
    try:
        _wait(lambda: _listens(port), "the head", logs=folder)
        for number in range(1, count + 1):
            home = folder / f"home{number}"
            home.mkdir()
            hide = " && ".join(f"mount -t tmpfs none {shlex.quote(str(path))}" for path in hidden) or "true"
            worker = [
                *(*ray, f"--address={found.address}", f"--node-ip-address=127.0.0.{number + 1}"),
                *(f"--num-cpus={cpus}", f"--num-gpus={gpus}", *store, "--block"),
            ]
            own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "NODE_NAME": f"{folder.name}-{number}"}
            hiding = ["unshare", "--mount", "sh", "-c", f"{hide} && exec {shlex.join(worker)}"]
            begin = functools.partial(_started, hiding, {**blank, **settings, **own}, folder / f"node{number}.log")
            started.append(begin())
            known = functools.partial(_registered, found.address, {**blank, **settings})

            def joined(begin: Begin = begin, known: Callable[[], int] = known, wanted: int = number + 1) -> bool:
                if started[-1].poll() is not None:  # Ray gives a node 30 s to come up, which a busy machine may need
                    started[-1] = begin()
                return known() == wanted

            _wait(joined, f"node {number}'s place in the cluster", logs=folder)
            found.raylets[number] = _raylet_of(f"{folder.name}-{number}") or 0
        yield found
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _started(command: Sequence[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _registered(address: str, environment: dict[str, str]) -> int:
    """How many nodes the head knows, itself included."""
    asked = subprocess.run(
        [sys.executable, "-c", COUNT, address], env=environment, capture_output=True, text=True, check=False
    )
    return int(asked.stdout or 0)


def _raylet_of(name: str) -> int | None:
    mark = f"NODE_NAME={name}\0".encode()
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if proc(pid, "cmdline").split(b"\0")[0].endswith(b"raylet") and mark in proc(pid, "environ"):
            return pid
    return None


def _listens(port: int) -> bool:
    lines = [*Path("/proc/net/tcp").read_text().splitlines()[1:], *Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    return any((fields := line.split())[1].endswith(f":{port:04X}") and fields[3] == "0A" for line in lines)


def _wait(happened: Callable[[], bool], what: str, logs: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            said = "".join(f"\n{log.name}:\n{log.read_text()[-1500:]}" for log in sorted(logs.glob("*.log")))
            raise AssertionError(f"{what} did not come in {seconds:.0f} s{said}")
        time.sleep(0.1)
