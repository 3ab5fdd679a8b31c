"""D13: two processes that evaluate together have the same weights after every step, and get the same losses."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import groupby, zip_longest
from pathlib import Path

import torch.distributed as dist

from jobs.audit.detectors import Evaluated, Finding, evaluated, probe_tokens
from jobs.audit.toy import Evaluate, Trunk
from jobs.contract.files import write_text
from jobs.world import World

RANKS = 2
PATIENCE_SECONDS = 120.0  # for the other rank; one that waits for a step that the other never takes gives up
ABOUT = "steps after which the weights of two ranks differ, and whether their losses do"

Joint = Mapping[str, tuple[Evaluate, Trunk]]  # by name, in one order on both ranks; the trunks are made before


@dataclass(frozen=True, kw_only=True)
class Followed:
    """One evaluation as one rank saw it."""

    weights: list[str]  # names of the model's weights, each time they were others than before
    losses: str  # name of all losses
    complaint: str = ""  # where it came to no end

    @staticmethod
    def of(run: Evaluated) -> "Followed":
        names = [*run.ledger.step_weights, run.ledger.present_weights()]
        losses = hashlib.sha256(run.losses.numpy().tobytes()).hexdigest()
        return Followed(weights=[one for one, _ in groupby(names)], losses=losses)


class Partner:
    """A second process beside this one: ``command`` with ``folder`` behind it, which is to call ``accompany``.

    It may start long before it is needed, and ends with the block.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [*command, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> "Partner":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def agreements(self, evaluations: Joint) -> dict[str, Finding]:
        """What D13 says of each evaluation, made by this process and the other together."""
        if not evaluations:
            return {}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(evaluations)) + "\n")
        self._process.stdin.flush()
        mine, its = follow(evaluations, self._folder, rank=0), _answers(self._folder)
        theirs = {name: Followed(**one) for name, one in json.loads(its.read_text()).items()} if its.exists() else {}
        return {name: agreement([mine.get(name), theirs.get(name)]) for name in evaluations}


def accompany(known: Joint, folder: Path) -> None:
    """Be the partner: wait for the names of evaluations on standard input, and run those of ``known`` as rank 1."""
    names = json.loads(sys.stdin.readline() or "[]")  # nothing, where the other process has ended
    if names:
        follow({name: known[name] for name in names}, folder, rank=1)


def follow(evaluations: Joint, folder: Path, *, rank: int) -> dict[str, Followed]:
    """Be one of the ranks: run each evaluation together with the other. Rank 1 leaves what it saw in ``folder``."""
    seen: dict[str, Followed] = {}
    going = ""
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder.resolve() / 'meeting'}",
            rank=rank,
            world_size=RANKS,
            timeout=timedelta(seconds=PATIENCE_SECONDS),
        )
        world = World(rank=rank, size=RANKS)
        for going, (evaluate, trunk) in evaluations.items():
            try:
                seen[going] = Followed.of(evaluated(evaluate, trunk, probe_tokens(), world=world))
            except ValueError as error:  # the program's own word, the same on both ranks
                seen[going] = Followed(weights=[], losses="", complaint=str(error))
        if not world.is_main:
            write_text(_answers(folder), json.dumps({name: asdict(one) for name, one in seen.items()}))
        dist.barrier()
    except RuntimeError as error:  # the other rank is gone or elsewhere; what comes after comes to no end either
        seen[going] = Followed(weights=[], losses="", complaint=str(error))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return seen


def agreement(ranks: Sequence[Followed | None]) -> Finding:
    """D13, from what each rank saw; None of one that came to no end."""
    there = [one for one in ranks if one is not None]
    complaints = [one.complaint for one in there if one.complaint]
    if complaints or len(there) < len(ranks):
        why = complaints[0].strip().partition("\n")[0] if complaints else "a rank came to no end"
        return Finding(passed=False, figure=None, threshold=0.0, about=f"{ABOUT}; {why}")
    steps = sum(len(set(names)) > 1 for names in zip_longest(*(one.weights for one in there)))
    different = steps + (len({one.losses for one in there}) > 1)
    return Finding(passed=not different, figure=float(different), threshold=0.0, about=ABOUT)


def _answers(folder: Path) -> Path:
    return folder / "rank_1.json"
