"""What a launch is going to cost, before it starts: from trials that have ended, or from the recipe's budget.

Where neither tells, it cannot be told, and that is what is said.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ..errors import UserError
from ..paths import shown
from ..program.recipe import Choices, scale_file
from ..runs import plan
from ..runs.events import Ended
from ..runs.plan import Trial
from ..runs.spending import Spell, spells
from ..words import HOUR_SECONDS, cost, counted
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
    how: str
    training_seconds: float = 0.0  # of nodes, at most; what is known where the whole cannot be told

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
    todo = [trial for trial in experiment.trials(seeds) if not trial.done]
    price = Price.of(experiment)

    def times(count: int, seconds: float) -> str:
        whole = count * seconds
        return f"{counted(count, 'trial')} × {cost(seconds)} = {cost(whole, price.usd(whole))}, {price}"

    for one, count in Counter(expected(Work.of(trial), experiment.choices) for trial in todo).items():
        if one.seconds is not None:
            yield times(count, one.seconds)
            yield f"a trial: {one.how}"
            continue
        yield f"of {counted(count, 'trial')} cannot be told: {one.how}"
        if one.training_seconds:
            yield f"training alone, at most: {times(count, one.training_seconds)}"


def expected(work: Work, choices: Choices | None) -> Expected:
    """What is known of how long ``work`` takes. ``choices``: what its program was made from, where that is known."""
    for among, every in (("this run", [work.trial.run_path]), ("runs with the same training", _same_training(work))):
        ended = [spell for path in every for spell in spells(path) if _did(spell, work)]
        exact = [spell for spell in ended if spell.trained == work.trains and set(spell.arms) == set(work.arms)]
        if ended:
            return _from_ended(exact or ended, among, exact=bool(exact))
    trial, nodes, training = work.trial, work.trial.nodes, 0.0
    if choices is not None and work.trains:
        training = float(choices.setting("budget", "train_seconds"))
    overhead = OVERHEAD_SECONDS.get(trial.scale)
    if overhead is None or not training:
        lacks = "nothing is measured of it" if overhead is None else "its recipe does not say more"
        how = f"no trial of it has ended yet, and at scale {trial.scale} {lacks}"
        return Expected(seconds=None, how=how, training_seconds=training * nodes)
    return Expected(
        seconds=(training + overhead) * nodes,
        how=f"{training:g} s of training at most, as its recipe says, and {overhead:g} s for Ray, torchrun and "
        "their like (docs/measured.md); how long scoring takes is not known and not in it",
    )


def _did(spell: Spell, work: Work) -> bool:
    """Whether it ended well and did at least as much."""
    return spell.end is Ended and spell.trained >= work.trains and set(spell.arms) >= set(work.arms)


def _from_ended(ended: list[Spell], among: str, *, exact: bool) -> Expected:
    seconds = [spell.node_seconds for spell in ended]
    several = f"{min(seconds):.0f} to " if len(seconds) > 1 else ""
    how = f"mean of {counted(len(seconds), 'trial')} of {among} that ended ({several}{max(seconds):.0f} s)"
    return Expected(seconds=fmean(seconds), how=how if exact else f"{how}, which had more to do: so at most")


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
