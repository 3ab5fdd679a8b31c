"""The labels of a job's log: what each score is printed under, and the words by which an adaptation begins its lines.

The job's writer makes its labels here, and readers of logs learn here what they stand for. How other people spell the
same things is the readers' own business.
"""

import re
from dataclasses import dataclass

from jobs.contract.records import PRE_EVAL

ADAPTED, SLIDING, ROUNDTRIP, OTHER = "ttt", "sliding", "roundtrip", "other"  # what was evaluated, and in which context
BEFORE_QUANTIZATION = "before quantization"

EXACT = "_exact"  # behind the label of the same score with eight decimals
LEGAL_TTT = "legal_ttt"

# The first word of an adaptation's own lines, by the technique that writes them.
SCORE_FIRST_WORDS = {"ttt_sliding": "score_first", "ttt_lora": "document_lora"}
LEARNED_FIRST_WORDS = {"ttt_epoch": "pre_eval", "ttt:phase_": "two_phase"}


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a label stands for."""

    pattern: str  # of the whole label, EXACT left out
    kind: str  # one of the five above
    is_score: bool  # otherwise a diagnostic: no record may claim it


LABELS = (
    Label(pattern=LEGAL_TTT, kind=ADAPTED, is_score=True),
    Label(pattern=r"final_(?:int\d_)?sliding_window", kind=SLIDING, is_score=True),
    Label(pattern=r"final_(?:int\d_)?document_isolated", kind=OTHER, is_score=True),
    Label(pattern=r"final_int\d_(?:zlib_)?roundtrip", kind=ROUNDTRIP, is_score=True),
    Label(pattern=r"diagnostic_pre_eval_sliding_window", kind=SLIDING, is_score=False),
    Label(pattern=r"diagnostic_pre_eval_document_isolated", kind=OTHER, is_score=False),
    Label(pattern=r"diagnostic_pre_eval_roundtrip", kind=ROUNDTRIP, is_score=False),
    Label(pattern=r"DIAGNOSTIC post_(?:ema|swa)", kind=BEFORE_QUANTIZATION, is_score=False),
)


def meaning_of(label: str) -> Label | None:
    """What ``label`` stands for in a log of ours; None where no job of ours prints it."""
    name = label.removesuffix(EXACT)
    return next((known for known in LABELS if re.fullmatch(known.pattern, name)), None)


def score_label(*, evaluation: str, quantizer: str, codec: str, protocol: str, adapts: bool) -> str:
    """What a score is printed under.

    Args:
        evaluation: the evaluator's own label: roundtrip, sliding_window, ...
        quantizer: the quantizer's: int6, int8, ...
        codec: the compressor's: zstd, zlib, ...
        adapts: whether the arm learns from the validation stream at all.
    """
    if protocol == PRE_EVAL:
        return f"diagnostic_pre_eval_{evaluation}"  # never a name that a reader could take for a score
    if adapts:
        return LEGAL_TTT
    if evaluation == "roundtrip":
        return "final_int8_zlib_roundtrip" if (quantizer, codec) == ("int8", "zlib") else f"final_{quantizer}_roundtrip"
    return f"final_int6_{evaluation}" if quantizer == "int6" else f"final_{evaluation}"
