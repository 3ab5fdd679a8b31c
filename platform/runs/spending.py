"""What a run has cost: how long its trials had a node, told from ``launch.jsonl``, failed attempts too.

A trial has its node from `started` on, or its nodes, and each counts. Where several trials share one, each of them
counts as if it had it alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ..words import HOUR_SECONDS, cost, counted
from .events import (
    LAUNCH_EVENTS,
    Ended,
    Failed,
    GaveUp,
    LaunchEvent,
    OverBudget,
    PhaseReached,
    Planned,
    Reader,
    Retried,
    Started,
    Stopped,
)
from .paths import RunPaths

ENDS = (Ended, Failed, Retried, GaveUp, Stopped)


@dataclass(frozen=True, kw_only=True)
class Spell:
    """The time in which one attempt at a trial had its node, or its nodes."""

    seed: int
    arms: tuple[str, ...]  # that it was to score
    usd_per_hour: float | None
    nodes: int = 1
    since: float  # seconds, as the clock of the driver had them
    until: float  # its end, or the last that was heard of it
    trained: bool = False  # it was seen training
    end: type[LaunchEvent] | None = None  # what ended it; None: a launch that was killed or still runs does not say

    @property
    def seconds(self) -> float:
        """At least so many, where nothing says how it ended; never below 0, whatever was done to the clock."""
        return max(0.0, self.until - self.since)

    @property
    def node_seconds(self) -> float:
        """Those of each node."""
        return self.seconds * self.nodes

    @property
    def usd(self) -> float | None:
        return None if self.usd_per_hour is None else self.node_seconds / HOUR_SECONDS * self.usd_per_hour


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a run has cost so far."""

    node_seconds: float
    usd: float | None  # of the attempts that had a price; None where none had
    attempts: int
    open: int  # attempts of which no end is known: they are counted to the last that was heard of them
    unpriced_seconds: float  # of ``node_seconds``, those that nobody said a price for
    prices: tuple[float, ...]  # USD of a node-hour, each that was ever said

    @property
    def at_least(self) -> bool:
        """Whether it was more than the numbers say: of attempts whose end is not known, or dollars of some alone."""
        return self.open > 0 or (self.usd is not None and self.unpriced_seconds > 0)

    def __str__(self) -> str:
        least = "at least " if self.at_least else ""
        said = [f"{least}{cost(self.node_seconds, self.usd)}"]
        if self.prices:
            said[0] += f" at {' and '.join(f'{price:g}' for price in self.prices)} USD an hour"
        said.append(f"{counted(self.attempts, 'attempt')}, failed ones included")
        if self.open:
            said.append(f"{self.open} of them without a known end, counted to the last event")
        if self.usd is not None and self.unpriced_seconds:
            said.append(f"no price is known of {cost(self.unpriced_seconds)}")
        return "; ".join(said)


def spells(run_path: Path) -> list[Spell]:
    """Every attempt of every launch of this run, in the order in which they began; none where no launch wrote any."""
    found: dict[int, Spell] = {}  # in the order of their beginnings
    running: dict[tuple[str, int], int] = {}  # where each is in ``found``, by launch and seed
    arms: dict[tuple[str, int], tuple[str, ...]] = {}
    for event in Reader(RunPaths(run_path).events, LAUNCH_EVENTS).new():
        who = (event.launch, event.seed)
        if isinstance(event, Planned):
            arms[who] = event.arms
        try:
            now = datetime.fromisoformat(event.time).timestamp()
        except ValueError:  # passed over, like a line that is no event
            continue
        if isinstance(event, Started):
            running[who] = len(found)
            found[running[who]] = Spell(
                seed=event.seed,
                arms=arms.get(who, ()),
                usd_per_hour=event.usd_per_hour,
                nodes=event.nodes,
                since=now,
                until=now,
            )
        elif who in running and isinstance(event, PhaseReached):
            place = running[who]
            trained = found[place].trained or event.phase == "train"
            found[place] = replace(found[place], until=now, trained=trained)
        elif who in running and isinstance(event, ENDS):
            place = running.pop(who)
            found[place] = replace(found[place], until=now, end=type(event))
        if isinstance(event, Retried):
            arms[who] = event.arms
    return list(found.values())


def spent(run_path: Path) -> Spent | None:
    """What this run has cost; None where no trial of it was ever started by a launch that tells."""
    return _sum(every) if (every := spells(run_path)) else None


def _sum(every: Iterable[Spell]) -> Spent:
    every = list(every)
    priced = [usd for spell in every if (usd := spell.usd) is not None]
    return Spent(
        node_seconds=sum(spell.node_seconds for spell in every),
        usd=sum(priced) if priced else None,
        attempts=len(every),
        open=sum(spell.end is None for spell in every),
        unpriced_seconds=sum(spell.node_seconds for spell in every if spell.usd_per_hour is None),
        prices=tuple(sorted({spell.usd_per_hour for spell in every if spell.usd_per_hour is not None})),
    )


def held_back(run_path: Path) -> dict[int, str]:
    """The seeds that the last launch with them did not run, or not again, for its budget; each with the reason."""
    last = {event.seed: event for event in Reader(RunPaths(run_path).events, LAUNCH_EVENTS).new()}
    return {seed: event.reason for seed, event in last.items() if isinstance(event, OverBudget)}
