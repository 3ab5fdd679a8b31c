"""A trial on a node that does not see the folders of the launch: what it needs is fetched, what it makes is sent home.

The trial itself is the same, with other paths. Logs and events are sent while they grow, weights and artifacts once
their record is there, records last: so home never has a record without what it speaks of.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jobs.contract.assignment import RESULT_FILE, TRUNK_FILE
from jobs.contract.shards import file_sha256

from ..corpus import places
from ..errors import RunFailed
from ..runs.paths import RunPaths, TrunkPaths
from ..runs.plan import Trial
from .home import PIECE_BYTES, AtHome
from .progress import Progress

SEND_SECONDS = 2.0
WAIT_SECONDS = 1.0
GROWING = (".log", ".jsonl")  # written to at their end alone
RECORDS = (TRUNK_FILE, RESULT_FILE, "failure.json")

Report = Callable[[Progress], None]


def is_away(trial: Trial) -> bool:
    """Whether this node does not see what the driver saw."""
    seen = (RunPaths(trial.run_path).program, trial.data_path, trial.tokenizer_path)
    return not all(path.exists() for path in seen)


@contextmanager
def brought(trial: Trial, launch: str, report: Report) -> Iterator[Trial]:
    """``trial`` as it can run on this node; what it leaves is sent home while the block runs, and at its end.

    Raises:
        RunFailed: the launch cannot be reached, or its data can be had nowhere.
    """
    try:
        home = AtHome(launch)
    except ValueError as error:
        raise RunFailed(f"this node sees neither {trial.run_path} nor the launch that wants it: {error}") from error
    folder = Path(tempfile.mkdtemp(prefix="fairway-away-"))
    try:
        with _locked(home, trial, report):
            runs = folder / "runs"
            data, tokenizer = _data(home, trial, report)
            here = replace(
                trial,
                run_path=runs / trial.run_path.name,
                trunk_path=runs / trial.trunk_path.relative_to(trial.run_path.parent),
                data_path=data,
                tokenizer_path=tokenizer,
            )
            home.fetch(RunPaths(trial.run_path).program, RunPaths(here.run_path).program)
            for name in trial.script.files if trial.script else ():
                home.fetch(RunPaths(trial.run_path).files / name, RunPaths(here.run_path).files / name)
            trunk = Mirror(home, trial.trunk_path, here.trunk_path)
            outputs = Mirror(home, trial.paths.folder, here.paths.folder)
            if not trial.end_to_end and _has_trunk(home, trial):
                report(Progress(waiting="the trunk is fetched"))
                trunk.fetch()
            outputs.fetch()
            with _sending([trunk, outputs]):  # the trunk first: a result speaks of it
                yield here
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Mirror:
    """A folder of this node that is to be the same at home."""

    def __init__(self, home: AtHome, there: Path, here: Path) -> None:
        self._home, self._there, self._here = home, there, here
        self._sent: dict[str, tuple[int, int]] = {}  # size and time of what is the same there

    def fetch(self) -> None:
        for name in self._home.call("listing", self._there):
            self._home.fetch(self._there / name, self._here / name)
        self._sent = self._states()

    def send(self) -> None:
        """Bring home to what is here now."""
        now = self._states()
        for name in self._sent.keys() - now.keys():
            self._home.call("remove", self._there / name)
            del self._sent[name]
        changed = [name for name in now if self._sent.get(name) != now[name]]
        for name in sorted(changed, key=lambda name: (Path(name).name in RECORDS, not name.endswith(GROWING), name)):
            path, there = self._here / name, self._there / name
            try:
                if name.endswith(GROWING):
                    self._append(path, there, begin=min(self._sent.get(name, (0, 0))[0], now[name][0]))
                else:
                    self._replace(path, there)
            except FileNotFoundError:  # removed meanwhile
                continue
            self._sent[name] = now[name]

    def _append(self, path: Path, there: Path, begin: int) -> None:
        with path.open("rb") as file:
            file.seek(begin)
            while piece := file.read(PIECE_BYTES):
                self._home.call("write", there, begin, piece)
                begin += len(piece)

    def _replace(self, path: Path, there: Path) -> None:
        part = there.with_name(f".{there.name}.part")
        begin = 0
        with path.open("rb") as file:
            while (piece := file.read(PIECE_BYTES)) or not begin:
                self._home.call("write", part, begin, piece)
                begin += len(piece)
                if not piece:
                    break
        self._home.call("take", part, there)

    def _states(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self._here.rglob("*") if self._here.is_dir() else ():
            if path.is_file() and not path.is_symlink() and path.name[0] != ".":  # a link is to data of this node
                state = path.stat()
                found[str(path.relative_to(self._here))] = (state.st_size, state.st_mtime_ns)
        return found


@contextmanager
def _locked(home: AtHome, trial: Trial, report: Report) -> Iterator[None]:
    """Hold the trial, and its trunk where it is to be trained, at home: other launches see it there."""
    over = threading.Event()
    while True:
        trains = trial.end_to_end or not _has_trunk(home, trial)
        owner = home.call("acquire", trial.key, [trial.paths.lock, *([trial.trunk.lock] if trains else [])])
        if owner is None:
            break
        report(Progress(waiting=f"{trial.name} is being run by {owner}"))
        over.wait(WAIT_SECONDS)
    try:
        yield
    finally:
        home.call("release", trial.key)


def _has_trunk(home: AtHome, trial: Trial) -> bool:
    return bool(home.call("sees", TrunkPaths(trial.trunk_path).record))


def _data(home: AtHome, trial: Trial, report: Report) -> tuple[Path, Path]:
    """Shards and tokenizer on this node, those that were planned, byte by byte."""
    data = places.found(
        trial.data_sha256,
        (str(trial.data_path), *trial.places),
        shards=lambda: home.call("shards", trial.data_path),
        fetch=lambda name, to: home.fetch(trial.data_path / name, to),
        tell=lambda said: report(Progress(waiting=said)),
    )
    tokenizer = trial.tokenizer_path
    if not tokenizer.is_file() or file_sha256(tokenizer) != trial.tokenizer_sha256:
        tokenizer = places.cache() / f"{trial.tokenizer_sha256[:16]}{trial.tokenizer_path.suffix}"
        if not tokenizer.is_file() or file_sha256(tokenizer) != trial.tokenizer_sha256:
            part = tokenizer.with_name(f".{tokenizer.name}.{threading.get_native_id()}")
            home.fetch(trial.tokenizer_path, part)
            part.replace(tokenizer)
    return data, tokenizer


@contextmanager
def _sending(mirrors: list[Mirror]) -> Iterator[None]:
    """Send what changes every now and then, and all that is left at the end, however the block ended."""
    over = threading.Event()

    def send() -> None:
        for mirror in mirrors:
            mirror.send()

    def again_and_again() -> None:
        while not over.wait(SEND_SECONDS):
            send()

    thread = threading.Thread(target=again_and_again, name="sending", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        send()
