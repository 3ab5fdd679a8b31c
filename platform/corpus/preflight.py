"""What keeps a job from reading its corpus, found in a moment and before any machine is rented."""

import json
from array import array
from pathlib import Path
from sys import byteorder

from jobs.contract.shards import SHARD_HEADER_INTS, TRAIN_SHARDS, VAL_SHARDS, byte_tokenizer, file_sha256, shard_tokens

from ..paths import shown
from .folder import MANIFEST_FILE

HASHED_BYTES = 2**26  # of a file at most
LOOKED_AT_TOKENS = 2**19  # of the first validation shard: enough to meet an id that the tokenizer lacks


def missing(data_path: Path, tokenizer_path: Path, *, val_targets: int | None = None) -> str | None:
    """All that is missing or broken in this data and tokenizer, and the remedy, in one message; None when all is well.

    Args:
        val_targets: how many targets the validation shards of a known data set have; fewer are a part of it, however
            well their headers fit, and a score on a part compares with nobody's.

    Reads every shard's header and size, one MiB of tokens and the tokenizer's list of pieces; imports nothing heavy.
    """
    problems = _wrong_with_shards(data_path)
    if not problems and val_targets is not None:
        there = sum(map(shard_tokens, data_path.glob(VAL_SHARDS))) - 1
        if there < val_targets:
            problems.append(
                f"{shown(data_path)}: the validation shards hold {there:,} targets, this data set has {val_targets:,}: "
                "a part of the text, on which no score compares with anybody's"
            )
    pieces: int | None = None
    try:
        pieces = vocabulary(tokenizer_path)
    except ValueError as error:
        problems.append(str(error))
    if not problems and pieces is not None:
        largest = _largest_token(min(data_path.glob(VAL_SHARDS)))
        if largest >= pieces:
            problems.append(
                f"{shown(data_path)} holds token {largest}, {shown(tokenizer_path)} has {pieces} pieces: "
                "they do not belong together"
            )
    if not problems:
        return None
    return "\n".join(["the corpus cannot be read:", *(f"  {problem}" for problem in problems), _remedy(data_path)])


def vocabulary(tokenizer_path: Path) -> int:
    """How many pieces a SentencePiece model has, read without SentencePiece; or how many ids a byte-level tokenizer.

    Raises:
        ValueError: no such file, or it is not a whole model; names it and says what was found.
    """
    if tokenizer_path.exists() and not tokenizer_path.is_file():  # reading a pipe or a device may never end
        raise ValueError(f"{shown(tokenizer_path)}: not a file; a tokenizer is one")
    if (of_bytes := byte_tokenizer(tokenizer_path)) is not None:
        return of_bytes[1]
    try:
        model = tokenizer_path.read_bytes()
    except OSError as error:
        raise ValueError(f"{shown(tokenizer_path)}: no tokenizer there ({error.strerror})") from None
    # A protocol buffer: at the top level a tag, a length and that many bytes, again and again; tag 1 is a piece.
    pieces = place = 0
    try:
        while place < len(model):
            tag, place = _varint(model, place)
            length, place = _varint(model, place)
            place += length
            pieces += tag >> 3 == 1
            if tag & 7 != 2:
                raise IndexError
    except IndexError:
        pieces = 0
    if place != len(model) or not pieces:
        raise ValueError(f"{shown(tokenizer_path)}: {len(model):,} bytes that are not a whole SentencePiece model")
    return pieces


def _wrong_with_shards(data_path: Path) -> list[str]:
    if not data_path.is_dir():
        return [f"{shown(data_path)}: no such folder of token shards"]
    wrong = []
    for pattern in (TRAIN_SHARDS, VAL_SHARDS):
        shards = sorted(data_path.glob(pattern))
        if not shards:
            wrong.append(f"{shown(data_path)}: no {pattern} shard there")
        for path in shards:
            try:
                shard_tokens(path)
            except (ValueError, OSError) as error:
                wrong.append(str(error))
    wrong = wrong or _changed(data_path)
    return [*wrong[:4], f"and {len(wrong) - 4} more shards like that"] if len(wrong) > 5 else wrong


def _changed(data_path: Path) -> list[str]:
    """Files that are not what the corpus' manifest says of them; those that take long to read are not looked at."""
    if not (data_path / MANIFEST_FILE).is_file():
        return []
    try:
        hashes = json.loads((data_path / MANIFEST_FILE).read_text(encoding="utf-8")).get("files_sha256", {})
    except (OSError, ValueError, AttributeError):  # none of ours
        return []
    files = {data_path / name: sha256 for name, sha256 in hashes.items()}
    return [
        f"{shown(path)}: its sha256 is not that of {MANIFEST_FILE}: changed since the corpus was made"
        for path, sha256 in files.items()
        if path.is_file() and path.stat().st_size <= HASHED_BYTES and file_sha256(path) != sha256
    ]


def _largest_token(shard: Path) -> int:
    tokens = array("H")
    with shard.open("rb") as file:
        file.seek(4 * SHARD_HEADER_INTS)
        tokens.frombytes(file.read(2 * LOOKED_AT_TOKENS))
    if byteorder == "big":
        tokens.byteswap()
    return max(tokens)


def _remedy(data_path: Path) -> str:
    if "fineweb" in data_path.name:
        return (
            "Fetch it with `python -m platform.corpus fineweb` (16 GB; what is there already stays), or run on this "
            "machine without a download: --scale laptop"
        )
    return (
        "Make it with `python -m platform.corpus text FILE...`, or point --data and --tokenizer at a folder of shards "
        "and its tokenizer, or run without any: --scale laptop"
    )


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place
