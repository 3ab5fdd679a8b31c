"""The figures of a report: scores and deltas by seed, training curve, running score over the validation stream.

Drawn from the run's files with Matplotlib, without a display. A figure is drawn only where there is something to see.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.contract.events import Event, ScoreSoFar, StepDone, ValidationDone
from jobs.contract.files import write_bytes

from ..errors import naming
from ..runs.events import read
from ..statistics.significance import Interval
from .build import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart, and a marker for those who see none.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
POINTS = 2000  # of a line; more cannot be seen and make files large
LARGEST = 1e9  # that is drawn
MOST_NAMED = 20  # seeds that a legend names; of more it would leave no room for the figure
ENTRY_INCHES = 0.2  # of a legend
SMOOTHING = 0.02  # share of the steps that a training loss is averaged over


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw what there is into ``folder``, and return the files in the order in which they should be shown."""
    drawn = {
        "scores": _scores(report),
        "deltas": _deltas(report),
        "training": _training(report),
        "running_score": _running(report),
    }
    paths = []
    for name, figure in drawn.items():
        path = folder / f"{name}.png"
        if figure is None:
            if path.exists():  # of an earlier report
                path.unlink()
            continue
        folder.mkdir(parents=True, exist_ok=True)
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
        with naming(path):
            write_bytes(path, picture.getvalue())
        paths.append(path)
    return paths


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A mean with its interval, and the seeds that it is the mean of."""

    label: str
    colour: str
    seeds: dict[int, float]
    mean: float
    interval: Interval | None
    shown: str  # the mean as text


def _scores(report: Report) -> "Figure | None":
    """Every seed's score as a point, its arm's mean and 95 % interval below."""
    rows = [
        _Row(
            label=arm.name + ("" if arm.claimable else "\n(diagnostic)"),
            colour=COLOURS[index % len(COLOURS)],
            seeds={seed: result.val_bpb for seed, result in arm.seeds.items()},
            mean=arm.val_bpb.mean,
            interval=arm.val_bpb.interval,
            shown=f"{arm.val_bpb.mean:.5f}",
        )
        for index, arm in enumerate(report.arms)
        if arm.val_bpb is not None
    ]
    return _rows(report, rows, "scores", "bits per byte, lower is better") if rows else None


def _deltas(report: Report) -> "Figure | None":
    """Every seed's difference between two arms as a point, the mean and 95 % interval below."""
    arms = {arm.name: (index, arm.seeds) for index, arm in enumerate(report.arms)}
    rows = []
    for delta in report.deltas:
        (index, ours), (_, theirs) = arms[delta.arm], arms[delta.against]
        common = [seed for seed in ours if seed in theirs and ours[seed].trunk_sha256 == theirs[seed].trunk_sha256]
        rows.append(
            _Row(
                label=f"{delta.arm}\nagainst {delta.against}",
                colour=COLOURS[index % len(COLOURS)],
                seeds={seed: ours[seed].val_bpb - theirs[seed].val_bpb for seed in common},
                mean=delta.mean,
                interval=delta.ci95,
                shown=f"{delta.mean:+.5f}",
            )
        )
    if not rows:
        return None
    figure = _rows(report, rows, "one arm against another", "difference in bits per byte, below 0 is better")
    figure.axes[0].axvline(0.0, color="#555555", lw=1.0)
    return figure


def _rows(report: Report, rows: list[_Row], title: str, unit: str) -> "Figure":
    seeds = [seed for seed in report.run.plan.seeds if any(seed in row.seeds for row in rows)]
    figure, axes = _figure(height=1.6 + 0.75 * len(rows), entries=_named(seeds))
    for y, row in enumerate(rows):
        for index, seed in enumerate(seeds):
            if seed in row.seeds:
                height = y - 0.12 - 0.24 * (index + 0.5) / len(seeds)
                marker = MARKERS[index % len(MARKERS)]
                axes.plot(row.seeds[seed], height, marker, color=row.colour, ms=6, mew=0, alpha=0.75)
        if row.interval is not None:
            axes.plot([row.interval.low, row.interval.high], [y + 0.1] * 2, color=row.colour, lw=2.5)
        axes.plot(row.mean, y + 0.1, "|", color=row.colour, ms=16, mew=2.5)
        axes.annotate(row.shown, (row.mean, y + 0.25), ha="center", va="top", fontsize=9, color=row.colour)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)  # the first on top
    axes.grid(axis="y", visible=False)
    for index, seed in enumerate(seeds[: _named(seeds)]):
        axes.plot([], [], MARKERS[index % len(MARKERS)], color="#555555", ms=6, mew=0, label=f"seed {seed}")
    axes.set_xlabel(f"{unit} (points: seeds; tick and bar: mean and 95 % interval)")
    axes.margins(x=0.12)
    _legend(axes, outside=True)
    return _titled(figure, axes, report, title)


