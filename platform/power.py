"""How many seeds a gain needs, what they cost, and what a given number of seeds can show; before anything is spent.

    python -m platform.power --sigma 0.0007 --margin-nats 0.005 --gain 0.004
    python -m platform.power --from runs/leaky_cosine-991bb5f2 --gain 0.004

Sigma and gains are in BPB, the margin in nats per token as the challenge's rule has it. Every figure that was not given
is printed with where it comes from.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from .errors import UserError, explained
from .runs.metrics import own_seconds
from .runs.results import Run, read_run
from .statistics.futility import SIGMA, SIGMA_SOURCE, Outcome, StoppingRule, simulate
from .statistics.significance import BPB, Amount, Design, Interval, NatsPerToken, TestName, summarize

NATS_PER_BPB, NATS_SOURCE = 1.688454, "SP1024 on the challenge's validation text, as in the public logs"
USD, USD_SOURCE = 2.5, "assumed: on-demand list prices of an H100 were 2 to 3 USD in 2025"
GPUS = 8
MINUTES, MINUTES_SOURCE = 25.0, "assumed: both caps of 10 minutes, and 5 for start, compiling and packing"
SEEDS_SHOWN = range(3, 11)
AT_MOST = 200  # seeds; what needs more is not going to be shown this way


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """A figure that the answer rests on, and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is planned. Amounts are in BPB."""

    sigma: Assumed
    paired_sigma: Assumed | None  # std of the gains between two arms of one trunk
    gain: float | None  # the true gain that is hoped for
    margin: float
    alpha: float
    power: float
    n_against: int | None  # seeds that the other side has already; None: to be run too, as many as the new side
    gpus: int
    usd_per_gpu_hour: Assumed
    minutes_per_seed: Assumed

    @property
    def designs(self) -> dict[TestName, Design]:
        """Every test that could be made, with what it is made against."""
        alpha, sigma = self.alpha, self.sigma.value
        designs: dict[TestName, Design] = {
            "Welch t": Design(test="Welch t", sigma=sigma, alpha=alpha, n_against=self.n_against),
            "one-sample t": Design(test="one-sample t", sigma=sigma, alpha=alpha),
            "known-sigma z": Design(test="known-sigma z", sigma=sigma, alpha=alpha, n_against=self.n_against),
        }
        if self.paired_sigma is not None:
            designs["paired t"] = Design(test="paired t", sigma=self.paired_sigma.value, alpha=alpha)
        return designs

    def seeds_to_run(self, test: TestName, n: int) -> int:
        """Seeds to pay for when the new side has ``n``: the other side too, where it is to be run."""
        both = test in ("Welch t", "known-sigma z") and self.n_against is None
        return 2 * n if both else n

    def hours(self, seeds: int) -> float:
        """On one machine, one seed after the other."""
        return seeds * self.minutes_per_seed.value / 60

    def usd(self, seeds: int) -> float:
        return self.hours(seeds) * self.gpus * self.usd_per_gpu_hour.value


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What one test needs to show the hoped gain; ``seeds`` None where ``AT_MOST`` are not enough."""

    test: TestName
    seeds: int | None  # of the new side
    seeds_to_run: int | None
    hours: float | None
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """What ``seeds`` of the new side can show: the smallest true gain, margin included, for each test."""

    seeds: int
    gains: dict[TestName, float | None]
    hours: float
    usd: float


def needed(question: Question) -> list[Needed]:
    """Seeds, hours and money of each test; empty where no gain is hoped for."""
    if question.gain is None:
        return []
    answers = []
    for test, design in question.designs.items():
        n = design.seeds_needed(question.gain - question.margin, power=question.power, at_most=AT_MOST)
        seeds = None if n is None else question.seeds_to_run(test, n)
        hours, usd = (None, None) if seeds is None else (question.hours(seeds), question.usd(seeds))
        answers.append(Needed(test=test, seeds=n, seeds_to_run=seeds, hours=hours, usd=usd))
    return answers


