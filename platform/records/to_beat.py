"""The score to beat: of a record folder, from its logs, or of an arm of a run; each with the place where it stands."""

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from jobs.contract.shards import file_sha256

from ..errors import UserError, nearest
from ..paths import shown
from ..runs.paths import RunPaths
from ..runs.results import Run, read_run
from .record import examine

SAME_TEXT = 0.001  # share; evaluators leave out up to 0.0004 of the challenge's text


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score to beat, and where it stands."""

    seed: int | None
    val_bpb: float
    val_loss: float | None
    file: str
    line: int | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ToBeat:
    """A record, or an arm of a run, to be compared with."""

    name: str
    scores: tuple[Score, ...]
    scored_bytes: int | None  # of the text; None where its logs do not tell

    @property
    def mean_bpb(self) -> float:
        return fmean(score.val_bpb for score in self.scores)

    def require_same_text(self, scored_bytes: int | None) -> None:
        """Raises UserError where the scores are of another text: bits per byte of two texts say nothing together."""
        theirs = self.scored_bytes
        if theirs is not None and scored_bytes is not None and abs(theirs - scored_bytes) > SAME_TEXT * scored_bytes:
            raise UserError(
                f"{self.name}: its scores are of another text, {theirs:,} bytes, here {scored_bytes:,} were "
                "scored; compare what ran on the same data"
            )

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "scores": [asdict(score) for score in self.scores]}


def read(path: Path, arm: str) -> ToBeat:
    """The scores of a record folder, from its logs; or of a run's ``arm``, or the only arm that it has.

    Raises:
        UserError: it is neither, or has no score.
    """
    if RunPaths(path).plan.is_file() and not (path / "submission.json").exists():
        return _of_run(read_run(path), arm)
    if not path.is_dir():
        raise UserError(f"{shown(path)}: no such folder; a run, or a record with its logs")
    record = examine(path)
    sha256 = {log.file: log.sha256 for log in record.read.logs}
    scores = tuple(
        Score(
            seed=seed.seed,
            val_bpb=float(seed.final.bpb.text),
            val_loss=float(seed.final.loss.text) if seed.final.loss else None,
            file=seed.run.file,
            line=seed.final.line,
            sha256=sha256.get(seed.run.file, ""),
        )
        for seed in record.claimed.seeds
        if seed.final
    )
    if not scores:
        raise UserError(f"{shown(path)}: there is neither a run nor a record whose logs give a score")
    scored = next((counted.scored_bytes for _, counted in record.bytes), None)
    return ToBeat(name=path.resolve().name, scores=scores, scored_bytes=scored)


def _of_run(run: Run, arm: str) -> ToBeat:
    if arm not in run.arms and len(run.arms) > 1:
        possible = f"it has {', '.join(run.arms)}{nearest(arm, run.arms)}"
        raise UserError(f"{shown(run.path)}: no arm {arm}; {possible}; --against-arm says which")
    arm = arm if arm in run.arms else next(iter(run.arms))
    scores = []
    for seed, result in run.arms[arm].items():
        path = run.plan.paths.seed(seed).arm(arm).result
        scores.append(
            Score(
                seed=seed,
                val_bpb=result.val_bpb,
                val_loss=result.val_loss_nats,
                file=path.relative_to(run.path).as_posix(),
                line=None,
                sha256=file_sha256(path),
            )
        )
    if not scores:
        raise UserError(f"{shown(run.path)}: its arm {arm} has no score yet")
    scored = next(iter(run.arms[arm].values())).scored_bytes
    return ToBeat(name=f"{run.path.name}, {arm}", scores=tuple(scores), scored_bytes=scored)
