"""What a report shows of a run, as Markdown and on a terminal, in the order in which it stands there."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from jobs.contract.records import PRE_EVAL

from ..paths import shown
from ..rules import claims
from ..rules.challenge import challenge, limits
from ..runs import attempts
from ..runs.results import Run
from ..runs.usage import WAITING, Usage
from ..statistics.significance import Comparison, Interval
from ..words import cost, counted, known
from .build import ArmReport, Delta, Report
from .machines import Times, code, machines, times_of
from .text_table import NOTHING, Table, clean, console, markdown, markdown_table, print_table

SHORTENED_REASON = 300  # characters of a failure's reason in a report; the whole of it is in failure.json


@dataclass(frozen=True, kw_only=True)
class Style:
    """How exact and how wide: a file is evidence, a terminal is read at a glance."""

    decimals: int  # of scores in BPB
    whole_intervals: bool  # "1.10 to 1.12"; otherwise the half width "±0.01"


FILE = Style(decimals=8, whole_intervals=True)
TERMINAL = Style(decimals=6, whole_intervals=False)


def to_markdown(report: Report, figures: Sequence[Path] = ()) -> str:
    """The content of report.md; ``figures`` are linked relative to the run's folder."""
    parts = [f"# {markdown(_title(report))}", "", *(f"- {markdown(line)}" for line in _facts(report)), ""]
    if report.warnings:
        parts += ["## Warnings", "", *(f"- {markdown(line)}" for line in report.warnings), ""]
    if missing := _missing(report):
        parts += ["## Failed and missing", "", *(f"- {markdown(line)}" for line in missing), ""]
    if again := _tried_again(report):
        parts += ["## Tried again", "", *(f"- {markdown(line)}" for line in again), ""]
    for table in _tables(report, FILE):
        parts += [f"## {table.title}", "", *markdown_table(table), ""]
        if table.note:
            parts += [table.note, ""]
    if figures:
        parts += ["## Figures", ""]
        for path in figures:
            parts += [f"![{path.stem.replace('_', ' ')}]({path.relative_to(report.run.path).as_posix()})", ""]
    return "\n".join([*parts, *_sources(report)])


def show(report: Report) -> None:
    """Print the report on standard output."""
    from rich.text import Text

    out = console()
    out.print(Text(clean(_title(report)), style="bold"))
    for line in _facts(report):
        out.print(Text(f"  {clean(line)}", style="dim"))
    for table in _tables(report, TERMINAL):
        print_table(table)
    for style, lines in (("yellow", report.warnings), ("yellow", _tried_again(report)), ("red", _missing(report))):
        for line in lines:
            out.print(Text(clean(line), style=style))
    out.print(Text(f"files: {shown(report.run.path)}"))


def show_comparison(runs: Sequence[Run]) -> None:
    """Print every run against the first of them, arm by arm; nothing where they have no scored arm in common."""
    first, *others = runs
    rows, apart = [], list[str]()
    for run in others:
        times = times_of([first, run])
        for arm in run.arms:
            if compared := run.compare_with(first, arm):
                rows.append((*_compared_row(run.plan.recipe, arm, compared), _step_delta(first, run, arm, times)))
                apart += [times.said] if times.said not in apart else []
    if rows:
        print_table(
            Table(
                title=f"Against {first.plan.recipe}",
                columns=("Recipe", "Arm", "n", "n against", "Delta BPB", "95 % interval", "p", "Test", "Delta step ms"),
                rows=tuple(rows),
                left=2,
            )
        )
    for line in filter(None, apart):
        console().print(clean(line), style="yellow", markup=False)


def _step_delta(first: Run, run: Run, arm: str, times: Times) -> str:
    """Mean step time of the arm's trunks less that of the other run, and whether that says something."""
    ours, theirs = (known(result.trunk.step_ms_mean for result in one.arms[arm].values()) for one in (run, first))
    if not ours or not theirs:
        return NOTHING
    marks = {True: "", False: " (not comparable)", None: " (machines unknown)"}
    return f"{fmean(ours) - fmean(theirs):+.2f}{marks[times.comparable]}"