def detectable(question: Question) -> list[Detectable]:
    """What 3 to 10 seeds can show; hours and money are those of the new side alone."""
    return [
        Detectable(
            seeds=n,
            gains={
                test: None
                if (excess := design.detectable(n, power=question.power)) is None
                else excess + question.margin
                for test, design in question.designs.items()
            },
            hours=question.hours(n),
            usd=question.usd(n),
        )
        for n in SEEDS_SHOWN
    ]


def futility(question: Question, planned: int, test: TestName) -> list[Outcome]:
    """The rule of ``--stop-when-hopeless``, simulated: at no gain, a gain of just the margin, and the hoped gain."""
    n_against = 0 if test == "one-sample t" else planned if question.n_against is None else question.n_against
    rule = StoppingRule(test=test, planned=planned, sigma=question.sigma.value, alpha=question.alpha)
    gains = sorted({0.0, question.margin, *([question.gain] if question.gain is not None else [])})
    return [simulate(rule, excess=gain - question.margin, n_against=n_against) for gain in gains]


def sigma_of(run: Run, arm: str) -> tuple[Assumed, Interval]:
    """Spread of the seeds of an arm, with the 95 % interval that so few seeds leave open (chi square).

    Raises:
        UserError: fewer than two scores.
    """
    from scipy import special

    values = [one.val_bpb for one in run.arms[arm].values()]
    if len(values) < 2 or not (std := summarize(values).sample_std):
        raise UserError(
            f"arm {arm} has {len(values)} scores and no spread; two different ones are the least, or --sigma"
        )
    df = len(values) - 1
    low, high = (std * math.sqrt(df / special.chdtri(df, tail)) for tail in (0.025, 0.975))
    return Assumed(value=std, source=f"sample std of {len(values)} seeds of arm {arm}"), Interval(low, high)


