"""The figures of a report: scores by arm and seed, training curve, running score over the validation stream.

Drawn from the run's files with Matplotlib, without a display. A figure is drawn only where there is something to see.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart, and a marker for those who see none.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
POINTS = 2000  # of a line; more cannot be seen and make files large
SMOOTHING = 0.02  # share of the steps that a training loss is averaged over


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw what there is into ``folder``, and return the files in the order in which they should be shown."""
    drawn = {"scores": _scores(report), "training": _training(report), "running_score": _running(report)}
    paths = []
    for name, figure in drawn.items():
        path = folder / f"{name}.png"
        if figure is None:
            path.unlink(missing_ok=True)  # of an earlier report
            continue
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        paths.append(path)
    return paths


def events(path: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """The events of these kinds in a metrics.jsonl, in order; a last line that a kill cut off is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") in kinds:
                yield event


def _scores(report: Report) -> "Figure | None":
    """One panel: every seed's score as a point, its arm's mean and 95 % interval beside them."""
    arms = [arm for arm in report.arms if arm.val_bpb is not None]
    if not arms:
        return None
    figure, axes = _figure(height=1.6 + 0.75 * len(arms))
    seeds = [seed for seed in report.run.plan.seeds if any(seed in arm.seeds for arm in arms)]
    for row, arm in enumerate(arms):
        colour, summary = COLOURS[row % len(COLOURS)], arm.val_bpb
        assert summary is not None
        for index, seed in enumerate(seeds):
            if seed in arm.seeds:
                y = row - 0.12 - 0.24 * (index + 0.5) / len(seeds)
                axes.plot(
                    arm.seeds[seed].val_bpb, y, MARKERS[index % len(MARKERS)], color=colour, ms=6, mew=0, alpha=0.75
                )
        if summary.interval is not None:
            axes.plot([summary.interval.low, summary.interval.high], [row + 0.1] * 2, color=colour, lw=2.5)
        axes.plot(summary.mean, row + 0.1, "|", color=colour, ms=16, mew=2.5)
        axes.annotate(
            f"{summary.mean:.5f}", (summary.mean, row + 0.25), ha="center", va="top", fontsize=9, color=colour
        )
    names = [arm.name + ("" if arm.claimable else "\n(diagnostic)") for arm in arms]
    axes.set_yticks(range(len(arms)), names)
    axes.set_ylim(len(arms) - 0.5, -0.6)  # the first arm on top
    axes.grid(axis="y", visible=False)
    for index, seed in enumerate(seeds):
        axes.plot([], [], MARKERS[index % len(MARKERS)], color="#555555", ms=6, mew=0, label=f"seed {seed}")
    axes.set_xlabel("bits per byte, lower is better (points: seeds; tick and bar: mean and 95 % interval)")
    axes.margins(x=0.12)
    _legend(axes, outside=True)
    return _titled(figure, axes, f"{report.run.plan.recipe}, scale {report.run.plan.scale}: scores")


def _training(report: Report) -> "Figure | None":
    """Training loss over the steps, smoothed, and the validation scores during training."""
    figure, axes = _figure(height=4.2)
    seen = False
    for index, trial in enumerate(report.run.plan.trials):
        colour = COLOURS[index % len(COLOURS)]
        steps, losses = _columns(events(trial.trunk.metrics, "step"), "step", "train_loss")
        if steps:
            shown = _smoothed(losses)
            keep = range(0, len(steps), max(1, len(steps) // POINTS))
            axes.plot(
                [steps[i] for i in keep], [shown[i] for i in keep], color=colour, lw=1.4, label=f"seed {trial.seed}"
            )
        at, validated = _columns(events(trial.trunk.metrics, "validation"), "step", "val_loss_nats")
        if at:
            label = None if steps else f"seed {trial.seed}"
            axes.plot(
                at, validated, MARKERS[index % len(MARKERS)], color=colour, ms=6, mec="white", mew=0.6, label=label
            )
        seen = seen or bool(steps or at)
    if not seen:
        return None
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("nats per token (lines: training, markers: validation)")
    _legend(axes)
    return _titled(figure, axes, f"{report.run.plan.recipe}, scale {report.run.plan.scale}: training")


def _running(report: Report) -> "Figure | None":
    """The score so far over the validation stream: one line a seed, one colour an arm."""
    figure, axes = _figure(height=4.2)
    lines: list[list[tuple[float, float]]] = []
    for row, arm in enumerate(report.arms):
        label: str | None = arm.name
        for seed in arm.seeds:
            path = report.run.plan.paths.seed(seed).arm(arm.name).metrics
            positions, scores = _columns(events(path, "score"), "position", "running_bpb")
            if len(positions) > 1:
                keep = range(0, len(positions), max(1, len(positions) // POINTS))
                lines.append([(positions[i], scores[i]) for i in keep])
                x, y = zip(*lines[-1], strict=True)
                axes.plot(x, y, color=COLOURS[row % len(COLOURS)], lw=1.2, alpha=0.85, label=label)
                label = None  # one entry an arm
    if not lines:
        return None
    axes.set_ylim(*_limits(lines))
    axes.set_xlabel("tokens of the validation stream")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("bits per byte so far")
    _legend(axes)
    return _titled(figure, axes, f"{report.run.plan.recipe}, scale {report.run.plan.scale}: score over the stream")


def _columns(found: Iterator[dict[str, Any]], x: str, y: str) -> tuple[list[float], list[float]]:
    """Two numbers of each event, sorted by the first; a later event replaces an earlier one at the same place."""
    points = {one[x]: one[y] for one in found if _is_number(one.get(x)) and _is_number(one.get(y))}
    return sorted(points), [points[key] for key in sorted(points)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9  # False for NaN and infinity too


def _smoothed(values: list[float]) -> list[float]:
    """Running mean over the values before each, ``SMOOTHING`` of all of them wide."""
    width = max(1, round(SMOOTHING * len(values)))
    smoothed, total = [], 0.0
    for index, value in enumerate(values):
        total += value - (values[index - width] if index >= width else 0.0)
        smoothed.append(total / min(index + 1, width))
    return smoothed


def _figure(height: float) -> "tuple[Figure, Axes]":
    """An empty figure and its one panel. Not through pyplot, which keeps global state and looks for a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#DDDDDD", lw=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _limits(lines: list[list[tuple[float, float]]]) -> tuple[float, float]:
    """Limits of y that fit all lines but their first twentieth, where a mean over few tokens is wild."""
    settled = [y for line in lines for x, y in line if x >= 0.05 * line[-1][0]]
    room = 0.05 * (max(settled) - min(settled)) or 0.01
    return min(settled) - room, max(settled) + room


def _legend(axes: "Axes", *, outside: bool = False) -> None:
    _, labels = axes.get_legend_handles_labels()
    if outside or len(labels) > 8:
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
    elif len(labels) > 1:
        axes.legend(frameon=False, fontsize=9)


def _titled(figure: "Figure", axes: "Axes", title: str) -> "Figure":
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=11)
    return figure
