"""``provenance.json`` of a record folder that we wrote: which machines and which code measured it, and every attempt.

Names of machines stay at home: the folder is for strangers.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..rules.claims import Attempts
from ..runs.attempts import OPEN, SCORED
from ..runs.node import Node
from ..runs.results import Run

PROVENANCE_FILE = "provenance.json"
INFRASTRUCTURE = "infrastructure"  # the cause of what was lost by no fault of the program


def provenance(run: Run, arm: str) -> dict[str, Any]:
    """What the files of the run tell of the seeds of an arm; null where they do not."""
    seeds = list(run.arms[arm])
    nodes = [node for seed in seeds for node in (run.nodes.get(seed), run.scored_on.get((arm, seed))) if node]
    checkouts = dict.fromkeys(node.checkout for node in nodes if node.checkout)
    return {
        "fairway": [asdict(checkout) for checkout in checkouts],
        "seeds": {
            str(seed): {
                "trained_on": _of_node(run.nodes.get(seed)),
                "scored_on": _of_node(run.scored_on.get((arm, seed))),
                "attempts": [
                    {"ended": "interrupted" if one.ended == OPEN else one.ended, "cause": one.cause}
                    for one in run.attempts[seed]
                ]
                if seed in run.attempts
                else None,
            }
            for seed in seeds
        },
    }


def _of_node(node: Node | None) -> dict[str, Any] | None:
    return {name: value for name, value in asdict(node).items() if name != "hostname"} if node else None


def attempts_at(folder: Path, seeds: Sequence[int | None]) -> Attempts | None:
    """How often these seeds were tried, as the folder's own file says; None where it has none, or not of all."""
    try:
        told = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))["seeds"]
        tried = {seed: [(str(one["ended"]), one["cause"]) for one in told[str(seed)]["attempts"]] for seed in seeds}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    lost = {
        seed: {at: str(cause or ended) for at, (ended, cause) in enumerate(of_seed[:-1], 1) if ended != SCORED}
        for seed, of_seed in tried.items()
    }
    lines = [
        "; ".join([f"seed {seed}: attempt {len(tried[seed])}", *(f"attempt {at}: {why}" for at, why in before.items())])
        for seed, before in lost.items()
        if before
    ]
    causes = {why for before in lost.values() for why in before.values()}
    return Attempts(
        figure="; ".join(lines) or "each seed was scored at its first attempt",
        blameless=causes <= {INFRASTRUCTURE},
        source=PROVENANCE_FILE,
    )
