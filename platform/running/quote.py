"""What a launch is going to cost, before it starts: from trials that have ended, or from the recipe's budget.

Each part says whether it is measured, by trials that have ended, or assumed, from the recipe and what is known of other
trainings. Where neither tells, it cannot be told, and that is what is said.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from ..errors import UserError
from ..paths import shown
from ..program.recipe import Choices, scale_file
from ..runs import plan
from ..runs.events import Ended
from ..runs.plan import Trial
from ..runs.reading import read_trunk
from ..runs.spending import Spell, spells
from ..words import HOUR_SECONDS, cost, counted, known
from .experiment import Experiment

OVERHEAD_SECONDS = {"laptop": 4.0}  # a trial, by scale: Ray, torchrun and their like, as docs/measured.md has them


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a trial has left to do."""

    trial: Trial
    arms: tuple[str, ...]
    trains: bool

    @staticmethod
    def of(trial: Trial) -> "Work":
        trains = trial.end_to_end or not trial.trunk.record.exists()
        return Work(trial=trial, arms=trial.unscored_arms, trains=trains)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """How long a trial is going to have its nodes, and how that was reckoned."""

    seconds: float | None  # of nodes; None: it cannot be told
    basis: Literal["measured", "assumed"]  # of ``seconds``; where they cannot be told, of ``training_seconds``
    how: str
    training_seconds: float = 0.0  # of nodes; what is known where the whole cannot be told
    training_how: str = ""

    @property
    def known_seconds(self) -> float:
        """What a budget reckons with."""
        return self.training_seconds if self.seconds is None else self.seconds


@dataclass(frozen=True, kw_only=True)
class Price:
    """What an hour of a node costs."""

    usd_per_hour: float | None  # None: nobody said it
    where: str  # that is said, or can be

    @staticmethod
    def of(experiment: Experiment) -> "Price":
        """As the scale has it; of a run that is continued, as its last launch had it."""
        if experiment.choices is not None:
            where = f"cluster.usd_per_hour of {shown(scale_file(experiment.choices))}"
            return Price(usd_per_hour=experiment.choices.cluster.usd_per_hour, where=where)
        if experiment.script is not None:
            where = f"cluster.usd_per_hour of the scale {experiment.script.scale}"
            return Price(usd_per_hour=experiment.script.cluster.usd_per_hour, where=where)
        said = [spell.usd_per_hour for spell in spells(experiment.draft.run_path) if spell.usd_per_hour is not None]
        if said:
            return Price(usd_per_hour=said[-1], where="as the last launch of it had it")
        where = f"cluster.usd_per_hour of the scale {experiment.draft.scale}, when its recipe is launched"
        return Price(usd_per_hour=None, where=where)

    def usd(self, node_seconds: float) -> float | None:
        return None if self.usd_per_hour is None else node_seconds / HOUR_SECONDS * self.usd_per_hour

    def __str__(self) -> str:
        if self.usd_per_hour is None:
            return f"no price: nobody said {self.where}"
        return f"at {self.usd_per_hour:g} USD an hour ({self.where})"


def lines(experiment: Experiment, seeds: tuple[int, ...]) -> Iterator[str]:
    """What the trials of ``seeds`` that are not done are going to cost, for people; nothing where all are done."""
    price = Price.of(experiment)
    for one, trials in _alike(experiment, seeds):
        if one.seconds is not None:
            yield _times(one.basis, trials, one.seconds, price)
            yield f"a trial: {one.how}"
            continue
        yield f"of {counted(len(trials), 'trial')} cannot be told: {one.how}"
        if one.training_seconds:
            yield f"training alone, {_times(one.basis, trials, one.training_seconds, price)}"
            yield f"a training: {one.training_how}"


def whole(experiments: Sequence[Experiment], seeds: tuple[int, ...]) -> str:
    """What the launch is going to cost as far as is known, and how much of that is measured; empty: nothing is left."""
    parts: dict[str, tuple[float, float, float | None]] = {}  # by basis: GPU seconds, node seconds, dollars
    untold = 0
    for experiment in experiments:
        price = Price.of(experiment)
        for one, trials in _alike(experiment, seeds):
            seconds = len(trials) * one.known_seconds
            untold += len(trials) if one.seconds is None else 0
            if not seconds:
                continue
            on_gpus, on_nodes, usd = parts.get(one.basis, (0.0, 0.0, 0.0))
            more = price.usd(seconds)
            usd = None if usd is None or more is None else usd + more
            parts[one.basis] = (on_gpus + _gpu_seconds(trials[0], seconds), on_nodes + seconds, usd)
    said = []
    for basis, (on_gpus, on_nodes, usd) in sorted(parts.items(), reverse=True):  # what is measured first
        gpus = f"{on_gpus:,.0f} GPU seconds, " if on_gpus else ""
        said.append(f"{basis} {gpus}{cost(on_nodes, usd)}{', no price' if usd is None else ''}")
    if untold:
        said.append(f"of {counted(untold, 'trial')} not more than the training is in it, if that")
    return "; ".join(said)


