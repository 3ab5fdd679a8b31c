"""A record on one screen for a person: what disagrees first, with file and line of both sides."""

from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..claims import CANNOT_TELL, FAIL, PASS, Check, Judgement
from .numbers import Status
from .quantities import BYTES, COUNT, DIMENSIONS, TIME
from .reconcile import Finding
from .record import AGREES, MISMATCH, NO_LOG, ROUNDING_ONLY, Examined
from .text import safe

MOST_ROWS = 14  # of one kind; --json has all
_COLOURS = {AGREES: "green", ROUNDING_ONLY: "cyan", MISMATCH: "red", NO_LOG: "yellow"}
_RULE_COLOURS = {PASS: "green", FAIL: "red", CANNOT_TELL: "yellow"}


def show(record: Examined, judgements: Sequence[Judgement], console: Console, *, every_check: bool) -> None:
    """Print ``record``; ``every_check``: each line of the rules, not only what decides."""
    console.print(_title(record))
    console.print(Padding(_score(record), (0, 0, 0, 2)))
    if record.mismatches:
        console.print(Padding(_findings(record.mismatches, "contradicted by the logs", "red"), (0, 0, 0, 2)))
    if record.roundings:
        console.print(Padding(_findings(record.roundings, "rounding", "cyan"), (0, 0, 0, 2)))
    unsupported = [one for one in record.unsupported if not one.figure.loose]
    if unsupported:
        console.print(Padding(_unsupported(unsupported), (0, 0, 0, 2)))
    console.print(Padding(_rules(judgements, every_check), (0, 0, 0, 2)))
    for note in record.notes[:MOST_ROWS]:
        console.print(Padding(Text(f"· {safe(note, 300)}", style="dim"), (0, 0, 0, 2)))
    console.print()


def summary(records: Sequence[Examined]) -> Text:
    """``12 records: 4 agree, 2 rounding only, 6 mismatch``."""
    counts = {verdict: sum(one.verdict == verdict for one in records) for verdict in _COLOURS}
    parts = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    return Text(f"{len(records)} record{'s' * (len(records) != 1)}: {', '.join(parts)}", style="bold")


def _title(record: Examined) -> Text:
    text = Text(safe(record.name), style="bold")
    text.append(f"  {record.verdict}", style=f"bold {_COLOURS[record.verdict]}")
    checked = len(record.checked)
    if record.mismatches:
        text.append(f"  {len(record.mismatches)} of {checked} numbers", style="red")
    elif record.verdict != NO_LOG:
        text.append(f"  {checked} numbers", style="dim")
    return text


def _score(record: Examined) -> Text:
    score = record.score
    if score.mean_bpb is None:
        return Text("no log of the claimed run, so no score", style="yellow")
    text = Text(f"{score.mean_bpb:.8f} BPB", style="bold")
    seeds = ", ".join("?" if seed is None else str(seed) for seed in score.seeds)
    text.append(
        f"  mean of {len(score.bpb)} seeds ({seeds})" if len(score.bpb) > 1 else f"  one seed ({seeds})", style=""
    )
    if score.sample_std_bpb is not None:
        text.append(f"  std {score.sample_std_bpb:.8f}", style="")
        told = {one.ddof for one in record.std_conventions}
        if told:
            text.append(f" (printed: {', '.join(sorted(told))})", style="")
    if score.mean_loss is not None:
        text.append(f"  {score.mean_loss:.8f} nats/token", style="")
    text.append(f"  {safe(record.claimed.label or '')}", style="dim")
    return text


def _findings(findings: Sequence[Finding], title: str, colour: str) -> Table:
    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style=f"{colour}")
    for name in ("printed", "measured", title, "printed at", "log"):
        table.add_column(name, overflow="fold", no_wrap=False)
    for one in findings[:MOST_ROWS]:
        what = safe(one.figure.item, 60)
        remark = one.note or (one.status.value.replace("_", " ") if one.status is not Status.MISMATCH else "")
        table.add_row(
            Text(safe(_clean(one.figure.number.raw), 24), style=colour),
            Text(_measured(one)),
            Text(f"{what}{' · ' if remark else ''}{safe(remark, 110)}"),
            Text(safe(one.figure.where, 60)),
            Text(safe(one.log, 60), style="dim"),
        )
    if len(findings) > MOST_ROWS:
        table.add_row(Text(f"… {len(findings) - MOST_ROWS} more in --json", style="dim"))
    return table


def _clean(raw: str) -> str:
    return raw.replace("*", "").replace("`", "").strip()


def _measured(one: Finding) -> str:
    """The measured value in the unit that was printed, with the digits that matter."""
    value, number = one.measured, one.figure.number
    if value is None:
        return ""
    dimension = DIMENSIONS[one.figure.quantity]
    if dimension == BYTES:
        return f"{value:,.0f}" if value == value.to_integral_value() else f"{value:,.2f}"
    if dimension == TIME:
        return f"{float(value) / 1000:,.3f} s" if value >= 10_000 else f"{float(value):,.2f} ms"
    if dimension == COUNT:
        return f"{value.normalize():,f}" if value == value.to_integral_value() else f"{value:,.2f}"
    return (
        f"{value.quantize(Decimal(1).scaleb(-max(8, number.decimals))).normalize():f}"
        if abs(value) < 10**9
        else f"{value:g}"
    )


def _unsupported(findings: Sequence[Finding]) -> Text:
    by_reason: dict[str, list[Finding]] = {}
    for one in findings:
        by_reason.setdefault(one.note, []).append(one)
    text = Text()
    for note, found in by_reason.items():
        places = ", ".join(dict.fromkeys(safe(one.figure.where, 40) for one in found[:4]))
        text.append(
            f"{len(found)} not checked: {safe(note)} ({places}{', …' if len(found) > 4 else ''})\n", style="yellow"
        )
    text.rstrip()
    return text


def _rules(judgements: Sequence[Judgement], every_check: bool) -> Table:
    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    for judgement in judgements:
        checks = list(judgement.checks) if every_check else _deciding(judgement)
        verdict = Text(judgement.verdict, style=_RULE_COLOURS[judgement.verdict])
        for index, check in enumerate(checks or [None]):
            name, told = (Text(judgement.name), verdict) if index == 0 else (Text(), Text())
            table.add_row(name, told, *(_check(check) if check else (Text(), Text())))
    return table


def _deciding(judgement: Judgement) -> list[Check]:
    """The checks that make the verdict: what fails, else what cannot be told, else the test."""
    counted = [check for check in judgement.checks if check.counts]
    for status in (FAIL, CANNOT_TELL):
        if found := [check for check in counted if check.status == status]:
            return found
    return counted[-1:]


def _check(check: Check) -> tuple[Text, Text]:
    mark = {PASS: "pass", FAIL: "fail", CANNOT_TELL: "?"}[check.status]
    style = _RULE_COLOURS[check.status] if check.counts else "dim"
    figure = f"{check.figure}{'  ' + check.source if check.source else ''}"
    return Text(f"{mark} {check.rule}", style=style), Text(safe(figure, 200), style="" if check.counts else "dim")
