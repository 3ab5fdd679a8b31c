"""How many bytes the script of a record has, packed as it ships and unpacked; nothing of it is executed.

A self-extracting script is ``exec(lzma.decompress(base64.b85decode("...")))``: the text between the quotes is decoded
and decompressed here, with bounds on time and memory, and never compiled.
"""

import ast
import base64
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MOST_SCRIPT_BYTES = 4 << 20
MOST_UNPACKED_BYTES = 8 << 20  # a script of 8 MB is none
MOST_MEMORY_BYTES = 128 << 20  # of the decompressor: lzma preset 9 takes 65 MB
MOST_LAYERS = 3

_LITERAL = re.compile(
    r"(?P<base>b85decode|a85decode|b64decode)\(\s*(?P<literal>[rbRB]{0,2}(?:\"\"\"[^\"]*\"\"\"|'''[^']*'''|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'))"
)
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
    content = path.read_bytes()
    layers: list[str] = []
    while len(layers) < MOST_LAYERS:
        try:
            unpacked = _unpacked(content)
        except ValueError as error:
            return Script(file=name, file_bytes=size, unpacked_bytes=None, layers=tuple(layers), problem=str(error))
        if unpacked is None:
            break
        content = unpacked[1]
        layers.append(unpacked[0])
    return Script(file=name, file_bytes=size, unpacked_bytes=len(content) if layers else None, layers=tuple(layers))


def _unpacked(content: bytes) -> tuple[str, bytes] | None:
    """The way it was packed and the inside of a packed script; None where it is not packed.

    Raises:
        ValueError: it is packed, and what is inside cannot be had.
    """
    text = content.decode("utf-8", errors="replace")
    match = _LITERAL.search(text)
    if match is None or len(match["literal"]) < 200:  # a short literal is data of a program, not a program
        return None
    try:
        literal = ast.literal_eval(match["literal"])
        packed = _DECODERS[match["base"]](literal)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"its packed text cannot be decoded: {error}") from None
    kind, inside = _decompressed(packed, (text[: match.start()] + text[match.end() :]).lower())
    return f"{match['base'].removesuffix('decode')}+{kind}", inside


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
