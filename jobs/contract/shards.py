"""The challenge's data on disk: token shards, byte-level tokenizers, and the names of both by content."""

import hashlib
import json
import struct
from pathlib import Path

from jobs.contract.errors import Refused

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
    """Name of a data set: over the name, size and first and last MiB of every shard, so that 16 GB take no minute.

    Raises:
        Refused: no training or no validation shard in the folder, or a broken one.
    """
    digest = hashlib.sha256()
    for pattern in (TRAIN_SHARDS, VAL_SHARDS):
        shards = sorted(data_path.glob(pattern))
        if not shards:
            raise Refused(f"{data_path}: no {pattern} shard there")
        for path in shards:
            shard_tokens(path)
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                digest.update(file.read(2**20))
                file.seek(max(0, size - 2**20))
                digest.update(file.read())
    return digest.hexdigest()


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
