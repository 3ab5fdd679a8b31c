"""A record on one screen for a person: what disagrees first, with file and line of both sides."""

import statistics
from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..logs.text import safe
from ..rules.claims import CANNOT_TELL, FAIL, NEEDS_AGAINST, PASS, Check, Claim, Judgement
from ..words import counted
from .numbers import Status
from .quantities import BYTES, COUNT, DIMENSIONS, MEMORY, TIME
from .reconcile import Finding
from .record import AGREES, MISMATCH, NO_LOG, NOTHING_CLAIMED, ROUNDING_ONLY, Examined, Score

MOST_ROWS = 14  # of one kind; --json has all
_COLOURS = {AGREES: "green", ROUNDING_ONLY: "cyan", MISMATCH: "red", NO_LOG: "yellow", NOTHING_CLAIMED: "yellow"}
_MARKS = {PASS: "✓", FAIL: "✗", CANNOT_TELL: "?"}
_RULE_COLOURS = {PASS: "green", FAIL: "red", CANNOT_TELL: "yellow"}


def show(
    record: Examined,
    judgements: Sequence[Judgement],
    console: Console,
    *,
    against: Claim | None = None,
    every_check: bool = False,
) -> None:
    """Print ``record``; ``every_check``: each line of the rules, not only what decides."""
    console.print(_title(record))
    console.print(Padding(_counts(record), (0, 0, 0, 2)))
    console.print(Padding(_score(record), (0, 0, 0, 2)))
    if against is not None and record.score.mean_bpb is not None:
        console.print(Padding(_against(record.score, against), (0, 0, 0, 2)))
    if record.mismatches:
        console.print(Padding(_findings(record.mismatches, "contradicted by the logs", "red"), (0, 0, 0, 2)))
    if record.roundings:
        console.print(Padding(_findings(record.roundings, "rounding", "cyan"), (0, 0, 0, 2)))
    if record.explained:
        console.print(Padding(_findings(record.explained, "measured, of something else", "cyan"), (0, 0, 0, 2)))
    unsupported = [finding for finding in record.unsupported if not finding.figure.loose]
    if unsupported:
        console.print(Padding(_unsupported(unsupported), (0, 0, 0, 2)))
    console.print(Padding(_rules(judgements, every_check), (0, 0, 0, 2)))
    for note in record.notes[:MOST_ROWS]:
        console.print(Padding(Text(f"· {safe(note, 300)}", style="dim"), (0, 0, 0, 2)))
    console.print()


def summary(records: Sequence[Examined]) -> Text:
    """``12 records: 4 agree, 2 rounding only, 6 mismatch``"""
    counts = {verdict: sum(record.verdict == verdict for record in records) for verdict in _COLOURS}
    parts = [
        f"{count} {'agree' if verdict == AGREES and count > 1 else verdict}"
        for verdict, count in counts.items()
        if count
    ]
    return Text(f"{len(records)} record{'s' * (len(records) != 1)}: {', '.join(parts)}", style="bold")


def _title(record: Examined) -> Text:
    text = Text(safe(record.name), style="bold")
    text.append(f"  {record.verdict}", style=f"bold {_COLOURS[record.verdict]}")
    checked = len(record.checked)
    if record.mismatches:
        text.append(f"  {len(record.mismatches)} of {checked} numbers", style="red")
    elif record.verdict not in (NO_LOG, NOTHING_CLAIMED):
        text.append(f"  {counted(checked, 'number')}", style="dim")
    return text


def _counts(record: Examined) -> Text:
    """``4 logs read, 3 with a score, 3 used; 12 numbers not measured``"""
    text = Text(said_of_logs(record), style="dim")
    if unmeasured := [finding for finding in record.unsupported if not finding.figure.loose]:
        text.append(f"; {counted(len(unmeasured), 'number')} not measured", style="dim")
    return text


def said_of_logs(record: Examined) -> str:
    read, scored, used = record.counts
    return f"{counted(read, 'log')} read, {scored} with a score, {used} used"


def _score(record: Examined) -> Text:
    score = record.score
    if score.mean_bpb is None and score.mean_loss is not None:
        seeds = ", ".join("?" if seed is None else str(seed) for seed in score.seeds)
        return Text(f"{score.mean_loss:.8f} nats/token  {counted(len(score.losses), 'run')} ({seeds})", style="bold")
    if score.mean_bpb is None:
        unscored = ", ".join(safe(one.run.file, 60) for one in record.claimed.unscored)
        why = f"{unscored} ends before a score" if unscored else "no log of the claimed run, so no score"
        return Text(
            "nothing is claimed, and no log has a score" if record.verdict == NOTHING_CLAIMED else why, style="yellow"
        )
    text = Text(f"{score.mean_bpb:.8f} BPB", style="bold")
    seeds = ", ".join("?" if seed is None else str(seed) for seed in score.seeds)
    text.append(
        f"  mean of {len(score.bpb)} seeds ({seeds})" if len(score.bpb) > 1 else f"  one seed ({seeds})", style=""
    )
    if score.sample_std_bpb is not None:
        text.append(f"  std {score.sample_std_bpb:.8f}", style="")
        told = {convention.ddof for convention in record.std_conventions}
        if told:
            text.append(f" (printed: {', '.join(sorted(told))})", style="")
    if score.mean_loss is not None:
        text.append(f"  {score.mean_loss:.8f} nats/token", style="")
    text.append(f"  {safe(record.claimed.label or '')}", style="dim")
    return text


