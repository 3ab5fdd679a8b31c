"""Everything that a run has measured, read from its files: results, failures, and what is still open.

A run is what its plan says: every planned seed is here, as results, as a failure or as open. Nothing is filled in and
nothing is left out; a score that is not a number is a failure of its arm.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract.records import ArmResult, TrunkRecord
from jobs.contract.shards import file_sha256

from ..errors import UserError
from ..paths import shown
from ..statistics.significance import BPB, BitsPerByte, Comparison, NatsPerToken, Scores, paired, welch
from . import plan as plans
from .attempts import Tried, read_attempts
from .node import Node, read_node
from .plan import Failure, GivenUp, Plan, Stored, Trial
from .reading import completed, read_trunk

TRUNK_COLUMNS = ("trunk_sha256", "parameters", "steps", "train_seconds", "step_ms_mean", "step_ms_median")


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
    nodes: dict[int, Node] = field(default_factory=dict)  # that trained the trunks; older runs do not tell
    scored_on: dict[tuple[str, int], Node] = field(default_factory=dict)  # by arm and seed
    attempts: dict[int, tuple[Tried, ...]] = field(default_factory=dict)  # at each seed, in every launch
    given_up: GivenUp | None = None  # why what is open will stay so
    notes: tuple[str, ...] = ()  # files that cannot be read and were done without

    @property
    def path(self) -> Path:
        return self.plan.run_path

    @property
    def results(self) -> Iterator[ArmResult]:
        """Every result, by arm and then by seed."""
        return (result for by_seed in self.arms.values() for result in by_seed.values())

    @property
    def complete(self) -> bool:
        """Whether every arm that was asked for of every planned seed has its score."""
        return not self.failures and not self.open

    @property
    def over(self) -> bool:
        """Whether nothing is left to be run: complete, failed for good, or given up."""
        return not self.open or self.given_up is not None

    def scores(self, arm: str) -> Scores[BitsPerByte] | None:
        """The arm's scores with the trunks that they were measured on; None where there is none yet."""
        results = list(self.arms[arm].values())
        if not results:
            return None
        return Scores(tuple(result.val_bpb for result in results), BPB, trunks=tuple(map(self._paired_by, results)))

    def _paired_by(self, result: ArmResult) -> str:
        """What scores of one such name have in common: a training; of a script, whose arms each train, the seed."""
        return f"{self.path.name} seed {result.seed}" if self.plan.script else result.trunk_sha256

    def nats_per_token(self) -> NatsPerToken | None:
        """The unit of this run's losses: its tokenizer and how many nats per token one BPB makes on its text."""
        for result in self.results:
            if result.scored_bytes and result.scored_tokens:
                nats_per_bpb = math.log(2) * result.scored_bytes / result.scored_tokens
            elif result.val_loss_nats is not None and result.val_bpb:  # both of one line of a log
                nats_per_bpb = result.val_loss_nats / result.val_bpb
            else:
                continue
            return NatsPerToken(nats_per_bpb, result.tokenizer_sha256)
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

    def rows(self) -> list[dict[str, object]]:
        """One row a result, every field under a name of its own, and ``path`` of the file that it was read from.

        ``phases`` and the hashes of the trunk's files are left to the files.
        """
        return [self._row(result) for result in self.results]

    def _row(self, result: ArmResult) -> dict[str, object]:
        fields: dict[str, Any] = asdict(result)
        trunk, scored_on = fields.pop("trunk"), fields.pop("machine")
        trained_on = trunk["machine"] or dict.fromkeys(scored_on)
        del fields["phases"]
        path = self.plan.paths.seed(result.seed).arm(result.arm).result
        return {
            **fields,
            **{name: trunk[name] for name in TRUNK_COLUMNS},
            **{f"trained_{name}": value for name, value in trained_on.items()},
            **scored_on,
            "trained_node": trained.hostname if (trained := self.nodes.get(result.seed)) else None,
            "node": scored.hostname if (scored := self.scored_on.get((result.arm, result.seed))) else None,
            "claimable": result.claimable,
            "path": str(path.relative_to(self.path)),
        }


