"""The challenge's data on disk: token shards, byte-level tokenizers, and the names of both by content."""

import hashlib
import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from jobs.contract.errors import Refused
from jobs.contract.files import write_text

SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION = 256, 20240520, 1  # the challenge's .bin format, little-endian int32
BOS_TOKEN = 1  # begins every document in the challenge's token streams
TRAIN_SHARDS, VAL_SHARDS = "*_train_*.bin", "*_val_*.bin"


def shard_tokens(path: Path) -> int:
    """How many tokens the shard holds: a header of 256 little-endian int32 (magic, version, count, zeros), then uint16.

    Raises:
        Refused: no such file, or wrong magic, version, count or size; names the file and what was found.
    """
    header_bytes = 4 * SHARD_HEADER_INTS
    if not path.is_file():
        raise Refused(f"{path}: no such shard")
    with path.open("rb") as file:
        header = file.read(header_bytes)
    size = path.stat().st_size
    if len(header) < header_bytes:
        raise Refused(f"{path}: {size} bytes is shorter than a shard's header of {header_bytes}")
    magic, version, count = struct.unpack_from("<3i", header)
    if magic != SHARD_MAGIC:
        raise Refused(f"{path}: magic number is {magic}, a shard has {SHARD_MAGIC}; is this a token file?")
    if version != SHARD_VERSION:
        raise Refused(f"{path}: shard version is {version}, this program reads {SHARD_VERSION}")
    if count <= 0 or size != header_bytes + 2 * count:
        raise Refused(
            f"{path}: the header counts {count} tokens, which makes {header_bytes + 2 * max(count, 0)} bytes; "
            f"the file has {size}: a broken copy, fetch it again"
        )
    return count


def data_sha256(data_path: Path) -> str:
    """Name of a data set: over the name, size and sha256 of every shard, the training shards first.

    Raises:
        Refused: no training or no validation shard in the folder, or a broken one.
    """
    shards: list[Path] = []
    for pattern in (TRAIN_SHARDS, VAL_SHARDS):
        found = sorted(data_path.glob(pattern))
        if not found:
            raise Refused(f"{data_path}: no {pattern} shard there")
        shards += found
    for path in shards:
        shard_tokens(path)
    lines = (
        f"{path.name} {path.stat().st_size} {sha256}\n"
        for path, sha256 in zip(shards, _known_sha256(shards), strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _known_sha256(paths: list[Path]) -> list[str]:
    """The sha256 of each file: what this user's cache says, where the file is as it was then, else of its bytes now."""
    states = {}
    for path in paths:
        now = path.stat()
        states[str(path.resolve())] = [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino]
    try:
        kept = dict(json.loads(_hashes_path().read_text(encoding="utf-8")))
        known = {name: (state, str(sha256)) for name, (state, sha256) in kept.items()}
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError):
        known = {}
    new = [name for name, state in states.items() if known.get(name, ("", ""))[0] != state]
    if new:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing works without the interpreter's lock
            hashes = threads.map(file_sha256, map(Path, new))
        known |= {name: (states[name], sha256) for name, sha256 in zip(new, hashes, strict=True)}
        with suppress(OSError, RuntimeError):  # nowhere to keep them: they are made again the next time
            _hashes_path().parent.mkdir(parents=True, exist_ok=True)
            there = {name: entry for name, entry in known.items() if Path(name).exists()}
            write_text(_hashes_path(), json.dumps(there))
    return [known[str(path.resolve())][1] for path in paths]


def _hashes_path() -> Path:
    """Where hashes of shards are kept, by place, size, times and inode. Raises RuntimeError where nobody has a home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairway" / "sha256.json"


def byte_tokenizer(path: Path) -> tuple[int, int] | None:
    """Of a byte-level tokenizer, the field's byte260: the id of byte 0, and how many ids there are. None: another kind.

    Such a tokenizer is a JSON file, ``{"tokenizer_type": "pure_byte", "config": {"byte_offset": 4, ...}, ...}``; the
    ids below the offset are pad, BOS, EOS and unknown, those from it on are the bytes themselves.

    Raises:
        Refused: a JSON file that is not this.
    """
    if path.suffix != ".json":
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        offset, count = found["config"]["byte_offset"], found["config"]["byte_count"]
        if (found["tokenizer_type"], count) != ("pure_byte", 256) or type(offset) is not int or not 1 < offset < 2**15:
            raise ValueError("another kind")
    except OSError as error:
        raise Refused(f"{path}: no tokenizer there ({error.strerror})") from None
    except (ValueError, LookupError, TypeError):
        raise Refused(f"{path}: not the JSON file of a byte-level tokenizer, tokenizer_type pure_byte") from None
    return offset, offset + count


def file_sha256(path: Path) -> str:
    """sha256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
