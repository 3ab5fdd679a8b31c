"""A run as tables: scores by arm and seed, paired deltas, bytes and times against their limits; all from its files.

The numbers are made here, once (``build``); what is shown of them, and how, is the business of ``tables``.
"""

from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from jobs.contract import ArmResult

from ..program import document
from ..rules import claims
from ..rules.challenge import limits
from ..runs import audits
from ..runs.plan import Failure
from ..runs.results import Open, Run
from ..statistics.significance import Interval, Summary, holm, summarize

NO_ADAPTATION = "no_adaptation"
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
    verdict: str | None  # of the audit; None where there was none
    seeds: dict[int, ArmResult]
    val_bpb: Summary | None
    gain: Gain | None  # over the same trunks scored as they are, in disjoint windows

    @property
    def end_to_end(self) -> int:
        """How many of the seeds were trained and scored by one process, as a submission is."""
        return sum(one.end_to_end for one in self.seeds.values())

    @property
    def aligned_gaps(self) -> list[float]:
        """Final score minus the score in disjoint windows, for each seed that has both. Healthy: below 0."""
        return [one.val_bpb - one.aligned_val_bpb for one in self.seeds.values() if one.aligned_val_bpb is not None]


@dataclass(frozen=True, kw_only=True)
class Delta:
    """``arm`` minus ``against`` in BPB: below 0 where the arm is better. ``p`` is two-sided."""

    arm: str
    against: str
    paired: bool  # each pair scored one trunk; otherwise Welch
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
    warnings: tuple[str, ...]

    @property
    def failed(self) -> tuple[Failure, ...]:
        return self.run.failures

    @property
    def open(self) -> tuple[Open, ...]:
        return self.run.open

    def as_json(self) -> dict[str, Any]:
        """The content of report.json: full precision, null where there is no number."""
        plan = self.run.plan
        return {
            "recipe": plan.recipe,
            "scale": plan.scale,
            "program_sha256": plan.program_sha256,
            "seeds": list(plan.seeds),
            "arms": {arm.name: _arm_json(arm) for arm in self.arms},
            "deltas": [
                {
                    "arm": one.arm,
                    "against": one.against,
                    "paired": one.paired,
                    "n": one.n,
                    "mean": one.mean,
                    "std": one.std,
                    "ci95": _interval_json(one.ci95),
                    "p": one.p,
                }
                for one in self.deltas
            ],
            "given_up": asdict(self.run.given_up) if self.run.given_up else None,
            "failed": [
                {"seed": one.seed, "phase": one.phase, "arm": one.arm, "reason": one.reason, "arms": list(one.arms)}
                for one in self.failed
            ],
        }


def build(run: Run) -> Report:
    """The report of what ``run`` holds now."""
    verdicts = audits.verdicts(run.path)
    arms = tuple(_arm_report(run, name, verdicts.get(name)) for name in run.arms)
    warnings = tuple(_warnings(arms))
    return Report(run=run, question=_question(run), arms=arms, deltas=_deltas(run), warnings=warnings)


def _question(run: Run) -> str | None:
    path = run.plan.paths.recipe
    node = document.read(path).entries("a recipe").get("question") if path.exists() else None
    return str(node.value) if node else None


def _arm_report(run: Run, name: str, verdict: str | None) -> ArmReport:
    seeds = run.arms[name]
    first = next(iter(seeds.values()), None)
    return ArmReport(
        name=name,
        adaptation=first.adaptation if first else None,
        protocol=first.protocol if first else None,
        claimable=first.claimable and verdict in (None, first.protocol) if first else None,
        verdict=verdict,
        seeds=seeds,
        val_bpb=summarize([one.val_bpb for one in seeds.values()]) if first else None,
        gain=_gain(run, seeds),
    )


