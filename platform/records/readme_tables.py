"""The figures of README tables: seed tables, narrow, wide or transposed, and lists of metric and value."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from .figure import Figure
from .markdown import Cell, Table
from .numbers import NUMBER, Printed, printed, printed_std
from .quantities import BPB, BYTES, DIMENSIONS, MEMORY, NATS, TIME, Meaning, meaning

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
    "what",
    "property",
    "field",
    "key",
}
VALUE_HEADERS = re.compile(r"value|this\b|ours?\b|results?\b|measured|new\b|score|mean|std|submission|run|seed", re.I)
# Words that put a number among other runs than the claimed one.
OTHER_RUNS = re.compile(
    r"ablat|baseline|previous|\bprior\b|\bsota\b|\bnaive\b|\bbase\b|without|w/o|negative|failed|compar|sweep|\bvs\b"
    r"|lineage|before|earlier|reference|\bpr ?#?\d|#\d|trade-?off|history"
    r"|did(?:n.?t| not) (?:work|help)|reject|dead ends?|experiment|breakdown"
    r"|stud(?:y|ies)|draft|expected|estimat|projected|predict|theoretical|\blocal\b|target|threshold"
    r"|requires? beating|initial|improve|\bparent\b|\bleader\b|\btried\b",
    re.I,
)
_OWN = re.compile(r"\bresults?\b|\bseeds?\b|\bmetrics\b|this (?:run|submission|work)|reproducib", re.I)
_OTHERS_FIRST = re.compile(r"[\W\d]*(?:ablat|baseline|previous|prior|naive|negative)", re.I)  # "Baseline results"
_PERHAPS_OWN = re.compile(r"experiments?|improve\w*|breakdown|compar\w*|stud(?:y|ies)|trade-?offs?", re.I)

_SEED = re.compile(r"[^\w.%]*(?:(?:random |rng )?seed[\s_=:#-]*|s)?(?P<seed>\d{1,9})(?![.,]\d|%)\W*(?:[(\[].*)?", re.I)
_NAMED_SEED = re.compile(r"seed[\s_=:#-]*(?P<seed>\d{1,9})(?!\d|\s*[/,&+]\s*\d)", re.I)  # no "mean of seed 1, 2, 3"
_COUNTED_SEED = re.compile(
    r"(?:seed|run|trial)[\s#]*\d{1,2}\s*[(\[]\s*(?:seed[\s_=:#-]*)?(?P<seed>\d{1,9})\s*[)\]]", re.I
)  # "Seed 1 (1337)"
SMALLEST_TELLING = 10  # a smaller number in a column that is not called seed may count the rows
_SEED_HEADER = re.compile(r"(?:random |rng )?seeds?\b|seed$", re.I)
_FILE_HEADER = re.compile(r"run\b|log\b|file\b|trial\b", re.I)
STANDARD_ERROR = re.compile(r"(?:std|standard)\.?[ -]?err|\bstderr\b|\bsem\b", re.I)
_UNCLEAR = re.compile(r"\((?:in )?(?:%|percent|ppm)|(?:std|sd|deviation) of (?:the )?mean", re.I)
_STATISTIC_ROWS = (
    ("sem", STANDARD_ERROR),
    ("mean", re.compile(r"mean|average|avg|μ|平均|均值|moyenne|mittel|^\W*media\b", re.I)),
    ("std", re.compile(r"std|stdev|standard dev|σ|±|标准差|écart|standardabw", re.I)),
    ("range", re.compile(r"range|spread", re.I)),
    ("max", re.compile(r"max|worst", re.I)),
    ("min", re.compile(r"min\b|minimum|best", re.I)),
)
_TWO_NUMBERS = re.compile(rf"\W*{NUMBER}\s*(?:/|-|,|to|\.\.+)\s*{NUMBER}", re.I)
_OF_EVERY_LOG = re.compile(r"train(?:ing)?|logs?|runs?|seed|eval|txt|out|final|results?|the|of|and|with|no|\d")
_PLAIN_SCORE = re.compile(
    r"(?:val[ _]?)?bp[bp](?:\s*[↓]|\s*\((?:exact|rounded|full|\d+ d(?:igits|ecimals|p)).*\))?", re.I
)

LOWEST_BPB, HIGHEST_BPB = Decimal("0.3"), Decimal(9)  # a score, not a difference; not a loss of an untrained model


def is_about_others(heading: str) -> bool:
    """Whether what stands under a heading is about other runs; results are results though they are compared."""
    return bool(_OTHERS_FIRST.match(heading)) or bool(OTHER_RUNS.search(heading) and not _OWN.search(heading))


def seed_of(text: str, known: frozenset[int] = frozenset(), *, named: bool = False) -> int | None:
    """The seed that a cell gives.

    Args:
        known: the seeds of the logs.
        named: only where the cell says the word, or is a known seed and nothing else.
    """
    counted = _COUNTED_SEED.search(text)
    if counted and int(counted["seed"]) in known:
        return int(counted["seed"])
    whole = _SEED.fullmatch(text.strip())
    if whole and (_is_telling(whole, known) if named or "#" in text else True):
        return int(whole["seed"])
    match = _NAMED_SEED.search(text)
    return int(match["seed"]) if match else None


def _is_telling(match: re.Match[str], known: frozenset[int]) -> bool:
    seed = int(match["seed"])
    return seed in known and seed >= SMALLEST_TELLING


def table_figures(table: Table, file: str, known_seeds: frozenset[int], logs: Sequence[str] = ()) -> Iterator[Figure]:
    """Every figure of ``table`` whose column or row names something that a log has; ``logs``: their names."""
    headers = [cell.plain for cell in table.header.cells]
    seeds = _header_seeds(headers, known_seeds)
    if (column := _seed_column(table, known_seeds)) is not None:
        yield from _seed_table(table, file, column, known_seeds)
    elif len(seeds) >= 2:
        yield from _transposed(table, file, seeds, _is_other_table(table, seeds.values(), known_seeds))
    elif headers and headers[0].lower() in SEEDLESS_HEADERS and len(headers) >= 2:
        yield from _metric_table(table, file, known_seeds)
    else:
        yield from _named_table(table, file, logs)


def unread_cells(table: Table, figures: Sequence[Figure]) -> int:
    """How many cells of a table are numbers that were not read, in columns that name something that a log has."""
    meant = [index for index, cell in enumerate(table.header.cells) if meaning(cell.plain)]
    numbers = sum(
        1 for row in table.rows for index in meant if index < len(row.cells) and printed(row.cells[index].plain)
    )
    return max(0, numbers - len({(figure.line, figure.item) for figure in figures}))


def _named_table(table: Table, file: str, logs: Sequence[str]) -> Iterator[Figure]:
    """Rows that are called after their logs: ``alpha_d704`` of ``train_alpha.log``."""
    headers = [cell.plain for cell in table.header.cells]
    meanings = [meaning(header) for header in headers]
    name_column = next((index for index, meant in enumerate(meanings) if meant is None), None)
    if name_column is None or sum(meant is not None for meant in meanings) < 2:
        return
    for row in table.rows:
        if name_column >= len(row.cells) or len(row.cells) < 2:
            continue
        log = log_called(row.cells[name_column].plain, logs)
        if log is None:
            continue
        for index, (cell, meant) in enumerate(zip(row.cells, meanings, strict=False)):
            if meant is None or index == name_column:
                continue
            yield from _cell_figures(
                cell,
                meant,
                file=file,
                line=row.line,
                item=f"{row.cells[name_column].plain} · {headers[index]}",
                log=log,
                loose=is_about_others(table.heading),
            )


def log_called(name: str, logs: Sequence[str]) -> str | None:
    """The one log whose name has the most words of a row's name; None where none has one, or several have as many."""
    words = set(_words(name))
    shared = {log: len(words & set(_words(log.rpartition("/")[2].partition(".")[0]))) for log in logs}
    most = max(shared.values(), default=0)
    best = [log for log, count in shared.items() if count == most]
    return best[0] if most and len(best) == 1 else None