def _training(report: Report) -> "Figure | None":
    """Training loss over the steps, smoothed, and the validation scores during training."""
    trials = report.run.plan.trials
    named = _named(trials)
    figure, axes = _figure(height=4.2, entries=named)
    seen = False
    for index, trial in enumerate(trials):
        name = f"seed {trial.seed}" if named else None
        colour = COLOURS[index % len(COLOURS)]
        steps, losses = _columns(read(trial.trunk.metrics, StepDone), "step", "train_loss")
        if steps:
            shown = _smoothed(losses)
            keep = range(0, len(steps), max(1, len(steps) // POINTS))
            axes.plot([steps[i] for i in keep], [shown[i] for i in keep], color=colour, lw=1.4, label=name)
        at, validated = _columns(read(trial.trunk.metrics, ValidationDone), "step", "val_loss_nats")
        if at:
            label = None if steps else name
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
    return _titled(figure, axes, report, "training")


def _running(report: Report) -> "Figure | None":
    """The score so far over the validation stream: one line a seed, one colour an arm."""
    lines: list[list[tuple[float, float]]] = []
    seeds = [seed for seed in report.run.plan.seeds if any(seed in arm.seeds for arm in report.arms)]
    figure, axes = _figure(height=4.2, entries=len(report.arms) + _named(seeds))
    for row, arm in enumerate(report.arms):
        label: str | None = arm.name
        for index, seed in enumerate(seeds):
            if seed not in arm.seeds:
                continue
            path = report.run.plan.paths.seed(seed).arm(arm.name).metrics
            positions, scores = _columns(read(path, ScoreSoFar), "position", "running_bpb")
            if len(positions) > 1:
                keep = range(0, len(positions), max(1, len(positions) // POINTS))
                lines.append([(positions[i], scores[i]) for i in keep])
                x, y = zip(*lines[-1], strict=True)
                axes.plot(x, y, DASHES[index % len(DASHES)], color=COLOURS[row % len(COLOURS)], lw=1.2, label=label)
                label = None  # one entry an arm
    if not lines:
        return None
    for index, seed in enumerate(seeds[: _named(seeds)]):
        axes.plot([], [], DASHES[index % len(DASHES)], color="#555555", lw=1.2, label=f"seed {seed}")
    axes.set_ylim(*_limits(lines))
    axes.set_xlabel("tokens of the validation stream")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("bits per byte so far")
    _legend(axes, outside=True)
    return _titled(figure, axes, report, "score over the stream")


def _columns(events: Iterable[Event], x: str, y: str) -> tuple[list[float], list[float]]:
    """Two numbers of each event, sorted by the first; a later event replaces an earlier one at the same place.

    NaN and infinity are left out.
    """
    pairs = ((getattr(event, x), getattr(event, y)) for event in events)
    points = {at: value for at, value in pairs if abs(at) < LARGEST and abs(value) < LARGEST}
    return sorted(points), [points[key] for key in sorted(points)]


def _smoothed(values: list[float]) -> list[float]:
    """Running mean over the values before each, ``SMOOTHING`` of all of them wide."""
    width = max(1, round(SMOOTHING * len(values)))
    smoothed, total = [], 0.0
    for index, value in enumerate(values):
        total += value - (values[index - width] if index >= width else 0.0)
        smoothed.append(total / min(index + 1, width))
    return smoothed


def _named(seeds: Sequence[object]) -> int:
    """How many of these seeds a legend names: all or none."""
    return len(seeds) if len(seeds) <= MOST_NAMED else 0


def _figure(height: float, entries: int) -> "tuple[Figure, Axes]":
    """An empty figure and its one panel. Not through pyplot, which keeps global state and looks for a display.

    Args:
        height: in inches; more where a legend needs it.
        entries: of the legend.
    """
    height = max(height, 1.0 + ENTRY_INCHES * entries)
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
    if labels and (outside or len(labels) > 8):
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
    elif len(labels) > 1:
        axes.legend(frameon=False, fontsize=9)


def _titled(figure: "Figure", axes: "Axes", report: Report, title: str) -> "Figure":
    plan = report.run.plan
    axes.set_title(f"{plan.recipe}, scale {plan.scale}: {title}".replace("$", r"\$"), loc="left", fontsize=11)
    return figure
