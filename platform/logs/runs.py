"""What a log says of a run: facts with their line, and evaluations with their label.

A label is no proof of the evaluator (``final_int8_zlib_roundtrip_exact`` can hold a sliding score), so the kind of an
evaluation comes from its label and from what the log says of the evaluation mode, and the claim decides between
candidates (``choice``).
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from jobs.contract.labels import ADAPTED, BEFORE_QUANTIZATION, EXACT, OTHER, ROUNDTRIP, SLIDING, meaning_of

from .learning import Learning

IN_TRAINING_LABEL = "step:N/M val_loss (last in-training validation)"

_BEFORE_QUANTIZATION = re.compile(r"pre[-_ ]?quant|post[-_ ]?(?:ema|swa)|(?:ema|swa)[-_ ]only|unquantized", re.I)
_TTT = re.compile(r"(?<!pre)(?<!pre[-_])(?<!no[-_])ttt", re.I)
_SLIDING = re.compile(r"sliding|(?:^|_)s\d{2,4}(?:_|$)", re.I)
_ROUNDTRIP = re.compile(r"round_?trip|(?:^|[ _])quantized$|^final_(?:int\d|ternary|binary|xnor)\w?$", re.I)
_OWN_SLIDING = re.compile(r"(?:final_(?:int\d_)?|quantized_)sliding_window(?:_exact)?$", re.I)

SAME_BPB = Decimal("0.00006")  # two lines this close print one score, with four and with eight decimals

# From the most to the least likely score of a claim.
KINDS = (ADAPTED, SLIDING, ROUNDTRIP, OTHER, "report", "progress", "in-training")


class Fact(NamedTuple):
    """One number or word of a log, as printed, with its line."""

    text: str
    line: int

    @property
    def decimal(self) -> Decimal:
        return Decimal(self.text)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One line that gives a score of the whole validation set."""

    label: str
    kind: str  # one of KINDS, or BEFORE_QUANTIZATION
    diagnostic: bool  # the log says itself that this is not the score
    bpb: Fact
    loss: Fact | None
    eval_ms: Decimal | None
    line: int

    @property
    def decimals(self) -> int:
        return len(self.bpb.text.partition(".")[2])

    @property
    def name(self) -> str:
        """The label without what tells the exact one of two twins."""
        return self.label.replace(EXACT, "")

    @property
    def nats_per_bpb(self) -> float | None:
        """ln 2 times bytes per token; None where the line has no loss."""
        if self.loss is None or not self.bpb.decimal:
            return None
        return float(self.loss.decimal / self.bpb.decimal)

    @property
    def claimable(self) -> bool:
        return not self.diagnostic and self.kind != BEFORE_QUANTIZATION


def kind_of(label: str, sliding_mode: bool) -> str:
    """The kind of evaluation that a label names; ``sliding_mode``: the log said that its evaluator slides."""
    if not label:
        return "report"
    if (ours := meaning_of(label)) and not sliding_mode:  # which no log of ours says
        return ours.kind
    if _BEFORE_QUANTIZATION.search(label):
        return BEFORE_QUANTIZATION
    if _TTT.search(label):
        return "progress" if ":" in label else ADAPTED
    if _SLIDING.search(label):
        return SLIDING
    if _ROUNDTRIP.search(label):
        return SLIDING if sliding_mode else ROUNDTRIP
    return OTHER


