"""Scores of seeds that somebody names: as a list, in a CSV or TSV, as a record folder, or as an arm of a run."""

import csv
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..paths import shown
from ..runs.paths import RunPaths
from . import to_beat

COLUMNS = ("val_bpb", "bpb", "score", "final_val_bpb", "metric")  # of a table, in this order; else its only numbers
LARGEST_FILE_BYTES = 1 << 20
_NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,18})?")


@dataclass(frozen=True, kw_only=True)
class Given:
    """Bits per byte of seeds, and what they are called in an answer."""

    name: str
    scores: tuple[float, ...]
    nats_per_bpb: float | None = None  # None where only scores are known

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    def sigma(self) -> float:
        """The sample standard deviation. Raises UserError where it cannot be told."""
        if len(self.scores) < 2 or not (spread := statistics.stdev(self.scores)):
            raise UserError(f"the {self.name}: two different scores at least tell a spread; --sigma gives one")
        return spread


def is_run(path: Path) -> bool:
    """Whether ``path`` is a run of ours, not a record."""
    return RunPaths(path).plan.is_file() and not (path / "submission.json").exists()


def read(given: str, arm: str = "") -> Given:
    """The scores that ``given`` names.

    Raises:
        UserError: it is no list of numbers and no file or folder with scores.
    """
    words = [word for word in re.split(r"[,;\s]+", given.strip()) if word]
    if words and all(_NUMBER.fullmatch(word) for word in words):
        return Given(name=f"{len(words)} scores given", scores=tuple(map(float, words)))
    path = Path(given)
    if path.is_dir():
        found = to_beat.read(path, arm)
        scores = tuple(score.val_bpb for score in found.scores)
        ratios = [score.val_loss / score.val_bpb for score in found.scores if score.val_loss and score.val_bpb]
        ratio = statistics.fmean(ratios) if ratios else None
        return Given(name=f"{len(scores)} scores of {found.name}", scores=scores, nats_per_bpb=ratio)
    if not path.is_file():
        raise UserError(f"{shown(path)}: no list of scores, no CSV, no record folder, no run")
    scores = tuple(_of_table(path))
    if not scores:
        raise UserError(f"{shown(path)}: no column of scores; possible: {', '.join(COLUMNS)}, or one number a line")
    return Given(name=f"{len(scores)} scores of {path.name}", scores=scores)


def _of_table(path: Path) -> list[float]:
    """The column of scores of a table, else the last number of each line that has one."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        text = file.read(LARGEST_FILE_BYTES)
    first = text.partition("\n")[0]
    rows = list(csv.reader(text.splitlines(), delimiter="\t" if "\t" in first else ";" if ";" in first else ","))
    header = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((header.index(name) for name in COLUMNS if name in header), -1)
    cells = [row[column].strip() for row in (rows[1:] if column >= 0 else rows) if row and len(row) > max(column, 0)]
    return [float(cell) for cell in cells if _NUMBER.fullmatch(cell) and float(cell) > 0]
