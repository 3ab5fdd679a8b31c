"""What the digits of a log give away: which validation text was scored, by which evaluator, and whether it was learned.

Bytes = val_loss / (ln 2 * val_bpb) * val_tokens: with eight decimals of both this is the exact number of bytes that the
evaluator divided by. What is known of texts and evaluators stands in ``rules/challenge.yaml``.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

from jobs.contract.labels import ADAPTED

from ..rules.challenge import challenge
from .runs import SAME_BPB, Evaluation, LogRun

PRECISE_DECIMALS = 8
MORE_THAN_ROUNDING = 1.001  # what evaluators count differently is 0.0004 of the challenge's text
MOST_OF_SLIDING = Decimal("0.045")  # over disjoint windows; 0.012 to 0.032 in the public logs
MOST_OF_ADAPTING = Decimal("0.06")  # over sliding windows; score-first training brings up to 0.034 in the public logs


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """How many bytes an evaluation divided by, and what that says."""

    scored_bytes: int
    margin: int  # half width, from the digits printed
    reading: str
    usual: bool  # the present validation split, by an evaluator that is known
    too_many: bool = False  # more bytes than the text of these tokens has


def scored_bytes(run: LogRun, evaluation: Evaluation) -> Bytes | None:
    """The bytes behind an evaluation; None where the log does not print loss, BPB and tokens."""
    tokens, loss = run.number_of("val_tokens"), evaluation.loss
    if not tokens or loss is None or not loss.decimal or not evaluation.bpb.decimal:
        return None
    count = float(loss.decimal) / (math.log(2) * float(evaluation.bpb.decimal)) * float(tokens)
    half = 0.5 * 10.0**-evaluation.decimals
    margin = math.ceil(count * half * (1 / float(loss.decimal) + 1 / float(evaluation.bpb.decimal)))
    reading, usual = _reading(round(count), margin, int(tokens), evaluation)
    known = [dataset for dataset in challenge().datasets.values() if dataset.val_tokens == tokens and dataset.val_bytes]
    if not usual and known and count - margin > known[0].val_bytes * MORE_THAN_ROUNDING:  # type: ignore[operator]
        reading = f"the text of these tokens ({known[0].name}) has {known[0].val_bytes:,}: bytes were counted twice"
        return Bytes(scored_bytes=round(count), margin=margin, reading=reading, usual=False, too_many=True)
    return Bytes(scored_bytes=round(count), margin=margin, reading=reading, usual=usual)


def _reading(count: int, margin: int, tokens: int, evaluation: Evaluation) -> tuple[str, bool]:
    if evaluation.decimals >= PRECISE_DECIMALS:
        for dataset in challenge().datasets.values():
            for known, reading in dataset.evaluators.items():
                if tokens == dataset.val_tokens and abs(count - known) <= margin:
                    return reading, True
    if count in challenge().text:
        return "the present validation split", True
    if count in challenge().older_text:
        return "the older validation split of the first baseline, not comparable with later scores", False
    return "no known validation split: another text, a part of it, or another way to count bytes", False


def memorised(run: LogRun) -> str | None:
    """The sign of a validation text learned in place: aligned windows score better than sliding ones.

    Every healthy model gains 0.012 to 0.032 BPB from sliding windows. Returns the sentence to print, or None.
    """
    aligned, sliding = run.roundtrip, run.sliding
    if aligned is None or sliding is None or aligned.bpb.decimal > sliding.bpb.decimal:
        return None
    return (
        f"aligned windows {aligned.bpb.text} (line {aligned.line}) are not above sliding ones {sliding.bpb.text} "
        f"(line {sliding.line}): the signature of text that was learned before it was scored"
    )


def gains(run: LogRun, final: Evaluation) -> list[str]:
    """Where a score is better than the same model by another evaluator, by more than any that is known brings."""
    notes = []
    for earlier, bring, most in (
        (run.roundtrip, "sliding windows bring 0.012 to 0.032", MOST_OF_SLIDING),
        (run.sliding, "no evaluator that is known brings that", MOST_OF_ADAPTING),
    ):
        if earlier is None or earlier.line == final.line:
            continue
        gain = earlier.bpb.decimal - final.bpb.decimal
        if gain > most:
            notes.append(
                f"{final.label} (line {final.line}) is {gain} BPB below {earlier.label} (line {earlier.line}): {bring}"
            )
    return notes[-1:]


def later(run: LogRun, final: Evaluation) -> str | None:
    """An evaluation after the one that is the score, worse than it and of another kind; None where there is none."""
    worse = [
        other
        for other in run.evaluations
        if other.line > final.line and other.claimable and other.bpb.decimal > final.bpb.decimal + SAME_BPB
    ]
    if not worse or worse[-1].kind not in (ADAPTED, "progress"):
        return None
    last = worse[-1]
    return f"{last.label} (line {last.line}), after the score, gives {last.bpb.text}: worse, and not claimed"


def documents(run: LogRun) -> str | None:
    """That fewer documents were scored than the validation text has; None where no line says so."""
    fact, whole = run.facts.get("documents"), challenge().text.documents
    if fact is None or whole is None or int(fact.text) >= whole:
        return None
    return f"{int(fact.text):,} documents were scored (line {fact.line}); the validation text has {whole:,}"


def sums(run: LogRun) -> str | None:
    """Where code and model do not add up to the printed total; None where they do or are not all printed."""
    total, model, code = (
        run.number_of(f"{name}") for name in ("artifact_total_bytes", "artifact_model_bytes", "code_bytes")
    )
    if total is None or model is None or code is None or total == model + code:
        return None
    return f"{model:,} model + {code:,} code bytes make {model + code:,}, the log prints {total:,}"


def ratio_spread(run: LogRun) -> tuple[Evaluation, Evaluation] | None:
    """Two evaluations of one log whose losses and BPBs are of different texts; None where all fit one ratio."""
    precise = [
        evaluation
        for evaluation in run.evaluations
        if evaluation.loss is not None and evaluation.decimals >= PRECISE_DECIMALS
    ]
    ratios = [(evaluation.nats_per_bpb or 0.0, evaluation) for evaluation in precise]
    if len(ratios) < 2:
        return None
    low, high = min(ratios, key=lambda pair: pair[0]), max(ratios, key=lambda pair: pair[0])
    return (low[1], high[1]) if Decimal(high[0] - low[0]) > Decimal(low[0]) * Decimal("0.0001") else None
