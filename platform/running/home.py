"""The files of a launch, for nodes that do not see them: an actor on the driver's machine, and the way to it.

What goes over the cluster's object store goes in pieces, so that a gigabyte of weights needs no gigabyte of it.
"""

import os
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jobs.contract.shards import TRAIN_SHARDS, VAL_SHARDS, file_sha256

from ..locks import held_at_once

PIECE_BYTES = 8 * 2**20


class Home:
    """Reads and writes files of the folders ``runs`` and reads what trials were planned with; nothing else."""

    def __init__(self, runs: Collection[Path], readable: Collection[Path]) -> None:
        """``readable``: folders and files outside ``runs``, data and tokenizers."""
        self._runs = [path.resolve() for path in runs]
        self._readable = [*self._runs, *(path.resolve() for path in readable)]
        self._locks: dict[str, ExitStack] = {}

    def sees(self, path: Path) -> bool:
        return path.exists()

    def acquire(self, key: str, paths: list[Path]) -> str | None:
        """Hold these lock files for the trial ``key``; who holds one of them, where somebody else does."""
        self.release(key)
        with ExitStack() as stack:
            for path in paths:
                owner = stack.enter_context(held_at_once(self._own(path)))
                if owner is not None:
                    return owner
            self._locks[key] = stack.pop_all()
        return None

    def release(self, key: str) -> None:
        if key in self._locks:
            self._locks.pop(key).close()

    def listing(self, folder: Path) -> list[str]:
        """The names of all files below ``folder``, in order; none where it is not there. Hidden ones are left out."""
        paths = sorted(self._known(folder).rglob("*"))
        return [str(path.relative_to(folder)) for path in paths if path.is_file() and path.name[0] != "."]

    def shards(self, folder: Path) -> dict[str, str]:
        """The shards of a data set and the sha256 of each."""
        found = [path for pattern in (TRAIN_SHARDS, VAL_SHARDS) for path in self._known(folder).glob(pattern)]
        return {path.name: file_sha256(path) for path in sorted(found)}

    def read(self, path: Path, begin: int) -> bytes:
        """A piece of the file, from this byte on; empty at its end."""
        with self._known(path).open("rb") as file:
            file.seek(begin)
            return file.read(PIECE_BYTES)

    def write(self, path: Path, begin: int, piece: bytes) -> None:
        """Put ``piece`` at this byte of the file and let the file end behind it."""
        self._own(path).parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.truncate(begin)
            file.seek(begin)
            file.write(piece)

    def take(self, part: Path, path: Path) -> None:
        """Let what was written to ``part`` be the file ``path``, all of it at once."""
        with self._own(part).open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self._own(path))

    def remove(self, path: Path) -> None:
        self._own(path).unlink(missing_ok=True)

    def _own(self, path: Path) -> Path:
        if not any(path.resolve().is_relative_to(folder) for folder in self._runs):
            raise PermissionError(f"{path} is not a file of this launch's runs")
        return path

    def _known(self, path: Path) -> Path:
        if not any(path.resolve().is_relative_to(folder) for folder in self._readable):
            raise PermissionError(f"{path} is neither of {self._runs} nor planned with")
        return path


class AtHome:
    """``Home`` as a worker on another node calls it."""

    def __init__(self, launch: str) -> None:
        """Of the launch of this name. Raises ValueError where there is none."""
        import ray

        self._actor = ray.get_actor(name_of(launch))

    def call(self, method: str, *arguments: object) -> Any:
        import ray

        return ray.get(getattr(self._actor, method).remote(*arguments))

    def fetch(self, path: Path, to: Path) -> None:
        """Copy a file of home to this node."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("wb") as file:
            while piece := self.call("read", path, file.tell()):
                file.write(piece)


def started(launch: str, runs: Collection[Path], readable: Collection[Path]) -> Any:
    """The actor, on the node of this process; gone with the launch."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Home).options(name=name_of(launch), num_cpus=0, scheduling_strategy=here)
    return actor.remote(runs, readable)


def name_of(launch: str) -> str:
    return f"home of {launch}"