@dataclass(frozen=True, kw_only=True)
class LogRun:
    """One run in a log file; a file can hold several."""

    file: str  # relative to the record, with /
    number: int  # 1 for the first of the file
    dialect: str
    facts: dict[str, Fact]
    evaluations: tuple[Evaluation, ...]
    learning: tuple[Learning, ...] = ()  # what the log says of learning after the training
    switches: dict[str, int] = field(default_factory=dict)  # settings that switch such a thing on: line
    trained_until: int = 0  # the line of the last training step; 0 without any
    last: str = ""  # the last line that says something

    def number_of(self, name: str) -> Decimal | None:
        fact = self.facts.get(name)
        return fact.decimal if fact else None

    def whole(self, name: str) -> int | None:
        value = self.number_of(name)
        return None if value is None else int(value)

    @property
    def trained(self) -> bool:
        """Whether the log holds training steps, not an evaluation alone."""
        return "steps_done" in self.facts

    @property
    def seed_logged(self) -> int | None:
        return self.whole("seed_logged")

    @property
    def candidates(self) -> tuple[Evaluation, ...]:
        """Evaluations that could be the claimed score, the likeliest first; the in-training one in want of another."""
        claimable = [evaluation for evaluation in self.evaluations if evaluation.claimable]
        claimable.sort(key=lambda evaluation: (KINDS.index(evaluation.kind), -evaluation.decimals, -evaluation.line))
        if not claimable and (last := self.in_training):
            return (last,)
        return tuple(claimable)

    @property
    def last_loss(self) -> Fact | None:
        """The loss of the last validation of a trained model, in a log that gives no bits per byte at all."""
        if self.evaluations or "prequant_val_bpb" in self.facts or not self.whole("steps_done"):
            return None
        return self.facts.get("prequant_val_loss")

    @property
    def in_training(self) -> Evaluation | None:
        """The last validation between training steps: before averaging and quantization."""
        bpb = self.facts.get("prequant_val_bpb")
        if bpb is None:
            return None
        loss = self.facts.get("prequant_val_loss")
        return Evaluation(
            label=IN_TRAINING_LABEL,
            kind="in-training",
            diagnostic=False,
            bpb=bpb,
            loss=loss,
            eval_ms=None,
            line=bpb.line,
        )

    def learning_before(self, line: int) -> list[Learning]:
        """What was learned between the last training step and ``line``."""
        return [block for block in self.learning if block.first_line < line and block.last_line > self.trained_until]

    @property
    def complete(self) -> bool:
        return any(evaluation.claimable for evaluation in self.evaluations)

    def of_kind(self, *kinds: str) -> list[Evaluation]:
        """Evaluations of these kinds, those with more decimals first."""
        found = [evaluation for evaluation in self.evaluations if evaluation.kind in kinds]
        return sorted(found, key=lambda evaluation: -evaluation.decimals)

    @property
    def post_ema(self) -> Evaluation | None:
        return next(iter(self.of_kind(BEFORE_QUANTIZATION)), None)

    @property
    def sliding(self) -> Evaluation | None:
        return next(iter(self.of_kind(SLIDING)), None)

    @property
    def own_sliding(self) -> Evaluation | None:
        """A sliding score beside other evaluators, at the model's own temperature and stride."""
        return next((evaluation for evaluation in self.of_kind(SLIDING) if _OWN_SLIDING.search(evaluation.label)), None)

    @property
    def roundtrip(self) -> Evaluation | None:
        """The quantized model in disjoint windows: the first such line whose score is not another evaluator's."""
        others = [evaluation.bpb.decimal for evaluation in self.of_kind(SLIDING, ADAPTED)]
        lines = [
            evaluation
            for evaluation in self.of_kind(ROUNDTRIP)
            if all(abs(evaluation.bpb.decimal - bpb) > SAME_BPB for bpb in others)
        ]
        lines.sort(key=lambda evaluation: evaluation.line)
        if not lines:
            return None
        first = lines[0]
        return next(
            (
                evaluation
                for evaluation in lines
                if evaluation.decimals > first.decimals and evaluation.name == first.name
            ),
            first,
        )

    def timed(self, evaluation: Evaluation) -> Evaluation | None:
        """The line that says how long an evaluation took: its own or that of its twin with fewer decimals."""
        timed = (other for other in self.evaluations if other.eval_ms is not None and other.name == evaluation.name)
        return evaluation if evaluation.eval_ms is not None else next(timed, None)

    def eval_ms(self, evaluation: Evaluation) -> Decimal | None:
        """How long an evaluation took."""
        timed = self.timed(evaluation)
        return timed.eval_ms if timed else None


def nats_per_bpb(evaluations: Iterable[Evaluation]) -> float | None:
    """The ratio of the line that prints most decimals; None where no line has both numbers."""
    found = sorted(
        (evaluation for evaluation in evaluations if evaluation.loss), key=lambda evaluation: -evaluation.decimals
    )
    return found[0].nats_per_bpb if found else None


def described(run: LogRun, final: Evaluation | None, *, seed: int | None, runs_in_file: int) -> dict[str, object]:
    """The run under the field names that readers of public records use."""
    ratio = final.nats_per_bpb if final else None
    eval_ms = run.eval_ms(final) if final else None
    step_avg, total_eval = run.number_of("step_avg_ms"), run.number_of("total_eval_time_s")
    torch = run.facts.get("torch_version")

    def bpb(evaluation: Evaluation | None) -> float | None:
        return float(evaluation.bpb.text) if evaluation else None

    return {
        "file": run.file,
        "seed": seed,
        "seed_logged": run.seed_logged,
        "iterations": run.whole("iterations"),
        "steps_done": run.whole("steps_done"),
        "train_time_ms": run.whole("train_time_ms"),
        "step_avg_ms": None if step_avg is None else float(step_avg),
        "prequant_val_loss": _float(run.number_of("prequant_val_loss")),
        "prequant_val_bpb": _float(run.number_of("prequant_val_bpb")),
        "post_ema_val_bpb": bpb(run.post_ema),
        "quant_roundtrip_val_bpb": bpb(run.roundtrip),
        "sliding_val_bpb": bpb(run.own_sliding),
        "final_label": final.label if final else None,
        "final_kind": final.kind if final else None,
        "final_val_loss": float(final.loss.text) if final and final.loss else None,
        "final_val_bpb": bpb(final),
        "final_decimals": final.decimals if final else None,
        "final_eval_time_ms": _float(eval_ms),
        "total_eval_time_s": _float(total_eval),
        "ttt_time_ms": _float(eval_ms) if final and final.kind == "ttt" else None,
        "nats_per_bpb": round(ratio, 6) if ratio else None,
        "bytes_per_token": round(ratio / math.log(2), 6) if ratio else None,
        "val_tokens": run.whole("val_tokens"),
        "artifact_total_bytes": run.whole("artifact_total_bytes"),
        "artifact_model_bytes": run.whole("artifact_model_bytes"),
        "code_bytes": run.whole("code_bytes"),
        "world_size": run.whole("world_size"),
        "torch_version": torch.text if torch else None,
        "runs_in_file": runs_in_file,
        "run_used": run.number,
    }


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
