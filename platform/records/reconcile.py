"""Every printed figure against what the logs measured."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from ..rules.challenge import limits
from .evidence import Measured, SeedEvidence
from .figure import Figure
from .numbers import Printed, Status, agreement
from .quantities import BPB, BYTES, COUNTED, DIMENSIONS, NATS, TIME

SCORES = ("score", "ttt", "sliding", "either", "any_bpb")
LOSSES = ("loss", "any_loss")

# What else a figure of this quantity may be where its name speaks of training, or where it stands beside a score.
ANY = {"score": "any_bpb", "loss": "any_loss"}
_CLAIMABLE = ("score", "ttt", "sliding", "either", "loss")
_OF_TRAINING = re.compile(r"train|step|raw|diag|\bpre", re.I)

SPREADS = ("std", "sem", "variance", "range", "spread")
SAME = (Status.EXACT, Status.ROUNDED, Status.TRUNCATED)
LEAST_DIGITS = 4  # of a number that is looked for under other names

_ORDER = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How one printed figure stands to the logs."""

    figure: Figure
    status: Status
    measured: Decimal | None = None  # in base units; the nearest value where nothing agrees
    field: str = ""
    log: str = ""  # file:line of the measured value
    note: str = ""

    @property
    def contradicts(self) -> bool:
        """A number that stands among other runs and matches nothing is no contradiction."""
        return self.status is Status.MISMATCH and not self.figure.loose


def reconcile(
    figures: Sequence[Figure],
    seeds: Sequence[SeedEvidence],
    *,
    missing_seeds: int = 0,
    unscored: Sequence[SeedEvidence] = (),
    aside: Sequence[SeedEvidence] = (),
) -> list[Finding]:
    """One finding for each figure, in their order.

    A figure is contradicted by a measured value of the same quantity alone, and only where no log of the folder has it.

    Args:
        seeds: the logs of the claim.
        missing_seeds: how many seeds of the claim have no log; then no statistic over seeds can be measured.
        unscored: logs of the claim that end before the score; what else they say counts.
        aside: the other logs of the folder.
    """
    of_seeds = {
        id(figure): _of_seed(figure, (*seeds, *aside) if figure.log else seeds)
        for figure in figures
        if figure.seed is not None or figure.log
    }
    of_seeds |= {key: _of_seed(of_seeds[key].figure, seeds, anything=True) for key in _beside_scores(of_seeds)}
    columns = _Columns(figures, of_seeds)
    short = any(_seed_count(one, seeds).status is Status.NO_LOG for one in figures if one.quantity == "seeds")
    complete = missing_seeds == 0 and not short
    findings = {
        id(figure): of_seeds.get(id(figure)) or _over_seeds(figure, seeds, columns, complete) for figure in figures
    }
    for key in _beside_scores(findings):
        figure = findings[key].figure
        if figure.seed is None and figure.file.lower().startswith("readme") and not figure.item.startswith("headline"):
            findings[key] = _over_seeds(figure, seeds, columns, complete, anything=True)
    others = (*unscored, *aside)
    columns.learn(findings)
    told = [_explained(_of_the_rest(findings[id(figure)], unscored), seeds, others, columns) for figure in figures]
    return [columns.sure(finding) for finding in told]


def _beside_scores(findings: Mapping[int, Finding]) -> list[int]:
    """Contradicted scores and losses of which another one in the same file is right: of a seed, or of the record."""
    right = {
        (finding.figure.file, finding.figure.seed, DIMENSIONS[finding.figure.quantity])
        for finding in findings.values()
        if finding.status.agrees and finding.figure.quantity in _CLAIMABLE
    }
    return [
        key
        for key, finding in findings.items()
        if finding.status is Status.MISMATCH
        and finding.figure.quantity in ANY
        and (finding.figure.file, finding.figure.seed, DIMENSIONS[finding.figure.quantity]) in right
    ]


