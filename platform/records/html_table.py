"""The tables that a README writes in HTML, which Markdown leaves as they are.

By patterns and not by ``html.parser``, which is quadratic in tags that are not closed: 3.4 s for 20 kB of ``<a ``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST_LINES = 500  # of one table

_TABLE = re.compile(r"<table\b", re.I)
_ROW = re.compile(r"<tr\b[^<>]*>(?P<cells>.*?)(?=</tr|<tr\b|</table|$)", re.I | re.S)
_CELL = re.compile(r"<t[dh]\b[^<>]*>(?P<text>.*?)(?=</t[dh]|<t[dh]\b|$)", re.I | re.S)


@dataclass(frozen=True, kw_only=True)
class HtmlRow:
    at: int  # index of its first line
    cells: tuple[str, ...]  # with the tags inside them


def end_of_table(lines: Sequence[str], at: int) -> int | None:
    """The index behind the table that begins in line ``at``; None where none begins, or none ends."""
    if not _TABLE.search(lines[at]):
        return None
    last = min(len(lines), at + MOST_LINES)
    return next((end + 1 for end in range(at, last) if "</table" in lines[end].lower()), None)


def rows(lines: Sequence[str], at: int, end: int) -> Iterator[HtmlRow]:
    """The rows of the table in the lines from ``at`` to before ``end``."""
    text = "\n".join(lines[at:end])
    line, seen = at, 0
    for match in _ROW.finditer(text):
        line, seen = line + text.count("\n", seen, match.start()), match.start()
        cells = tuple(" ".join(cell["text"].split()) for cell in _CELL.finditer(match["cells"]))
        yield HtmlRow(at=line, cells=cells)
