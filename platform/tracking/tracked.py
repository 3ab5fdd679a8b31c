"""What MLflow gets of a run: a child for every result and every failure, and a summary for the recipe's run.

Values, not calls: MLflow itself is the business of ``tracker``.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jobs.contract.events import ScoreSoFar, StepDone, ValidationDone
from jobs.contract.records import ArmResult

from ..program import document
from ..reports.build import Report
from ..reports.text_table import clean
from ..runs.events import read as read_events
from ..runs.paths import RunPaths
from ..runs.plan import Failure, Plan
from ..runs.results import Run
from .origin import tags_of_result

TAG = "fairway."
CURVE_POINTS = 1000  # of a curve; a full-size run has some 7,000 steps, and every arm carries the curve of its trunk
TEXT_LIMIT = 500  # characters of a param or a reason

# What a result says about where it comes from, and what it measured.
_PARAMS = (
    *("seed", "adaptation", "protocol", "claimable", "end_to_end"),
    *("program_sha256", "trunk_sha256", "data_sha256", "tokenizer_sha256"),
)
_METRICS = (
    *("val_bpb", "val_loss_nats", "aligned_val_bpb", "scored_tokens", "scored_bytes"),
    *("artifact_bytes", "model_bytes", "code_bytes", "adapt_seconds", "eval_seconds"),
)
_TRUNK_METRICS = ("parameters", "steps", "step_ms_mean", "step_ms_median", "train_seconds")
_CURVES: dict[type[Any], tuple[str, ...]] = {
    StepDone: ("train_loss", "step_ms", "lr_scale"),
    ValidationDone: ("val_loss_nats", "val_bpb"),
}
_TEXTS = ("name", "scale", "question", "source", "published")  # of a recipe; they are no knobs


class Point(NamedTuple):
    """One value of a metric, in the order of MLflow's own Metric."""

    name: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True, kw_only=True)
class Child:
    """One seed and arm as MLflow gets it."""

    name: str  # leaky_cosine/adamw/1337
    identity: dict[str, str]  # tags that no other run has all of
    content: str  # hash of the files: children of one identity and one content are the same
    note: str
    params: Callable[[], dict[str, str]]  # like the points, worked out only where the child is recorded
    points: Callable[[], list[Point]]
    files: list[Path]
    status: str
    start_ms: int
    end_ms: int
    origin: dict[str, str] = field(default_factory=dict)  # tags: machine, code, attempts


def children(run: Run) -> Iterator[Child]:
    """A child for every result, and for every arm that failed and has none."""
    hashed = cache(_hash_of)  # a trunk's files belong to all of its arms
    knobs = cache(lambda: _knobs(run.plan.paths))
    for result in run.results:
        origin = {TAG + name: value for name, value in tags_of_result(run, result).items()}
        yield replace(_scored(run.plan, result, hashed, knobs), origin=origin)
    scored = {(result.seed, result.arm) for result in run.results}
    for failure in run.failures:
        for arm in failure.arms or (failure.arm or "all arms",):
            if (failure.seed, arm) not in scored:
                yield _failed(run.plan, failure, arm)


def identity_of(plan: Plan, **own: object) -> dict[str, str]:
    """Tags by which what is recorded of this program on this data is found again; with ``own``, one run of it."""
    tags = {"program_sha256": plan.program_sha256, "data_sha256": plan.data_sha256, **own}
    return {TAG + name: str(value) for name, value in tags.items()}


def summary_of(report: Report) -> dict[str, float]:
    """The metrics of the recipe's run: n, mean and std of each arm, and the deltas between arms."""
    values: dict[str, float | None] = {"failed": len(report.failed)}
    for arm in report.arms:
        values[f"{arm.name}/n"] = len(arm.seeds)
        if arm.val_bpb is not None:
            values[f"{arm.name}/val_bpb_mean"] = arm.val_bpb.mean
            values[f"{arm.name}/val_bpb_std"] = arm.val_bpb.sample_std
    for delta in report.deltas:
        name = f"{delta.arm} - {delta.against}"
        values |= {f"{name}/n": delta.n, f"{name}/delta_bpb_mean": delta.mean}
        values |= {f"{name}/delta_bpb_std": delta.std, f"{name}/p": delta.p}
    return {name: float(value) for name, value in values.items() if value is not None}


def content_of(*paths: Path, text: str = "", hashed: Callable[[Path], bytes] | None = None) -> str:
    """Name of the content of these files and this text; a file that is not there counts as such."""
    digest = hashlib.sha256(text.encode())
    for path in paths:
        digest.update((hashed or _hash_of)(path))
    return digest.hexdigest()[:16]


