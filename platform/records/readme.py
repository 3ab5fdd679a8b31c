"""What a README claims: its tables, its prose, and what it works out (conversions, tests)."""

import re
from collections.abc import Iterator, Sequence

from .figure import Claims, Conversion, Figure, PrintedTest
from .markdown import Prose, Table, blocks
from .numbers import NUMBER, Printed, printed
from .readme_prose import prose_figures
from .readme_tables import HIGHEST_BPB, LOWEST_BPB, is_about_others, table_figures, unread_cells

LARGEST_DIFFERENCE_NATS = 1

_PAIR = re.compile(
    rf"(?P<first>{NUMBER})\s*(?P<unit>bp[bp]|nats)\b[^\d\n]{{0,12}}?(?P<second>{NUMBER})\s*(?P<other>bp[bp]|nats)\b",
    re.I,
)
_TEST = re.compile(
    rf"t-?test\b.{{0,60}}?\bagainst\s+(?P<against>{NUMBER}).{{0,80}}?\bt\s*[=≈]\s*(?P<t>{NUMBER})"
    rf"(?:.{{0,40}}?\bdf\s*[=≈]\s*(?P<df>{NUMBER}))?(?:.{{0,80}}?\bp\s*[=≈]\s*(?P<p>{NUMBER}))?",
    re.I,
)
_P_BELOW = re.compile(rf"p-?value\s*<\s*(?P<against>{NUMBER})\s*:\s*(?P<p>{NUMBER})", re.I)


def read(text: str, file: str, known_seeds: frozenset[int], logs: Sequence[str] = ()) -> Claims:
    """The claims of the README ``text``.

    Args:
        known_seeds: of the logs, to tell a seed from another whole number.
        logs: their names, after which rows of tables may be called.
    """
    figures: list[Figure] = []
    conversions: list[Conversion] = []
    tests: list[PrintedTest] = []
    lines = unread = 0
    for block in blocks(text):
        if isinstance(block, Table):
            found = list(table_figures(block, file, known_seeds, logs))
            unread += 0 if is_about_others(block.heading) else unread_cells(block, found)
            figures.extend(found)
            continue
        figures.extend(prose_figures(block, file, lines, known_seeds))
        conversions.extend(_conversions(block, file))
        tests.extend(_tests(block, file))
        lines += 1
    return Claims(figures=tuple(figures), conversions=tuple(conversions), tests=tuple(tests), unread_cells=unread)


def _conversions(block: Prose, file: str) -> Iterator[Conversion]:
    """``-0.00644 BPB / -0.01665 nats``, in either order: differences, not scores."""
    for match in _PAIR.finditer(block.plain):
        in_nats = match["unit"].lower() == "nats"
        if in_nats == (match["other"].lower() == "nats"):
            continue
        first, second = printed(match["first"]), printed(match["second"])
        if first is None or second is None:
            continue
        bpb, nats = (second, first) if in_nats else (first, second)
        if 0 < abs(bpb.value) < LOWEST_BPB and abs(nats.value) < LARGEST_DIFFERENCE_NATS:
            yield Conversion(file=file, line=block.line, raw=match[0], bpb=bpb, nats=nats)


def _tests(block: Prose, file: str) -> Iterator[PrintedTest]:
    for pattern in (_TEST, _P_BELOW):
        for match in pattern.finditer(block.plain):
            numbers: dict[str, Printed | None] = {
                name: printed(text) if text else None for name, text in match.groupdict().items()
            }
            against = numbers["against"]
            if against is not None and LOWEST_BPB < against.value < HIGHEST_BPB:
                yield PrintedTest(
                    file=file,
                    line=block.line,
                    against=against,
                    t=numbers.get("t"),
                    df=numbers.get("df"),
                    p=numbers.get("p"),
                )
