"""What is inside a packed script, and how many bytes it has packed and unpacked; nothing of it is executed.

A self-extracting script is ``exec(lzma.decompress(base64.b85decode("...")))``: the text between the quotes is decoded
and decompressed here, with bounds on time and memory, and never compiled. The quotes may also stand in a line of their
own, ``DATA = "..."``.
"""

import ast
import base64
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MOST_SCRIPT_BYTES = 4 << 20
MOST_UNPACKED_BYTES = 8 << 20  # a script of 8 MB is none
MOST_MEMORY_BYTES = 128 << 20  # of the decompressor: lzma preset 9 takes 65 MB
MOST_LAYERS = 3

LEAST_PACKED_CHARACTERS = 200  # of a literal; a shorter one is data of a program, not a program

_QUOTED = r"[rbRB]{0,2}(?:\"\"\"[^\"]*\"\"\"|'''[^']*'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
_LITERAL = re.compile(rf"(?P<base>b85decode|a85decode|b64decode)\(\s*(?P<literal>{_QUOTED})")
_NAMED = re.compile(r"(?P<base>b85decode|a85decode|b64decode)\(\s*(?P<name>[A-Za-z_]\w*)\s*[,)]")
_RUN = re.compile(r"\bexec\(\s*(?:[\w.]+\.)?(?:b85|a85|b64)decode\(")
_DECODERS: dict[str, Callable[[bytes | str], bytes]] = {
    "b85decode": base64.b85decode,
    "a85decode": base64.a85decode,
    "b64decode": base64.b64decode,
}


@dataclass(frozen=True, kw_only=True)
class Script:
    """The bytes of a script: as it stands in the folder, and of the program inside it."""

    file: str
    file_bytes: int
    unpacked_bytes: int | None  # None: it is not packed, or could not be unpacked
    layers: tuple[str, ...] = ()
    problem: str = ""


def script(path: Path, name: str) -> Script:
    """Measure the script at ``path``."""
    size = path.stat().st_size
    if size > MOST_SCRIPT_BYTES:
        return Script(
            file=name, file_bytes=size, unpacked_bytes=None, problem="too large for a script; not looked into"
        )
    inside = look_inside(path.read_bytes())
    unpacked = len(inside.content) if inside.layers and not inside.problem else None
    return Script(file=name, file_bytes=size, unpacked_bytes=unpacked, layers=inside.layers, problem=inside.problem)


@dataclass(frozen=True, kw_only=True)
class Inside:
    """The program inside a script, as far as it can be unpacked."""

    content: bytes  # of the innermost program that could be had; of the script itself where it is not packed
    layers: tuple[str, ...]  # how it is packed, from the outside
    problem: str = ""  # why what is packed in there cannot be had


def look_inside(content: bytes) -> Inside:
    """Unpack a script, layer by layer."""
    layers: list[str] = []
    while len(layers) < MOST_LAYERS:
        try:
            unpacked = _unpacked(content)
        except ValueError as error:
            return Inside(content=content, layers=tuple(layers), problem=str(error))
        if unpacked is None:
            break
        content = unpacked[1]
        layers.append(unpacked[0])
    return Inside(content=content, layers=tuple(layers))


def _unpacked(content: bytes) -> tuple[str, bytes] | None:
    """The way it was packed and the inside of a packed script; None where it is not packed.

    Raises:
        ValueError: it is packed, and what is inside cannot be had.
    """
    found = _literal(content.decode("utf-8", errors="replace"))
    if found is None or len(found.text) < LEAST_PACKED_CHARACTERS:
        return None
    try:
        packed = _DECODERS[found.base](ast.literal_eval(found.text))
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"its packed text cannot be decoded: {error}") from None
    base = found.base.removesuffix("decode")
    if found.is_program:
        return base, packed
    kind, inside = _decompressed(packed, found.around)
    return f"{base}+{kind}", inside


class _Literal(NamedTuple):
    base: str  # its decoder
    text: str  # with its quotes
    around: str  # what else the script says, in lower case
    is_program: bool  # run as it is decoded, so not compressed


def _literal(text: str) -> _Literal | None:
    """The literal that a decoder is called with: as it stands there, or by a name that a line of its own gives it."""
    match = _LITERAL.search(text)
    call = match
    if match is None:
        call = _NAMED.search(text)
        match = call and re.search(rf"^[ \t]*{call['name']}[ \t]*=[ \t]*(?P<literal>{_QUOTED})", text, re.MULTILINE)
    if call is None or match is None:
        return None
    around = text[: match.start()] + text[match.end() :]
    return _Literal(call["base"], match["literal"], around.lower(), _RUN.search(text, 0, call.end()) is not None)


def _decompressed(packed: bytes, around: str) -> tuple[str, bytes]:
    """What the packing is called and what is inside; ``around`` is the text about the literal, in lower case."""
    try:
        kind, inside, whole = _read(packed, around)
    except Exception as error:  # each codec has its own
        raise ValueError(f"its packed text cannot be decompressed: {error}") from None
    if len(inside) > MOST_UNPACKED_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_UNPACKED_BYTES:,} bytes; stopped there")
    if not whole:
        raise ValueError("its packed text cannot be decompressed: it is cut off")
    return kind, inside


def _read(packed: bytes, around: str) -> tuple[str, bytes, bool]:
    """Kind, what is inside up to the limit and one byte more, and whether the packed data come to their end."""
    most = MOST_UNPACKED_BYTES + 1
    if packed.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        xz = lzma.LZMADecompressor(memlimit=MOST_MEMORY_BYTES)
        return "lzma", xz.decompress(packed, most), xz.eof
    if packed[:4] == b"\x28\xb5\x2f\xfd":
        import zstandard

        inside = zstandard.ZstdDecompressor(max_window_size=MOST_MEMORY_BYTES).stream_reader(packed).read(most)
        return "zstd", inside, zstandard.frame_content_size(packed) in (-1, len(inside))
    if "format_raw" in around and "filter_lzma2" in around:  # the data say nothing of themselves, the call does
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": MOST_MEMORY_BYTES // 2}]
        raw = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        return "raw lzma2", raw.decompress(packed, most), raw.eof
    if "brotli" in around:
        import brotli

        stream = brotli.Decompressor()
        return "brotli", bytes(stream.process(packed, output_buffer_limit=most)), stream.is_finished()
    if packed[:1] == b"\x78" or packed[:2] == b"\x1f\x8b":
        zipped = zlib.decompressobj(31 if packed[:1] == b"\x1f" else 15)
        return "gzip" if packed[:1] == b"\x1f" else "zlib", zipped.decompress(packed, most), zipped.eof
    raise ValueError("it is in a format that is not read here")
