"""Foreign text: read line by line with bounded memory, and shown without its power over a terminal or a page."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1 << 20
LINE_BYTES = 1 << 16  # of a longer line the rest is skipped; the longest line with a figure of use has some 4,000
SMALL_FILE_BYTES = 1 << 20  # of a longer README or submission file the rest is not read
SHOWN_CHARACTERS = 160

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_COLOUR = re.compile(rb"\x1b\[[0-9;]{0,12}m")
_MARKUP = str.maketrans({"<": "‹", ">": "›", "[": "⟦", "]": "⟧", "`": "'", "|": "¦", "&": "＆"})


class RawLine(NamedTuple):
    number: int  # from 1
    content: bytes  # without line end and NULs; cut at LINE_BYTES
    ended: bool  # False for a last line without a line end: a kill may have cut it off


def raw_lines(path: Path, digest: "hashlib._Hash | None" = None) -> Iterator[RawLine]:
    """Every line of a file of any size; ``digest`` is updated with all bytes on the way.

    NULs are left out, which also reads UTF-16 text that is ASCII, and so are colours. Of a line that a progress bar
    has overwritten with carriage returns, the last state counts.
    """
    number, carry = 0, b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            if digest is not None:
                digest.update(chunk)
            if b"\0" in chunk:
                chunk = chunk.replace(b"\0", b"")
            pieces = chunk.split(b"\n")
            pieces[0] = carry + pieces[0]
            carry = pieces.pop()[:LINE_BYTES]
            for piece in pieces:
                number += 1
                yield RawLine(number, _visible(piece), True)
    if carry:
        yield RawLine(number + 1, _visible(carry), False)


def _visible(piece: bytes) -> bytes:
    if len(piece) > LINE_BYTES:
        piece = piece[:LINE_BYTES]
    if b"\x1b" in piece:
        piece = _COLOUR.sub(b"", piece)
    if b"\r" not in piece:
        return piece
    return piece.rstrip(b"\r").rpartition(b"\r")[2]


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
