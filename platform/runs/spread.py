"""What a run tells of seeds to come: how much they spread, and how long one takes."""

import math

from ..errors import UserError
from ..statistics.power import MINUTES, MINUTES_SOURCE, Assumed
from ..statistics.significance import Interval, summarize
from ..words import known
from .events import own_seconds
from .results import Run


def sigma_of(run: Run, arm: str) -> tuple[Assumed, Interval]:
    """Spread of the seeds of an arm, with the 95 % interval that so few seeds leave open (chi square).

    Raises:
        UserError: fewer than two scores.
    """
    from scipy import special

    values = [result.val_bpb for result in run.arms[arm].values()]
    if len(values) < 2 or not (std := summarize(values).sample_std):
        raise UserError(
            f"arm {arm} has {len(values)} scores and no spread; two different ones are the least, or --sigma"
        )
    df = len(values) - 1
    low, high = (std * math.sqrt(df / special.chdtri(df, tail)) for tail in (0.025, 0.975))
    return Assumed(value=std, source=f"sample std of {len(values)} seeds of arm {arm}"), Interval(low, high)


def minutes_of(run: Run | None) -> tuple[float, str]:
    """Minutes of a seed: training and the evaluations of all its arms, as the run measured them."""
    if run is None or not run.trunks:
        return MINUTES, MINUTES_SOURCE
    scoring = [
        sum(known(by_seed[seed].eval_seconds for by_seed in run.arms.values() if seed in by_seed))
        for seed in run.trunks
    ]
    training = [
        sum(own_seconds(trunk.phases, run.plan.trial(seed).trunk.metrics).values()) or trunk.train_seconds or 0.0
        for seed, trunk in run.trunks.items()
    ]
    return (sum(scoring) + sum(training)) / len(run.trunks) / 60, "mean of the run's seeds: training and all arms"


def paired_sigma_of(run: Run | None, arm: str | None) -> Assumed | None:
    """Std of the paired gains of ``arm`` (default: the last) over the run's first arm."""
    if run is None or len(run.arms) < 2:
        return None
    first, last = next(iter(run.arms)), arm or list(run.arms)[-1]
    compared = run.compare(last, first) if last != first else None
    if compared is None or not compared.gain_std:
        return None
    return Assumed(value=compared.gain_std, source=f"{compared.n} paired gains of arm {last} over {first}")
