"""Which machines measured a run, with which code, and whether their times may be compared."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..runs.node import APART, Node, apart
from ..runs.results import Run


def machines(run: Run) -> str:
    """``a (8x H100, driver 570.86), probe 812 TFLOP/s ±1%``; of several, with the seeds that each one trained."""
    trained: dict[str, list[int]] = {}
    for seed, node in run.nodes.items():
        trained.setdefault(str(node), []).append(seed)
    only_scored = {str(node): list[int]() for node in run.scored_on.values() if str(node) not in trained}
    each = {**trained, **only_scored}
    if len(each) < 2:
        return "".join(each)
    return "; ".join(f"{name} ({_seeds(seeds) if seeds else 'scored'})" for name, seeds in each.items())


def code(run: Run) -> str:
    """``commit 991bb5f2a1b2 + 3 changed files``, of every Fairway that measured something."""
    nodes = (*run.nodes.values(), *run.scored_on.values())
    return "; ".join(dict.fromkeys(str(node.checkout) if node.checkout else "no git checkout" for node in nodes))


@dataclass(frozen=True, kw_only=True)
class Times:
    """Whether step times of one or several runs compare."""

    comparable: bool | None  # None: runs of an older version do not name their machines
    said: str  # why not; empty where they do, or nobody knows


def times_of(runs: Sequence[Run]) -> Times:
    """What the machines that trained say of each other's step times."""
    nodes = [node for run in runs for node in run.nodes.values()]
    if any(run.trunks.keys() - run.nodes.keys() for run in runs):
        return Times(comparable=None, said="")
    kinds = {str(trunk.machine) for run in runs for trunk in run.trunks.values()}
    if len(runs) > 1 and len(kinds) > 1:
        said = f"Trained on different machines, so step times do not compare: {'; '.join(sorted(kinds))}."
        return Times(comparable=False, said=said)
    share = apart(nodes)
    names = _speeds((f"{run.plan.recipe} " if len(runs) > 1 else "", run) for run in runs)
    if share is None:
        said = "Nobody knows whether the machines that trained are equally fast, so step times do not compare"
        return Times(comparable=False, said=f"{said}: {names}.")
    if share > APART:
        said = f"The machines that trained are {share:.0%} apart by their probes, so step times do not compare"
        return Times(comparable=False, said=f"{said}: {names}.")
    return Times(comparable=True, said="")


def _speeds(runs: Iterable[tuple[str, Run]]) -> str:
    """``a, probe 812 TFLOP/s ±1%, 3,020 GB/s (seeds 1337, 42)`` for each machine and probe."""
    seeds: dict[str, list[str]] = {}
    for prefix, run in runs:
        by_node: dict[str, list[int]] = {}
        for seed, node in run.nodes.items():
            by_node.setdefault(_speed(node), []).append(seed)
        for speed, of_node in by_node.items():
            seeds.setdefault(speed, []).append(f"{prefix}{_seeds(of_node)}")
    return "; ".join(f"{speed} ({', '.join(parts)})" for speed, parts in seeds.items())


def _speed(node: Node) -> str:
    return f"{node.hostname}, {node.probe or 'no probe'}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