def read_run(run_path: Path) -> Run:
    """The run in this folder. A broken file of one seed costs what stands in it, and is told in ``notes``.

    Raises:
        UserError: no run there, or its plan cannot be read.
    """
    plan = plans.read(run_path)
    arms: dict[str, dict[int, ArmResult]] = {arm: {} for arm in plan.arms}
    trunks: dict[int, TrunkRecord] = {}
    failures: list[Failure] = []
    unfinished: list[Open] = []
    notes: list[str] = []
    nodes: dict[int, Node] = {}
    scored_on: dict[tuple[str, int], Node] = {}
    if plan.paths.program.is_file() and file_sha256(plan.paths.program) != plan.program_sha256:
        notes.append(f"{shown(plan.paths.program)} is not the program that ran: it was changed, or is cut off")
    for trial in plan.trials:
        trunk, failure = _trunk(trial, notes), _told(plans.read_failure, trial.paths.failure, notes)
        judged = {arm: trial.judged(arm) for arm in plan.arms}
        flaws = {arm: found for arm, found in judged.items() if isinstance(found, str)}
        for arm, result in judged.items():
            if isinstance(result, str):
                continue
            result = result if trunk is None else completed(result, trunk)
            trunks.setdefault(trial.seed, result.trunk)
            if node := _told(read_node, trial.paths.arm(arm).node, notes):
                scored_on[arm, trial.seed] = node
                if trial.script is not None:  # which trained there as well
                    nodes.setdefault(trial.seed, node)
            if math.isfinite(result.val_bpb):
                arms[arm][trial.seed] = result
            else:
                failures.append(_diverged(result, trial))
        if trunk is not None:
            trunks.setdefault(trial.seed, trunk)
        scored = trunk is not None and trunk.trunk_sha256 == trunks[trial.seed].trunk_sha256  # not trained again since
        if scored and (node := _told(read_node, trial.trunk.node, notes)):
            nodes[trial.seed] = node
        asked = plan.asked(trial.seed)
        # What was scored all the same, by a job that outlived its worker, has not failed.
        lost = [arm for arm in failure.arms or asked if arm in flaws] if failure else []
        if failure is not None and lost:
            failures.append(failure)
        unfinished += [
            Open(seed=trial.seed, arm=arm, reason=flaw)
            for arm, flaw in flaws.items()
            if arm in asked and arm not in lost
        ]
    given_up = _told(plans.read_given_up, run_path, notes)
    return Run(
        plan=plan,
        arms=arms,
        trunks=trunks,
        failures=tuple(failures),
        open=tuple(unfinished),
        nodes=nodes,
        scored_on=scored_on,
        attempts=read_attempts(plan.paths.events),
        given_up=given_up if unfinished else None,
        notes=tuple(notes),
    )


def _trunk(trial: Trial, notes: list[str]) -> TrunkRecord | None:
    """The record of the trial's trunk, where there is one that can be read."""
    if not trial.trunk.record.exists():
        return None
    try:
        return read_trunk(trial.trunk.record)
    except ValueError as error:
        notes.append(f"{error}; what the results say of the training is used")
        return None


def _told(read: Callable[[Path], Stored | None], path: Path, notes: list[str]) -> Stored | None:
    """What ``read`` finds; nothing, and a note, where it cannot be read."""
    try:
        return read(path)
    except (UserError, ValueError) as error:
        notes.append(str(error))
        return None


def _compared(new: Scores[BitsPerByte] | None, old: Scores[BitsPerByte] | None) -> Comparison | None:
    if new is None or old is None:
        return None
    return paired(new, old) if set(new.trunks) & set(old.trunks) else welch(new, old)


def _diverged(result: ArmResult, trial: Trial) -> Failure:
    where = trial.paths.arm(result.arm).result.relative_to(trial.run_path)
    return Failure(
        seed=result.seed,
        phase="score",
        arm=result.arm,
        reason=f"val_bpb is {result.val_bpb} in {where.as_posix()}: it diverged; without that file it is scored again",
        log_tail="",
        arms=(result.arm,),
    )
