"""Data on a node that may not have it: looked for in places, else fetched once and kept; always checked by its hash."""

import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from jobs.contract.errors import Refused
from jobs.contract.shards import data_sha256, file_sha256

from .. import paths
from ..errors import RunFailed
from ..locks import held

HTTP_SECONDS = 60.0  # without a byte
CLOUDS = ("s3://", "gs://", "gcs://", "hdfs://", "file://")

Fetch = Callable[[str, Path], None]


def cache() -> Path:
    """The folder of this user on this node for what was fetched; FAIRWAY_DATA names another, of a larger disk."""
    chosen = os.environ.get("FAIRWAY_DATA")
    folder = Path(chosen) if chosen else paths.cache()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return folder / "data"


def found(
    sha256: str,
    wanted: Sequence[str],
    *,
    shards: Callable[[], Mapping[str, str]],
    fetch: Fetch,
    tell: Callable[[str], None],
) -> Path:
    """The folder on this node with the data set of this hash.

    Args:
        sha256: as ``data_sha256`` names it.
        wanted: places in the order in which they are tried: folders of this node, or sources to fetch from, such as
            ``https://host/fineweb``, ``s3://bucket/fineweb`` and ``gs://bucket/fineweb``.
        shards: what the data set consists of: names of files and the sha256 of each.
        fetch: the last source, the machine of the launch itself.
        tell: told what takes time.

    Raises:
        RunFailed: nowhere is this data set, with what each place said.
    """
    said = []
    folders = [Path(place).expanduser() for place in wanted if "://" not in place]
    kept = cache() / sha256[:16]
    for folder in (*folders, kept):
        if folder.is_dir():
            if (what := _flaw(folder, sha256)) is None:
                return folder
            said.append(f"{folder}: {what}")
    sources: list[tuple[str, Fetch]] = [(place, _from(place)) for place in wanted if "://" in place]
    with held(cache() / f".{sha256[:16]}.lock", lambda owner: tell(f"the data are being fetched by {owner}")):
        if kept.is_dir() and _flaw(kept, sha256) is None:  # by another trial, meanwhile
            return kept
        contents = shards()
        for name, source in (*sources, ("the machine of the launch", fetch)):
            try:
                tell(f"the data are fetched from {name}")
                _fill(kept, contents, source)
            except (OSError, ValueError, urllib.error.URLError) as error:
                said.append(f"{name}: {error}")
                continue
            if (what := _flaw(kept, sha256)) is None:
                return kept
            said.append(f"{name}: {what}")
    raise RunFailed(f"the data set {sha256[:12]} is nowhere to be had:\n  " + "\n  ".join(said))


def _flaw(folder: Path, sha256: str) -> str | None:
    """Why the folder is not the data set; None where it is."""
    try:
        there = data_sha256(folder)
    except Refused as error:
        return str(error)
    return None if there == sha256 else f"it is another data set, {there[:12]}"


def _fill(folder: Path, contents: Mapping[str, str], fetch: Fetch) -> None:
    """Bring each shard that is missing; one that is there and right is kept."""
    folder.mkdir(exist_ok=True)
    for name, sha256 in contents.items():
        path = folder / name
        if path.is_file() and file_sha256(path) == sha256:
            continue
        part = folder / f".{name}.{os.getpid()}.{threading.get_native_id()}"
        try:
            fetch(name, part)
            if (there := file_sha256(part)) != sha256:
                raise ValueError(f"{name} has the sha256 {there[:12]}, it should be {sha256[:12]}")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    for other in folder.iterdir():
        if other.name not in contents:
            with suppress(OSError):
                other.unlink()


def _from(place: str) -> Fetch:
    """How to fetch a file of a source. Raises RunFailed where it is of no kind that is known."""
    if place.startswith(("http://", "https://")):
        return lambda name, to: _copied(_opened(f"{place.rstrip('/')}/{name}"), to)
    if place.startswith(CLOUDS):
        return lambda name, to: _from_cloud(place, name, to)
    raise RunFailed(f"{place}: possible are a folder, http(s)://, {', '.join(CLOUDS)}")


def _opened(url: str) -> IO[bytes]:
    response: IO[bytes] = urllib.request.urlopen(url, timeout=HTTP_SECONDS)
    return response


def _from_cloud(place: str, name: str, to: Path) -> None:
    from pyarrow import fs

    system, folder = fs.FileSystem.from_uri(place)
    _copied(system.open_input_stream(f"{folder.rstrip('/')}/{name}"), to)


def _copied(source: IO[bytes], to: Path) -> None:
    with source, to.open("wb") as file:
        shutil.copyfileobj(source, file, 2**22)