def _gain(run: Run, seeds: dict[int, ArmResult]) -> Gain | None:
    """None where no unadapted arm was scored in disjoint windows too, on the trunk of one of these ``seeds``."""
    plain = {
        one.trunk_sha256: (one.aligned_val_bpb, one.val_bpb)
        for one in run.results
        if one.adaptation == NO_ADAPTATION and one.aligned_val_bpb is not None
    }
    gains = [(*plain[one.trunk_sha256], one.val_bpb) for one in seeds.values() if one.trunk_sha256 in plain]
    if not gains:
        return None
    aligned, unadapted, adapted = (fmean(column) for column in zip(*gains, strict=True))
    return Gain(n=len(gains), plain=aligned, total=aligned - adapted, sliding=aligned - unadapted)


def _deltas(run: Run) -> tuple[Delta, ...]:
    """Every arm against every earlier one."""
    pairs = [(arm, against) for against, arm in combinations(run.arms, 2)]
    found = [(arm, against, compared) for arm, against in pairs if (compared := run.compare(arm, against))]
    adjusted = holm([compared.p_two_sided for _, _, compared in found])
    return tuple(
        Delta(
            arm=arm,
            against=against,
            paired=compared.test == "paired t",
            n=compared.n,
            mean=-compared.gain,
            std=compared.gain_std,
            ci95=None if (gain := compared.gain_interval) is None else Interval(-gain.high, -gain.low),
            p=compared.p_two_sided,
            p_holm=p_holm,
            note=compared.note,
        )
        for (arm, against, compared), p_holm in zip(found, adjusted, strict=True)
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
    everything = [one for arm in arms for one in arm.seeds.values()]
    if len({(one.device, one.world_size, one.torch_version) for one in everything}) > 1:
        warnings.append("The seeds ran on different machines; results.csv has the machine of each.")
    fewest, most = min(one.steps for one in everything), max(one.steps for one in everything)
    if most > (1 + STEPS_APART) * fewest:
        warnings.append(
            f"The seeds made {fewest:,} to {most:,} steps in their time: the machine was not equally fast for all of "
            "them, and part of the spread of the scores is that."
        )
    for arm in scored:
        results = arm.seeds.values()
        if arm.verdict not in (None, arm.protocol):
            warnings.append(f"{arm.name}: its program declares {arm.protocol}, the audit says {arm.verdict}.")
        gaps = arm.aligned_gaps
        if arm.adaptation != NO_ADAPTATION and (inverted := sum(gap > 0 for gap in gaps)):
            warnings.append(
                f"{arm.name}: in {inverted} of {len(gaps)} seeds the final score lies above the score in disjoint "
                f"windows (by {max(gaps):.6f} BPB at most). A healthy model gains from more context; after "
                "adaptation the reverse is the signature of memorised validation windows."
            )
        largest = max(one.artifact_bytes for one in results)
        if largest > limits().artifact_bytes:
            warnings.append(f"{arm.name}: {largest:,} bytes, {largest - limits().artifact_bytes:,} over the limit.")
        for what in ("train_seconds", "eval_seconds"):
            limit, tolerance = claims.limit_of(claims.load(claims.CHALLENGE), what)
            longest = max(float(getattr(one, what)) for one in results)
            if longest > limit + tolerance:
                warnings.append(f"{arm.name}: {what} {longest:.1f}, over the cap of {limit:.0f} s.")
    return warnings


def _arm_json(arm: ArmReport) -> dict[str, Any]:
    summary = arm.val_bpb
    return {
        "protocol": arm.protocol,
        "claimable": arm.claimable,
        "seeds": {
            str(seed): {
                "val_bpb": one.val_bpb,
                "val_loss_nats": one.val_loss_nats,
                "artifact_bytes": one.artifact_bytes,
                "code_bytes": one.code_bytes,
                "step_ms": one.step_ms_mean,
                "train_seconds": one.train_seconds,
                "eval_seconds": one.eval_seconds,
            }
            for seed, one in arm.seeds.items()
        },
        "val_bpb": {
            "n": summary.n if summary else 0,
            "mean": summary.mean if summary else None,
            "std": summary.sample_std if summary else None,
            "ci95": _interval_json(summary.interval) if summary else None,
        },
        "sliding_share": arm.gain.sliding_share if arm.gain else None,
    }


def _interval_json(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(asdict(interval).values())