class _Columns:
    """What the rows of a column turned out to be: which fact they print, and their printed values."""

    def __init__(self, figures: Sequence[Figure], findings: dict[int, Finding]) -> None:
        self._rows: dict[str, list[Finding]] = {}
        self._of_seeds: list[Figure] = []
        for figure in figures:
            if figure.seed is not None and figure.group and figure.statistic == "value":
                self._rows.setdefault(figure.group, []).append(findings[id(figure)])

    def facts(self, figure: Figure) -> set[str]:
        """The facts that the rows of the figure's column agree with."""
        rows = self._rows.get(figure.group, []) if figure.group else []
        return {row.field for row in rows if row.status.agrees and row.field}

    def learn(self, findings: Mapping[int, Finding]) -> None:
        """Know the figures of seeds that no log speaks of as well."""
        self._of_seeds = [finding.figure for finding in findings.values() if finding.figure.seed is not None]

    def sure(self, finding: Finding) -> Finding:
        """The finding as one that contradicts nothing where its column may be of something else than its name says."""
        figure = finding.figure
        if not figure.unsure or finding.status is not Status.MISMATCH:
            return finding
        rows = [row for row in self._rows.get(figure.group, []) if row.figure is not figure and not row.figure.loose]
        if rows and all(row.status.agrees for row in rows):
            return finding
        return replace(finding, figure=replace(figure, loose=True))

    def seed_that_prints(self, figure: Figure) -> int | None:
        """The seed for which a file prints the same number with fewer or as many digits."""
        for row in self._of_seeds:
            alike = row.statistic == "value" and _alike(row.quantity, figure.quantity) and _can_tell(row)
            if alike and agreement(row.number, figure.number.base) in SAME:
                return row.seed
        return None

    def printed(self, figure: Figure) -> list[list[Decimal]]:
        """Printed values that the figure may have been worked out from: its column, else any of its quantity."""
        if figure.group in self._rows:
            columns = [self._rows[figure.group]]
        else:
            columns = [rows for rows in self._rows.values() if _alike(rows[0].figure.quantity, figure.quantity)]
        return [[row.figure.number.base for row in rows] for rows in columns if len(rows) > 1]


def _alike(one: str, other: str) -> bool:
    return one == other or (one in SCORES and other in SCORES) or (one in LOSSES and other in LOSSES)


def _of_seed(figure: Figure, seeds: Sequence[SeedEvidence], *, anything: bool = False) -> Finding:
    if figure.log:
        of_log = [seed for seed in seeds if figure.log in (run.file for run in seed.logs)]
        return _compared(figure, [value for seed in of_log for value in _values(figure, seed, anything=anything)])
    of_seed = [seed for seed in seeds if figure.seed == seed.seed]
    of_seed = of_seed or [seed for seed in seeds if figure.seed == seed.run.seed_logged]
    if not of_seed:
        return Finding(figure=figure, status=Status.NO_LOG, note=f"no log of seed {figure.seed}")
    return _compared(figure, [value for seed in of_seed for value in _values(figure, seed, anything=anything)])


def _over_seeds(
    figure: Figure, seeds: Sequence[SeedEvidence], columns: _Columns, complete: bool, *, anything: bool = False
) -> Finding:
    """A figure of all seeds; where the logs do not give it, the printed values may."""
    if figure.quantity == "seeds":
        return _seed_count(figure, seeds)
    statistic = "mean" if figure.statistic in ("claim", "overall") else figure.statistic
    finding = _compared(figure, _candidates(figure, seeds, columns.facts(figure), complete, anything))
    if finding.status.agrees or (complete and statistic in ("value", "max", "min")):
        return finding
    if not complete and finding.status is Status.MISMATCH:  # it may be over seeds that have no log
        finding = Finding(figure=figure, status=Status.NO_LOG, note="not measured: not every seed has a log")
    measured = complete and finding.measured is not None
    told = finding if measured or figure.statistic in ("claim", "overall") else replace(finding, status=Status.NO_LOG)
    for printed in columns.printed(figure):
        for name, value in described(statistic, printed):
            status = agreement(figure.number, value)
            if not (status.agrees or (status.is_rounding and not measured)):
                continue
            note = f"{name} of the printed values"
            if measured:
                return replace(finding, status=Status.MEAN_OF_ROUNDED, note=note)
            return Finding(
                figure=figure, status=Status.NO_LOG, measured=value, note=f"{note}; not every seed has a log"
            )
    return told


