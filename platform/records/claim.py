"""A record as a claim that rules can judge, and as one to beat."""

from collections.abc import Iterator
from decimal import Decimal

from jobs.contract.labels import LEARNED_FIRST_WORDS, SCORE_FIRST_WORDS

from ..logs import forensics
from ..logs.runs import Evaluation, LogRun
from ..rules.claims import Claim, SeedFacts
from .evidence import SeedEvidence
from .record import Examined

_SCORE_FIRST_MARKERS = (*SCORE_FIRST_WORDS, "ttt_phased", "ttt_chunk")  # ours, which others use too, and others'
_LEARNED_FIRST_MARKERS = (*LEARNED_FIRST_WORDS, "ttt_phase1")


def claim_of(record: Examined) -> Claim:
    """What the logs of ``record`` measured, as a claim."""
    return Claim(
        name=record.name,
        track=record.track,
        seeds=tuple(_facts(seed) for seed in record.claimed.seeds if seed.final),
        missing_seeds=record.claimed.missing,
        seeds_short=record.seeds_short,
        nats_per_bpb=record.score.nats_per_bpb,
    )


def _facts(seed: SeedEvidence) -> SeedFacts:
    final = seed.final
    assert final is not None
    total, train, total_eval = (
        seed.fact(name) for name in ("artifact_total_bytes", "train_time_ms", "total_eval_time_s")
    )
    scored = seed.run.eval_ms(final)
    labels = {
        evaluation.label: time for run, evaluation in _scoring(seed) if (time := run.eval_ms(evaluation)) is not None
    }
    line = (seed.run.timed(final) or final).line
    places = {
        "artifact_bytes": total.where if total else "",
        "train_seconds": train.where if train else "",
        "eval_seconds": total_eval.where if total_eval else f"{seed.run.file}:{line}",
    }
    score_first, source = _score_first(seed)
    return SeedFacts(
        seed=seed.seed,
        source=f"{seed.run.file}:{final.line}",
        bpb=float(final.bpb.text),
        loss=float(final.loss.text) if final.loss else None,
        artifact_bytes=int(total.value) if total else None,
        train_seconds=_seconds(train.value if train else None),
        eval_seconds=float(total_eval.value) if total_eval else _seconds(scored),
        all_eval_seconds=_seconds(sum(labels.values(), Decimal(0)) if labels else None),
        score_first=score_first,
        score_first_source=source,
        sources={name: place for name, place in places.items() if place},
    )


def _scoring(seed: SeedEvidence) -> Iterator[tuple[LogRun, Evaluation]]:
    """Evaluations of the model that is shipped, each once."""
    return seed.evaluations("ttt", "sliding", "roundtrip", "other")


def _seconds(milliseconds: Decimal | None) -> float | None:
    return None if milliseconds is None else float(milliseconds) / 1000


def _score_first(seed: SeedEvidence) -> tuple[str, str]:
    """What the log says of the order of learning and scoring, and where."""
    run, final = seed.run, seed.final
    assert final is not None
    if forensics.memorised(run) and run.roundtrip:
        return "learned before it was scored", f"{run.file}:{run.roundtrip.line}"
    for marker in _LEARNED_FIRST_MARKERS:
        if marker in run.markers:
            return "learned before it was scored", f"{run.file}:{run.markers[marker]}"
    if final.kind not in ("ttt", "progress"):
        return "no adaptation", f"{run.file}:{final.line}"
    for marker in _SCORE_FIRST_MARKERS:
        if marker in run.markers:
            return "score first", f"{run.file}:{run.markers[marker]}"
    return ("score first" if "legal" in final.label else ""), f"{run.file}:{final.line}"