def _against(score: Score, against: Claim) -> Text:
    mean = statistics.fmean(against.bpb.values)
    gain = mean - (score.mean_bpb or 0.0)
    text = Text(f"{mean:.8f} BPB to beat", style="")
    text.append(f"  {safe(against.name)}, {len(against.seeds)} seeds", style="dim")
    in_nats = f" = {gain * score.nats_per_bpb:+.5f} nats/token" if score.nats_per_bpb else ""
    text.append(f"  gain {gain:+.5f} BPB{in_nats}", style="green" if gain > 0 else "red")
    return text


def _findings(findings: Sequence[Finding], title: str, colour: str) -> Table:
    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style=f"{colour}")
    for name in ("printed", "measured", title, "printed at", "log"):
        table.add_column(name, overflow="fold", no_wrap=False)
    for finding in findings[:MOST_ROWS]:
        what = safe(finding.figure.item, 60)
        remark = finding.note or (
            finding.status.value.replace("_", " ") if finding.status is not Status.MISMATCH else ""
        )
        table.add_row(
            Text(safe(_clean(finding.figure.number.raw), 24), style=colour),
            Text(_measured(finding)),
            Text(f"{what}{' · ' if remark else ''}{safe(remark, 110)}"),
            Text(safe(finding.figure.where, 60)),
            Text(safe(finding.log, 60), style="dim"),
        )
    if len(findings) > MOST_ROWS:
        table.add_row(Text(f"… {len(findings) - MOST_ROWS} more in --json", style="dim"))
    return table


def _clean(raw: str) -> str:
    return raw.replace("*", "").replace("`", "").strip()


def _measured(finding: Finding) -> str:
    """The measured value in the unit that was printed, with the digits that matter."""
    value, number = finding.measured, finding.figure.number
    if value is None:
        return ""
    dimension = DIMENSIONS[finding.figure.quantity]
    if dimension == BYTES:
        return f"{value:,.0f}" if value == value.to_integral_value() else f"{value:,.2f}"
    if dimension == MEMORY:
        return f"{value / 2**20:,.0f} MiB"
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
    for finding in findings:
        by_reason.setdefault(finding.note, []).append(finding)
    text = Text()
    for note, unchecked in by_reason.items():
        places = ", ".join(dict.fromkeys(safe(finding.figure.where, 40) for finding in unchecked[:4]))
        text.append(
            f"{len(unchecked)} not checked: {safe(note)} ({places}{', …' if len(unchecked) > 4 else ''})\n",
            style="yellow",
        )
    text.rstrip()
    return text


def _rules(judgements: Sequence[Judgement], every_check: bool) -> Table:
    """A line for each set of rules, what fails first; or, of few sets, a line for each check."""
    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for judgement in judgements:
        name, verdict = Text(judgement.name), Text(judgement.verdict, style=_RULE_COLOURS[judgement.verdict])
        if not every_check:
            table.add_row(name, verdict, _in_one_line(judgement))
            continue
        table.add_row(name, verdict, Text(f"{judgement.title}, version {judgement.version}; {judgement.source}"))
        for check in judgement.checks:
            table.add_row(Text(), Text(check.status, style=_RULE_COLOURS[check.status]), _check(check))
    return table


def _in_one_line(judgement: Judgement) -> Text:
    text = Text()
    counted = [check for check in judgement.checks if check.counts]
    for status in (FAIL, CANNOT_TELL):
        for check in counted:
            if check.status == status and check.figure != NEEDS_AGAINST:
                text.append(f"{_MARKS[status]} {check.rule}: ", style=_RULE_COLOURS[status])
                text.append(f"{safe(check.figure, 160)}{_source(check)}  ")
    if waiting := [check.rule for check in counted if check.figure == NEEDS_AGAINST]:
        text.append(f"? {', '.join(waiting)}: needs --against  ", style="dim")
    passed = [check for check in counted if check.status == PASS]
    for check in passed:
        if check.is_test:
            text.append(f"{_MARKS[PASS]} {check.rule}: ", style=_RULE_COLOURS[PASS])
            text.append(f"{safe(check.figure, 160)}  ")
    if plain := [check.rule for check in passed if not check.is_test]:
        text.append(f"{_MARKS[PASS]} {', '.join(plain)}", style=_RULE_COLOURS[PASS])
    return text


def _check(check: Check) -> Text:
    text = Text(check.rule, style="bold" if check.counts else "dim")
    text.append(f"  {safe(check.figure, 200)}{_source(check)}", style="not bold" if check.counts else "dim")
    return text


def _source(check: Check) -> str:
    return f" ({safe(check.source, 80)})" if check.source and check.status != PASS else ""
