"""The parts of a job that spans several nodes: a torchrun under a guard on each, started and ended together.

The ranks meet at a port of the first node, which must be open to the others: whoever reaches it can disturb the job,
though not run code in it. All nodes must see the folders of the run: the ranks read one artifact.
"""

import fcntl
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import RunFailed
from ..processes.supervisor import ExitReport, Guard
from ..runs.plan import Trial
from . import part
from .environment import LOOPBACK, PortMeeting
from .part import Patience

SIOCGIFADDR = 0x8915  # the kernel's question for the address of an interface
POLL_SECONDS = 1.0  # between questions to other nodes


def address() -> str:
    """Of this node, by which the others of the cluster reach it."""
    import ray

    return str(ray.util.get_node_ip_address())


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


def interface_of(host: str) -> str | None:
    """The network interface that has this address; None where it cannot be told."""
    if host.startswith("127."):
        return LOOPBACK
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(asked.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == host:
                    return name
    return None


class Part:
    """On another node: one of the parts of a job. An actor; what it started ends with it."""

    def __init__(self) -> None:
        self._guard: Guard | None = None

    def unseen(self, trial: Trial) -> str | None:
        return part.unseen(trial)

    def start(
        self, trial: Trial, arms: tuple[str, ...], marker: str, patience: Patience, rank: int, host: str, port: int
    ) -> None:
        at = PortMeeting(nodes=trial.nodes, rank=rank, host=host, port=port, interface=interface_of(address()))
        log = trial.paths.folder / f"job.node{rank}.log"
        self._guard = part.started(trial, arms, log=log, marker=marker, patience=patience, at=at)

    def ended(self) -> dict[str, Any] | None:
        report = self._guard.wait(0.0) if self._guard else None
        return asdict(report) if report else None

    def stop(self) -> None:
        if self._guard:
            self._guard.stop()


class Parts:
    """A guard of all parts, as a trial has one of its job: ``here`` on this node, the others where their actors are."""

    def __init__(self, here: Guard, others: list[Any]) -> None:
        self._here, self._others, self._asked = here, others, 0.0

    def wait(self, seconds: float) -> ExitReport | None:
        """How the job ended, once it has, or lost a part; None if it still runs after ``seconds``."""
        import ray

        report = self._here.wait(seconds)
        if report is not None or time.monotonic() - self._asked < POLL_SECONDS:
            return report
        self._asked = time.monotonic()
        for rank, other in enumerate(self._others, start=1):
            try:
                found = ray.get(other.ended.remote())
            except ray.exceptions.RayError as error:
                found = {"status": -9, "stopped_by": f"its node is gone ({type(error).__name__})"}
            if found is not None and (found["stopped_by"] or found["status"]):
                how = found["stopped_by"] or f"status {found['status']}"
                return replace(self._here.stop(), stopped_by=f"its part on node {rank} ended: {how}")
        return None

    def stop(self) -> ExitReport:
        """End what still runs, everywhere."""
        import ray

        report = self._here.stop()
        for other in self._others:
            with suppress(ray.exceptions.RayError):
                ray.get(other.stop.remote())
            ray.kill(other)
        self._others = []
        return report


def started(
    trial: Trial, arms: tuple[str, ...], *, log: Path, marker: str, patience: Patience, locks: Sequence[int]
) -> Parts:
    """Start the parts: the first here, in a worker that holds the first bundle of the trial's placement group.

    Raises:
        RunFailed: one of the nodes does not see the folders of the run.
    """
    import ray
    from ray.util.placement_group import get_current_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = get_current_placement_group()
    share = {"num_cpus": trial.cpus // trial.nodes, "num_gpus": trial.gpus // trial.nodes}
    others = []
    for rank in range(1, trial.nodes):
        there = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
        others.append(ray.remote(Part).options(**share, scheduling_strategy=there).remote())
    for flaw in ray.get([other.unseen.remote(trial) for other in others]):
        if flaw:
            raise RunFailed(flaw)
    host = address()
    at = PortMeeting(nodes=trial.nodes, rank=0, host=host, port=free_port(host), interface=interface_of(host))
    here = part.started(trial, arms, log=log, marker=marker, patience=patience, locks=locks, at=at)
    parts = Parts(here, others)
    try:
        ray.get(
            [
                other.start.remote(trial, arms, marker, patience, rank, at.host, at.port)
                for rank, other in enumerate(others, start=1)
            ]
        )
    except BaseException:
        parts.stop()
        raise
    return parts