class _Number(click.FloatRange):
    """A number in a range; "nan" and "inf", which are floats too, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number to reckon with", param, ctx)
        return number


@click.command(help="Say before the money is spent how many seeds a gain needs, and what a number of seeds can show.")
@click.option(
    "--sigma",
    type=_Number(min=0, min_open=True),
    help=f"Std of seeds, BPB.  [default: {SIGMA}]",
)
@click.option(
    "--from", "run_dir", type=click.Path(path_type=Path), help="Take sigma, time and tokenizer from this run."
)
@click.option("--arm", help="Arm of that run.  [default: its first]")
@click.option("--paired-sigma", type=_Number(min=0, min_open=True), help="Std of paired gains, BPB.")
@click.option("--gain", type=_Number(), help="The true gain that you hope for, BPB.")
@click.option("--margin-nats", type=_Number(min=0), default=0.005, show_default=True, help="Per token.")
@click.option(
    "--nats-per-bpb",
    type=_Number(min=0, min_open=True),
    help=f"[default: {NATS_PER_BPB}, SP1024]",
)
@click.option(
    "--alpha",
    type=_Number(0, 0.5, min_open=True),
    default=0.01,
    show_default=True,
    help="One-sided.",
)
@click.option(
    "--power",
    type=_Number(0.05, 0.999),
    default=0.8,
    show_default=True,
    help="Chance to pass.",
)
@click.option(
    "--against-seeds", type=click.IntRange(2, 10_000), help="Seeds the other side has.  [default: run as many again]"
)
@click.option("--gpus", type=click.IntRange(0), help="Of one seed.  [default: 8, or those of the run]")
@click.option("--usd-per-gpu-hour", type=_Number(0), help=f"[default: {USD}; {USD_SOURCE}]")
@click.option("--minutes-per-seed", type=_Number(0), help=f"[default: {MINUTES:.0f}; {MINUTES_SOURCE}]")
@click.option("--stop-when-hopeless", is_flag=True, help="Simulate what giving up early saves and costs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained()
def main(
    sigma: float | None,
    run_dir: Path | None,
    arm: str | None,
    paired_sigma: float | None,
    gain: float | None,
    margin_nats: float,
    nats_per_bpb: float | None,
    alpha: float,
    power: float,
    against_seeds: int | None,
    gpus: int | None,
    usd_per_gpu_hour: float | None,
    minutes_per_seed: float | None,
    stop_when_hopeless: bool,
    as_json: bool,
) -> None:
    run = read_run(run_dir) if run_dir else None
    if arm is not None and (run is None or arm not in run.arms):
        raise UserError(
            f"--arm {arm}: " + (f"the arms are {', '.join(run.arms)}" if run else "it needs --from RUN_DIR")
        )
    notes = []
    if run is None or sigma is not None:
        spread = Assumed(value=sigma, source="given") if sigma else Assumed(value=SIGMA, source=SIGMA_SOURCE)
    else:
        spread, interval = sigma_of(run, arm or next(iter(run.arms)))
        notes.append(
            f"95 % interval of sigma: {interval.low:.6f} to {interval.high:.6f} BPB; so few seeds say little of it"
        )
    unit = (run and run.nats_per_token()) or NatsPerToken(NATS_PER_BPB)
    nats = Assumed(
        value=nats_per_bpb or unit.per_bpb, source="given" if nats_per_bpb else "the run" if run else NATS_SOURCE
    )
    question = Question(
        sigma=spread,
        paired_sigma=Assumed(value=paired_sigma, source="given") if paired_sigma else _paired_sigma(run, arm),
        gain=gain,
        margin=Amount(margin_nats, NatsPerToken(nats.value)).to(BPB).value,
        alpha=alpha,
        power=power,
        n_against=against_seeds,
        gpus=gpus if gpus is not None else run.plan.gpus if run else GPUS,
        usd_per_gpu_hour=_given(usd_per_gpu_hour, USD, USD_SOURCE),
        minutes_per_seed=_given(minutes_per_seed, *_measured_minutes(run)),
    )
    answers, table = needed(question), detectable(question)
    outcomes: list[Outcome] = []
    planned = next((one.seeds for one in answers if one.test == "Welch t" and one.seeds), None) or 3
    if stop_when_hopeless:
        outcomes = futility(question, planned, "Welch t")
    if as_json:
        print(json.dumps(_json(question, nats, answers, table, planned, outcomes), indent=2, allow_nan=False))
        return
    from . import power_tables

    power_tables.show(question, nats, margin_nats, answers, table, planned, outcomes, notes)


def _given(value: float | None, default: float, source: str) -> Assumed:
    return Assumed(value=default, source=source) if value is None else Assumed(value=value, source="given")


def _measured_minutes(run: Run | None) -> tuple[float, str]:
    """Minutes of a seed: training and the evaluations of all its arms, as the run measured them."""
    if run is None or not run.trunks:
        return MINUTES, MINUTES_SOURCE
    scoring = [
        sum(by_seed[seed].eval_seconds for by_seed in run.arms.values() if seed in by_seed) for seed in run.trunks
    ]
    training = [
        sum(own_seconds(one.phases, run.plan.trial(seed).trunk.metrics).values()) or one.train_seconds
        for seed, one in run.trunks.items()
    ]
    return (sum(scoring) + sum(training)) / len(run.trunks) / 60, "mean of the run's seeds: training and all arms"


def _paired_sigma(run: Run | None, arm: str | None) -> Assumed | None:
    """Std of the paired gains of ``arm`` (default: the last) over the run's first arm."""
    if run is None or len(run.arms) < 2:
        return None
    first, last = next(iter(run.arms)), arm or list(run.arms)[-1]
    compared = run.compare(last, first) if last != first else None
    if compared is None or not compared.gain_std:
        return None
    return Assumed(value=compared.gain_std, source=f"{compared.n} paired gains of arm {last} over {first}")


def _json(
    question: Question,
    nats: Assumed,
    answers: list[Needed],
    table: list[Detectable],
    planned: int,
    outcomes: list[Outcome],
) -> dict[str, Any]:
    return {
        "question": {**asdict(question), "nats_per_bpb": asdict(nats)},
        "needed": [asdict(one) for one in answers],
        "detectable": [asdict(one) for one in table],
        "stop_when_hopeless": {"test": "Welch t", "planned": planned, "outcomes": [asdict(one) for one in outcomes]}
        if outcomes
        else None,
    }


if __name__ == "__main__":
    main()
