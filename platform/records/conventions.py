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
    conventions: dict[str, StdConvention] = {}
    for quantities, name in ((SCORES, "bpb"), (LOSSES, "loss")):
        values = [value for seed in seeds if (value := _final(seed, name)) is not None]
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
            conventions.setdefault(where, convention)
    return sorted(conventions.values(), key=lambda one: not one.where.startswith("README"))


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
    where = next((f"{seed.run.file}:{seed.final.line}" for seed in seeds if seed.final and seed.final.loss), "")
    return [_conversion(conversion, nats_per_bpb, where) for conversion in printed]


def _conversion(conversion: Conversion, ratio: float, where: str) -> Finding:
    sign = -1 if conversion.nats.value < 0 else 1
    measured = sign * abs(conversion.bpb.value) * Decimal(repr(ratio))
    figure = Figure(
        file=conversion.file,
        line=conversion.line,
        item=f"{conversion.bpb.raw} BPB in nats",
        number=conversion.nats,
        quantity="loss",
        statistic="value",
    )
    status, note = Status.MISMATCH, ""
    if _possible(conversion, ratio):
        status = Status.ROUNDED
    elif _possible(conversion, math.log(2)):
        status, note = Status.ROUNDED, "nats per byte, not per token"
    elif _possible(conversion, 1.0):
        note = "BPB under the name of nats"
    else:
        datasets = challenge().datasets.values()
        others = (dataset.name for dataset in datasets if _possible(conversion, dataset.nats_per_bpb))
        used = next(others, None)
        note = f"converted with {float(abs(conversion.nats.value) / abs(conversion.bpb.value)):.4f} nats per BPB"
        note += f" ({used})" if used else ""
        note += f"; these logs have {ratio:.4f}"
    return Finding(figure=figure, status=status, measured=measured, field="delta_nats", log=where, note=note)


def _possible(conversion: Conversion, ratio: float) -> bool:
    """Whether the ratio lies in the interval that the rounding of both numbers leaves open."""
    half_bpb, half_nats = (Decimal(1).scaleb(-number.decimals) / 2 for number in (conversion.bpb, conversion.nats))
    bpb, nats = abs(conversion.bpb.value), abs(conversion.nats.value)
    if bpb <= half_bpb:
        return True
    slack = Decimal("1.0001")  # the ratio itself is known to five digits
    low = (nats - half_nats) / (bpb + half_bpb) / slack
    return low <= Decimal(repr(ratio)) <= (nats + half_nats) / (bpb - half_bpb) * slack


def printed_tests(
    printed: Iterable[PrintedTest], figures: Sequence[Figure], seeds: Sequence[SeedEvidence]
) -> list[Finding]:
    """One-sample t tests worked out again: from the logs, else from the printed scores."""
    measured = [value for seed in seeds if (value := _final(seed, "bpb")) is not None]
    values = [
        float(figure.number.value) for figure in figures if figure.quantity in SCORES and figure.statistic == "claim"
    ]
    by_hand = [float(figure.number.value) for figure in figures if figure.item == "list of scores"]
    findings: list[Finding] = []
    for test in printed:
        for sample in (measured, by_hand or values):
            results = _worked_out(test, sample)
            if results and not any(result.status is Status.MISMATCH for result in results):
                break
            results = results or _worked_out(test, measured)
        findings.extend(results)
    return findings


def _worked_out(test: PrintedTest, sample: Sequence[float]) -> list[Finding]:
    if len(sample) < 2 or not statistics.stdev(sample):
        return []
    error = statistics.stdev(sample) / math.sqrt(len(sample))
    t = (float(test.against.value) - statistics.mean(sample)) / error
    findings = [_test_figure(test, "t", test.t, [t, -t])] if test.t else []
    if test.df:
        findings.append(_test_figure(test, "df", test.df, [len(sample) - 1]))
    if test.p:
        from ..statistics.significance import t_upper  # scipy, only where a printed p is there to be checked

        p = t_upper(t, len(sample) - 1)
        findings.append(_test_figure(test, "p", test.p, [p, 2 * min(p, 1 - p)]))
    return findings


def _test_figure(test: PrintedTest, name: str, number: Printed, values: Sequence[float]) -> Finding:
    figure = Figure(
        file=test.file,
        line=test.line,
        item=f"{name} of the t test against {test.against.raw}",
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
