"""Markdown as blocks: text in, tables and lines with their numbers out."""

from collections.abc import Sequence

import pytest

from platform.records.markdown import MOST_CELLS, Prose, Table, blocks

HEADER, RULE, ROW = "| Seed | BPB |", "|---|---|", "| 42 | 1.1 |"
CELLS = [["Seed", "BPB"], ["42", "1.1"]]


def read(*lines: str) -> list[tuple]:
    """Each block in short: tables as lines and cells, prose as line, level or "code", and text."""
    return [
        (block.line, [[cell.raw for cell in row.cells] for row in (block.header, *block.rows)])
        if isinstance(block, Table)
        else (block.line, "code" if block.code else block.level, block.raw)
        for block in blocks("\n".join(lines))
    ]


def the_table(*lines: str) -> Table:
    (table,) = [block for block in blocks("\n".join(lines)) if isinstance(block, Table)]
    return table


def test_each_block_has_its_line() -> None:
    assert read("# Title", "", "text", HEADER, RULE, ROW, "more", "```", "x = 1", "", "```", "- an item") == [
        (1, 1, "Title"),
        (3, 0, "text"),
        (4, CELLS),
        (7, 0, "more"),
        (9, "code", "x = 1"),
        (10, "code", ""),
        (12, 0, "- an item"),
    ]


def test_each_row_has_its_line_and_each_cell_its_plain_text() -> None:
    table = the_table("", "| **Seed** | `val_bpb` |", "|:--|--:|", r"| 42 | **1.1** \| 1.2 |", "| 7 |", "| 1 | 2 | 3 |")
    assert (table.line, table.header.line, [row.line for row in table.rows]) == (2, 2, [4, 5, 6])
    assert [cell.plain for cell in table.header.cells] == ["Seed", "val_bpb"]
    assert [[cell.plain for cell in row.cells] for row in table.rows] == [["42", "1.1 | 1.2"], ["7", ""], ["1", "2"]]


@pytest.mark.parametrize(
    ("before", "lines"),
    {
        "after text": (["text"], [HEADER, RULE, ROW]),
        "after a list item": (["- item"], [HEADER, RULE, ROW]),
        "in a list item": (["- item"], ["  " + line for line in (HEADER, RULE, ROW)]),
        "indented like code": (["", ""], ["      " + line for line in (HEADER, RULE, ROW)]),
        "in details": (["<details>", "<summary>Seeds</summary>"], [HEADER, RULE, ROW]),
        "in a quotation": (["> text"], ["> " + line for line in (HEADER, RULE, ROW)]),
        "without outer pipes": ([], ["Seed | BPB", "--- | ---", "42 | 1.1"]),
        "rule too long": ([], [HEADER, "|---|---|---|", ROW]),
        "rule too short": ([], [HEADER, "|:-:|", ROW]),
        "rule of colons": ([], [HEADER, "| :-: | --: |", ROW]),
        "after a shorter fence in a fence": (["````", "```", "````"], [HEADER, RULE, ROW]),
        "after tildes around backquotes": (["~~~", "```", "~~~"], [HEADER, RULE, ROW]),
    }.values(),
)
def test_a_table_is_found_wherever_it_stands(before: Sequence[str], lines: Sequence[str]) -> None:
    table = the_table(*before, *lines)
    assert table.line == len(before) + 1
    assert [[cell.plain for cell in row.cells] for row in (table.header, *table.rows)] == CELLS
    assert [row.line for row in table.rows] == [len(before) + 3]


def test_a_line_without_a_pipe_ends_a_table_and_the_next_begins() -> None:
    assert read(HEADER, RULE, ROW, "Mean: 1.1", HEADER, RULE, ROW) == [(1, CELLS), (4, 0, "Mean: 1.1"), (5, CELLS)]


def test_what_is_in_a_fence_is_code() -> None:
    code = [HEADER, RULE, ROW, "# no heading", "<table><tr><td>1</td></tr></table>"]
    told = [(number, "code", line) for number, line in enumerate(code, start=2)]
    assert read("```text", *code, "```") == told
    assert read("```", *code) == told, "a fence without end lasts to the end"
    assert read("~~~", *code, "~~~~", "text")[-1] == (8, 0, "text")


def test_columns_in_code_that_spaces_part_are_a_seed_table() -> None:
    assert read("```", "Seed    BPB", "----    ---", "42      1.1", "", "```") == [
        (2, [["Seed", "BPB"], ["----", "---"], ["42", "1.1"]]),
        (5, "code", ""),
    ]


def test_html_tables_have_lines_too() -> None:
    table = the_table(
        "text", "<table>", "<tr><th>Seed</th><th>BPB</th></tr>", "", "<tr><td>42</td>", "<td>1.1", "</table>"
    )
    assert (table.header.line, [row.line for row in table.rows]) == (3, [5])
    assert [[cell.plain for cell in row.cells] for row in (table.header, *table.rows)] == CELLS


def test_headings_are_without_their_signs_and_the_title_is_about_nothing() -> None:
    found = list(blocks("# The **title** #\ntext\n## Baseline ##\ntext\n#none\n"))
    assert all(isinstance(block, Prose) for block in found)
    assert [(block.level, block.plain, block.heading) for block in found if isinstance(block, Prose)] == [
        (1, "The title", ""),
        (0, "text", ""),
        (2, "Baseline", "Baseline"),
        (0, "text", "Baseline"),
        (0, "#none", "Baseline"),
    ]


def test_a_row_has_at_most_so_many_cells() -> None:
    wide = "| a " * 500 + "|"
    assert len(the_table(wide, "|---" * 500 + "|", wide).rows[0].cells) <= MOST_CELLS + 1