def _compared_row(recipe: str, arm: str, compared: Comparison) -> tuple[str, ...]:
    gain = compared.gain_interval
    interval = None if gain is None else Interval(-gain.high, -gain.low)
    return (
        recipe,
        arm,
        str(compared.n),
        str(compared.n_against),
        _number(0.0 - compared.gain, TERMINAL, sign="+"),
        _interval(interval, TERMINAL, sign="+"),
        _p(compared.p_two_sided),
        compared.test if compared.p_two_sided is not None else NOTHING,
    )


def _title(report: Report) -> str:
    plan = report.run.plan
    return f"{plan.recipe}, scale {plan.scale}: {counted(len(plan.seeds), 'seed')}, {counted(len(plan.arms), 'arm')}"


def _facts(report: Report) -> list[str]:
    plan = report.run.plan
    facts = [] if report.question is None else [f"question: {report.question}"]
    facts += [
        f"program {plan.program_sha256}",
        f"seeds {', '.join(map(str, plan.seeds))}, first planned {plan.created}",
        f"data {plan.data_sha256[:12]}, tokenizer {plan.tokenizer_sha256[:12]}",
    ]
    audited = [f"{arm.name} {arm.verdict}" for arm in report.arms if arm.audit]
    facts.append(f"audit: {', '.join(audited) or 'none'}")
    run = report.run
    facts += [f"{what}: {said}" for what, said in (("machines", machines(run)), ("code", code(run))) if said]
    trained, scored = report.trained_on, report.scored_on
    facts += _cost(report)
    if trained == scored:
        return [*facts, *trained]
    return facts + [
        f"{what} on {machine}" for what, machines in (("trained", trained), ("scored", scored)) for machine in machines
    ]


def _cost(report: Report) -> list[str]:
    spent, claims = report.spent, report.claims
    used = [] if report.usage is None else [str(report.usage)]
    if spent is None:
        return used
    lines = [f"cost: {spent}", *used]
    if claims:
        each = cost(spent.node_seconds / claims, None if spent.usd is None else spent.usd / claims)
        least = "at least " if spent.at_least else ""
        arms = f"{counted(claims, 'arm')} that a record may claim and that all planned seeds have scored"
        lines.append(f"cost per claim: {least}{each}: the whole of it, divided by {arms}")
    return lines


def _missing(report: Report) -> list[str]:
    lines = []
    for failure in report.failed:
        several = f"arms {', '.join(failure.arms)}" if failure.arms else "all arms"
        arms = f"arm {failure.arm}" if failure.arm else several
        lines.append(f"seed {failure.seed} failed in {failure.phase} ({arms}): {_shortened(failure.said)}")
    if report.run.given_up:
        run = {seed for arm in report.arms for seed in arm.seeds}
        left = ", ".join(str(seed) for seed in report.run.plan.seeds if seed not in run)
        return [*lines, clean(f"seeds not run: {left}; {report.run.given_up}")]
    lines += [f"seed {seed} not run: budget: {clean(why)}" for seed, why in report.held_back.items()]
    return lines + [
        f"seed {gap.seed}, {gap.arm}: no result, no failure ({clean(gap.reason)})"
        for gap in report.open
        if gap.seed not in report.held_back
    ]


def _tried_again(report: Report) -> list[str]:
    """``seed 42: attempt 2; attempt 1: its Ray worker died [infrastructure, on a]``"""
    return [_shortened(line) for line in attempts.said(report.run.attempts)]


def _shortened(text: str) -> str:
    text = clean(text).strip()
    return text if len(text) <= SHORTENED_REASON else text[:SHORTENED_REASON] + " ..."