def _of_the_rest(finding: Finding, unscored: Sequence[SeedEvidence]) -> Finding:
    """What a log that ends before its score says of steps and bytes."""
    if finding.status is not Status.NO_LOG or finding.figure.seed is None or not unscored:
        return finding
    if DIMENSIONS[finding.figure.quantity] in (BPB, NATS):
        of_seed = [seed for seed in unscored if finding.figure.seed in (seed.seed, seed.run.seed_logged)]
        return replace(finding, note=f"its log ends before the score: {of_seed[0].run.file}") if of_seed else finding
    found = _of_seed(finding.figure, unscored)
    return finding if found.status is Status.NO_LOG and found.note.startswith("no log") else found


def _explained(
    finding: Finding, seeds: Sequence[SeedEvidence], others: Sequence[SeedEvidence], columns: "_Columns"
) -> Finding:
    """With what a contradicted number is instead, where a log of the folder has it; else with what it looks like."""
    figure = finding.figure
    if finding.status is Status.NO_LOG and finding.measured is None and DIMENSIONS[figure.quantity] in (BPB, NATS):
        quantity = "any_bpb" if DIMENSIONS[figure.quantity] == BPB else "any_loss"
        if figure.seed is None and (same := _elsewhere(replace(figure, quantity=quantity), seeds)):
            return replace(same, figure=figure)
    if finding.status is Status.NO_LOG and figure.statistic == "claim" and finding.measured is None:
        seed = columns.seed_that_prints(figure)
        return replace(finding, note=f"{finding.note}; printed for seed {seed} too") if seed is not None else finding
    if finding.status is not Status.MISMATCH:
        return finding
    if found := _of_another_run(figure, others):
        return replace(found, status=Status.EXPLAINED, note=f"of another run: {found.log}")
    below_rows = bool(columns.facts(figure))  # a mean below rows that are right is that of these rows
    of_all = figure.seed is None and not figure.log and figure.statistic not in SPREADS and not below_rows
    if of_all and (same := _elsewhere(figure, seeds)):
        return replace(same, status=Status.EXPLAINED, note=f"{same.field} ({same.log})")
    if figure.quantity in ANY and (same := _elsewhere(figure, seeds, anything=True)):
        return replace(finding, note=f"{same.field} ({same.log}) is no score of the model that is shipped")
    return finding


def _of_another_run(figure: Figure, others: Sequence[SeedEvidence]) -> Finding | None:
    """The figure in the other logs of the folder: those of its seed, those of every seed where it is of none."""
    if figure.statistic in SPREADS or not _can_tell(figure):
        if figure.statistic not in SPREADS or len(others) < 2:
            return None
        found = _compared(figure, statistics_over(figure, figure.statistic, others))
        return found if found.status.agrees else None
    if figure.log:
        return None
    fitting = [seed for seed in others if figure.seed is None or figure.seed in (seed.seed, seed.run.seed_logged)]
    values = [value for seed in fitting for value in _values(figure, seed, anything=True)]
    if figure.seed is None and len(fitting) > 1:
        values += [value for name in ("mean", "max", "min") for value in statistics_over(figure, name, fitting)]
    found = _compared(figure, values)
    return found if found.status in SAME else None


