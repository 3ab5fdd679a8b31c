"""A report as data: the content of report.json, everything that the tables show, in full precision.

Whoever draws a run (pages, dashboards, other programs) needs nothing but this.
"""

from dataclasses import asdict
from typing import Any

from jobs.contract.files import SCHEMA_VERSION
from jobs.contract.records import ArmResult

from ..runs.plan import Plan
from ..runs.usage import WAITING
from ..statistics.significance import Interval
from .build import ArmReport, Delta, Report


def as_data(report: Report) -> dict[str, Any]:
    """Full precision; null where there is no number."""
    plan, run = report.run.plan, report.run
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": plan.recipe,
        "scale": plan.scale,
        "question": report.question,
        **{name: getattr(plan, name) for name in ("program_sha256", "data_sha256", "tokenizer_sha256", "end_to_end")},
        "seeds": list(plan.seeds),
        "planned": [{"time": batch.time, "seeds": list(batch.seeds)} for batch in plan.planned],
        "machine": {"processes": plan.processes, "gpus": plan.gpus, "cpus": plan.cpus, "nodes": plan.nodes},
        "trained_on": list(report.trained_on),
        "scored_on": list(report.scored_on),
        "nodes": {
            "trained": {str(seed): asdict(node) for seed, node in run.nodes.items()},
            "scored": {
                arm: {str(seed): asdict(node) for (of_arm, seed), node in run.scored_on.items() if of_arm == arm}
                for arm in run.arms
            },
        },
        "step_times_comparable": report.times.comparable,
        "attempts": {str(seed): [asdict(one) for one in tried] for seed, tried in run.attempts.items()},
        "arms": {arm.name: _arm(arm, plan) for arm in report.arms},
        "deltas": [_delta(delta) for delta in report.deltas],
        "phases": report.phases,
        "warnings": list(report.warnings),
        "cost": _cost(report),
        "usage": _usage(report),
        "given_up": asdict(run.given_up) if run.given_up else None,
        "failed": [
            {
                "seed": failure.seed,
                "phase": failure.phase,
                "arm": failure.arm,
                "reason": failure.said,
                "arms": list(failure.arms),
            }
            for failure in report.failed
        ],
        "open": [asdict(gap) for gap in report.open],
        "not_run_for_budget": {str(seed): why for seed, why in report.held_back.items()},
        "complete": run.complete,
    }


def _cost(report: Report) -> dict[str, Any] | None:
    """Of all attempts in ``launch.jsonl``; ``per_claim`` is that by the number of claimable arms that are complete."""
    spent, claims = report.spent, report.claims
    if spent is None:
        return None
    per_claim = None
    if claims:
        usd = None if spent.usd is None else spent.usd / claims
        per_claim = {"node_seconds": spent.node_seconds / claims, "usd": usd}
    return {**asdict(spent), "at_least": spent.at_least, "claims": claims, "per_claim": per_claim}


def _usage(report: Report) -> dict[str, Any] | None:
    """``waiting`` is null where it is not known, and ``usd`` where no one price holds for all."""
    used = report.usage
    if used is None:
        return None
    return {**asdict(used), "seconds": {**used.seconds, WAITING: used.seconds.get(WAITING)}}


def _arm(arm: ArmReport, plan: Plan) -> dict[str, Any]:
    summary, gain = arm.val_bpb, arm.gain
    return {
        "adaptation": arm.adaptation,
        "protocol": arm.protocol,
        "claimable": arm.claimable,
        "verdict": arm.verdict,
        "seeds": {str(seed): _seed(result, plan) for seed, result in arm.seeds.items()},
        "end_to_end": arm.end_to_end,
        "val_bpb": {
            "n": summary.n if summary else 0,
            "mean": summary.mean if summary else None,
            "std": summary.sample_std if summary else None,
            "ci95": _interval(summary.interval) if summary else None,
        },
        "gain": {**asdict(gain), "sliding_share": gain.sliding_share} if gain else None,
    }


def _seed(result: ArmResult, plan: Plan) -> dict[str, Any]:
    trunk = result.trunk
    measured = (
        *("val_bpb", "val_loss_nats", "aligned_val_bpb", "scored_tokens", "scored_bytes"),
        *("artifact_bytes", "model_bytes", "code_bytes", "adapt_seconds", "eval_seconds", "end_to_end", "trunk_sha256"),
    )
    path = plan.paths.seed(result.seed).arm(result.arm).result.relative_to(plan.run_path)
    return {
        **{name: getattr(result, name) for name in measured},
        **{name: getattr(trunk, name) for name in ("parameters", "steps", "train_seconds")},
        "step_ms": trunk.step_ms_mean,
        "step_ms_median": trunk.step_ms_median,
        "trained_on": asdict(trunk.machine) if trunk.machine else None,
        "scored_on": asdict(result.machine),
        "path": path.as_posix(),
    }


def _delta(delta: Delta) -> dict[str, Any]:
    return {**asdict(delta), "ci95": _interval(delta.ci95)}


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