def _words(name: str) -> list[str]:
    """What tells a name from others: its words and numbers, without those that every log has in its name."""
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word and not _OF_EVERY_LOG.fullmatch(word)]


def _seed_column(table: Table, known: frozenset[int]) -> int | None:
    """The column of seeds: by its name, else the one in which known seeds stand, each once."""
    columns = range(len(table.header.cells))
    for index in columns:
        header = table.header.cells[index].plain
        named = not _SEED_HEADER.match(header)
        if seed_of(header, known, named=True) is not None:
            continue  # a column of one seed
        if named and not (_FILE_HEADER.match(header) or (index == 0 and not header)):
            continue
        if any(seed_of(text, known, named=named) is not None for text in _column(table, index)):
            return index
    for index in columns:
        matches = [match for text in _column(table, index) if (match := _SEED.fullmatch(text))]
        seeds = [int(match["seed"]) for match in matches if _is_telling(match, known)]
        if len(seeds) >= 2 and len(seeds) == len(set(seeds)) == len(matches):
            return index
    return None


def _column(table: Table, index: int) -> list[str]:
    return [row.cells[index].plain for row in table.rows if index < len(row.cells)]


def _seed_table(table: Table, file: str, seed_column: int, known: frozenset[int]) -> Iterator[Figure]:
    headers = [cell.plain for cell in table.header.cells]
    meanings = [meaning(header) if index != seed_column else None for index, header in enumerate(headers)]
    named = not _SEED_HEADER.match(headers[seed_column])
    if any(OTHER_RUNS.search(header) for header in headers):  # then a difference is one to another run
        meanings = [None if meant and meant.quantity == "gain" else meant for meant in meanings]
    quantities = [meant.quantity for meant in meanings if meant]
    rows = [row for row in table.rows if seed_column < len(row.cells) and not _is_of_others(row.cells[seed_column])]
    seeds = [seed_of(row.cells[seed_column].plain, known, named=named) for row in rows]
    other, times = _is_other_table(table, seeds, known), Counter(seeds)
    for row, seed in zip(rows, seeds, strict=True):
        name = row.cells[seed_column].plain
        statistic = None if seed is not None else row_statistic(name)
        if seed is None and statistic is None:
            continue
        for index, (cell, meant) in enumerate(zip(row.cells, meanings, strict=False)):
            if meant is None:
                continue
            twice = quantities.count(meant.quantity) > 1
            plainly = twice and _PLAIN_SCORE.fullmatch(headers[index]) is not None
            yield from _cell_figures(
                cell,
                replace(meant, quantity="any_bpb") if plainly else meant,
                file=file,
                line=row.line,
                item=f"{'seed ' + str(seed) if seed is not None else name} · {headers[index]}",
                seed=seed,
                statistic=statistic or "value",
                group=f"{file}:{table.line}:{index}",
                loose=other or (seed is not None and times[seed] > 1),
                unsure=twice and not plainly,
            )


