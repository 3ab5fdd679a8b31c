"""A README as blocks: headings, tables of any shape, lines of prose and of code, each with its line number."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .numbers import plain

MOST_LINES = 20_000
MOST_CELLS = 64  # in a row
LONGEST_LINE = 20_000

_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(.*)")
_RULE_CELL = re.compile(r"\s*:?-+:?\s*")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
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
    heading, fence, titled = "", False, False
    at = 0
    while at < len(lines):
        line = lines[at]
        if _FENCE.match(line):
            fence = not fence
        elif fence:
            yield Prose(heading=heading, line=at + 1, raw=line.strip(), plain=line.strip(), code=True)
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


def _row(line: str, number: int) -> Row:
    inside = line.strip().removeprefix("|")
    inside = inside[:-1] if inside.endswith("|") and not inside.endswith("\\|") else inside
    cells = _SPLIT.split(inside)[:MOST_CELLS]
    return Row(line=number, cells=tuple(Cell(raw=cell.strip(), plain=plain(cell)) for cell in cells))