def _tables(report: Report, style: Style) -> list[Table]:
    tables = [_scores(report, style), _seeds(report, style)]
    if report.deltas:
        tables.append(_deltas(report.deltas, style))
    if any(arm.seeds for arm in report.arms):
        tables.append(_limits(report))
    if any(arm.aligned_gaps or arm.gain for arm in report.arms):
        tables.append(_aligned(report, style))
    if any(report.phases.values()):
        tables.append(_times(report))
    if report.usage is not None and style is FILE:  # a terminal has the line
        tables.append(_usage(report.usage))
    return tables


def _scores(report: Report, style: Style) -> Table:
    rows, mixed = [], " (mixed)" if report.times.comparable is False else ""
    for arm in report.arms:
        summary, results = arm.val_bpb, list(arm.seeds.values())
        rows.append(
            (
                arm.name,
                f"{len(results)} of {len(report.run.plan.seeds)}",
                _number(summary.mean if summary else None, style),
                _number(summary.sample_std if summary else None, style),
                _interval(summary.interval if summary else None, style),
                _largest((result.artifact_bytes for result in results), ","),
                f"{fmean(times):.2f}{mixed}"
                if (times := known(result.trunk.step_ms_mean for result in results))
                else NOTHING,
                _kind(arm),
                _claim(arm, style),
            )
        )
    return Table(
        title="Scores",
        columns=("Arm", "n", "Mean BPB", "Std", "95 % interval", "Artifact bytes", "Step ms", "Run", "Claimable"),
        rows=tuple(rows),
        note=(
            "Bits per byte, lower is better. Mean, sample std (n - 1) and t interval over the seeds below; bytes: the "
            "largest of the seeds, code included; step: mean of the seeds' `step_ms_mean`. Run: end to end where one "
            "process trained and scored, as a submission does; otherwise from a trunk trained before. Claimable: "
            "whether a record may claim the score, which it may only where nothing learned from a token before it was "
            f"scored; `{PRE_EVAL}` arms are diagnostics."
            + (f" Mixed: {report.times.said[0].lower()}{markdown(report.times.said[1:])}" if mixed else "")
        ),
    )


def _seeds(report: Report, style: Style) -> Table:
    failed = {(failure.seed, arm) for failure in report.failed for arm in failure.arms}
    rows = [
        (
            str(seed),
            *(
                _number(arm.seeds[seed].val_bpb, style)
                if seed in arm.seeds
                else "failed"
                if (seed, arm.name) in failed
                else "no result"
                if arm.name in report.run.plan.asked(seed)
                else NOTHING
                for arm in report.arms
            ),
        )
        for seed in report.run.plan.seeds
    ]
    summaries = [arm.val_bpb for arm in report.arms]
    rows.append(("Mean", *(_number(summary.mean if summary else None, style) for summary in summaries)))
    rows.append(("Std", *(_number(summary.sample_std if summary else None, style) for summary in summaries)))
    return Table(
        title="Every seed",
        columns=("Seed", *(arm.name for arm in report.arms)),
        rows=tuple(rows),
        note="Bits per byte: `val_bpb` of `seed_<seed>/<arm>/result.json`.",
        summary_rows=2,
    )


def _deltas(deltas: Sequence[Delta], style: Style) -> Table:
    return Table(
        title="One arm against another",
        columns=("Arm", "Against", "n", "Delta BPB", "Std", "95 % interval", "p", "p (Holm)", "Test"),
        rows=tuple(
            (
                delta.arm,
                delta.against,
                str(delta.n),
                _number(delta.mean, style, sign="+"),
                _number(delta.std, style),
                _interval(delta.ci95, style, sign="+"),
                _p(delta.p),
                _p(delta.p_holm),
                _test(delta) if delta.p is not None else NOTHING,
            )
            for delta in deltas
        ),
        note=(
            "Arm minus against: below 0 the arm is better. "
            + (
                "Paired by seed where both results name the same `trunk_sha256`: one training, scored twice. "
                if all(delta.of_one_training for delta in deltas)
                else "Each arm trained for itself; pairs have the same seed, and no more than that. "
            )
            + "p is two-sided, for no difference at all; the column beside "
            "it is corrected by Holm for the number of comparisons in this table."
        ),
    )