def _is_of_others(name: Cell) -> bool:
    return OTHER_RUNS.search(name.plain.lstrip("# ")) is not None  # "#42" is a seed, "PR #42" is not


def _is_other_table(table: Table, seeds: Iterable[int | None], known: frozenset[int]) -> bool:
    """Whether a table is about other runs by its heading; "Experiments" with the seeds of the logs alone are own."""
    found = {seed for seed in seeds if seed is not None}
    own = len(found) >= 2 and found <= known
    return is_about_others(_PERHAPS_OWN.sub("", table.heading) if own else table.heading)


def _header_seeds(headers: list[str], known: frozenset[int]) -> dict[int, int]:
    found = {}
    for index, header in enumerate(headers[1:], start=1):
        named = seed_of(header, known, named=True)
        seed = named if named is not None else seed_of(header, known)
        if seed is not None and (named is not None or seed in known):
            found[index] = seed
    return found


def _transposed(table: Table, file: str, seeds: dict[int, int], other: bool) -> Iterator[Figure]:
    headers = [cell.plain for cell in table.header.cells]
    for row in table.rows:
        meant = meaning(row.cells[0].plain)
        if meant is None:
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
                meant,
                file=file,
                line=row.line,
                item=f"{row.cells[0].plain} · {headers[index]}",
                seed=seed,
                statistic=statistic or "value",
                group=f"{file}:{row.line}:row",
                loose=other,
            )


