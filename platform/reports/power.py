"""The answer of ``platform.power``: from what was asked to tables and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records import given_scores
from ..rules.challenge import challenge, dataset, limits
from ..runs.results import Run, read_run
from ..runs.spread import minutes_of, paired_sigma_of, sigma_of
from ..statistics import significance
from ..statistics.futility import LEAST_CHANCE, SIGMA, SIGMA_SOURCE, Outcome
from ..statistics.power import (
    AT_MOST,
    USD,
    USD_SOURCE,
    Assumed,
    Detectable,
    Needed,
    Question,
    detectable,
    futility,
    needed,
)
from ..statistics.significance import BPB, Amount, BitsPerByte, Comparison, NatsPerToken, Scores, TestName
from .text_table import NOTHING, Table, print_table

AGAINST = {
    "Welch t": "two groups of seeds, each with its own spread",
    "one-sample t": "the published score taken as exact",
    "known-sigma z": "two groups, the spread taken as known",
    "paired t": "two arms of the same trunks",
}
DATASET = "sp1024"  # whose nats are meant where no run tells
PLANNED_TEST: TestName = "Welch t"  # the one that the challenge asks for


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody wants to know; None: not said. Amounts are in BPB, the margin in nats per token."""

    sigma: float | None  # std of seeds
    scores: str | None  # of seeds: a list or the name of a CSV
    source: Path | None  # a run, a record folder or a CSV that tells sigma; a run tells time and tokenizer too
    against: str | None  # the scores of the other side: a list, a CSV, a record folder or a run
    arm: str | None  # of that run
    paired_sigma: float | None
    gain: float | None
    margin_nats: float
    nats_per_bpb: float | None
    alpha: float  # one-sided
    power: float
    against_seeds: int | None
    gpus: int | None
    usd_per_gpu_hour: float | None
    minutes_per_seed: float | None
    stop_when_hopeless: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is known before anything is spent."""

    question: Question
    nats: Assumed  # per BPB
    margin_nats: float
    needed: tuple[Needed, ...]
    detectable: tuple[Detectable, ...]
    planned: int  # seeds of a side that ``outcomes`` are for
    outcomes: tuple[Outcome, ...]  # of giving up early, where that was asked
    shown: tuple[Comparison, ...]  # what the scores of both sides show already
    notes: tuple[str, ...]


def answer(asked: Asked) -> Answer:
    """The answer, with what a run tells in the place of what was assumed.

    Raises:
        UserError: no such run, record, file or arm, or too few scores to tell a spread.
    """
    if asked.scores and asked.source:
        raise UserError("--scores and --from both tell the scores; give one")
    run = read_run(asked.source) if asked.source and given_scores.is_run(asked.source) else None
    own = given_scores.read(asked.scores or str(asked.source), asked.arm or "") if _has_scores(asked, run) else None
    if own is None and run is not None and asked.against:
        own = given_scores.read(str(asked.source), asked.arm or next(iter(run.arms)))
    if asked.arm is not None and (run is None or asked.arm not in run.arms):
        known = f"the arms are {', '.join(run.arms)}" if run else "it needs --from RUN_DIR"
        raise UserError(f"--arm {asked.arm}: {known}")
    notes = []
    if asked.sigma is not None:
        spread = Assumed(value=asked.sigma, source="given")
    elif run is None and own is not None:
        spread = Assumed(value=own.sigma(), source=f"sample std of the {own.name}")
        notes.append(f"mean          {own.mean:.8f} BPB of the {own.name}")
    elif run is None:
        spread = Assumed(value=SIGMA, source=SIGMA_SOURCE)
    else:
        spread, interval = sigma_of(run, asked.arm or next(iter(run.arms)))
        notes.append(
            f"95 % interval of sigma: {interval.low:.6f} to {interval.high:.6f} BPB; so few seeds say little of it"
        )
    usual = dataset(DATASET)
    unit = (run and run.nats_per_token()) or NatsPerToken(usual.nats_per_bpb)
    nats = _given(asked.nats_per_bpb, unit.per_bpb, "the run" if run else usual.source)
    if asked.nats_per_bpb is None and run is None and own is not None and own.nats_per_bpb is not None:
        nats = Assumed(value=own.nats_per_bpb, source=f"the {own.name}")
    paired = asked.paired_sigma
    margin = Amount(asked.margin_nats, NatsPerToken(nats.value)).to(BPB)
    shown: tuple[Comparison, ...] = ()
    gain = asked.gain
    if asked.against is not None:
        if own is None:
            raise UserError("--against needs scores of this side: --scores or --from")
        theirs = given_scores.read(asked.against, asked.arm or "")
        shown = tuple(_compared(own, theirs, margin))
        gain = theirs.mean - own.mean if gain is None else gain
        notes.append(f"against       {theirs.mean:.8f} BPB of the {theirs.name}: gain {theirs.mean - own.mean:+.6f}")
    question = Question(
        sigma=spread,
        paired_sigma=paired_sigma_of(run, asked.arm) if paired is None else Assumed(value=paired, source="given"),
        gain=gain,
        margin=margin.value,
        alpha=asked.alpha,
        power=asked.power,
        n_against=asked.against_seeds,
        gpus=asked.gpus if asked.gpus is not None else run.plan.gpus if run else challenge().machine.gpus,
        usd_per_gpu_hour=_given(asked.usd_per_gpu_hour, USD, USD_SOURCE),
        minutes_per_seed=_given(asked.minutes_per_seed, *minutes_of(run)),
    )
    answers = needed(question)
    planned = next((need.seeds for need in answers if need.test == PLANNED_TEST and need.seeds), None) or 3
    return Answer(
        question=question,
        nats=nats,
        margin_nats=asked.margin_nats,
        needed=tuple(answers),
        detectable=tuple(detectable(question)),
        planned=planned,
        outcomes=tuple(futility(question, planned, PLANNED_TEST)) if asked.stop_when_hopeless else (),
        shown=shown,
        notes=tuple(notes),
    )


def _has_scores(asked: Asked, run: Run | None) -> bool:
    return asked.scores is not None or (asked.source is not None and run is None)


def _compared(own: given_scores.Given, theirs: given_scores.Given, margin: Amount[BitsPerByte]) -> list[Comparison]:
    new, old = Scores(own.scores, BPB), Scores(theirs.scores, BPB)
    tests = [significance.welch(new, old, margin)] if len(theirs.scores) > 1 else []
    return [*tests, significance.one_sample(new, Amount(theirs.mean, BPB), margin)]


def as_json(found: Answer) -> dict[str, Any]:
    """The answer for programs."""
    hopeless = {
        "test": PLANNED_TEST,
        "planned": found.planned,
        "outcomes": [asdict(outcome) for outcome in found.outcomes],
    }
    return {
        "question": {**asdict(found.question), "nats_per_bpb": asdict(found.nats)},
        "needed": [asdict(need) for need in found.needed],
        "detectable": [asdict(row) for row in found.detectable],
        "stop_when_hopeless": hopeless if found.outcomes else None,
        "shown": [asdict(test) for test in found.shown],
    }


def show(found: Answer) -> None:
    """Print what was assumed, the seeds that the hoped gain needs, what seeds can show, and what giving up saves."""
    question = found.question
    for line in (*map(_shown, found.shown), *_sentence(found)):
        print(line)
    for line in (*_assumptions(question, found.nats, found.margin_nats), *found.notes):
        print(line)
    if question.gain is not None and question.gain <= question.margin:
        within = f"A gain of {question.gain:.6f} BPB is within the margin of {question.margin:.6f}"
        print(f"\n{within}: no number of seeds shows it.")
    elif found.needed:
        print_table(_needed(question, found.needed))
    print_table(_detectable(question, found.detectable))
    if found.outcomes:
        print_table(_outcomes(question, found.planned, found.outcomes))


def _shown(test: Comparison) -> str:
    """What the scores that are there show: one line a test."""
    if test.p is None or test.statistic is None:
        return f"{test.test}: {test.note}"
    says = "shown" if test.passes(limits().alpha) else "not shown"
    return f"{says} by {test.test}: gain {test.gain:.6f} BPB, margin {test.margin:.6f}, p {test.p:.4g}"


def _sentence(found: Answer) -> list[str]:
    """The answer in words, before the tables."""
    three = next((row for row in found.detectable if row.seeds == 3), None)
    smallest = three.gains[PLANNED_TEST] if three else None
    need = next((need for need in found.needed if need.test == PLANNED_TEST), None)
    parts = [] if smallest is None else [f"3 seeds can show a gain of {smallest:.4f} BPB"]
    if need is not None and need.seeds is not None:
        parts.append(f"{found.question.gain:.4f} needs {need.seeds} ({PLANNED_TEST})")
    return ["; ".join(parts)] if parts else []


def _given(value: float | None, default: float, source: str) -> Assumed:
    return Assumed(value=default, source=source) if value is None else Assumed(value=value, source="given")


def _assumptions(question: Question, nats: Assumed, margin_nats: float) -> list[str]:
    lines = [
        f"sigma         {question.sigma.value:.6f} BPB ({question.sigma.source})",
        f"margin        {question.margin:.6f} BPB: {margin_nats} nats per token at {nats.value:.6f} nats per BPB "
        f"({nats.source})",
        f"test          one-sided, p < {question.alpha}; power {question.power:.0%}",
        f"cost          {question.gpus} GPUs at {question.usd_per_gpu_hour.value:.2f} USD an hour "
        f"({question.usd_per_gpu_hour.source})",
        f"time          {question.minutes_per_seed.value:.1f} minutes a seed ({question.minutes_per_seed.source})",
    ]
    if question.paired_sigma is not None:
        lines.insert(1, f"paired sigma  {question.paired_sigma.value:.6f} BPB ({question.paired_sigma.source})")
    return lines


def _needed(question: Question, answers: Sequence[Needed]) -> Table:
    return Table(
        title=f"Seeds that a true gain of {question.gain:.6f} BPB needs",
        columns=("Test", "Against", "Seeds", "Seeds to run", "Hours", "USD"),
        rows=tuple(
            (
                need.test,
                AGAINST[need.test],
                f"over {AT_MOST}" if need.seeds is None else str(need.seeds),
                NOTHING if need.seeds_to_run is None else str(need.seeds_to_run),
                NOTHING if need.hours is None else f"{need.hours:.1f}",
                NOTHING if need.usd is None else f"{need.usd:,.0f}",
            )
            for need in answers
        ),
        left=2,
    )


def _detectable(question: Question, table: Sequence[Detectable]) -> Table:
    tests = list(question.designs)
    return Table(
        title="Smallest true gain in BPB that seeds can show, margin included",
        columns=("Seeds", *tests, "Hours, this side", "USD, this side"),
        rows=tuple(
            (
                str(row.seeds),
                *(NOTHING if row.gains[test] is None else f"{row.gains[test]:.5f}" for test in tests),
                f"{row.hours:.1f}",
                f"{row.usd:,.0f}",
            )
            for row in table
        ),
    )


def _outcomes(question: Question, planned: int, outcomes: Sequence[Outcome]) -> Table:
    against = planned if question.n_against is None else question.n_against
    return Table(
        title=f"Stopping below a chance to pass of {LEAST_CHANCE:.0%}: Welch t, {planned} seeds against {against}",
        columns=("True gain", "Passes", "Passes without the rule", "Seeds saved"),
        rows=tuple(
            (
                f"{outcome.excess + question.margin:.6f}",
                f"{outcome.pass_rate:.1%}",
                f"{outcome.pass_rate_without:.1%}",
                f"{outcome.seeds_saved:.0%}",
            )
            for outcome in outcomes
        ),
    )
