"""A run as tables: scores by arm and seed, paired deltas, bytes and times against their limits; all from its files.

The numbers are made here, once (``build``); what is shown of them, and how, is the business of ``tables``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean

from jobs.contract.records import SCORE_FIRST, UNTOLD, ArmResult, Machine

from ..program import document
from ..rules import claims
from ..rules.challenge import limits
from ..runs import audits, spending
from ..runs.audits import UNAUDITED, ArmAudit
from ..runs.events import own_seconds
from ..runs.plan import Failure
from ..runs.results import Open, Run
from ..runs.spending import Spent
from ..runs.usage import Usage, usage
from ..statistics.significance import Interval, Summary, holm, summarize
from ..words import counted, known
from .machines import Times, times_of

STEPS_APART = 0.05  # share; public records' seeds differ by 0.15 % in step time (median), the worst by 7.9 %


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What an arm gains over its trunks without adaptation and without overlapping windows; BPB, mean over seeds.

    Most of what published records call the gain of their test-time training is that of the sliding windows they also
    switch on; here the two are kept apart.
    """

    n: int
    plain: float  # the score in disjoint windows, without adaptation
    total: float  # plain minus the arm's score
    sliding: float  # plain minus the score without adaptation under the recipe's own evaluation

    @property
    def sliding_share(self) -> float | None:
        """The share of the gain that the windows alone give; None where there is no gain."""
        return self.sliding / self.total if self.total > 0 else None


@dataclass(frozen=True, kw_only=True)
class ArmReport:
    """One arm over its seeds. What no seed has measured is None."""

    name: str
    adaptation: str | None
    protocol: str | None
    claimable: bool | None
    audit: ArmAudit | None  # None where there was none
    seeds: dict[int, ArmResult]
    val_bpb: Summary | None
    gain: Gain | None  # over the same trunks scored as they are, in disjoint windows

    @property
    def adapts(self) -> bool:
        return any(result.adapts for result in self.seeds.values())

    @property
    def verdict(self) -> str:
        """What the audit says of the arm, in a word or a line."""
        return self.audit.verdict if self.audit else UNAUDITED

    @property
    def why_not(self) -> str:
        """Why no record may claim the arm, in a word; empty where one may, or nothing is measured."""
        if self.claimable is not False:
            return ""
        if self.audit and self.audit.audited and self.verdict != self.protocol:
            return self.verdict
        if self.protocol != SCORE_FIRST:
            return str(self.protocol)
        return UNAUDITED if all(result.claimable for result in self.seeds.values()) else "over the limit"

    @property
    def end_to_end(self) -> int:
        """How many of the seeds were trained and scored by one process, as a submission is."""
        return sum(result.end_to_end for result in self.seeds.values())

    @property
    def aligned_gaps(self) -> list[float]:
        """Final score minus the score in disjoint windows, for each seed that has both. Healthy: below 0."""
        return [
            result.val_bpb - result.aligned_val_bpb
            for result in self.seeds.values()
            if result.aligned_val_bpb is not None
        ]


@dataclass(frozen=True, kw_only=True)
class Delta:
    """``arm`` minus ``against`` in BPB: below 0 where the arm is better. ``p`` is two-sided."""

    arm: str
    against: str
    paired: bool  # each pair scored one trunk, or of a script has one seed; otherwise Welch
    of_one_training: bool
    n: int
    mean: float
    std: float | None  # of the paired deltas
    ci95: Interval | None
    p: float | None
    p_holm: float | None  # p adjusted for all deltas of this report
    note: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is printed about a run."""

    run: Run
    question: str | None  # as the recipe puts it
    arms: tuple[ArmReport, ...]
    deltas: tuple[Delta, ...]
    phases: dict[str, dict[str, float]]  # of the training, then of each arm: mean seconds, without the phases inside
    times: Times  # whether the step times of its seeds compare
    warnings: tuple[str, ...]
    spent: Spent | None = None  # None where no launch wrote down what it did
    usage: Usage | None = None  # what that was used for; None where nothing is known
    held_back: dict[int, str] = field(default_factory=dict)  # seeds that a budget left out, with the reason

    @property
    def claims(self) -> int:
        """Arms that a record may claim and that every planned seed has a score of."""
        planned = set(self.run.plan.seeds)
        return sum(bool(arm.claimable) and set(arm.seeds) == planned for arm in self.arms)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The machines that trained, in words; one that no file tells is said to be untold."""
        return tuple(sorted({_machine(trunk.machine) for trunk in self.run.trunks.values()}))

    @property
    def scored_on(self) -> tuple[str, ...]:
        return tuple(sorted({_machine(result.machine) for result in self.run.results}))

    @property
    def failed(self) -> tuple[Failure, ...]:
        return self.run.failures

    @property
    def open(self) -> tuple[Open, ...]:
        return self.run.open