def _metric_table(table: Table, file: str, known: frozenset[int]) -> Iterator[Figure]:
    headers = [cell.plain for cell in table.header.cells]
    columns = [
        index
        for index, header in enumerate(headers)
        if index and not OTHER_RUNS.search(header) and (len(headers) == 2 or VALUE_HEADERS.match(header))
    ]
    for row in table.rows:
        name = row.cells[0].plain
        meant = meaning(name)
        if meant is None or OTHER_RUNS.search(name):
            continue
        for index in columns:
            if index >= len(row.cells):
                continue
            seed = seed_of(name, known, named=True)
            seed = seed_of(headers[index], known, named=True) if seed is None else seed
            statistic = meant.statistic if meant.statistic != "value" else row_statistic(headers[index])
            yield from _cell_figures(
                row.cells[index],
                meant,
                file=file,
                line=row.line,
                item=name if len(headers) == 2 else f"{name} · {headers[index]}",
                seed=seed,
                statistic="value" if seed is not None else statistic or "claim",
                group="",
                loose=is_about_others(table.heading),
            )


def row_statistic(name: str) -> str | None:
    """Which statistic a row or column called ``name`` gives; None where it is none that is compared."""
    if _UNCLEAR.search(name):
        return None
    return next((statistic for statistic, pattern in _STATISTIC_ROWS if pattern.search(name)), None)


def _cell_figures(cell: Cell, meant: Meaning, **place: object) -> Iterator[Figure]:
    number = printed(cell.plain, raw=cell.raw)
    if number is None or not _fits(cell, number):
        return
    number = in_unit(number, meant)
    if number is None:
        return
    figure = Figure(number=number, quantity=meant.quantity, **place)  # type: ignore[arg-type]
    if meant.statistic in ("std", "variance") and figure.statistic == "value":
        figure = replace(figure, statistic=meant.statistic)
    extremes = figure.statistic in ("range", "max", "min") and DIMENSIONS[meant.quantity] in (BPB, NATS)
    if extremes and _TWO_NUMBERS.match(cell.plain):
        return  # "1.1192 to 1.1196"
    if not is_plausible(figure, meant):
        return
    yield figure
    spread = printed_std(cell.plain)
    if spread and figure.statistic in ("mean", "claim"):
        yield replace(figure, number=spread, statistic="std", item=f"{figure.item} std")


def _fits(cell: Cell, number: Printed) -> bool:
    """Whether the cell is a number, perhaps with a unit and a remark, not a sentence with a number in it."""
    before = cell.plain[:12].lstrip("~≈+-. ")
    return before[:1].isdigit() and "→" not in cell.plain and "->" not in cell.plain


def is_plausible(figure: Figure, found: Meaning) -> bool:
    """Whether a number can be what its name says: under "TTT" stand scores, and settings ("3 epochs") too."""
    is_score = DIMENSIONS[found.quantity] in (BPB, NATS) and found.quantity not in ("gain", "quant_gap")
    if found.says_unit or not is_score or figure.statistic in ("std", "sem", "variance", "range"):
        return True
    return LOWEST_BPB < figure.number.value < HIGHEST_BPB and figure.number.decimals > 0


def in_unit(number: Printed, found: Meaning) -> Printed | None:
    """The number with the unit that its name gives; None where its unit contradicts what it should be."""
    dimension = DIMENSIONS[found.quantity]
    if number.unit == "%":
        return None  # a share of something that is not said
    if number.dimension and number.dimension != dimension and dimension in (TIME, BYTES, BPB, NATS):
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