def _alike(experiment: Experiment, seeds: tuple[int, ...]) -> list[tuple[Expected, list[Trial]]]:
    """The trials that are not done, together where the same is expected of them."""
    found: dict[Expected, list[Trial]] = {}
    for trial in experiment.trials(seeds):
        if not trial.done:
            found.setdefault(expected(Work.of(trial), experiment.choices), []).append(trial)
    return list(found.items())


def _times(basis: str, trials: Sequence[Trial], seconds: float, price: Price) -> str:
    """``measured: 3 trials × 0.2 node-hours = 0.6 node-hours, 14.40 USD, at ...; 8 GPUs × ... = 17,280 GPU seconds``"""
    count = len(trials)
    every = count * seconds
    total = f"{counted(count, 'trial')} × {cost(seconds)} = {cost(every, price.usd(every))}, {price}"
    if not (gpus := trials[0].gpus):
        return f"{basis}: {total}; no GPU: {every:,.0f} node-seconds"
    return (
        f"{basis}: {total}; {counted(gpus, 'GPU')} × node-seconds = {_gpu_seconds(trials[0], every):,.0f} GPU seconds"
    )


def _gpu_seconds(trial: Trial, node_seconds: float) -> float:
    """A trial's GPUs are those of all its nodes together."""
    return node_seconds / trial.nodes * trial.gpus


def expected(work: Work, choices: Choices | None) -> Expected:
    """What is known of how long ``work`` takes. ``choices``: what its program was made from, where that is known."""
    for among, every in (("this run", [work.trial.run_path]), ("runs with the same training", _same_training(work))):
        ended = [spell for path in every for spell in spells(path) if _did(spell, work)]
        exact = [spell for spell in ended if spell.trained == work.trains and set(spell.arms) == set(work.arms)]
        if ended:
            return _from_ended(exact or ended, among, exact=bool(exact))
    trial, nodes, training, how = work.trial, work.trial.nodes, 0.0, ""
    if choices is not None and work.trains:
        training, how = _training(trial, choices)
    overhead = OVERHEAD_SECONDS.get(trial.scale)
    if overhead is None or not training:
        lacks = "nothing is measured of it" if overhead is None else "its recipe does not say more"
        return Expected(
            seconds=None,
            basis="assumed",
            how=f"no trial of it has ended yet, and at scale {trial.scale} {lacks}",
            training_seconds=training * nodes,
            training_how=how,
        )
    return Expected(
        seconds=(training + overhead) * nodes,
        basis="assumed",
        how=f"{how}; measured {overhead:g} s for Ray, torchrun and their like (docs/measured.md); how long scoring "
        "takes is not known and not in it",
    )


def _training(trial: Trial, choices: Choices) -> tuple[float, str]:
    """Seconds that its training is assumed to take, and by what."""
    most, steps = float(choices.setting("budget", "train_seconds")), int(choices.setting("budget", "iterations"))
    budget = f"assumed {most:g} s of training at most, as its recipe says"
    measured = []
    for trunk in trial.trunk.alike(plan.machine_name(trial.processes, trial.gpus, trial.nodes)):
        with suppress(ValueError):  # a record that cannot be read tells nothing
            measured.append(read_trunk(trunk.record))
    if not measured:
        return most, budget
    if not (times := known(record.step_ms_mean for record in measured)):
        return most, budget
    step_ms = fmean(times)
    cards = ", ".join(sorted({record.machine.device if record.machine else "a machine unknown" for record in measured}))
    by_steps = (
        f"{steps:,} iterations × {step_ms:.2f} ms, measured as the mean of {counted(len(measured), 'training')} of the "
        f"same text on {cards}"
    )
    if (seconds := steps * step_ms / 1000) < most:
        return seconds, f"assumed {seconds:.1f} s of training: its {by_steps}"
    return most, f"{budget}, which ends before {by_steps}"


def _did(spell: Spell, work: Work) -> bool:
    """Whether it ended well and did at least as much."""
    return spell.end is Ended and spell.trained >= work.trains and set(spell.arms) >= set(work.arms)


def _from_ended(ended: list[Spell], among: str, *, exact: bool) -> Expected:
    seconds = [spell.node_seconds for spell in ended]
    several = f"{min(seconds):.0f} to " if len(seconds) > 1 else ""
    how = f"measured, mean of {counted(len(seconds), 'trial')} of {among} that ended ({several}{max(seconds):.0f} s)"
    return Expected(
        seconds=fmean(seconds), basis="measured", how=how if exact else f"{how}, which had more to do: so at most"
    )


def _same_training(work: Work) -> Iterator[Path]:
    """The other runs in the same folder that train the same trunk at the same scale; broken plans are passed over."""
    trial = work.trial
    for path in sorted(trial.run_path.parent.glob("*/plan.json")):
        if path.parent == trial.run_path:
            continue
        try:
            other = plan.read(path.parent)
        except UserError:
            continue
        if other.scale == trial.scale and other.trial(trial.seed).trunk_path == trial.trunk_path:
            yield other.run_path
