"""A README as blocks: headings, tables of any shape, lines of prose and of code, each with its line number.

markdown-it finds what is code, table and heading; what it leaves is text, taken line by line. Three things
are read that no page shows as they are meant, because their numbers are claims all the same: a table whose rule has
another number of columns than its header, a table behind a list item or an HTML tag without an empty line between,
and a seed table in a block of code.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from . import html_table
from .numbers import plain

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token

MOST_LINES = 20_000
MOST_CELLS = 64  # in a row
MOST_PIPES = 20_000  # in a README: each makes three tokens of some 400 bytes
LONGEST_LINE = 20_000

_ALIGNED_HEADER = re.compile(r"seeds? (?!\d)[^:=|]*$", re.I)


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


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What markdown-it finds from one line on; lines are counted from 0."""

    end: int  # the line behind it
    code: tuple[str, ...] | None = None  # the lines between two fences
    rows: tuple[Row, ...] = ()  # of a table, its header first
    level: int = 0  # of a heading
    title: str = ""


def blocks(text: str) -> Iterator[Table | Prose]:
    """The blocks of ``text`` in their order."""
    lines = [" ".join(line[:LONGEST_LINE].split()) for line in text.splitlines()[:MOST_LINES]]  # single spaces
    lines = [line.lstrip("> ") if line.startswith(">") and "|" in line else line for line in lines]  # tables in quotes
    parts = _parts(lines)
    heading, titled = "", False
    at = 0
    while at < len(lines):
        part = parts.get(at)
        if part and part.code is not None:
            yield from _code(part.code, at + 2, heading)
        elif end := html_table.end_of_table(lines, at):
            yield from _html_table(lines, at, end, heading)
            at = end
            continue
        elif part and part.rows:
            yield Table(heading=heading, line=at + 1, header=part.rows[0], rows=part.rows[1:])
        elif part:
            title = plain(part.title)
            heading = title if titled else ""  # the title is about the whole
            titled = True
            yield Prose(heading=heading, line=at + 1, raw=part.title, plain=title, level=part.level)
        elif line := lines[at]:
            yield Prose(heading=heading, line=at + 1, raw=line, plain=plain(line))
        at = part.end if part else at + 1


# --- what markdown-it finds ------------------------------------------------------------------------------------------


@cache
def _parser() -> "MarkdownIt":
    """Blocks alone, and of these the ones that decide how a line is read.

    No lists, no indented code, no HTML blocks: they would hide the tables that authors write into them without an
    empty line. No quotations: a megabyte of quoted tables, each with a line of text behind it, takes the parser 16 s.
    """
    from markdown_it import MarkdownIt  # 40 ms, only where a README is read

    parser = MarkdownIt("zero").enable(["table", "fence", "heading"])
    parser.block.ruler.push("table_end", _ends_table, {"alt": ["blockquote"]})  # tables ask what ends quotations
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _ends_table(state: "StateBlock", line: int, last: int, silent: bool) -> bool:
    """A line without a pipe ends a table; by GitHub's rule it is one more row, of one cell."""
    return silent and state.parentType == "table" and "|" not in state.src[state.bMarks[line] : state.eMarks[line]]


def _parts(lines: Sequence[str]) -> dict[int, _Part]:
    """Code, tables and headings by the line they begin in."""
    tokens = iter(_parser().parse("\n".join(_parseable(lines)) + "\n"))
    parts: dict[int, _Part] = {}
    for token in tokens:
        if token.map is None:
            continue
        start, end = token.map
        if token.type == "fence":
            parts[start] = _Part(end=end, code=tuple(token.content.split("\n")[:-1]))
        elif token.type == "table_open":
            parts[start] = _Part(end=end, rows=tuple(_rows(tokens)))
        elif token.type == "heading_open":
            parts[start] = _Part(end=end, level=int(token.tag[1]), title=next(tokens).content)
    return parts


def _rows(tokens: Iterator["Token"]) -> Iterator[Row]:
    """The rows of the table whose tokens come next."""
    line = 0
    cells: list[Cell] = []
    for token in takewhile(lambda token: token.type != "table_close", tokens):
        if token.type == "tr_open" and token.map is not None:
            line, cells = token.map[0] + 1, []
        elif token.type == "inline":
            cells.append(Cell(raw=token.content, plain=plain(token.content)))
        elif token.type == "tr_close":
            yield Row(line=line, cells=tuple(cells))


def _parseable(lines: Iterable[str]) -> list[str]:
    """The lines as the parser gets them: no more cells than fit into memory, rules as wide as their headers."""
    fitted, left = [], MOST_PIPES
    for line in lines:
        pipes = min(line.count("|"), MOST_CELLS + 1, left)
        fitted.append("|".join(line.split("|")[: pipes + 1]))
        left -= pipes
    for at, (header, rule) in enumerate(pairwise(fitted), start=1):
        if _is_rule(rule) and "|" in header and _columns(header) != _columns(rule):
            fitted[at] = "|" + "---|" * _columns(header)
    return fitted


def _is_rule(line: str) -> bool:
    cells = line.strip("|").split("|")
    return "|" in line and all(cell.strip(" :") and not cell.strip(" :-") for cell in cells)


def _columns(line: str) -> int:
    inside = line.removeprefix("|")
    inside = inside[:-1] if inside.endswith("|") and not inside.endswith("\\|") else inside
    return inside.count("|") - inside.count("\\|") + 1


# --- what it leaves --------------------------------------------------------------------------------------------------


def _code(lines: Sequence[str], first: int, heading: str) -> Iterator[Table | Prose]:
    """The lines of a fence, the first of which has the number ``first``; a seed table that spaces part is a table."""
    at = 0
    while at < len(lines):
        if rows := _aligned_rows(lines, at, first):
            yield Table(heading=heading, line=rows[0].line, header=rows[0], rows=tuple(rows[1:]))
            at += len(rows)
        else:
            yield Prose(heading=heading, line=first + at, raw=lines[at], plain=lines[at], code=True)
            at += 1


def _aligned_rows(lines: Sequence[str], at: int, first: int) -> list[Row]:
    """The rows of a seed table in code that spaces or commas part, one word a column; empty where there is none."""
    if _ALIGNED_HEADER.match(lines[at].replace(",", " ")) and lines[at].count(",") > 1:
        commas = takewhile(lambda line: line.count(",") == lines[at].count(","), lines[at:])
        return [Row(line=first + at + index, cells=_cells(line.split(","))) for index, line in enumerate(commas)]
    width = len(lines[at].split())
    below = [line.split(" ")[0] for line in lines[at + 1 : at + 3]]  # a rule may stand between
    if width < 2 or not _ALIGNED_HEADER.match(lines[at]) or not any(map(str.isdigit, below)):
        return []
    rows = takewhile(lambda line: len(line.split()) == width and "|" not in line, lines[at:])
    return [Row(line=first + at + index, cells=_cells(line.split())) for index, line in enumerate(rows)]


def _html_table(lines: Sequence[str], at: int, end: int, heading: str) -> Iterator[Table]:
    """The ``<table>`` in these lines, read like one of pipes; nothing where it has no rows."""
    rows = [Row(line=row.at + 1, cells=_cells(row.cells[:MOST_CELLS])) for row in html_table.rows(lines, at, end)]
    if rows:
        yield Table(heading=heading, line=rows[0].line, header=rows[0], rows=tuple(rows[1:]))


def _cells(texts: Iterable[str]) -> tuple[Cell, ...]:
    return tuple(Cell(raw=text, plain=plain(text)) for text in texts)
