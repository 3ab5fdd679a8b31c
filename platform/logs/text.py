"""Foreign text: read line by line with bounded memory, and shown without its power over a terminal or a page."""

import bz2
import gzip
import hashlib
import lzma
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

CHUNK_BYTES = 1 << 20
LINE_BYTES = 1 << 16  # of a longer line the rest is skipped; the longest line with a figure of use has some 4,000
SMALL_FILE_BYTES = 1 << 20  # of a longer README or submission file the rest is not read
SHOWN_CHARACTERS = 160
MOST_UNPACKED_BYTES = 1 << 31  # of a packed log; what follows is not read

# How a packed log is opened, by the end of its name.
PACKED: Mapping[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_COLOUR = re.compile(rb"\x1b\[[0-9;?]{0,12}[A-Za-z]")  # and a terminal's other orders: erase the line, go up
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # byte-order marks
_MARKUP = str.maketrans({"<": "‹", ">": "›", "[": "⟦", "]": "⟧", "`": "'", "|": "¦", "&": "＆"})


class RawLine(NamedTuple):
    number: int  # from 1
    content: bytes  # without line end and NULs; cut at LINE_BYTES
    ended: bool  # False for a last line without a line end: a kill may have cut it off


def raw_lines(path: Path, digest: "hashlib._Hash | None" = None) -> Iterator[RawLine]:
    """Every line of a file of any size, packed or not; ``digest`` is updated with all bytes of the text on the way.

    NULs are left out, which also reads UTF-16 text that is ASCII, and so are colours and byte-order marks. What a
    carriage return parts (the states of a progress bar) comes line by line under one number; in a file without any
    line feed it ends the lines.

    Raises:
        OSError: the file cannot be read, or its packed content is broken.
    """
    number, carry, ends_with_return = 0, b"", None
    with open_log(path) as file:
        for chunk in _chunks(file):
            if digest is not None:
                digest.update(chunk)
            if ends_with_return is None:
                chunk = next((chunk.removeprefix(mark) for mark in _MARKS if chunk.startswith(mark)), chunk)
                ends_with_return = b"\r" in chunk and b"\n" not in chunk
            if b"\0" in chunk:
                chunk = chunk.replace(b"\0", b"")
            if ends_with_return:
                chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            pieces = chunk.split(b"\n")
            pieces[0] = carry + pieces[0]
            carry = pieces.pop()
            if len(carry) > LINE_BYTES:
                states, _, last = carry.rpartition(b"\r")
                for state in _states(states):
                    yield RawLine(number + 1, state, True)
                carry = last[:LINE_BYTES]
            for piece in pieces:
                number += 1
                if b"\r" in piece:
                    for state in _states(piece):
                        yield RawLine(number, state, True)
                else:
                    yield RawLine(number, _visible(piece), True)
    left = _states(carry)
    for state in left[:-1]:
        yield RawLine(number + 1, state, True)
    if left:
        yield RawLine(number + 1, left[-1], False)


def open_log(path: Path) -> BinaryIO:
    """The text of a log, unpacked where its name says that it is packed."""
    unpack = PACKED.get(path.suffix.lower())
    return path.open("rb") if unpack is None else cast(BinaryIO, unpack(path))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """A file piece by piece. Raises OSError where its packed content is broken."""
    size = 0
    try:
        while (chunk := file.read(CHUNK_BYTES)) and size < MOST_UNPACKED_BYTES:
            size += len(chunk)
            yield chunk
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        if not size:
            raise OSError(0, f"its packed content is broken: {error}") from None


def _states(piece: bytes) -> list[bytes]:
    """What stood on a line one after the other."""
    return [_visible(state) for state in piece.split(b"\r") if state]


def _visible(piece: bytes) -> bytes:
    if len(piece) > LINE_BYTES:
        piece = piece[:LINE_BYTES]
    return _COLOUR.sub(b"", piece) if b"\x1b" in piece else piece


def small_text(path: Path) -> str:
    """The text of a file that people wrote, at most SMALL_FILE_BYTES of it."""
    with path.open("rb") as file:
        content = file.read(SMALL_FILE_BYTES)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def safe(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """``text`` for a terminal or a page: no control or direction characters, no markup, at most ``limit`` long."""
    shown = _CONTROL.sub(_named, text[: limit + 1]).translate(_MARKUP)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def safe_data(text: str, limit: int = 4096) -> str:
    """``text`` for JSON: control and direction characters named; the writer takes care of ``<``, ``>`` and ``&``."""
    return _CONTROL.sub(_named, text[:limit])


def _named(match: re.Match[str]) -> str:
    return " " if match[0] in "\t\n\r" else f"\\x{ord(match[0]):02x}"
