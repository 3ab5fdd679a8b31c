"""Where recorded numbers come from, as tags of MLflow: machine, driver, speed, code and attempts."""

from collections.abc import Iterable

from jobs.contract.records import ArmResult

from ..runs.attempts import Tried, lost
from ..runs.node import Node
from ..runs.results import Run

TAG_LIMIT = 500  # characters


def tags_of_result(run: Run, result: ArmResult) -> dict[str, str]:
    """Of one seed and arm: who scored it, and who trained its trunk; nothing that no file tells."""
    trained, scored = run.nodes.get(result.seed), run.scored_on.get((result.arm, result.seed))
    of_training = {f"trained_{name}": value for name, value in _of_nodes([trained] if trained else []).items()}
    return _shortened({**_of_nodes([scored] if scored else []), **of_training, **_of_attempts(run, [result.seed])})


def tags_of_run(run: Run) -> dict[str, str]:
    """Of everything that the run measured."""
    nodes = (*run.nodes.values(), *run.scored_on.values())
    return _shortened({**_of_nodes(nodes), **_of_attempts(run, run.attempts)})


def _of_nodes(nodes: Iterable[Node]) -> dict[str, str]:
    tags: dict[str, dict[str, None]] = {}  # ordered sets
    for node in nodes:
        told = {
            "node": node.hostname,
            "hardware": node.hardware,
            "driver": node.driver,
            "probe": node.probe and str(node.probe),
            "commit": node.checkout and node.checkout.commit,
            "diff_sha256": node.checkout and node.checkout.diff_sha256,
            "changed_files": node.checkout and str(node.checkout.changed_files + node.checkout.new_files),
        }
        for name, value in told.items():
            if value:
                tags.setdefault(name, {})[value] = None
    return {name: "; ".join(values) for name, values in tags.items()}


def _of_attempts(run: Run, seeds: Iterable[int]) -> dict[str, str]:
    """How many attempts there were, and the causes of those that came to nothing."""
    tried = [run.attempts[seed] for seed in seeds if seed in run.attempts]
    if not tried:
        return {}
    causes = dict.fromkeys(_cause(one) for of_seed in tried for one in lost(of_seed).values())
    tags = {"attempts": str(sum(map(len, tried)))}
    return tags | ({"lost_attempts": "; ".join(causes)} if causes else {})


def _cause(tried: Tried) -> str:
    return tried.cause or tried.said


def _shortened(tags: dict[str, str]) -> dict[str, str]:
    return {name: value[:TAG_LIMIT] for name, value in tags.items()}
