"""Records written for tests: the logs of ``written_logs`` with a README and a submission file that agree with them."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.records.written_logs import (
    SP8192,
    THREE,
    Numbers,
    baseline_log,
    compact_log,
    other_log,
    spaced_log,
)


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def std(values: Sequence[float]) -> float:
    """Sample standard deviation; 0 for a single value, which a record does not print."""
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def narrow_readme(seeds: Sequence[Numbers], decimals: int = 5) -> str:
    """A headline and a narrow seed table, as of a record without adaptation."""
    scores = [n.score for n in seeds]
    name = "Sliding BPB" if seeds[0].sliding is not None else "Post-quant BPB"
    rows = [f"| {n.seed} | {n.steps:,} | {n.score:.{decimals}f} | {n.total_bytes:,} bytes |" for n in seeds]
    return "\n".join(
        [
            f"**val_bpb: {mean(scores):.{decimals}f}** (mean of {len(seeds)} seeds, std {std(scores):.{decimals}f})",
            "",
            f"| Seed | Steps | {name} | Artifact |",
            "|-|-|-|-|",
            *rows,
            f"| **Mean** | | **{mean(scores):.{decimals}f}** | |",
            "",
        ]
    )


def readme(seeds: Sequence[Numbers], *, sliding: bool = True) -> str:
    """A headline and a wide seed table with Mean and Std rows, every figure rounded from what was measured."""
    scores = [n.score for n in seeds]
    before = [n.sliding if sliding and n.sliding is not None else n.roundtrip for n in seeds]
    rows = [
        f"| {n.seed} | {n.steps:,} | {n.train_ms / 1000:.1f}s | {b:.5f} | **{n.score:.5f}** | {n.score - b:.5f} "
        f"| {n.eval_ms / 1000:.1f}s | {n.total_bytes:,} |"
        for n, b in zip(seeds, before, strict=True)
    ]
    gains = [n.score - b for n, b in zip(seeds, before, strict=True)]
    losses = [round(n.loss(n.score), 8) for n in seeds]
    return "\n".join(
        [
            f"# Record: a title — val_bpb {mean(scores):.5f}",
            "",
            f"**val_bpb: {mean(scores):.5f}** ({len(seeds)}-seed mean, std {std(scores):.5f}) "
            f"| **{mean(losses):.5f} nats** | **~{mean([n.total_bytes for n in seeds]) / 1e6:.2f} MB** | 8×H100 SXM",
            "",
            "## Results",
            "",
            "| Seed | Steps | Train time | Pre-TTT BPB | **Post-TTT BPB** | TTT gain | TTT time | Artifact |",
            "|------|------:|---|---|---|---|---|---|",
            *rows,
            f"| **Mean** | | | **{mean(before):.5f}** | **{mean(scores):.5f}** | {mean(gains):.5f} | | |",
            f"| **Std** | | | | {std(scores):.5f} | | | |",
            "",
            "| Component | Setting |",
            "|---|---|",
            "| Layers | 11 (512d, 8 heads) |",
            "",
        ]
    )


def submission(seeds: Sequence[Numbers], decimals: int = 8) -> str:
    """The rich spelling: per-seed dicts, stds and maxima."""
    scores, losses = [n.score for n in seeds], [round(n.loss(n.score), decimals) for n in seeds]
    data = {
        "author": "someone",
        "name": "a record",
        "date": "2026-04-01",
        "track": "10min_16mb",
        "val_loss": round(mean(losses), 8),
        "val_bpb": round(mean(scores), 8),
        "val_bpb_std": round(std(scores), 8),
        "seeds": [n.seed for n in seeds],
        "seed_results": {
            str(n.seed): {
                "val_loss": round(n.loss(n.score), decimals),
                "val_bpb": n.score,
                "artifact_bytes": n.total_bytes,
                "steps": n.steps,
                "train_time_s": round(n.train_ms / 1000, 3),
            }
            for n in seeds
        },
        "artifact_bytes_max": max(n.total_bytes for n in seeds),
        "bytes_code": seeds[0].code_bytes,
        "wallclock_seconds": None,
        "blurb": "",
    }
    return json.dumps(data, indent=2)


def record(
    folder: Path, seeds: Sequence[Numbers] = THREE, *, log: Callable[[Numbers], str] = baseline_log, **files: str
) -> Path:
    """A clean record of ``seeds`` in ``folder``; ``files`` replaces or adds (``README__md=...``)."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in seeds:
        (folder / f"train_seed{n.seed}.log").write_text(log(n), encoding="utf-8")
    (folder / "README.md").write_text(readme(seeds), encoding="utf-8")
    (folder / "submission.json").write_text(submission(seeds), encoding="utf-8")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def without_ttt(seeds: Sequence[Numbers] = THREE) -> tuple[Numbers, ...]:
    return tuple(replace(n, ttt=None) for n in seeds)


SPACED = tuple(replace(n, ratio=SP8192, tokens=40_540_160) for n in THREE)
COMPACT = tuple(n.coarse() for n in without_ttt())
OTHER = tuple(replace(n, sliding=None).coarse() for n in without_ttt())


def of_every_dialect(folder: Path) -> dict[str, Path]:
    """One clean record in each dialect, by the dialect's name."""
    narrow = {"README__md": narrow_readme(without_ttt())}
    return {
        "baseline": record(folder / "baseline"),
        "baseline without adaptation": record(folder / "plain", without_ttt(), **narrow),
        "spaced": record(folder / "spaced", SPACED, log=spaced_log, README__md=readme(SPACED, sliding=False)),
        "spaced with a clock": record(
            folder / "clock", SPACED, log=lambda n: spaced_log(n, clock=True), README__md=readme(SPACED, sliding=False)
        ),
        "spaced, legal": record(folder / "legal", SPACED, log=lambda n: spaced_log(n, phased=False)),
        "compact": record(
            folder / "compact",
            COMPACT,
            log=compact_log,
            README__md=narrow_readme(COMPACT, 4),
            submission__json=submission(COMPACT, 4),
        ),
        "other": record(
            folder / "other",
            OTHER,
            log=other_log,
            README__md=narrow_readme(OTHER, 4),
            submission__json=submission(OTHER, 4),
        ),
    }