def build(run: Run) -> Report:
    """The report of what ``run`` holds now."""
    audited = audits.of_run(run.path)
    arms = tuple(_arm_report(run, name, audited.get(name)) for name in run.arms)
    times = times_of([run])
    return Report(
        run=run,
        question=_question(run),
        arms=arms,
        deltas=_deltas(run),
        phases=_phases(run),
        times=times,
        warnings=(*run.notes, *_warnings(arms), *filter(None, [times.said])),
        spent=spending.spent(run.path),
        usage=usage(run),
        held_back=_held_back(run),
    )


def _held_back(run: Run) -> dict[int, str]:
    missing = {gap.seed for gap in run.open} | {failure.seed for failure in run.failures}
    return {seed: why for seed, why in spending.held_back(run.path).items() if seed in missing}


def _question(run: Run) -> str | None:
    recipe = document.read_if_whole(run.plan.paths.recipe)
    node = recipe.entries("a recipe").get("question") if recipe else None
    return str(node.value) if node else None


def _arm_report(run: Run, name: str, audit: ArmAudit | None) -> ArmReport:
    seeds = run.arms[name]
    first = next(iter(seeds.values()), None)
    return ArmReport(
        name=name,
        adaptation=first.adaptation if first else None,
        protocol=first.protocol if first else None,
        claimable=_claimable(list(seeds.values()), audit) if first else None,
        audit=audit,
        seeds=seeds,
        val_bpb=summarize([result.val_bpb for result in seeds.values()]) if first else None,
        gain=_gain(run, seeds),
    )


def _claimable(results: list[ArmResult], audit: ArmAudit | None) -> bool:
    """Whether a record may claim the arm: by its results, and by an audit, which an arm that adapts has to have had."""
    if not all(result.claimable for result in results):
        return False
    if audit is None or not audit.audited:
        return not any(result.adapts for result in results)
    return all(result.protocol == audit.verdict for result in results)


def _gain(run: Run, seeds: dict[int, ArmResult]) -> Gain | None:
    """None where no unadapted arm was scored in disjoint windows too, on the trunk of one of these ``seeds``."""
    plain = {
        result.trunk_sha256: (result.aligned_val_bpb, result.val_bpb)
        for result in run.results
        if not result.adapts and result.aligned_val_bpb is not None
    }
    gains = [(*plain[result.trunk_sha256], result.val_bpb) for result in seeds.values() if result.trunk_sha256 in plain]
    if not gains:
        return None
    aligned, unadapted, adapted = (fmean(column) for column in zip(*gains, strict=True))
    return Gain(n=len(gains), plain=aligned, total=aligned - adapted, sliding=aligned - unadapted)


def _deltas(run: Run) -> tuple[Delta, ...]:
    """Every arm against every earlier one."""
    pairs = [(arm, against) for against, arm in combinations(run.arms, 2)]
    comparisons = [(arm, against, compared) for arm, against in pairs if (compared := run.compare(arm, against))]
    adjusted = holm([compared.p_two_sided for _, _, compared in comparisons])
    return tuple(
        Delta(
            arm=arm,
            against=against,
            paired=compared.test == "paired t",
            of_one_training=run.plan.script is None,
            n=compared.n,
            mean=-compared.gain,
            std=compared.gain_std,
            ci95=None if (gain := compared.gain_interval) is None else Interval(-gain.high, -gain.low),
            p=compared.p_two_sided,
            p_holm=p_holm,
            note=compared.note,
        )
        for (arm, against, compared), p_holm in zip(comparisons, adjusted, strict=True)
    )


