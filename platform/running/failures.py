"""Failures that a worker could not write down itself, because it or its cluster is gone."""

import re
from dataclasses import replace

from ..runs.plan import Failure, write_failure
from .feed import Attempt
from .progress import Progress

# What Ray says where a process or a node of it is gone, and not of what our code did there.
_GONE = re.compile(
    r"ActorDiedError|ActorUnavailableError|is unavailable|worker process has died|NodeDied|LocalRayletDied|"
    r"ObjectLostError|OwnerDiedError|RpcError|Socket closed"
)


def of_worker(attempt: Attempt, latest: Progress, error: str, node: str) -> Failure:
    """Of a worker that died or could not run its trial; ``error`` is Ray's text. Written, where it can be."""
    failure = _failure(attempt, latest, error, node)
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines or _GONE.search(error):
        how = re.search(r"Worker exit type: (\w+)", error)
        reason = f"its Ray worker died{f' ({how[1]})' if how else ''}"
        return _written(attempt, replace(failure, reason=reason, blameless=failure.arms))
    return _written(attempt, replace(failure, reason=f"its Ray worker could not run it: {lines[-1]}"))


def of_cluster(attempt: Attempt, latest: Progress, why: str, node: str) -> Failure:
    """Of a trial whose cluster is gone; ``why`` says how. Written, where it can be."""
    failure = _failure(attempt, latest, "", node)
    return _written(attempt, replace(failure, reason=why, blameless=failure.arms))


def not_begun(attempt: Attempt, why: str, node: str) -> Failure:
    """Of a trial that its node could not begin: told, not written, since the node may not see where."""
    return replace(_failure(attempt, Progress(), "", node), reason=why)


def _failure(attempt: Attempt, latest: Progress, text: str, node: str) -> Failure:
    return Failure(
        seed=attempt.trial.seed,
        phase="score" if latest.arm else "train" if latest.phases else "start",
        arm=latest.arm,
        reason="",
        log_tail=text,
        arms=attempt.trial.unscored_arms,
        cause="infrastructure",
        node=node,
        attempt=attempt.number,
    )


def _written(attempt: Attempt, failure: Failure) -> Failure:
    path = attempt.trial.paths.failure
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_failure(path, failure)
    except OSError:  # a full disk, a file where the folder belongs: it is told, and the report says that it is open
        pass
    return failure
