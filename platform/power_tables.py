"""How the answers of ``power`` look on a terminal."""

from collections.abc import Sequence

from .power import AT_MOST, Assumed, Detectable, Needed, Question
from .reports.text_table import NOTHING, Table, print_table
from .statistics.futility import LEAST_CHANCE, Outcome

AGAINST = {
    "Welch t": "two groups of seeds, each with its own spread",
    "one-sample t": "the published score taken as exact",
    "known-sigma z": "two groups, the spread taken as known",
    "paired t": "two arms of the same trunks",
}


def show(
    question: Question,
    nats: Assumed,
    margin_nats: float,
    answers: Sequence[Needed],
    table: Sequence[Detectable],
    planned: int,
    outcomes: Sequence[Outcome],
    notes: Sequence[str],
) -> None:
    """Print what was assumed, the seeds that the hoped gain needs, what seeds can show, and what giving up saves."""
    for line in (*_assumptions(question, nats, margin_nats), *notes):
        print(line)
    if question.gain is not None and question.gain <= question.margin:
        within = f"A gain of {question.gain:.6f} BPB is within the margin of {question.margin:.6f}"
        print(f"\n{within}: no number of seeds shows it.")
    elif answers:
        print_table(_needed(question, answers))
    print_table(_detectable(question, table))
    if outcomes:
        print_table(_outcomes(question, planned, outcomes))


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
                one.test,
                AGAINST[one.test],
                f"over {AT_MOST}" if one.seeds is None else str(one.seeds),
                NOTHING if one.seeds_to_run is None else str(one.seeds_to_run),
                NOTHING if one.hours is None else f"{one.hours:.1f}",
                NOTHING if one.usd is None else f"{one.usd:,.0f}",
            )
            for one in answers
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
                str(one.seeds),
                *(NOTHING if one.gains[test] is None else f"{one.gains[test]:.5f}" for test in tests),
                f"{one.hours:.1f}",
                f"{one.usd:,.0f}",
            )
            for one in table
        ),
    )


def _outcomes(question: Question, planned: int, outcomes: Sequence[Outcome]) -> Table:
    against = planned if question.n_against is None else question.n_against
    return Table(
        title=f"Stopping below a chance to pass of {LEAST_CHANCE:.0%}: Welch t, {planned} seeds against {against}",
        columns=("True gain", "Passes", "Passes without the rule", "Seeds saved"),
        rows=tuple(
            (
                f"{one.excess + question.margin:.6f}",
                f"{one.pass_rate:.1%}",
                f"{one.pass_rate_without:.1%}",
                f"{one.seeds_saved:.0%}",
            )
            for one in outcomes
        ),
    )
