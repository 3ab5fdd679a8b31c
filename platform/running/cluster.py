"""A Ray cluster for the time of one launch: a small private one on this machine, or somebody's, by address.

Ours listens on loopback alone, wants a token that only we can read, and is gone afterwards: it is ended by the pids and
the folder that we started, never by ``ray stop``, which reaches other people's clusters. Of somebody else's cluster
only our job ends.
"""

import contextlib
import gc
import itertools
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RunFailed, UserError
from ..paths import ROOT
from ..processes import guarded
from ..processes.supervisor import LastOneOut
from ..runs.plan import Trial
from ..words import counted
from .pulse import Escape, Late, Pulse, interrupted

PORT_SECONDS = 5.0
JOIN_SECONDS = 60.0  # for somebody's cluster to let us in
REQUEST_SECONDS = 20  # that a call to a cluster that is gone may hold us
WORKER_SECONDS = 180.0  # for the first worker to start: two on a busy laptop, more where a cluster copies files
OBJECT_STORE_BYTES = 100 * 2**20  # nothing large goes through it: what trials make, they write to files
LETS_IN, WANTS_TOKEN = "lets in", "wants a token"
_KNOCK = f"""
import sys
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    address = canonicalize_bootstrap_address("auto") if sys.argv[1] == "auto" else sys.argv[1]
    GcsClient(address=address).get_all_node_info(timeout=10)
    print({LETS_IN!r})
except AuthenticationError:
    print({WANTS_TOKEN!r})
except Exception as error:
    print(" ".join(f"{{type(error).__name__}}: {{error}}".split()))
"""
MOST_PENDING = 64  # trials that Tune asks for before they can run
SOCKET_PATH_ROOM = 40  # characters that Ray's socket names leave, of the 107 that a kernel takes, for its folder

_token: str | None = None  # of the clusters of this process