def _test(delta: Delta) -> str:
    if not delta.paired:
        return "Welch t"
    return "paired t" if delta.of_one_training else "paired t, same seeds"


def _limits(report: Report) -> Table:
    rows = []
    most_bytes, machine = limits().artifact_bytes, challenge().machine
    for arm in report.arms:
        if not (results := list(arm.seeds.values())):
            continue
        most = max(known(result.artifact_bytes for result in results), default=None)
        rows.append(
            (
                arm.name,
                NOTHING if most is None else f"{most:,}",
                NOTHING if most is None else f"{most_bytes - most:,}",
                f"{max(result.code_bytes for result in results):,}",
                _largest((result.trunk.train_seconds for result in results), ".1f"),
                _largest((result.eval_seconds for result in results), ".1f"),
                _largest((result.compile_seconds or None for result in results), ".1f"),
                _largest((result.adapt_seconds or None for result in results), ".1f"),
            )
        )
    caps = [claims.limit_of(claims.load(claims.CHALLENGE), value)[0] for value in ("train_seconds", "eval_seconds")]
    return Table(
        title="Bytes and seconds against their limits",
        columns=(
            "Arm",
            f"Bytes of {most_bytes:,}",
            "Bytes left",
            "Code bytes",
            f"Train s of {caps[0]}",
            f"Eval s of {caps[1]}",
            "Of it compiling",
            "Adapting s",
        ),
        rows=tuple(rows),
        note=(
            "The largest of the seeds. Adapting is part of the evaluation; a score-first arm adapts while it scores. "
            "Compiling is part of it as well, as a submission pays for it; a seed that finds what an earlier one "
            "compiled compiles less. "
            f"The caps in seconds are meant for {machine.gpus} {machine.card}; on another machine they are printed for "
            "orientation."
        ),
    )


def _aligned(report: Report, style: Style) -> Table:
    rows = []
    for arm in report.arms:
        both = [result for result in arm.seeds.values() if result.aligned_val_bpb is not None]
        gain = arm.gain
        if both or gain:
            share = gain.sliding_share if gain else None
            rows.append(
                (
                    arm.name,
                    _number(fmean(result.aligned_val_bpb or 0.0 for result in both) if both else None, style),
                    _number(fmean(result.val_bpb for result in arm.seeds.values()), style),
                    _number(fmean(arm.aligned_gaps) if both else None, style, sign="+"),
                    _number(gain.total if gain else None, style, sign="+"),
                    NOTHING if share is None else f"{share:.1%}",
                )
            )
    return Table(
        title="What more context brings",
        columns=("Arm", "Disjoint windows", "Final", "Final - disjoint", "Gain", "Of it sliding alone"),
        rows=tuple(rows),
        note=(
            "Means over the seeds of `aligned_val_bpb` and `val_bpb`: the same weights with and without overlapping "
            "windows. Above 0 after an adaptation is the signature of memorised windows. Gain: over the same trunk "
            "without adaptation in disjoint windows; of it, the share that overlapping windows give without adaptation."
        ),
    )


def _times(report: Report) -> Table:
    columns = report.phases
    training, *scoring = columns.values()
    ordered = [training, *sorted(scoring, key=len, reverse=True)]  # the fullest first: it has the order of all
    names = list({name: None for phases in ordered for name in phases})
    rows = [
        (name, *(f"{phases[name]:.1f}" if name in phases else NOTHING for phases in columns.values())) for name in names
    ]
    total = ("Sum", *(f"{sum(phases.values()):.1f}" if phases else NOTHING for phases in columns.values()))
    return Table(
        title="Where the seconds went",
        columns=("Phase", *columns),
        rows=(*rows, total),
        note=(
            "Wall seconds, mean over the seeds, of each phase without the phases inside it: `phases` of each "
            "`trunk.json` and `result.json`; which lies in which is in the `metrics.jsonl` beside them."
        ),
        summary_rows=1,
    )


