"""Runs brought to MLflow as commands do it: many at once, within a limit of waiting, and anew where need be."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from ..errors import UserError
from ..locks import held
from ..paths import shown
from ..runs.paths import RunPaths
from . import tracker
from .address import Address
from .patience import Patience, Waiting
from .tracker import Comparison, Recorded

BESIDE = ("", "-journal", "-wal", "-shm")  # files of one SQLite database


def record(run_path: Path, patience: Patience) -> Recorded:
    """``tracker.record``, within a limit of waiting; so a RunFailed may also say that MLflow does not answer."""
    return patience.now(lambda waiting: tracker.record(run_path, waiting=waiting))


def compare(recorded: Sequence[Recorded], patience: Patience, port: int | None = None) -> Comparison:
    """``tracker.comparison``, likewise."""
    return patience.now(lambda waiting: tracker.comparison(recorded, port, waiting=waiting))


def runs_in(folder: Path) -> list[Path]:
    """Every run in this folder, the latest plan last.

    Raises:
        UserError: there is none.
    """
    folders = [path for path in folder.glob("*/") if RunPaths(path).plan.is_file()]
    if not folders:
        raise UserError(
            f"{shown(folder)}: no run there yet; make one with\n"
            "  python -m platform.launch recipes/leaky_cosine.yaml --seeds 3 --scale laptop"
        )
    return sorted(folders, key=lambda path: RunPaths(path).plan.stat().st_mtime)


def by_folder(run_paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Runs by the folder that they are in: those of one are tracked together."""
    found: dict[Path, list[Path]] = {}
    for path in run_paths:
        found.setdefault(path.resolve().parent, []).append(path)
    return found


def move_away(runs: Path, patience: Patience) -> Path | None:
    """Give the database of these runs a name with the time; returns that, None where there is no database yet.

    Raises:
        UserError: they are not tracked in a SQLite database.
        RunFailed: another process that writes to it does not end in time.
    """
    address = Address.of(runs)
    database = address.database
    if database is None:
        raise UserError(f"--fresh moves a SQLite database away; these runs are tracked on {address.shown}")

    def moved(waiting: Waiting) -> Path | None:
        with held(address.lock, waiting=lambda holder: waiting(f"{holder}, who writes to {address.shown}")):
            waiting(None)
            if not database.exists():
                return None
            now = f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}"
            names = (f"{database.stem}.{now}{f'.{n}' if n else ''}{database.suffix}" for n in count())
            target = next(path for name in names if not (path := database.with_name(name)).exists())
            for ending in BESIDE:
                if (file := database.with_name(database.name + ending)).exists():
                    file.rename(target.with_name(target.name + ending))
            return target

    return patience.now(moved)
