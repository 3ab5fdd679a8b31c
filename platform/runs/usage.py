"""What the GPUs of a run were used for: their seconds by kind of work, and what those cost.

Work is what the phases say that the records hold; all else that the attempts had of their nodes is waiting: starting,
what failed attempts did and left no record of, one rank alone outside of any phase. On a machine without GPUs it is
told in seconds of its nodes. What is not known is said and never filled in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..words import HOUR_SECONDS, counted
from .events import own_seconds
from .results import Run
from .spending import Spell, spells

TRAINING, ADAPTING, SCORING, COMPILING, PACKING = "training", "adapting", "scoring", "compiling", "packing"
OTHER, WAITING = "other", "waiting"  # the first: phases of versions that named them otherwise
KINDS = {
    **dict.fromkeys(("setup", "train", "warmup", "validate", "validate_averaged"), TRAINING),
    "adapt": ADAPTING,
    **dict.fromkeys(("load", "score", "diagnose"), SCORING),  # a score-first arm adapts while it scores
    "evaluate": SCORING,  # of a script: all that comes after its last step
    "compile": COMPILING,
    "pack": PACKING,
}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Seconds by kind of work, over all seeds and attempts of a run."""

    unit: str  # "GPU seconds", or "seconds of the node"
    seconds: dict[str, float]  # by kind; without WAITING where that is not known
    usd: dict[str, float] | None  # of the same; None: not known
    at_least: bool  # of WAITING: of an attempt no end is known, so it is counted to the last that was heard of it
    unknown: tuple[str, ...]  # what cannot be told, and why

    @property
    def waits(self) -> bool:
        """Whether it is known how long was waited, and with it the whole."""
        return WAITING in self.seconds

    def __str__(self) -> str:
        said = []
        for kind, seconds in self.seconds.items():
            least = "at least " if kind == WAITING and self.at_least else ""
            usd = f" ({self.usd[kind]:,.2f} USD)" if self.usd else ""
            said.append(f"{kind} {least}{seconds:,.0f}{usd}")
        said += [] if self.waits else [f"{WAITING} not known"]
        return "; ".join([f"{self.unit}: {', '.join(said)}", *self.unknown])


def usage(run: Run) -> Usage | None:
    """What ``run`` has used; None where neither a record nor a launch says anything."""
    every, work = spells(run.path), _work(run)
    if not every and not work:
        return None
    wall = dict.fromkeys((TRAINING, ADAPTING, SCORING, COMPILING, PACKING), 0.0)
    for of_seed in work.values():
        for kind, seconds in of_seed.items():
            wall[kind] = wall.get(kind, 0.0) + seconds
    unknown = [reason] if (reason := _untold(every, work)) else []
    if not unknown:
        wall[WAITING] = max(0.0, sum(spell.seconds for spell in every) - sum(wall.values()))
    price, why = _price(every)
    plan = run.plan
    return Usage(
        unit="GPU seconds" if plan.gpus else f"seconds of the {'node' if plan.nodes == 1 else 'nodes'}",
        seconds={kind: seconds * (plan.gpus or plan.nodes) for kind, seconds in wall.items()},
        usd=None
        if price is None
        else {kind: seconds * plan.nodes / HOUR_SECONDS * price for kind, seconds in wall.items()},
        at_least=any(spell.end is None for spell in every),
        unknown=(*unknown, *([why] if why else [])),
    )


def _work(run: Run) -> dict[int, dict[str, float]]:
    """Wall seconds of each kind that this run worked itself, by seed: a trunk of another one is in the cost of that."""
    phases: dict[int, list[dict[str, float]]] = {}
    for seed, trunk in run.trunks.items():
        if trunk.program_sha256 == run.plan.program_sha256:
            phases.setdefault(seed, []).append(own_seconds(trunk.phases, run.plan.trial(seed).trunk.metrics))
    for result in run.results:
        metrics = run.plan.paths.seed(result.seed).arm(result.arm).metrics
        phases.setdefault(result.seed, []).append(own_seconds(result.phases, metrics))
    work: dict[int, dict[str, float]] = {}
    for seed, of_seed in phases.items():
        kinds = work.setdefault(seed, {})
        for name, seconds in _pairs(of_seed):
            kind = KINDS.get(name, OTHER)
            kinds[kind] = kinds.get(kind, 0.0) + seconds
    return work


def _pairs(records: list[dict[str, float]]) -> Iterator[tuple[str, float]]:
    return (pair for phases in records for pair in phases.items())


def _untold(every: list[Spell], work: dict[int, dict[str, float]]) -> str:
    """Why it cannot be told how long was waited; empty where it can."""
    had: dict[int, float] = {}
    for spell in every:
        had[spell.seed] = had.get(spell.seed, 0.0) + spell.seconds
    longer = [seed for seed, kinds in work.items() if sum(kinds.values()) > had.get(seed, 0.0)]
    if not longer:
        return ""
    seeds = f"{'seed' if len(longer) == 1 else 'seeds'} {', '.join(map(str, longer))}"
    return f"of {seeds} launches tell less time than the phases took, so waiting is not known"


def _price(every: list[Spell]) -> tuple[float | None, str]:
    """USD of a node-hour, where it was one for all attempts; otherwise why there is none."""
    prices = {spell.usd_per_hour for spell in every}
    if len(prices) == 1 and (price := prices.pop()) is not None:
        return price, ""
    if said := sorted(price for price in prices if price is not None):
        unpriced = sum(spell.usd_per_hour is None for spell in every)
        several = [f"{' and '.join(f'{price:g}' for price in said)} USD an hour"]
        several += [f"no price of {counted(unpriced, 'attempt')}"] if unpriced else []
        return None, f"dollars are not split: {', '.join(several)}"
    return None, "no price is known"