def _usage(used: Usage) -> Table:
    def row(name: str, kinds: Collection[str]) -> tuple[str, ...]:
        least = "at least " if used.at_least and WAITING in kinds else ""
        usd = NOTHING if used.usd is None else f"{least}{sum(used.usd[kind] for kind in kinds):,.2f}"
        return (name, f"{least}{sum(used.seconds[kind] for kind in kinds):,.1f}", usd)

    rows = [row(kind, [kind]) for kind in used.seconds]
    unknown = [] if used.waits else [(WAITING, NOTHING, NOTHING)]
    total = row("Sum" if used.waits else "Sum of what is known", list(used.seconds))
    return Table(
        title=f"{used.unit[0].upper()}{used.unit[1:]}",
        columns=("For", used.unit, "USD"),
        rows=(*rows, *unknown, total),
        note=(
            "Of all seeds and attempts: wall seconds of each phase, without the phases inside it, times the GPUs of a "
            "trial, or the nodes where it has no GPU. Training has its validations and its warm-up in it, scoring the "
            "reading back; a score-first arm adapts while it scores. Waiting is all else that the attempts had of "
            "their nodes by `launch.jsonl`: starting, and what a failed attempt did and left no record of. A trunk of "
            "another run counts there. Dollars: at the price in `launch.jsonl`."
            + (f" Not known: {markdown('; '.join(used.unknown))}." if used.unknown else "")
        ),
        summary_rows=1,
    )


def _sources(report: Report) -> list[str]:
    plan = report.run.plan
    return [
        "## Where the numbers come from",
        "",
        "- Planned seeds, program, data: `plan.json`. The program that ran: `train_gpt.py`.",
        "- Scores, bytes, seconds of a seed and arm: `seed_<seed>/<arm>/result.json`, one line each in `results.csv`.",
        "- Means, intervals and tests: computed from those files; the same with full precision in `report.json`.",
        "- Cost: seconds from `started` to the end of each attempt in `launch.jsonl`, at the price that stands there.",
        "- Failures: `seed_<seed>/failure.json`. Output of every process: `seed_<seed>/job.log`.",
        f"- Trunks: `../{plan.trial(plan.seeds[0]).trunk_path.parent.relative_to(report.run.path.parent).as_posix()}/`."
        if plan.seeds
        else "",
        "",
    ]


# --- cells -----------------------------------------------------------------------------------------------------------


def _number(value: float | None, style: Style, sign: str = "") -> str:
    return NOTHING if value is None else f"{value:{sign}.{style.decimals}f}"


def _largest(values: Iterable[float | None], form: str) -> str:
    """The largest that is told."""
    largest = max(known(values), default=None)
    return NOTHING if largest is None else f"{largest:{form}}"


def _interval(interval: Interval | None, style: Style, sign: str = "") -> str:
    if interval is None:
        return NOTHING
    if style.whole_intervals:
        return f"{_number(interval.low, style, sign)} to {_number(interval.high, style, sign)}"
    return f"±{(interval.high - interval.low) / 2:.{style.decimals}f}"


def _p(p: float | None) -> str:
    return NOTHING if p is None else f"{p:.4f}" if p >= 0.001 else f"{p:.1e}"


def _kind(arm: ArmReport) -> str:
    if not arm.seeds:
        return NOTHING
    kinds = {len(arm.seeds): "end to end", 0: "from a trunk"}
    return kinds.get(arm.end_to_end, f"{arm.end_to_end} of {len(arm.seeds)} end to end")


def _claim(arm: ArmReport, style: Style) -> str:
    if arm.claimable is None:
        return NOTHING
    if arm.claimable:
        return "yes"
    return f"no: {arm.why_not}" if style is FILE else "no"
