"""A table of texts, as Markdown and on a terminal.

Texts that come from a run (names, reasons, logs) are shown as plain text: no markup, no terminal escapes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

NOTHING = "–"

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f]")
_MARKUP = re.compile(r"([\\`*\[\]<>|#~&$]|(?<!\w)_|_(?!\w))")  # inside a word an underscore is just that


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts; the first columns are left-aligned, the others right-aligned."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""  # what the numbers are and which files they come from; our own text, may be Markdown
    summary_rows: int = 0  # how many of the last rows sum up the others: bold
    left: int = 1  # how many of the first columns are left-aligned


def print_table(table: Table) -> None:
    """Print a table on standard output, under its title."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    out = console()
    grid = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for index, column in enumerate(table.columns):
        width = max((len(row[index]) for row in table.rows), default=0)
        header = "\n".join(wrap(clean(column), max(width, 8), break_long_words=False))
        grid.add_column(Text(header), justify="left" if index < table.left else "right", vertical="bottom")
    for left, row in zip(range(len(table.rows), 0, -1), table.rows, strict=True):
        grid.add_row(*(Text(clean(cell)) for cell in row), style="bold" if left <= table.summary_rows else "")
    out.print(Text(f"\n{table.title}", style="bold"))
    out.print(grid)


def markdown(text: str) -> str:
    """``text`` as Markdown that shows it as it is."""
    return _MARKUP.sub(r"\\\1", clean(text))


def markdown_table(table: Table) -> list[str]:
    """The lines of the table alone, without title and note."""

    def line(cells: Sequence[str], mark: str = "") -> str:
        return f"| {' | '.join(f'{mark}{markdown(cell)}{mark}' for cell in cells)} |"

    rule = "|".join("---" if index < table.left else "---:" for index in range(len(table.columns)))
    plain, bold = table.rows[: len(table.rows) - table.summary_rows], table.rows[len(table.rows) - table.summary_rows :]
    return [line(table.columns), f"|{rule}|", *(line(row) for row in plain), *(line(row, "**") for row in bold)]


def clean(text: str) -> str:
    """``text`` without terminal escapes and control characters."""
    return _CONTROL.sub(" ", text)


def console() -> "Console":
    """Where tables are printed: standard output, in lines as long as they are."""
    from rich.console import Console

    return Console(highlight=False, width=1000)  # never break a number; the terminal may break a long line