class ClusterLost(Exception):
    """The cluster under a launch is gone; the message says what died. What ran on it may or may not have ended."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one machine offers."""

    name: str
    gpus: float
    cpus: float
    node_id: str = ""  # as Ray names it
    resource: str = ""  # of which a task asks a little to be put there

    def holds(self, trial: Trial) -> bool:
        """Whether a job of ``trial``, or its share of one on several nodes, fits when nothing else runs there."""
        return self.gpus * trial.nodes >= trial.gpus and self.cpus * trial.nodes >= trial.cpus


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where trials can run."""

    launch: str  # names this launch, in the environment of everything it starts
    nodes: tuple[Node, ...]  # that were there when it was joined
    scratch: Path  # for Tune's own files; gone afterwards
    pulse: Pulse
    is_private: bool  # on this machine alone, started for this launch
    _names: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    def new_name(self) -> str:
        """For one use of the cluster; each gets files of its own."""
        return f"trials-{next(self._names)}"

    def require_there(self) -> None:
        """Raises ClusterLost where it is gone."""
        if self.pulse.lost:
            raise ClusterLost(self.pulse.lost)

    def other_node(self, trial: Trial, avoid: Collection[str]) -> Node | None:
        """A node that can hold ``trial`` and is none of those with the ids ``avoid``; None where there is none."""
        return next((node for node in _living_nodes() if node.node_id not in avoid and node.holds(trial)), None)


def this_machine() -> Node:
    """What this machine offers, without asking Ray. CPUs are physical cores: two jobs on one core halve each other."""
    return Node(name="this machine", gpus=_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")), cpus=cores())


def require_node(trials: Sequence[Trial], nodes: Sequence[Node]) -> None:
    """Refuse trials that no single node can hold: Ray itself would wait for ever.

    Raises:
        UserError: which trial, what it needs, what the best node has, what to do.
    """
    for trial in trials:
        if sum(node.holds(trial) for node in nodes) >= trial.nodes:
            continue
        best = max(nodes, key=lambda node: (node.gpus, node.cpus), default=Node(name="no node", gpus=0, cpus=0))
        where = "one node" if trial.nodes == 1 else f"{trial.nodes} nodes, an equal share on each"
        raise UserError(
            f"{trial.recipe} at scale {trial.scale} needs {counted(trial.gpus, 'GPU')} and "
            f"{counted(trial.cpus, 'CPU')} on {where}; {best.name} has {counted(best.gpus, 'GPU')} and "
            f"{counted(best.cpus, 'CPU')}.\n"
            f"To run it small, without a GPU: --scale laptop. On one card: --scale one_gpu. "
            f"On a cluster: --cluster ADDRESS."
        )


def require_closed(address: str) -> None:
    """Refuse a cluster that answers to anybody who reaches it: that is a shell for everybody, by Ray's design.

    Raises:
        UserError: it is open, nothing answers there, or it is no address of a cluster.
    """
    if address.startswith("ray://"):
        raise UserError(
            f"--cluster {address}: Ray Client cannot carry a launch; run it on a node of the cluster with "
            f"--cluster auto (docs/clusters.md)"
        )
    host, _, port = address.rpartition(":")
    if address != "auto":
        if not host or not port.isdigit():
            raise UserError(f"--cluster {address}: an address is HOST:PORT, such as 10.0.0.4:6379, or auto")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PORT_SECONDS).close()
        except OSError as error:
            raise UserError(f"--cluster {address}: nothing answers there: {error}") from error
    ours = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if ours and token.is_file() and token.stat().st_mode & 0o077:
        raise UserError(f"{token} can be read by others: chmod 600 {token}")
    nobody = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    answer = _asked(address, {**nobody, "RAY_AUTH_MODE": "disabled"})
    if answer == LETS_IN:
        raise UserError(
            f"--cluster {address}: it lets in whoever reaches its port, and runs what they say as you. Start it with "
            f"RAY_AUTH_MODE=token, and set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE (chmod 600) here"
        )
    if answer != WANTS_TOKEN:
        raise UserError(f"--cluster {address}: no Ray cluster that can be used answers there: {answer}")
    if not ours:
        raise UserError(
            f"--cluster {address}: it wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE (chmod 600), "
            f"the file that it was started with"
        )
    if (answer := _asked(address, os.environ)) != LETS_IN:
        refused = "it is not the one that the cluster was started with" if answer == WANTS_TOKEN else answer
        raise UserError(f"--cluster {address}: the token in {token}: {refused}")


def _asked(address: str, environment: Mapping[str, str]) -> str:
    """What the cluster itself says to whoever has this environment: LETS_IN, WANTS_TOKEN, or what went wrong."""
    try:
        ended = guarded.run(
            [sys.executable, "-c", _KNOCK, address],
            environment={**environment, "RAY_USAGE_STATS_ENABLED": "0"},
            seconds=JOIN_SECONDS,
        )
    except RunFailed as error:
        return str(error)
    said = (ended.stdout.strip() or ended.stderr.strip()).splitlines()
    return f"no answer within {JOIN_SECONDS:g} s" if ended.timed_out else said[-1] if said else f"status {ended.status}"


@contextlib.contextmanager
def connected(address: str | None, *, cpus: int, launch: str) -> Iterator[Cluster]:
    """The cluster at ``address``, or without one a new one on this machine; left, or ended, with the block.

    One after the other, a process may be connected to several. Nothing else may import Ray before the first: it reads
    its settings when it is imported.

    Args:
        cpus: that a job needs; our own cluster offers as many, even on a machine with fewer.

    Raises:
        UserError: the cluster at the address does not let us in.
        RunFailed: Ray does not start here, or its workers do not.
    """
    folder = _own_folder()
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the files of a trial are written by its job
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is for platform.launch to handle
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the plan and the results are what a launch continues from
        "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",  # require_node has refused what does not fit
        "TUNE_MAX_PENDING_TRIALS_PG": str(MOST_PENDING),
        "TUNE_STATE_REFRESH_PERIOD": "1000000",  # seconds: it asks for resources that only its warnings need
        # Ray ends a process that has not heard from its cluster for a minute, without a word. ``Pulse`` is faster.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "3600",
        "RAY_gcs_server_request_timeout_seconds": str(REQUEST_SECONDS),
    }
    if address is None:
        settings |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(_token_in(folder)),
            # Ray would kill our workers, some 50 MB each, for memory that anybody on the machine uses.
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_prestart_worker_first_driver": "0",  # idle workers in an environment that is not ours
        }
    if address is None or _is_here(address):
        # Ray's word for "this node is 127.0.0.1"; without it, every port of a node is open to the network, and one that
        # was started on loopback is looked for at the address of the network's card.
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    with _environment(settings), contextlib.ExitStack() as stack:
        stack.callback(LastOneOut(launch, folder).wait)
        import ray

        escape = stack.enter_context(Escape())
        stack.callback(_shut_down)
        # A copy of our code goes to the workers: an edit during a long launch changes nothing in it.
        code: dict[str, object] = {
            "py_modules": [str(ROOT / "platform"), str(ROOT / "jobs")],
            "excludes": ["__pycache__"],
        }
        if address is None or _is_here(address):
            # Ray puts it into a shell command as it is, and a checkout's folder may have a space in its name.
            code["py_executable"] = shlex.quote(sys.executable)
        if address is None:
            _start(folder, cpus=max(cpus, int(this_machine().cpus)), code=code)
        else:
            _join(address, code)
        _silence()
        _require_workers(folder)
        with Pulse.of_private() if address is None else Pulse.of(ray.get_runtime_context().gcs_address) as pulse:
            pulse.when_lost = escape.arm
            yield Cluster(
                launch=launch,
                nodes=tuple(_living_nodes()),
                scratch=folder / "tune",
                pulse=pulse,
                is_private=address is None,
            )


def _silence() -> None:
    """Ray writes pages of its own logs to our terminal where a worker or a raylet dies; what it means is told by us."""
    with contextlib.suppress(ImportError, AttributeError, KeyError):
        from ray._private.ray_logging import global_worker_stdstream_dispatcher as printed

        printed.remove_handler("ray_print_logs")


def _living_nodes() -> list[Node]:
    import ray

    return [
        Node(
            name=str(node.get("NodeManagerHostname", node["NodeID"])),
            gpus=node["Resources"].get("GPU", 0),
            cpus=node["Resources"].get("CPU", 0),
            node_id=node["NodeID"],
            resource=f"node:{node['NodeManagerAddress']}",
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _start(folder: Path, *, cpus: int, code: dict[str, object]) -> None:
    """A cluster of our own. Raises RunFailed, with the end of Ray's own log, where it does not come up."""
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            runtime_env=code,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=str(folder / "ray"),
        )
    except Exception as error:  # Ray raises bare ones: "The current node timed out during startup"
        said = f"\n{_end_of_raylet_log(folder)}".rstrip()
        raise RunFailed(
            f"Ray does not start on this machine: {type(error).__name__}: {error}{said}\n"
            f"It may be too busy, or short of memory or of room in {folder.parent}; the same command tries again."
        ) from error