def _hash_of(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest() if path.exists() else b"no file"


def time_ms(path: Path) -> int:
    """When the file was written, in MLflow's milliseconds; 0 where there is none."""
    return round(path.stat().st_mtime * 1000) if path.exists() else 0


def _scored(
    plan: Plan, result: ArmResult, hashed: Callable[[Path], bytes], knobs: Callable[[], Mapping[str, Any]]
) -> Child:
    trial = plan.trial(result.seed)
    paths = trial.paths.arm(result.arm)
    end_ms = time_ms(paths.result)

    def params() -> dict[str, str]:
        own = {name: str(getattr(result, name)) for name in _PARAMS}
        return _place(plan, result.arm) | own | _machines(result) | _knobs_of(knobs(), result.arm)

    def points() -> list[Point]:
        values = {name: getattr(result, name) for name in _METRICS}
        values |= {name: getattr(result.trunk, name) for name in _TRUNK_METRICS}
        measured = [Point(name, float(value), end_ms, 0) for name, value in values.items() if value is not None]
        curve = _curve(paths.metrics if plan.script else trial.trunk.metrics)
        return measured + curve + _running_score(paths.metrics)

    return Child(
        name=f"{plan.recipe}/{result.arm}/{result.seed}",
        identity=identity_of(plan, kind="arm", seed=result.seed, arm=result.arm),
        content=content_of(paths.result, paths.metrics, trial.trunk.metrics, hashed=hashed),
        note="",
        params=params,
        points=points,
        files=[paths.result, paths.log, paths.metrics],
        status="FINISHED",
        start_ms=end_ms - round(1000 * (result.eval_seconds or 0.0)),
        end_ms=end_ms,
    )


def _failed(plan: Plan, failure: Failure, arm: str) -> Child:
    trial = plan.trial(failure.seed)
    source = trial.paths.failure if trial.paths.failure.exists() else trial.paths.arm(arm).result
    return Child(
        name=f"{plan.recipe}/{arm}/{failure.seed}",
        identity=identity_of(plan, kind="arm", seed=failure.seed, arm=arm),
        content=content_of(source),
        note=f"Failed in {failure.phase}: {clean(failure.reason)}"[:TEXT_LIMIT],
        params=lambda: _place(plan, arm) | {"seed": str(failure.seed)},
        points=lambda: _curve(trial.trunk.metrics),
        files=[source, trial.paths.job_log],
        status="FAILED",
        start_ms=time_ms(source),
        end_ms=time_ms(source),
    )


def _place(plan: Plan, arm: str) -> dict[str, str]:
    """Params of every child; the last one is what a comparison groups by: scores of one kind."""
    kind = f"{plan.scale}, data {plan.data_sha256[:8]}{', end to end' if plan.end_to_end else ''}"
    return {"recipe": plan.recipe, "scale": plan.scale, "arm": arm, "recipe_arm": f"{plan.recipe}/{arm} ({kind})"}


def _machines(result: ArmResult) -> dict[str, str]:
    """The machines that scored and trained, each fact a param."""
    machines = {"": result.machine, "trained_": result.trunk.machine}
    facts = {prefix: asdict(machine) for prefix, machine in machines.items() if machine is not None}
    return {f"{prefix}{name}": str(value) for prefix, named in facts.items() for name, value in named.items()}


def _knobs(paths: RunPaths) -> Mapping[str, Any]:
    """The recipe's choices."""
    recipe = document.read_if_whole(paths.recipe)
    return {name: value for name, value in recipe.plain().items() if name not in _TEXTS} if recipe else {}


def _knobs_of(tree: Mapping[str, Any], arm: str) -> dict[str, str]:
    """The recipe's choices as params, ``feed_forward.leaky_relu_squared.slope`` for one; of the arms only this one."""
    arms, others = tree.get("arms"), {name: value for name, value in tree.items() if name != "arms"}
    if isinstance(arms, Mapping) and isinstance(arms.get(arm), Mapping):
        others["adaptation"] = arms[arm]
    return dict(_flat(others))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, str(list(value) if isinstance(value, tuple) else value)[:TEXT_LIMIT]


def _curve(path: Path) -> list[Point]:
    """The training curve in a metrics.jsonl, at most about ``CURVE_POINTS`` a metric, by the clock of the training."""
    end_ms, points = time_ms(path), []
    for kind, names in _CURVES.items():
        events = list(read_events(path, kind))
        for event in _thinned(events):
            at_ms = round(end_ms + (event.train_ms or 0.0) - (events[-1].train_ms or 0.0))
            values = ((name, getattr(event, name)) for name in names)
            points += [
                Point(f"train/{name}", float(value), at_ms, event.step) for name, value in values if value is not None
            ]
    return points


def _running_score(path: Path) -> list[Point]:
    """The score so far over the validation stream; the step is the position in tokens."""
    at_ms = time_ms(path)
    events = _thinned(list(read_events(path, ScoreSoFar)))
    return [Point("running_bpb", event.running_bpb, at_ms, event.position) for event in events]


def _thinned(events: list[Any]) -> list[Any]:
    every = max(1, -(-len(events) // CURVE_POINTS))
    return [event for index, event in enumerate(events) if index % every == 0 or index == len(events) - 1]