def _elsewhere(figure: Figure, seeds: Sequence[SeedEvidence], *, anything: bool = False) -> Finding | None:
    """The figure among everything that the logs of the claim have of its quantity: one seed's, the largest, the sum."""
    if not _can_tell(figure):
        return None
    values = [value for seed in seeds for value in _values(figure, seed, anything=anything)]
    if figure.seed is None and len(seeds) > 1:
        for name in ("max", "min", "mean", "sum"):
            values += statistics_over(figure, name, seeds)
    found = _compared(figure, values)
    return found if found.status in SAME else None


def _can_tell(figure: Figure) -> bool:
    """Whether the number has digits enough to be recognised; zeros at the end of a count may be rounded ones."""
    value = figure.number.value
    rounded = DIMENSIONS[figure.quantity] not in (BPB, NATS) and figure.seed is None
    value = value.normalize() if rounded else value
    return len(value.as_tuple().digits) >= LEAST_DIGITS


def _seed_count(figure: Figure, seeds: Sequence[SeedEvidence]) -> Finding:
    """More logs than seeds is no contradiction; fewer is: of the rest there is no log. ``seeds: 42`` can be a seed."""
    is_seed = figure.item == "seeds" and any(figure.number.value in (seed.seed, seed.run.seed_logged) for seed in seeds)
    count, enough = Decimal(len(seeds)), is_seed or figure.number.value <= len(seeds)
    status = Status.EXACT if enough else Status.NO_LOG
    note = "" if enough else f"{len(seeds)} of these seeds have a log"
    return Finding(figure=figure, status=status, measured=count, field="logs", note=note)


def _candidates(
    figure: Figure, seeds: Sequence[SeedEvidence], facts: set[str], complete: bool, anything: bool
) -> list[Measured]:
    """Values that a figure over all seeds may mean."""
    single = [value for seed in seeds for value in _values(figure, seed, anything=anything)]
    if figure.statistic == "claim":
        return (statistics_over(figure, "mean", seeds) if complete else []) + single
    if figure.statistic == "overall":
        total = {"artifact_total_bytes"}  # not the model alone
        widest = [value for name in ("mean", "max") for value in statistics_over(figure, name, seeds, total)]
        meant = complete and _compared(figure, widest).status in (Status.EXACT, Status.ROUNDED, Status.TRUNCATED)
        return widest if meant else single
    if not complete:
        return []
    values = statistics_over(figure, figure.statistic, seeds, facts)
    if figure.statistic == "mean" and DIMENSIONS[figure.quantity] == BYTES:
        values += statistics_over(figure, "max", seeds)
    return values


def _values(figure: Figure, seed: SeedEvidence, *, strictly: bool = False, anything: bool = False) -> list[Measured]:
    """Values of a seed that the figure may mean; ``anything``: a score may be any evaluation of the logs."""
    quantity = figure.quantity
    labelled = seed.label(figure.label, quantity) if figure.label else []
    if quantity in ANY and (anything or _OF_TRAINING.search(figure.item)):
        quantity = ANY[quantity]
    return labelled or seed.measured(quantity, strictly=strictly)


def statistics_over(
    figure: Figure,
    statistic: str,
    seeds: Sequence[SeedEvidence],
    facts: set[str] = frozenset(),  # type: ignore[assignment]
) -> list[Measured]:
    """The statistic of each fact that every seed has; ``facts``: of these, where it is known what the column prints."""
    columns: dict[tuple[str, int], list[Measured]] = {}
    for seed in seeds:
        seen: dict[str, int] = {}
        for value in _values(figure, seed, strictly=not facts, anything=bool(facts)):
            seen[value.field] = seen.get(value.field, 0) + 1
            columns.setdefault((value.field, seen[value.field]), []).append(value)
    results = []
    for (field, _), values in columns.items():
        if len(values) == len(seeds) and (field in facts or not facts):
            results.extend(_statistic(statistic, field, values))
    return results


def _statistic(statistic: str, field: str, values: Sequence[Measured]) -> list[Measured]:
    if len(values) == 1:
        return [values[0]] if statistic in ("mean", "max", "min") else []
    numbers, where = [value.value for value in values], f"{len(values)} logs"
    return [Measured(f"{name} {field}", number, where) for name, number in described(statistic, numbers)]


