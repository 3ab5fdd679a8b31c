"""Everything that a run has measured, read from its files: results, failures, and what is still open.

A run is what its plan says: every planned seed is here, as results, as a failure or as open. Nothing is filled in and
nothing is left out; a score that is not a number is a failure of its arm.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.contract.records import ArmResult, TrunkRecord, read_result, read_trunk

from . import plan as plans
from ..errors import UserError
from .plan import Failure, GivenUp, Plan, Trial
from ..statistics.significance import BPB, BitsPerByte, Comparison, NatsPerToken, Scores, paired, welch

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class Open:
    """An arm of a planned seed that has neither a result nor a failure: not run yet, interrupted, or not accepted."""

    seed: int
    arm: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its files are now."""

    plan: Plan
    arms: dict[str, dict[int, ArmResult]]  # every arm of the plan, in its order; results by seed, in planned order
    trunks: dict[int, TrunkRecord]
    failures: tuple[Failure, ...]
    open: tuple[Open, ...]
    given_up: GivenUp | None = None  # why what is open will stay so

    @property
    def path(self) -> Path:
        return self.plan.run_path

    @property
    def results(self) -> Iterator[ArmResult]:
        """Every result, by arm and then by seed."""
        return (result for by_seed in self.arms.values() for result in by_seed.values())

    @property
    def complete(self) -> bool:
        return not self.failures and not self.open

    def scores(self, arm: str) -> Scores[BitsPerByte] | None:
        """The arm's scores with the trunks that they were measured on; None where there is none yet."""
        found = list(self.arms[arm].values())
        if not found:
            return None
        return Scores(tuple(one.val_bpb for one in found), BPB, trunks=tuple(one.trunk_sha256 for one in found))

    def nats_per_token(self) -> NatsPerToken | None:
        """The unit of this run's losses: its tokenizer and how many nats per token one BPB makes on its text."""
        for one in self.results:
            return NatsPerToken(math.log(2) * one.scored_bytes / one.scored_tokens, one.tokenizer_sha256)
        return None

    def compare(self, arm: str, against: str) -> Comparison | None:
        """The gain of ``arm`` over ``against``: paired where results prove common trunks, Welch where they share none.

        None where one side has no score.
        """
        return _compared(self.scores(arm), self.scores(against))

    def compare_with(self, other: "Run", arm: str) -> Comparison | None:
        """The gain of ``arm`` over the arm of this name of ``other``, as ``compare`` has it.

        Raises:
            UserError: the runs scored different data: their bits per byte say nothing together.
        """
        if self.plan.data_sha256 != other.plan.data_sha256:
            raise UserError(
                f"{self.plan.recipe} ran on data {self.plan.data_sha256[:12]}, {other.plan.recipe} on "
                f"{other.plan.data_sha256[:12]}: scores of different texts cannot be compared"
            )
        return _compared(self.scores(arm), other.scores(arm) if arm in other.arms else None)

    def as_table(self) -> "DataFrame":
        """One row a result: the fields of ArmResult, and ``path`` of the file that it was read from."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def rows(self) -> list[dict[str, object]]:
        """The rows of ``as_table`` without pandas; ``phases`` are left to the files."""
        rows = []
        for result in self.results:
            fields: dict[str, object] = asdict(result)
            del fields["phases"]
            path = self.plan.paths.seed(result.seed).arm(result.arm).result
            rows.append({**fields, "claimable": result.claimable, "path": str(path.relative_to(self.path))})
        return rows


def read_run(run_path: Path) -> Run:
    """The run in this folder.

    Raises:
        UserError: no run there, or a file in it that cannot be read.
    """
    plan = plans.read(run_path)
    try:
        given_up = plans.read_given_up(run_path)
    except ValueError as error:
        raise UserError(str(error)) from error
    arms: dict[str, dict[int, ArmResult]] = {arm: {} for arm in plan.arms}
    trunks: dict[int, TrunkRecord] = {}
    failures: list[Failure] = []
    unfinished: list[Open] = []
    for trial in plan.trials:
        try:
            failure = plans.read_failure(trial.paths.failure)
            if trial.trunk.record.exists():
                trunks[trial.seed] = read_trunk(trial.trunk.record)
        except ValueError as error:
            raise UserError(str(error)) from error
        if failure is not None:
            failures.append(failure)
        for arm in plan.arms:
            result, reason = _accepted(trial, arm)
            if result is not None and not math.isfinite(result.val_bpb):
                failures.append(_diverged(result, trial))
            elif result is not None:
                arms[arm][trial.seed] = result
            elif failure is None or arm not in failure.arms:
                unfinished.append(Open(seed=trial.seed, arm=arm, reason=reason))
    return Run(
        plan=plan,
        arms=arms,
        trunks=trunks,
        failures=tuple(failures),
        open=tuple(unfinished),
        given_up=given_up if unfinished else None,
    )


def _compared(new: Scores[BitsPerByte] | None, old: Scores[BitsPerByte] | None) -> Comparison | None:
    if new is None or old is None:
        return None
    return paired(new, old) if set(new.trunks) & set(old.trunks) else welch(new, old)


def _accepted(trial: Trial, arm: str) -> tuple[ArmResult | None, str]:
    """The result of ``arm``, or why there is none."""
    flaw = trial.flaw(arm)
    return (read_result(trial.paths.arm(arm).result), "") if flaw is None else (None, flaw)


def _diverged(result: ArmResult, trial: Trial) -> Failure:
    where = trial.paths.arm(result.arm).result.relative_to(trial.run_path)
    return Failure(
        seed=result.seed,
        phase="score",
        arm=result.arm,
        reason=f"val_bpb is {result.val_bpb} in {where.as_posix()}: it diverged",
        log_tail="",
        arms=(result.arm,),
    )