def _join(address: str, code: dict[str, object]) -> None:
    """Somebody's cluster. Raises UserError, with what was tried, where it does not let us in within a minute."""
    import ray

    token = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    tried = f"--cluster {address}: cannot join, with the token in {token}"
    try:
        with interrupted(JOIN_SECONDS):
            ray.init(address=address, runtime_env=code, log_to_driver=False, logging_level="ERROR")
    except Late as error:
        raise UserError(
            f"{tried}: it answers, but no node of it has taken us up {error}. Is this machine a node of it (ray start "
            f"--address={address}), under the address that the head knows?"
        ) from error
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"{tried}: {error}") from error


def _token_in(folder: Path) -> Path:
    """A file with the token of this process that only we can read. Ray reads a token once and keeps it."""
    global _token
    _token = _token or secrets.token_hex(32)
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(_token)
    return path


def _end_of_raylet_log(folder: Path) -> str:
    log = folder / "ray" / "session_latest" / "logs" / "raylet.err"
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.exists() else ""


def _is_here(address: str) -> bool:
    """Whether the address is of this machine alone."""
    return address.rpartition(":")[0].strip("[]") in ("127.0.0.1", "localhost", "::1")


def _shut_down() -> None:
    """Leave Ray. Seen once: another thread's garbage collection freed a handle of Ray's meanwhile, and Ray ended us."""
    import ray

    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def _require_workers(folder: Path) -> None:
    """Start one worker that imports our code. Where that fails, Ray would try again for ever, and say nothing.

    Raises:
        RunFailed: no worker started; with the end of Ray's own log.
    """
    import ray

    from . import trial

    try:
        ray.get(ray.remote(num_cpus=0)(trial.hostname).remote(), timeout=WORKER_SECONDS)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayError) as error:
        said = _end_of_raylet_log(folder)
        raise RunFailed(f"Ray is there, but its workers cannot be used: {error}\n{said}".rstrip()) from error


def _own_folder() -> Path:
    parent = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix="fairway-", dir=parent if len(str(parent)) < SOCKET_PATH_ROOM else "/tmp"))


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """``settings`` in our environment: Ray reads it when imported, and hands it on to all it starts."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _gpus(visible: str | None) -> int:
    """NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES leaves us."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        listing = ""
    found = sum(line.startswith("GPU ") for line in listing.splitlines())
    found = found or len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if visible is None:
        return found
    chosen = [device for device in visible.split(",") if device.strip()]
    return min(found, chosen.index("-1") if "-1" in chosen else len(chosen))


def cores() -> int:
    """Physical cores that this process may use."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text())
        except OSError:
            siblings.add(str(cpu))
    return len(siblings)
