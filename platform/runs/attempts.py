"""How often a seed was tried, and what became of each attempt: from the events of all launches of its run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .events import LAUNCH_EVENTS, Ended, Failed, GaveUp, Reader, Started

SCORED, FAILED, OPEN, GIVEN_UP = "scored", "failed", "open", "given up"  # the last: not worth it, so never begun


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One attempt at a seed."""

    launch: str
    time: str  # when it began: UTC, ISO 8601
    ended: str  # SCORED; FAILED; OPEN: it runs, or was interrupted
    reason: str = ""  # why it failed, and the next two, as ``Failure`` has them
    cause: str | None = None
    node: str = ""

    @property
    def said(self) -> str:
        """``its Ray worker died [infrastructure, on a]``"""
        if self.ended == OPEN:
            return "it was interrupted"
        where = ", ".join(filter(None, (self.cause, self.node and f"on {self.node}")))
        return f"{self.reason} [{where}]" if where else self.reason


def read_attempts(path: Path) -> dict[int, tuple[Tried, ...]]:
    """The attempts at each seed in a ``launch.jsonl``, in order; nothing where there is no file."""
    found: dict[int, list[Tried]] = {}
    begun: dict[tuple[str, int], int] = {}  # where the attempt of this launch at this seed stands
    for event in Reader(path, LAUNCH_EVENTS).new():
        if not isinstance(event, Started | Ended | Failed | GaveUp):
            continue
        of_seed, key = found.setdefault(event.seed, []), (event.launch, event.seed)
        if isinstance(event, Started) or key not in begun:
            begun[key] = len(of_seed)
            of_seed.append(Tried(launch=event.launch, time=event.time, ended=OPEN))
        if isinstance(event, Started):
            continue
        ended = SCORED if isinstance(event, Ended) else GIVEN_UP if isinstance(event, GaveUp) else FAILED
        why = {name: getattr(event, name) for name in ("reason", "cause", "node")} if isinstance(event, Failed) else {}
        at = begun.pop(key)
        of_seed[at] = replace(of_seed[at], ended=ended, **why)
    tried = {seed: tuple(one for one in of_seed if one.ended != GIVEN_UP) for seed, of_seed in found.items()}
    return {seed: of_seed for seed, of_seed in tried.items() if of_seed}


def lost(tried: Iterable[Tried]) -> dict[int, Tried]:
    """The attempts that came to nothing and were followed by another, by their number from 1."""
    every = list(tried)
    return {number: one for number, one in enumerate(every[:-1], 1) if one.ended != SCORED}


def said(attempts: Mapping[int, tuple[Tried, ...]]) -> list[str]:
    """A line for each seed that was tried again: ``seed 42: attempt 2; attempt 1: its Ray worker died [...]``."""
    return [
        "; ".join([f"seed {seed}: attempt {len(tried)}", *(f"attempt {at}: {one.said}" for at, one in before.items())])
        for seed, tried in attempts.items()
        if (before := lost(tried))
    ]
