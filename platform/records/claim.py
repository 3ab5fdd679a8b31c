"""A record as a claim that rules can judge, and as one to beat."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from ..logs import forensics
from ..logs.learning import LEARNED_FIRST, SCORE_FIRST, UNKNOWN, order_in
from ..logs.runs import Evaluation, LogRun
from ..rules.claims import Claim, ScoredText, SeedFacts
from .evidence import SeedEvidence
from .provenance import attempts_at
from .record import Examined

_NAMED_LEARNING = re.compile(r"(?<![a-z])(?:ttt|slot|tta)(?![a-z])", re.I)  # of a file
_NAMED_WITHOUT = re.compile(r"(?:no|without|pre|before)[-_ ]?(?:ttt|slot|tta)", re.I)


def claim_of(record: Examined) -> Claim:
    """What the logs of ``record`` measured, as a claim."""
    return Claim(
        name=record.name,
        track=record.track,
        seeds=tuple(_facts(seed) if seed.final else _of_loss(seed) for seed in record.claimed.seeds),
        unscored=tuple(seed.seed for seed in record.claimed.unscored),
        missing_seeds=record.claimed.missing,
        seeds_short=record.seeds_short,
        nats_per_bpb=record.score.nats_per_bpb,
        attempts=attempts_at(record.folder, [seed.seed for seed in record.claimed.seeds]),
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
    order = _order(seed)
    return SeedFacts(
        seed=seed.seed,
        source=f"{seed.run.file}:{final.line}",
        bpb=float(final.bpb.text),
        loss=float(final.loss.text) if final.loss else None,
        artifact_bytes=int(total.value) if total else None,
        train_seconds=_seconds(train.value if train else None),
        eval_seconds=_eval_seconds(seed, total_eval.value if total_eval else None, scored),
        all_eval_seconds=_seconds(sum(labels.values(), Decimal(0)) if labels else None),
        score_first=order.said,
        score_first_source=order.source,
        score_first_text=order.text,
        text=_text(seed),
        sources={name: place for name, place in places.items() if place},
    )


def _of_loss(seed: SeedEvidence) -> SeedFacts:
    """A seed whose log prints a loss and no bits per byte."""
    loss, train = seed.loss, seed.fact("train_time_ms")
    assert loss is not None
    return SeedFacts(
        seed=seed.seed,
        source=f"{seed.run.file}:{loss.line}",
        bpb=None,
        loss=float(loss.text),
        artifact_bytes=None,
        train_seconds=_seconds(train.value if train else None),
        eval_seconds=None,
        all_eval_seconds=None,
        sources={"train_seconds": train.where} if train else {},
    )


def _scoring(seed: SeedEvidence) -> Iterator[tuple[LogRun, Evaluation]]:
    """Evaluations of the model that is shipped, each once."""
    return seed.evaluations("ttt", "sliding", "roundtrip", "other")


def _seconds(milliseconds: Decimal | None) -> float | None:
    return None if milliseconds is None else float(milliseconds) / 1000


def _eval_seconds(seed: SeedEvidence, total: Decimal | None, scored_ms: Decimal | None) -> float | None:
    """What the evaluation took, with the learning before it: it is a part of the evaluation.

    Where the label of the score names the learning, or the log gives a total, its time holds both already.
    """
    assert seed.final is not None
    scored = scored_ms / 1000 if scored_ms is not None else None
    printed = total if total is not None else scored
    learned = seed.learning_seconds
    if printed is None or learned is None:
        return None if printed is None else float(printed)
    holds_both = total is not None or seed.final.kind == "ttt" or order_in(seed.final.label) is not None
    return float(max(printed, learned) if holds_both else printed + learned)


def _text(seed: SeedEvidence) -> ScoredText | None:
    """What the score's own digits say of the text that it is of."""
    scored = forensics.scored_bytes(seed.run, seed.final) if seed.final else None
    if scored is None:
        return None
    figure = f"{scored.scored_bytes:,} bytes: {scored.reading}"
    return ScoredText(figure=figure, usual=scored.usual, too_many=scored.too_many)


class _Order(NamedTuple):
    """What a log says of the order of learning and scoring, and where."""

    said: str
    source: str
    text: str = ""


def _order(seed: SeedEvidence) -> _Order:
    run, final = seed.run, seed.final
    assert final is not None
    here = f"{run.file}:{final.line}"
    if forensics.memorised(run) and run.roundtrip:
        return _Order(LEARNED_FIRST, f"{run.file}:{run.roundtrip.line}")
    blocks = list(seed.learning)
    for order in (LEARNED_FIRST, UNKNOWN, SCORE_FIRST):
        for of_run, block in blocks:
            if block.order == order and not (order == UNKNOWN and final.kind in ("ttt", "progress")):
                return _Order(order, f"{of_run.file}:{block.first_line}", block.text)
    if final.kind in ("ttt", "progress"):
        if "legal" in final.label or any(block.order == SCORE_FIRST for _, block in blocks):
            return _Order(SCORE_FIRST, here, final.label)
        return _Order(UNKNOWN, here, final.label)
    if order_in(final.label) is not None:
        return _Order(UNKNOWN, here, final.label)
    for of_run in seed.logs:
        never_seen = not of_run.learning
        if never_seen and of_run.switches:
            setting, line = next(iter(of_run.switches.items()))
            return _Order(UNKNOWN, f"{of_run.file}:{line}", setting)
        if never_seen and _NAMED_LEARNING.search(of_run.file) and not _NAMED_WITHOUT.search(of_run.file):
            return _Order(UNKNOWN, here, f"the log is called {of_run.file}")
    return _Order("no adaptation", here)