def _warnings(arms: tuple[ArmReport, ...]) -> list[str]:
    """What a reader should know before believing a number."""
    warnings: list[str] = []
    scored = [arm for arm in arms if arm.seeds]
    if not scored:
        return []
    if len({frozenset(arm.seeds) for arm in scored}) > 1:
        counts = ", ".join(f"{arm.name} {len(arm.seeds)}" for arm in scored)
        warnings.append(
            f"The arms have scores of different seeds ({counts}): compare them by their deltas, not by their means."
        )
    everything = [result for arm in arms for result in arm.seeds.values()]
    warnings += _on_machines(everything)
    steps = known(result.trunk.steps for result in everything)
    fewest, most = min(steps, default=0), max(steps, default=0)
    if most > (1 + STEPS_APART) * fewest:
        warnings.append(
            f"The seeds made {fewest:,} to {most:,} steps in their time: the machine was not equally fast for all of "
            "them, and part of the spread of the scores is that."
        )
    for arm in scored:
        results = arm.seeds.values()
        if arm.audit and arm.audit.audited and arm.verdict != arm.protocol:
            warnings.append(f"{arm.name}: its program declares {arm.protocol}, the audit says {arm.verdict}.")
        for note, seeds in _notes(arm).items():
            warnings.append(f"{arm.name}, {counted(len(seeds), 'seed')}: {note}")
        if arm.protocol == UNTOLD:
            warnings.append(f"{arm.name}: whether it learns from a token before it is scored is untold: no claim.")
        elif arm.adapts and not (arm.audit and arm.audit.audited):
            warnings.append(f"{arm.name}: {arm.verdict}. It adapts, so it may not be claimed before it is audited.")
        gaps = arm.aligned_gaps
        if arm.adapts and (inverted := sum(gap > 0 for gap in gaps)):
            warnings.append(
                f"{arm.name}: in {inverted} of {len(gaps)} seeds the final score lies above the score in disjoint "
                f"windows (by {max(gaps):.6f} BPB at most). A healthy model gains from more context; after "
                "adaptation the reverse is the signature of memorised validation windows."
            )
        largest = max(known(result.artifact_bytes for result in results), default=0)
        if largest > limits().artifact_bytes:
            warnings.append(f"{arm.name}: {largest:,} bytes, {largest - limits().artifact_bytes:,} over the limit.")
        for what in ("train_seconds", "eval_seconds"):
            limit, tolerance = claims.limit_of(claims.load(claims.CHALLENGE), what)
            longest = max(known(getattr(result, what) for result in results), default=0.0)
            if longest > limit + tolerance:
                warnings.append(f"{arm.name}: {what} {longest:.1f}, over the cap of {limit:.0f} s.")
    return warnings


def _notes(arm: ArmReport) -> dict[str, list[int]]:
    """What is noted of its results, each with the seeds that it is noted of."""
    notes: dict[str, list[int]] = {}
    for seed, result in arm.seeds.items():
        for note in result.notes:
            notes.setdefault(note, []).append(seed)
    return notes


def _on_machines(results: list[ArmResult]) -> Iterator[str]:
    """What a reader has to know of where the seeds ran."""
    trained = sorted({_machine(result.trunk.machine) for result in results})
    scored = sorted({_machine(result.machine) for result in results})
    for what, machines in (("trained", trained), ("scored", scored)):
        if len(machines) > 1:
            yield (
                f"The seeds were {what} on different machines, so their times do not compare; results.csv has the "
                f"machine of each: {'; '.join(machines)}."
            )
    if len(trained) == len(scored) == 1 and trained != scored:
        yield f"Trained on {trained[0]}, scored on {scored[0]}: steps and training times are of the first."


def _machine(machine: Machine | None) -> str:
    return "a machine that no file names" if machine is None else str(machine)


def _phases(run: Run) -> dict[str, dict[str, float]]:
    """Mean wall seconds of each phase, without the phases inside it: of the training, then of each arm."""
    columns = {
        "training": [
            own_seconds(trunk.phases, run.plan.trial(seed).trunk.metrics) for seed, trunk in run.trunks.items()
        ]
    }
    for arm, by_seed in run.arms.items():
        files = {seed: run.plan.paths.seed(seed).arm(arm).metrics for seed in by_seed}
        columns[arm] = [own_seconds(result.phases, files[seed]) for seed, result in by_seed.items()]
    means = {}
    for column, of_seeds in columns.items():
        names = dict.fromkeys(name for phases in of_seeds for name in phases)
        means[column] = {name: fmean(phases.get(name, 0.0) for phases in of_seeds) for name in names}
    return means
