"""``--stop-when-hopeless``: once no arm of a run can beat a given score any more, its seeds that are left are not run.

The comparison is the one that the challenge's README asks for (``rules/pg-2026-readme.yaml``), the rule is that of
``futility``. What was decided is written into the run, for a seed that was planned and not run is an outcome too. Seeds
that run already go on to their end.
"""

import math
from datetime import UTC, datetime
from pathlib import Path

from ..errors import UserError
from ..records import to_beat
from ..records.to_beat import Score, ToBeat
from ..rules import claims
from ..runs import plan
from ..runs.plan import GivenUp
from ..runs.results import Run, read_run
from ..statistics.futility import LEAST_CHANCE, SIGMA, StoppingRule, chance_to_pass
from ..statistics.significance import BPB, Amount, NatsPerToken, summarize


def bar_of(text: str) -> ToBeat:
    """What ``--stop-when-hopeless text`` means: a score, or a record folder whose logs give some.

    Raises:
        UserError: neither of them.
    """
    try:
        bpb = float(text)
    except ValueError:
        return to_beat.read(Path(text), arm="")
    if not 0 < bpb < math.inf:
        raise UserError(f"--stop-when-hopeless {text}: a score is above 0, in bits per byte: 1.1228")
    given = Score(seed=None, val_bpb=bpb, val_loss=None, file="", line=None, sha256="")
    return ToBeat(name="the given score", scores=(given,), scored_bytes=None)


def judge(run_path: Path, bar: ToBeat) -> GivenUp | None:
    """Give the run up where it is hopeless by now, and take that back where it is not.

    Judged are the arms that a record may claim; where the run has none, all of them.

    Raises:
        UserError: the bar was measured on another text, or a file of the run cannot be read.
    """
    run = read_run(run_path)
    given_up = _decided(run, bar)
    plan.write_given_up(run_path, given_up)
    return given_up


def _decided(run: Run, bar: ToBeat) -> GivenUp | None:
    unit = run.nats_per_token()
    if unit is None:  # no score yet
        return None
    bar.require_same_text(next(run.results).scored_bytes)
    scored = [arm for arm in run.arms if run.arms[arm]]
    claimable = [arm for arm in scored if all(result.claimable for result in run.arms[arm].values())]
    chances = [_chance(run, arm, bar, unit) for arm in claimable or scored]
    best = max(chances, key=lambda one: one.chance)
    return best if best.chance < LEAST_CHANCE and any(chance.scored < chance.planned for chance in chances) else None


def _chance(run: Run, arm: str, bar: ToBeat, unit: NatsPerToken) -> GivenUp:
    """How ``arm`` stands. Seeds that spread more than those of the public records are given the chance of that."""
    scores = run.scores(arm)
    assert scores is not None
    test = claims.test_of(claims.load(claims.CHALLENGE))
    failed = {failure.seed for failure in run.failures if arm in failure.arms}
    rule = StoppingRule(
        test=test["test"],
        planned=len(set(run.plan.seeds) - failed),
        sigma=max(SIGMA, summarize(scores.values).sample_std or 0.0),
        alpha=test["p_below"],
        least_chance=LEAST_CHANCE,
    )
    to_beat, margin = Amount(bar.mean_bpb, BPB), claims.amount(test["margin"], unit).to(BPB)
    return GivenUp(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        bpb=to_beat.value,
        name=bar.name,
        margin=margin.value,
        alpha=rule.alpha,
        sigma=rule.sigma,
        arm=arm,
        chance=chance_to_pass(scores, to_beat, margin, rule),
        scored=len(scores.values),
        planned=rule.planned,
    )
