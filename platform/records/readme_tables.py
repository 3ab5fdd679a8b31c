"""The figures of README tables: seed tables, narrow, wide or transposed, and lists of metric and value."""

import re
from collections.abc import Iterator
from dataclasses import replace

from .figure import Figure
from .markdown import Cell, Table
from .numbers import Printed, printed, printed_std
from .quantities import BYTES, DIMENSIONS, MEMORY, TIME, Meaning, meaning

SEEDLESS_HEADERS = {
    "",
    "metric",
    "metrics",
    "measure",
    "quantity",
    "item",
    "statistic",
    "stat",
    "result",
    "field",
    "key",
}
VALUE_HEADERS = re.compile(r"value|this\b|ours?\b|results?\b|measured|new\b|score|mean|std|submission|run|seed", re.I)
# Words that put a number among other runs than the claimed one.
OTHER_RUNS = re.compile(
    r"ablat|baseline|previous|\bprior\b|\bsota\b|\bnaive\b|\bbase\b|without|w/o|negative|failed|compar|sweep|\bvs\b"
    r"|lineage|before|earlier|reference|\bpr ?#?\d|#\d|trade-?off|history|didn.?t work|experiment|breakdown"
    r"|stud(?:y|ies)|draft|expected|estimat|projected|predict|theoretical|\blocal\b|target|threshold"
    r"|requires? beating|initial|improve",
    re.I,
)

_OWN = re.compile(r"\bresults?\b|\bseeds?\b|\bmetrics\b|this (?:run|submission|work)|reproducib", re.I)

_SEED = re.compile(r"(?:(?:random |rng )?seed[\s_=:#]*|s)?(?P<seed>\d{1,9})(?:\s*[(*†‡\[].*)?", re.I)
_NAMED_SEED = re.compile(r"seed[\s_=:#]*(?P<seed>\d{1,9})", re.I)
_SEED_HEADER = re.compile(r"(?:random |rng )?seeds?\b|seed$", re.I)
_FILE_HEADER = re.compile(r"run\b|log\b|file\b|trial\b", re.I)
_STATISTIC_ROWS = (
    ("mean", re.compile(r"mean|average|avg|μ", re.I)),
    ("std", re.compile(r"std|stdev|standard dev|σ|±", re.I)),
    ("range", re.compile(r"range|spread", re.I)),
    ("max", re.compile(r"max|worst", re.I)),
    ("min", re.compile(r"min\b|minimum|best", re.I)),
)


def is_about_others(heading: str) -> bool:
    """Whether what stands under a heading is about other runs; results are results though they are compared."""
    return bool(OTHER_RUNS.search(heading)) and not _OWN.search(heading)


def seed_of(text: str, *, named: bool = False) -> int | None:
    """The seed that a cell gives; ``named``: only where the cell says the word."""
    match = _NAMED_SEED.search(text) if named else _SEED.fullmatch(text.strip()) or _NAMED_SEED.search(text)
    return int(match["seed"]) if match else None


def table_figures(table: Table, file: str, known_seeds: frozenset[int]) -> Iterator[Figure]:
    """Every figure of ``table`` whose column or row names something that a log has."""
    headers = [cell.plain for cell in table.header.cells]
    other = is_about_others(table.heading)
    if (column := _seed_column(table)) is not None:
        yield from _seed_table(table, file, column, other)
    elif len(_header_seeds(headers, known_seeds)) >= 2:
        yield from _transposed(table, file, _header_seeds(headers, known_seeds), other)
    elif headers and headers[0].lower() in SEEDLESS_HEADERS and len(headers) >= 2:
        yield from _metric_table(table, file, other)


def _seed_column(table: Table) -> int | None:
    for index, cell in enumerate(table.header.cells):
        named = not _SEED_HEADER.match(cell.plain)
        if named and not (_FILE_HEADER.match(cell.plain) or (index == 0 and not cell.plain)):
            continue
        cells = [row.cells[index].plain for row in table.rows if index < len(row.cells)]
        if any(seed_of(text, named=named) is not None for text in cells):
            return index
    return None


def _seed_table(table: Table, file: str, seed_column: int, other: bool) -> Iterator[Figure]:
    headers = [cell.plain for cell in table.header.cells]
    meanings = [meaning(header) if index != seed_column else None for index, header in enumerate(headers)]
    named = not _SEED_HEADER.match(headers[seed_column])
    if any(OTHER_RUNS.search(header) for header in headers):  # then a difference is one to another run
        meanings = [None if found and found.quantity == "gain" else found for found in meanings]
    quantities = [found.quantity for found in meanings if found]
    for row in table.rows:
        if seed_column >= len(row.cells):
            continue
        name = row.cells[seed_column].plain
        seed = seed_of(name, named=named)
        statistic = None if seed is not None else row_statistic(name)
        if seed is None and statistic is None:
            continue
        for index, (cell, found) in enumerate(zip(row.cells, meanings, strict=False)):
            if found is None:
                continue
            yield from _cell_figures(
                cell,
                found,
                file=file,
                line=row.line,
                item=f"{'seed ' + str(seed) if seed is not None else name} · {headers[index]}",
                seed=seed,
                statistic=statistic or "value",
                group=f"{file}:{table.line}:{index}",
                loose=other or quantities.count(found.quantity) > 1,
            )


