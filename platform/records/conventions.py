"""Printed numbers that follow from others: standard deviations, conversions between BPB and nats, t tests."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ..rules.challenge import challenge
from .evidence import SeedEvidence
from .figure import Conversion, Figure, PrintedTest
from .numbers import Printed, Status, agreement
from .reconcile import LOSSES, SCORES, Finding


@dataclass(frozen=True, kw_only=True)
class StdConvention:
    """Which of the two standard deviations a record prints."""

    where: str
    printed: str
    ddof: str  # sample (divides by n - 1), population (by n) or neither
    sample: float
    population: float


def std_conventions(findings: Sequence[Finding], seeds: Sequence[SeedEvidence]) -> list[StdConvention]:
    """The convention of each printed std of the score or its loss, once a file and key."""
    found: dict[str, StdConvention] = {}
    for quantities, name in ((SCORES, "bpb"), (LOSSES, "loss")):
        values = [value for one in seeds if (value := _final(one, name)) is not None]
        if len(values) != len(seeds) or len(values) < 2:
            continue
        sample, population = statistics.stdev(values), statistics.pstdev(values)
        for finding in findings:
            figure = finding.figure
            if figure.statistic != "std" or figure.quantity not in quantities or ":" in figure.item or figure.loose:
                continue
            if finding.field and not finding.field.endswith(("final_val_bpb", "final_val_loss", "sliding_val_bpb")):
                continue
            in_readme = figure.file.lower().startswith("readme")
            where = f"README std_{name}" if in_readme else f"{figure.file} {figure.item}"
            convention = StdConvention(
                where=where,
                printed=f"{figure.number.value:f}",
                ddof=_ddof(figure.number, sample, population),
                sample=sample,
                population=population,
            )
            found.setdefault(where, convention)
    return sorted(found.values(), key=lambda one: not one.where.startswith("README"))


def _final(seed: SeedEvidence, name: str) -> float | None:
    if seed.final is None:
        return None
    fact = seed.final.bpb if name == "bpb" else seed.final.loss
    return float(fact.text) if fact else None


def _ddof(number: Printed, sample: float, population: float) -> str:
    """Sample where both fit: with few digits they can be the same number."""
    for accepted in ((Status.EXACT, Status.ROUNDED), (Status.TRUNCATED,), (Status.OFF_BY_ONE,)):
        for name, value in (("sample", sample), ("population", population)):
            if agreement(number, Decimal(repr(value))) in accepted:
                return name
    return "neither"


def conversions(
    printed: Iterable[Conversion], nats_per_bpb: float | None, seeds: Sequence[SeedEvidence]
) -> list[Finding]:
    """Differences printed in BPB and in nats per token: their ratio must be that of the record's own logs."""
    if nats_per_bpb is None:
        return []
    where = next((f"{one.run.file}:{one.final.line}" for one in seeds if one.final and one.final.loss), "")
    return [_conversion(one, nats_per_bpb, where) for one in printed]


def _conversion(one: Conversion, ratio: float, where: str) -> Finding:
    sign = -1 if one.nats.value < 0 else 1
    measured = sign * abs(one.bpb.value) * Decimal(repr(ratio))
    figure = Figure(
        file=one.file,
        line=one.line,
        item=f"{one.bpb.raw} BPB in nats",
        number=one.nats,
        quantity="loss",
        statistic="value",
    )
    status, note = Status.MISMATCH, ""
    if _possible(one, ratio):
        status = Status.ROUNDED
    elif _possible(one, math.log(2)):
        status, note = Status.ROUNDED, "nats per byte, not per token"
    elif _possible(one, 1.0):
        note = "BPB under the name of nats"
    else:
        datasets = challenge().datasets.values()
        others = (dataset.name for dataset in datasets if _possible(one, dataset.nats_per_bpb))
        used = next(others, None)
        note = f"converted with {float(abs(one.nats.value) / abs(one.bpb.value)):.4f} nats per BPB"
        note += f" ({used})" if used else ""
        note += f"; these logs have {ratio:.4f}"
    return Finding(figure=figure, status=status, measured=measured, field="delta_nats", log=where, note=note)


def _possible(one: Conversion, ratio: float) -> bool:
    """Whether the ratio lies in the interval that the rounding of both numbers leaves open."""
    half_bpb, half_nats = (Decimal(1).scaleb(-number.decimals) / 2 for number in (one.bpb, one.nats))
    bpb, nats = abs(one.bpb.value), abs(one.nats.value)
    if bpb <= half_bpb:
        return True
    slack = Decimal("1.0001")  # the ratio itself is known to five digits
    low = (nats - half_nats) / (bpb + half_bpb) / slack
    return low <= Decimal(repr(ratio)) <= (nats + half_nats) / (bpb - half_bpb) * slack


def printed_tests(
    printed: Iterable[PrintedTest], figures: Sequence[Figure], seeds: Sequence[SeedEvidence]
) -> list[Finding]:
    """One-sample t tests worked out again: from the logs, else from the printed scores."""
    measured = [value for one in seeds if (value := _final(one, "bpb")) is not None]
    values = [float(one.number.value) for one in figures if one.quantity in SCORES and one.statistic == "claim"]
    by_hand = [float(one.number.value) for one in figures if one.item == "list of scores"]
    found: list[Finding] = []
    for one in printed:
        for sample in (measured, by_hand or values):
            results = _worked_out(one, sample)
            if results and not any(result.status is Status.MISMATCH for result in results):
                break
            results = results or _worked_out(one, measured)
        found.extend(results)
    return found


def _worked_out(one: PrintedTest, sample: Sequence[float]) -> list[Finding]:
    if len(sample) < 2 or not statistics.stdev(sample):
        return []
    error = statistics.stdev(sample) / math.sqrt(len(sample))
    t = (float(one.against.value) - statistics.mean(sample)) / error
    found = [_test_figure(one, "t", one.t, [t, -t])] if one.t else []
    if one.df:
        found.append(_test_figure(one, "df", one.df, [len(sample) - 1]))
    if one.p:
        from ..statistics.significance import t_upper  # scipy, only where a printed p is there to be checked

        p = t_upper(t, len(sample) - 1)
        found.append(_test_figure(one, "p", one.p, [p, 2 * min(p, 1 - p)]))
    return found


def _test_figure(one: PrintedTest, name: str, number: Printed, values: Sequence[float]) -> Finding:
    figure = Figure(
        file=one.file,
        line=one.line,
        item=f"{name} of the t test against {one.against.raw}",
        number=number,
        quantity="score",
        statistic="value",
    )
    status, value = min(
        ((agreement(number, Decimal(repr(value))), value) for value in values),
        key=lambda pair: list(Status).index(pair[0]),
    )
    return Finding(
        figure=figure, status=status, measured=Decimal(repr(value)), field=f"one-sample {name}", log="the logs"
    )
