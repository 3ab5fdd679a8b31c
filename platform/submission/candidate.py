"""An arm of a run as it could be submitted: what was measured of it, and every reason why it must not be.

Nothing is chosen here: all seeds that were ever planned count, and a reason is given for each thing that is wrong, all
at once, before anything is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.contract.records import SCORE_FIRST, UNTOLD, ArmResult
from jobs.contract.shards import file_sha256

from ..errors import UserError, nearest
from ..logs.log import read_log
from ..logs.runs import Evaluation, LogRun
from ..paths import shown
from ..program.squeeze import is_made_of
from ..rules import claims
from ..rules.challenge import challenge
from ..runs import audits, results
from ..runs.audits import ArmAudit
from ..runs.paths import ArmPaths, RunPaths
from ..runs.results import Run
from ..words import known


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One seed of the arm: its result, and the line of its log that prints the score."""

    result: ArmResult
    paths: ArmPaths
    log: LogRun
    final: Evaluation


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The arm, with every seed of it that can be submitted."""

    run: Run
    arm: str
    seeds: dict[int, Seed]  # in the order of planning
    reasons: tuple[str, ...]  # why it cannot be submitted at all
    not_a_record: tuple[str, ...]  # why it cannot be submitted as a record

    @property
    def paths(self) -> RunPaths:
        return self.run.plan.paths

    @property
    def first(self) -> Seed:
        return next(iter(self.seeds.values()))


def candidate(run_path: Path, arm: str) -> Candidate:
    """The ``arm`` of the run in this folder, with everything that is wrong with it.

    Raises:
        UserError: no run there, no such arm, or a file that cannot be read.
    """
    run = results.read_run(run_path)
    if arm not in run.arms:
        possible = f"possible: {', '.join(run.arms)}{nearest(arm, run.arms)}"
        raise UserError(f"{shown(run_path)}: --arm {arm}: there is no such arm; {possible}")
    reasons, seeds = list(_incomplete(run, arm)), {}
    for seed, result in run.arms[arm].items():
        checked = _seed(run, arm, result)
        if isinstance(checked, Seed):
            seeds[seed] = checked
        else:
            reasons.append(checked)
    reasons += _program_flaws(run)
    reasons += _flaws(run.arms[arm], audits.of_run(run.path).get(arm))
    return Candidate(
        run=run,
        arm=arm,
        seeds=seeds,
        reasons=tuple(reasons),
        not_a_record=tuple(_short_of_a_record(run.arms[arm])),
    )


def _incomplete(run: Run, arm: str) -> Iterator[str]:
    """Seeds that were planned and have no score: leaving them out would be choosing."""
    for failure in run.failures:
        if arm in failure.arms or (failure.arm is None and not failure.arms):
            yield f"seed {failure.seed} failed in {failure.phase}: {failure.reason}"
    for gap in run.open:
        if gap.arm == arm:
            yield f"seed {gap.seed} was planned and is not scored: {gap.reason}"
    if not run.plan.seeds:
        yield "no seed was ever planned"


def _seed(run: Run, arm: str, result: ArmResult) -> Seed | str:
    """The seed with its log; or what is wrong with the log."""
    paths = run.plan.paths.seed(result.seed).arm(arm)
    if not paths.log.is_file():
        return f"seed {result.seed}: {shown(paths.log)} is not there"
    log = read_log(paths.log, f"train_seed{result.seed}.log").used
    score = (f"{result.val_bpb:.8f}", f"{result.val_loss_nats:.8f}")
    evaluations = log.evaluations if log else ()
    matching = [line for line in evaluations if (line.bpb.text, line.loss and line.loss.text) == score]
    if log is None or not matching:
        return f"seed {result.seed}: {shown(paths.log)} does not print the score of its result, {score[0]} BPB"
    told = {"seed": (log.seed_logged, result.seed), "steps": (log.whole("steps_done"), result.trunk.steps)}
    for name, (logged, wanted) in told.items():
        if logged != wanted:
            return f"seed {result.seed}: {shown(paths.log)} says {name} {logged}, its result says {wanted}"
    return Seed(result=result, paths=paths, log=log, final=matching[-1])


def _program_flaws(run: Run) -> Iterator[str]:
    paths = run.plan.paths
    if not paths.program.is_file():
        yield f"{shown(paths.program)} is not there"
    elif file_sha256(paths.program) != run.plan.program_sha256:
        yield f"{shown(paths.program)} is not the program that ran: it was edited since"
    elif paths.readable.is_file() and not is_made_of(paths.program.read_text(), paths.readable.read_text()):
        yield f"{shown(paths.readable)} is not what {shown(paths.program)} was squeezed from"


def _flaws(seeds: dict[int, ArmResult], audit: ArmAudit | None) -> Iterator[str]:
    """What is wrong with the measured results themselves; ``audit``: what it found, where there was one."""
    for adaptation in {result.adaptation: result for result in seeds.values() if result.protocol != SCORE_FIRST}:
        if adaptation == UNTOLD:
            yield "the arm is untold: nobody knows whether its script learned from tokens before they were scored"
        else:
            yield f"the arm is a diagnostic: {adaptation} learned from tokens before they were scored; no claim may"
    if audit is None or not audit.audited:
        if any(result.adapts and result.protocol != UNTOLD for result in seeds.values()):
            why = "" if audit is None else f" ({audit.verdict})"
            yield f"the arm adapts and was not audited{why}: launch it again, which audits it, and see what that says"
    elif any(result.protocol != audit.verdict for result in seeds.values()):
        declared = ", ".join(sorted({result.protocol for result in seeds.values()}))
        yield f"the audit says of the arm: {audit.verdict}; its program declares {declared}"
    for name, what in (
        ("program_sha256", "program"),
        ("data_sha256", "data"),
        ("tokenizer_sha256", "tokenizer"),
        ("code_bytes", "number of code bytes"),
    ):
        if len(values := {getattr(result, name) for result in seeds.values()}) > 1:
            yield f"the seeds do not share one {what}: {', '.join(sorted(str(value)[:12] for value in values))}"
    for check in claims.load(claims.CHALLENGE).checks:
        if check["kind"] != "at_most":
            continue
        limit, unit = check["limit"], "bytes" if check["value"].endswith("bytes") else "s"
        for seed, result in seeds.items():
            if (measured := getattr(result, check["value"])) > limit + check.get("tolerance", 0):
                yield f"seed {seed}: {check['rule']}: {measured:,.{0 if unit == 'bytes' else 3}f} of {limit:,} {unit}"


def _short_of_a_record(seeds: dict[int, ArmResult]) -> Iterator[str]:
    """What a record has and this has not; a folder of another track may say so and go on."""
    apart = [seed for seed, result in seeds.items() if not result.end_to_end]
    if apart:
        yield (
            f"not end to end: {len(apart)} of {len(seeds)} seeds were scored from a trunk that was trained before, "
            "not trained and scored by one process"
        )
    wanted, text = challenge().machine, challenge().text
    others = {
        machine: result
        for result in seeds.values()
        for machine in (result.trunk.machine, result.machine)
        if machine is None or machine.world_size != wanted.gpus or wanted.card not in machine.device
    }
    for machine, result in others.items():
        where = f"{machine.world_size} processes on {machine.device}" if machine else "a machine that no file names"
        yield f"not on the challenge's machine: {where}, at scale {result.scale}"
    scored_bytes = [result.scored_bytes for result in seeds.values()]
    if other := sorted(count for count in set(known(scored_bytes)) if count not in text):
        yield f"not the challenge's validation text: {other[0]:,} bytes were scored"
