"""A README as blocks: headings, tables of any shape, lines of prose and of code, each with its line number."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from .numbers import plain

MOST_LINES = 20_000
MOST_CELLS = 64  # in a row
MOST_HTML_LINES = 500  # of one table
LONGEST_LINE = 20_000

_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(.*)")
_RULE_CELL = re.compile(r"\s*:?-+:?\s*")
_FENCE = re.compile(r"\s{0,3}(?P<fence>`{3,}(?!.*`)|~{3,})(?P<rest>.*)")
_ALIGNED_HEADER = re.compile(r"seeds? (?!\d)[^:=|]*$", re.I)
_HTML_TABLE = re.compile(r"<table\b", re.I)
_HTML_ROW = re.compile(r"<tr\b[^<>]*>(?P<cells>.*?)(?=</tr|<tr\b|</table|$)", re.I | re.S)
_HTML_CELL = re.compile(r"<t[dh]\b[^<>]*>(?P<text>.*?)(?=</t[dh]|<t[dh]\b|$)", re.I | re.S)
_SPLIT = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, kw_only=True)
class Cell:
    raw: str
    plain: str


@dataclass(frozen=True, kw_only=True)
class Row:
    line: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    heading: str  # the nearest heading above, if it is not the title
    line: int
    header: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Prose:
    """A line of text under a heading; ``level`` above 0: a heading of that level; ``code``: inside a fence."""

    heading: str
    line: int
    raw: str
    plain: str
    level: int = 0
    code: bool = False


def blocks(text: str) -> Iterator[Table | Prose]:
    """The blocks of ``text`` in their order."""
    lines = [" ".join(line[:LONGEST_LINE].split()) for line in text.splitlines()[:MOST_LINES]]  # single spaces
    lines = [line.lstrip("> ") if line.startswith(">") and "|" in line else line for line in lines]  # tables in quotes
    heading, fence, titled = "", "", False
    at = 0
    while at < len(lines):
        line = lines[at]
        if fence:
            if _closes(line, fence):
                fence = ""
            elif aligned := _aligned_rows(lines, at):
                yield Table(heading=heading, line=at + 1, header=aligned[0], rows=tuple(aligned[1:]))
                at += len(aligned)
                continue
            else:
                yield Prose(heading=heading, line=at + 1, raw=line.strip(), plain=line.strip(), code=True)
        elif opened := _FENCE.match(line):
            fence = opened["fence"]
        elif _HTML_TABLE.search(line) and (end := _end_of_table(lines, at)):
            yield from _html_table(lines[at:end], at + 1, heading)
            at = end
            continue
        elif "|" in line and at + 1 < len(lines) and _is_rule(lines[at + 1]):
            table, at = _table(lines, at, heading)
            yield table
            continue
        elif match := _HEADING.match(line):
            text_of_it = plain(match[2])
            heading = text_of_it if titled else ""  # the title is about the whole
            titled = True
            yield Prose(heading=heading, line=at + 1, raw=match[2], plain=text_of_it, level=len(match[1]))
        elif line.strip():
            yield Prose(heading=heading, line=at + 1, raw=line.strip(), plain=plain(line))
        at += 1


def _aligned_rows(lines: list[str], at: int) -> list[Row]:
    """The rows of a seed table in code that spaces part, one word a column; empty where there is none."""
    width = len(lines[at].split())
    below = [line.split(" ")[0] for line in lines[at + 1 : at + 3]]  # a rule may stand between
    if width < 2 or not _ALIGNED_HEADER.match(lines[at]) or not any(map(str.isdigit, below)):
        return []
    rows = list(takewhile(lambda line: len(line.split()) == width and "|" not in line, lines[at:]))
    return [
        Row(line=at + 1 + index, cells=tuple(Cell(raw=word, plain=plain(word)) for word in line.split()))
        for index, line in enumerate(rows)
    ]


def _closes(line: str, fence: str) -> bool:
    """Whether ``line`` ends the code that ``fence`` began: the same signs, at least as many, and nothing else."""
    match = _FENCE.match(line)
    return match is not None and match["fence"].startswith(fence) and not match["rest"].strip()


def _is_rule(line: str) -> bool:
    cells = line.strip().strip("|").split("|")
    return "-" in line and "|" in line and all(_RULE_CELL.fullmatch(cell) for cell in cells)


def _table(lines: list[str], at: int, heading: str) -> tuple[Table, int]:
    header = _row(lines[at], at + 1)
    rows, end = [], at + 2
    while end < len(lines) and "|" in lines[end]:
        rows.append(_row(lines[end], end + 1))
        end += 1
    return Table(heading=heading, line=at + 1, header=header, rows=tuple(rows)), end


def _end_of_table(lines: list[str], at: int) -> int | None:
    last = min(len(lines), at + MOST_HTML_LINES)
    return next((end + 1 for end in range(at, last) if "</table" in lines[end].lower()), None)


def _html_table(lines: list[str], first: int, heading: str) -> Iterator[Table]:
    """The ``<table>`` in these lines, read like one of pipes; nothing where it has no rows."""
    text = "\n".join(lines)
    rows: list[Row] = []
    line, seen = first, 0
    for match in _HTML_ROW.finditer(text):
        line, seen = line + text.count("\n", seen, match.start()), match.start()
        rows.append(Row(line=line, cells=tuple(_html_cells(match["cells"]))))
    if rows:
        yield Table(heading=heading, line=rows[0].line, header=rows[0], rows=tuple(rows[1:]))


def _html_cells(cells: str) -> list[Cell]:
    texts = [" ".join(cell["text"].split()) for cell in _HTML_CELL.finditer(cells)][:MOST_CELLS]
    return [Cell(raw=text, plain=plain(text)) for text in texts]


def _row(line: str, number: int) -> Row:
    inside = line.strip().removeprefix("|")
    inside = inside[:-1] if inside.endswith("|") and not inside.endswith("\\|") else inside
    cells = _SPLIT.split(inside)[:MOST_CELLS]
    return Row(line=number, cells=tuple(Cell(raw=cell.strip(), plain=plain(cell)) for cell in cells))