def described(statistic: str, numbers: Sequence[Decimal]) -> list[tuple[str, Decimal]]:
    """The readings of a statistic: a std divides by n - 1 or by n; a "spread" may be any of three things."""
    if statistic == "mean":
        return [("mean", sum(numbers, Decimal(0)) / len(numbers))]
    if statistic == "sum":
        return [("sum", sum(numbers, Decimal(0)))]
    if statistic in ("max", "min"):
        return [(statistic, max(numbers) if statistic == "max" else min(numbers))]
    if len(numbers) < 2:
        return []
    sample, population = statistics.stdev(numbers), statistics.pstdev(numbers)
    width = ("range", max(numbers) - min(numbers))
    stds = [("sample std", sample), ("population std", population)]
    variances = [("sample variance", sample**2), ("population variance", population**2)]
    errors = [(f"standard error of the mean, {name}", value / Decimal(len(numbers)).sqrt()) for name, value in stds]
    readings = {
        "std": stds,
        "sem": errors,
        "variance": variances + stds,
        "range": [width],
        "spread": [width, *stds, *variances],
    }
    return readings.get(statistic, [])


def _compared(figure: Figure, values: Sequence[Measured]) -> Finding:
    """The best agreement with any of ``values``; without any, the nearest."""
    count = figure.quantity in COUNTED and figure.statistic in ("value", "claim", "max", "min")
    best: tuple[Status, Decimal, Measured] | None = None
    for value in values:  # the likeliest first: of equal agreement the first counts, of none the nearest
        for number in readings(figure):
            status = _agreement(number, value, values, count=count)
            distance = abs(number.base - value.value) if status is Status.MISMATCH else Decimal(0)
            if best is None or (_ORDER[status], distance) < (_ORDER[best[0]], best[1]):
                best = status, distance, value
        if best is not None and best[0] is Status.EXACT:
            break
    if best is None:
        return Finding(figure=figure, status=Status.NO_LOG, note="not measured: the logs do not say")
    status, _, nearest = best
    if status is Status.MISMATCH and DIMENSIONS[figure.quantity] == TIME and _is_a_limit(figure.number):
        return Finding(figure=figure, status=Status.NO_LOG, note="the limit, not a measurement")
    return Finding(figure=figure, status=status, measured=nearest.value, field=nearest.field, log=nearest.where)


def _is_a_limit(time: Printed) -> bool:
    """Who prints 600 s may mean the rule."""
    return time.base in (limits().train_seconds * 1000, limits().eval_seconds * 1000)


def readings(figure: Figure) -> list[Printed]:
    """The number in the units that it may be meant in."""
    if figure.number.unit == "" and DIMENSIONS[figure.quantity] == TIME:
        return [figure.number.with_unit(unit) for unit in ("s", "ms", "min")]
    return [figure.number]


def _agreement(number: Printed, value: Measured, values: Sequence[Measured], *, count: bool) -> Status:
    """Agreement, also where the log is the one that rounds: it prints fewer digits, and nowhere more of them."""
    status = agreement(number, value.value, count=count)
    if status.agrees or value.digits is None or value.digits >= number.decimals or number.factor != 1:
        return status
    half = Decimal(1).scaleb(-value.digits) / 2
    if abs(number.base - value.value) > half:
        return status
    finer = any((other.digits or 0) > value.digits and abs(other.value - value.value) <= half for other in values)
    return status if finer else Status.ROUNDED


def verdict(findings: Iterable[Finding]) -> str:
    """agrees, rounding only or mismatch."""
    found = list(findings)
    if any(finding.contradicts for finding in found):
        return "mismatch"
    return (
        "rounding only"
        if any(finding.status.is_rounding and not finding.figure.loose for finding in found)
        else "agrees"
    )