def _header_seeds(headers: list[str], known: frozenset[int]) -> dict[int, int]:
    found = {}
    for index, header in enumerate(headers[1:], start=1):
        named = seed_of(header, named=True)
        seed = named if named is not None else seed_of(header)
        if seed is not None and (named is not None or seed in known):
            found[index] = seed
    return found


def _transposed(table: Table, file: str, seeds: dict[int, int], other: bool) -> Iterator[Figure]:
    headers = [cell.plain for cell in table.header.cells]
    for row in table.rows:
        found = meaning(row.cells[0].plain)
        if found is None:
            continue
        for index, cell in enumerate(row.cells[1:], start=1):
            if index >= len(headers):
                break
            seed = seeds.get(index)
            statistic = None if seed is not None else row_statistic(headers[index])
            if seed is None and statistic is None:
                continue
            yield from _cell_figures(
                cell,
                found,
                file=file,
                line=row.line,
                item=f"{row.cells[0].plain} · {headers[index]}",
                seed=seed,
                statistic=statistic or "value",
                group=f"{file}:{row.line}:row",
                loose=other,
            )


def _metric_table(table: Table, file: str, other: bool) -> Iterator[Figure]:
    headers = [cell.plain for cell in table.header.cells]
    columns = [
        index
        for index, header in enumerate(headers)
        if index and not OTHER_RUNS.search(header) and (len(headers) == 2 or VALUE_HEADERS.match(header))
    ]
    for row in table.rows:
        name = row.cells[0].plain
        found = meaning(name)
        if found is None or OTHER_RUNS.search(name):
            continue
        for index in columns:
            if index >= len(row.cells):
                continue
            seed = seed_of(name, named=True)
            seed = seed_of(headers[index], named=True) if seed is None else seed
            statistic = found.statistic if found.statistic != "value" else row_statistic(headers[index])
            yield from _cell_figures(
                row.cells[index],
                found,
                file=file,
                line=row.line,
                item=name if len(headers) == 2 else f"{name} · {headers[index]}",
                seed=seed,
                statistic="value" if seed is not None else statistic or "claim",
                group="",
                loose=other,
            )


def row_statistic(name: str) -> str | None:
    """Which statistic a row or column called ``name`` gives; None where it is no statistic."""
    return next((statistic for statistic, pattern in _STATISTIC_ROWS if pattern.search(name)), None)


def _cell_figures(cell: Cell, found: Meaning, **place: object) -> Iterator[Figure]:
    number = printed(cell.plain, raw=cell.raw)
    if number is None or not _fits(cell, number):
        return
    number = in_unit(number, found)
    if number is None:
        return
    figure = Figure(number=number, quantity=found.quantity, **place)  # type: ignore[arg-type]
    if found.statistic in ("std", "variance") and figure.statistic == "value":
        figure = replace(figure, statistic=found.statistic)
    yield figure
    spread = printed_std(cell.plain)
    if spread and figure.statistic in ("mean", "claim"):
        yield replace(figure, number=spread, statistic="std", item=f"{figure.item} std")


def _fits(cell: Cell, number: Printed) -> bool:
    """Whether the cell is a number, perhaps with a unit and a remark, not a sentence with a number in it."""
    before = cell.plain[:12].lstrip("~≈+-. ")
    return before[:1].isdigit() and "→" not in cell.plain and "->" not in cell.plain


def in_unit(number: Printed, found: Meaning) -> Printed | None:
    """The number with the unit that its name gives; None where its unit contradicts what it should be."""
    dimension = DIMENSIONS[found.quantity]
    if number.dimension and number.dimension != dimension and dimension in (TIME, BYTES):
        return None
    if dimension == MEMORY:
        return number.with_unit("MiB") if number.unit == "" else number if number.dimension == BYTES else None
    if dimension == BYTES and number.unit == "M":
        return number.with_unit("MB")
    if number.unit:
        return number if dimension in (TIME, BYTES) or number.unit in ("M", "K") else number.with_unit("")
    if found.unit:
        return number.with_unit(found.unit)
    if dimension == BYTES and abs(number.value) < 1000:
        return number.with_unit("MB") if 1 < abs(number.value) < 100 and number.decimals else None
    if dimension == TIME and found.quantity == "step_ms":
        return number.with_unit("ms")
    return number
