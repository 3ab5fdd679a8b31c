"""D13: two processes that evaluate together have the same weights after every step, and get the same losses."""

import hashlib
import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import groupby, zip_longest
from pathlib import Path

import torch.distributed as dist

from jobs.audit.detectors import Finding, evaluated, probe_tokens
from jobs.audit.toy import Evaluate, Trunk
from jobs.world import World

RANKS = 2
PATIENCE_SECONDS = 120.0  # for what takes seconds; a rank that waits for a step that the other never takes is ended
ABOUT = "steps after which the weights of two ranks differ, and whether their losses do"


@dataclass(frozen=True, kw_only=True)
class Followed:
    """One evaluation as one rank saw it."""

    weights: list[str]  # names of the model's weights, each time they were others than before
    losses: str  # name of all losses
    complaint: str  # of the program itself; empty where it had none


@contextmanager
def joined_pair(rank: int, folder: Path) -> Iterator[World]:
    """The world of two processes on this machine that meet at a file in ``folder``."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder.resolve() / 'meeting'}",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=PATIENCE_SECONDS),
    )
    try:
        yield World(rank=rank, size=RANKS)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def follow(evaluations: Mapping[str, Evaluate], trunk: Trunk, folder: Path, rank: int) -> None:
    """Be one of the ranks: run each evaluation with the other one, and leave in ``folder`` what this one saw."""
    with joined_pair(rank, folder) as world, _answer(folder, rank).open("w") as answers:
        for name, evaluate in evaluations.items():
            weights, losses, complaint = [""], "", ""
            try:
                run = evaluated(evaluate, trunk, probe_tokens(), world=world)
                names = [*run.ledger.step_weights, run.ledger.present_weights()]
                weights = [one for one, _ in groupby(names)]
                losses = hashlib.sha256(run.losses.numpy().tobytes()).hexdigest()
            except ValueError as error:
                complaint = str(error)
            seen = Followed(weights=weights, losses=losses, complaint=complaint)
            answers.write(json.dumps({"evaluation": name, **asdict(seen)}) + "\n")
            answers.flush()


class Pair:
    """Two processes, started at once; each is ``command`` followed by its rank, and ends in ``follow``."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._folder = folder
        self._processes = [
            subprocess.Popen([*command, str(rank)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            for rank in range(RANKS)
        ]

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def findings(self, evaluations: Iterable[str]) -> dict[str, Finding]:
        """What D13 says of each evaluation, once both processes have ended."""
        until = time.monotonic() + PATIENCE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                break
        seen = [_answers(_answer(self._folder, rank)) for rank in range(RANKS)]
        return {name: agreement([one.get(name) for one in seen]) for name in evaluations}


def agreement(ranks: Sequence[Followed | None]) -> Finding:
    """D13, from what each rank saw; None of a rank that came to no end."""
    there = [one for one in ranks if one is not None]
    if len(there) < len(ranks):
        about = f"{ABOUT}; a rank came to no end: they wait for different steps, or one crashed"
        return Finding(passed=False, figure=None, threshold=0.0, about=about)
    if complaint := next((one.complaint for one in there if one.complaint), None):
        return Finding(passed=False, figure=None, threshold=0.0, about=f"{ABOUT}; {complaint}")
    steps = sum(len(set(names)) > 1 for names in zip_longest(*(one.weights for one in there)))
    different = steps + (len({one.losses for one in there}) > 1)
    return Finding(passed=not different, figure=float(different), threshold=0.0, about=ABOUT)


def _answer(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank}.jsonl"


def _answers(path: Path) -> dict[str, Followed]:
    """By evaluation what a rank has written; a line that a kill cut short counts for nothing."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {one.pop("evaluation"): Followed(**one) for one in found}
