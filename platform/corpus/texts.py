"""One's own files as a stream of documents: plain text, JSON Lines or Parquet, read in pieces and never held whole.

What a document is:
    .jsonl .ndjson .json   one line, its ``text`` field
    .parquet               one row, its ``text`` column
    anything else          UTF-8 text, line ends made ``\\n``. Where ``<|endoftext|>`` occurs in the first MiB, what
                           lies between two of them; otherwise whole paragraphs, gathered to 4 kB. A blank line ends
                           a paragraph.

White space around a document is dropped, and so is a document in which nothing is left.
"""

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import UserError, nearest

FIELD = "text"  # the name that the published web corpora use
MARKER = "<|endoftext|>"
GATHERED_BYTES = 4096  # two pages; a book must fall into documents, or it could not be split into two parts
LONGEST_CHARACTERS = 2**20  # a document or paragraph of plain text is cut there: a file need not have line ends
LONGEST_LINE_BYTES = 2**28  # of JSON Lines; beyond it the file is more likely one big JSON value

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def documents(files: Sequence[Path]) -> Iterator[str]:
    """The documents of ``files``, in order.

    Raises:
        UserError: names the file and the line or byte of what cannot be read.
    """
    for path in files:
        if path.suffix.lower() in JSON_SUFFIXES:
            texts = _json_lines(path)
        elif path.suffix.lower() == ".parquet":
            texts = _parquet(path)
        else:
            texts = _plain(path)
        yield from (text for raw in texts if (text := raw.strip()))


def gathered(paragraphs: Iterable[str], document_bytes: int) -> Iterator[str]:
    """Documents of whole paragraphs, a blank line between two; each ends when it has ``document_bytes``."""
    held: list[str] = []
    size = 0
    for paragraph in paragraphs:
        held.append(paragraph)
        size += len(paragraph.encode()) + 2
        if size >= document_bytes:
            yield "\n\n".join(held)
            held, size = [], 0
    if held:
        yield "\n\n".join(held)


def _plain(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            marked = MARKER in file.read(LONGEST_CHARACTERS)
        yield from _parts(path, MARKER) if marked else gathered(_paragraphs(path), GATHERED_BYTES)
    except UnicodeDecodeError:
        raise UserError(
            f"{path}: not UTF-8 text: {_first_bad_byte(path)}\n"
            f"If it is text in another encoding: iconv -f LATIN1 -t UTF-8 {path.name} > utf8.txt"
        ) from None


def _paragraphs(path: Path) -> Iterator[str]:
    return (text for raw in _parts(path, "\n\n") if (text := raw.strip("\n")).strip())


def _parts(path: Path, separator: str) -> Iterator[str]:
    """The text of ``path`` between separators; a part that does not end is cut at a space now and then."""
    held = ""
    with path.open(encoding="utf-8-sig") as file:
        while block := file.read(LONGEST_CHARACTERS):
            *ended, held = (held + block).split(separator)
            yield from ended
            while len(held) > LONGEST_CHARACTERS:
                cut = held.rfind(" ", LONGEST_CHARACTERS // 2, LONGEST_CHARACTERS) + 1 or LONGEST_CHARACTERS // 2
                yield held[:cut]
                held = held[cut:]
    yield held


def _first_bad_byte(path: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, line = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(2**20)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                place = read - pending + error.start
                return f"{error.reason}, byte 0x{error.object[error.start]:02x} at offset {place:,}, line {line:,}"
            read += len(block)
            line += block.count(b"\n")


def _json_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE_BYTES):
            number += 1
            if len(line) == LONGEST_LINE_BYTES:
                raise UserError(
                    f"{path}:{number}: the line is longer than {LONGEST_LINE_BYTES:,} bytes: not JSON Lines"
                )
            if line.strip():
                yield _field(line, f"{path}:{number}")


def _field(line: bytes, place: str) -> str:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        found = error.object[error.start]
        raise UserError(f"{place}: not UTF-8: {error.reason}, byte 0x{found:02x} in column {error.start + 1}") from None
    except ValueError as error:
        raise UserError(
            f"{place}: not a JSON value on a line of its own ({error}); a file of JSON Lines has one on each"
        ) from None
    if not isinstance(record, dict):
        raise UserError(f'{place}: a {type(record).__name__}, expected an object like {{"{FIELD}": "..."}}')
    if FIELD not in record:
        raise UserError(f"{place}: no field {FIELD!r} among {', '.join(map(repr, record))}{nearest(FIELD, record)}")
    return _text(record[FIELD], f"{place}: field {FIELD!r}")


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{place} is {json.dumps(value)[:80]}, expected a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place} holds half a character, \\u{ord(value[error.start]):04x}: not UTF-8") from None
    return value


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            columns = table.schema_arrow.names
            if FIELD not in columns:
                raise UserError(
                    f"{path}: no column {FIELD!r} among {', '.join(map(repr, columns))}{nearest(FIELD, columns)}"
                )
            row = 0
            for batch in table.iter_batches(batch_size=1024, columns=[FIELD]):
                for value in batch.column(0).to_pylist():
                    row += 1
                    yield _text(value, f"{path}: row {row}, column {FIELD!r}")
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a Parquet file that can be read: {error}") from None
