"""What the logs measured of one seed, by quantity: every value that a printed figure may mean, the likeliest first."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from ..logs.learning import Learning
from ..logs.runs import KINDS, Evaluation, Fact, LogRun
from ..rules.challenge import limits


class Measured(NamedTuple):
    """A value in base units (milliseconds, bytes), with the fact it comes from and its address."""

    field: str
    value: Decimal
    where: str
    digits: int | None = None  # decimals that the log prints; None for a value worked out of several


@dataclass(frozen=True, kw_only=True)
class SeedEvidence:
    """A seed of the claim: its run, the evaluation that is its score, and its other log where training is apart."""

    seed: int | None
    run: LogRun
    final: Evaluation | None
    training: LogRun | None = None
    files: Mapping[str, tuple[Measured, ...]] = field(default_factory=dict)  # quantity -> sizes of files of the folder
    _known: dict[tuple[str, bool], list[Measured]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def logs(self) -> tuple[LogRun, ...]:
        return (self.run,) if self.training is None else (self.run, self.training)

    @property
    def loss(self) -> Fact | None:
        """Nats per token of the score; of a log without bits per byte, its last validation loss."""
        if self.final is None:
            return self.run.last_loss
        return self.final.loss

    @property
    def learning(self) -> Iterator[tuple[LogRun, Learning]]:
        """What was learned after the training and before the score, in the log of the training first."""
        if self.training is not None and self.training is not self.run:
            for block in self.training.learning_before(sys.maxsize):
                yield self.training, block
        if self.final is not None:
            for block in self.run.learning_before(self.final.line):
                yield self.run, block

    @property
    def learning_seconds(self) -> Decimal | None:
        """How long that took at least: the largest time that one of its lines tells."""
        return max((block.seconds for _, block in self.learning if block.seconds is not None), default=None)

    def fact(self, name: str) -> Measured | None:
        """A fact of the log, as a number."""
        for run in self.logs:
            if fact := run.facts.get(name):
                return Measured(name, fact.decimal, f"{run.file}:{fact.line}", len(fact.text.partition(".")[2]))
        return None

    def evaluations(self, *kinds: str) -> Iterator[tuple[LogRun, Evaluation]]:
        """Evaluations of these kinds, all of them without any; no rougher print of a score beside its exact one."""
        for run in self.logs:
            exact = {evaluation.name for evaluation in run.evaluations if "_exact" in evaluation.label}
            for evaluation in run.of_kind(*(kinds or (*KINDS, "before quantization"))):
                twin = evaluation.label == evaluation.name and evaluation.name in exact
                rough = evaluation.kind == "progress" and any(other.kind == "ttt" for other in run.evaluations)
                if not (twin or rough):
                    yield run, evaluation

    def measured(self, quantity: str, *, strictly: bool = False) -> list[Measured]:
        """Values that ``quantity`` may mean; ``strictly``: a score or loss is the final one, not just any."""
        strictly = strictly and quantity in ("score", "any_bpb", "loss", "any_loss")
        if (quantity, strictly) not in self._known:
            reading = _QUANTITIES.get(quantity)
            values = _final(self, loss=quantity.endswith("loss")) if strictly else reading(self) if reading else []
            distinct = list(dict.fromkeys(filter(None, values)))
            self._known[quantity, strictly] = distinct + list(self.files.get(quantity, ()))
        return self._known[quantity, strictly]

    def label(self, label: str, quantity: str) -> list[Measured]:
        """What the lines of one label of the log say of a quantity: scores, losses, or the time that they took."""
        name = label.replace("_exact", "")
        values = []
        for run in self.logs:
            for evaluation in run.evaluations:
                if evaluation.name != name:
                    continue
                if quantity == "eval_time" and evaluation.eval_ms is not None:
                    values.append(Measured("eval_time_ms", evaluation.eval_ms, f"{run.file}:{evaluation.line}"))
                elif quantity in ("any_loss", "any_bpb"):
                    loss = quantity == "any_loss"
                    values.extend(_of(run, evaluation, "final_val_loss" if loss else "final_val_bpb", loss))
        return values


Reading = Callable[[SeedEvidence], Iterable[Measured | None]]


def _of(run: LogRun, evaluation: Evaluation | None, name: str, loss: bool = False) -> list[Measured]:
    fact = None if evaluation is None else evaluation.loss if loss else evaluation.bpb
    if fact is None:
        return []
    return [Measured(name, fact.decimal, f"{run.file}:{fact.line}", len(fact.text.partition(".")[2]))]


def _final(seed: SeedEvidence, loss: bool = False) -> list[Measured]:
    if loss and seed.final is None and (fact := seed.loss):
        return [
            Measured("final_val_loss", fact.decimal, f"{seed.run.file}:{fact.line}", len(fact.text.partition(".")[2]))
        ]
    return _of(seed.run, seed.final, "final_val_loss" if loss else "final_val_bpb", loss)


def _claimable(seed: SeedEvidence, loss: bool = False, *, more: bool = False) -> list[Measured]:
    """Every evaluation that a claim may be about, the final one first; ``more``: those too that none may be about."""
    values = _final(seed, loss)
    for run, evaluation in seed.evaluations():
        if evaluation.claimable or more:
            name = f"{evaluation.label or 'report'} {'val_loss' if loss else 'val_bpb'}"
            values.extend(_of(run, evaluation, name, loss))
    return values


def _all(seed: SeedEvidence, loss: bool = False) -> list[Measured]:
    """Every evaluation of the seed's logs, diagnostics and those before quantization as well."""
    return _claimable(seed, loss, more=True) + _in_training(seed, loss)


def _kinds(seed: SeedEvidence, name: str, *kinds: str, loss: bool = False) -> list[Measured]:
    return [value for run, evaluation in seed.evaluations(*kinds) for value in _of(run, evaluation, name, loss)]


def _roundtrip(seed: SeedEvidence, loss: bool = False) -> list[Measured]:
    name = "quant_roundtrip_val_loss" if loss else "quant_roundtrip_val_bpb"
    found = [value for run in seed.logs for value in _of(run, run.roundtrip, name, loss)]
    found += _kinds(seed, name, "roundtrip", loss=loss)
    return found or _final(seed, loss)


def _sliding(seed: SeedEvidence) -> list[Measured]:
    return _kinds(seed, "sliding_val_bpb", "sliding") or _final(seed)


def _ttt(seed: SeedEvidence) -> list[Measured]:
    final = _final(seed) if seed.final is None or seed.final.kind in ("ttt", "progress") else []
    return final + _kinds(seed, "final_val_bpb", "ttt", "progress") or _final(seed)


def _either(seed: SeedEvidence) -> list[Measured]:
    return _final(seed) + _kinds(seed, "sliding_val_bpb", "sliding", "ttt")


def _post_ema(seed: SeedEvidence, loss: bool = False) -> list[Measured]:
    return _kinds(seed, "post_ema_val_loss" if loss else "post_ema_val_bpb", "before quantization", loss=loss)


def _in_training(seed: SeedEvidence, loss: bool = False) -> list[Measured]:
    fact = seed.fact("prequant_val_loss" if loss else "prequant_val_bpb")
    return [fact] if fact else []


def _pre_quant(seed: SeedEvidence, loss: bool = False) -> list[Measured]:
    return _in_training(seed, loss) + _post_ema(seed, loss)


def _pre_ttt(seed: SeedEvidence) -> list[Measured]:
    sliding = _kinds(seed, "sliding_val_bpb", "sliding")
    roundtrip = _kinds(seed, "quant_roundtrip_val_bpb", "roundtrip")
    return (sliding + roundtrip) or _pre_quant(seed)


def _differences(name: str, later: list[Measured], earlier: list[Measured]) -> list[Measured]:
    """Later minus earlier and, since signs are printed either way, earlier minus later."""
    differences = []
    for late in later[:2]:
        for other in earlier:
            if late.where != other.where:
                differences.append(Measured(name, late.value - other.value, f"{late.where}, {other.where}"))
                differences.append(Measured(name, other.value - late.value, f"{other.where}, {late.where}"))
    return differences


def _gain(seed: SeedEvidence) -> list[Measured]:
    return _differences("@gain", _final(seed), _pre_ttt(seed) + _pre_quant(seed))


def _quant_gap(seed: SeedEvidence) -> list[Measured]:
    return _differences("@quantization_gap", _roundtrip(seed) + _final(seed), _pre_quant(seed))


def _step_ms(seed: SeedEvidence) -> list[Measured]:
    names = ("last_train_line_step_avg_ms", "step_avg_ms")
    values = [fact for name in names if (fact := seed.fact(name))]
    time, steps = seed.fact("train_time_ms"), seed.fact("steps_done")
    if time and steps and steps.value:
        values.append(Measured("train_time_ms / steps_done", time.value / steps.value, f"{time.where}, {steps.where}"))
    return values


def _eval_times(seed: SeedEvidence, *kinds: str) -> list[Measured]:
    times = []
    if seed.final and (ms := seed.run.eval_ms(seed.final)) is not None:
        times.append(Measured("final_eval_time_ms", ms, f"{seed.run.file}:{seed.final.line}"))
    if total := seed.fact("total_eval_time_s"):
        times.append(Measured("total_eval_time_s", total.value * 1000, total.where))
    spent = Decimal(0)
    places: list[str] = []
    for run, evaluation in seed.evaluations(*kinds):
        if evaluation.eval_ms is not None:
            place = f"{run.file}:{evaluation.line}"
            times.append(Measured("eval_time_ms", evaluation.eval_ms, place))
            spent, places = spent + evaluation.eval_ms, [*places, place]
    if len(places) > 1:
        times.append(Measured("sum of eval_time_ms", spent, ", ".join(places[:4])))
    return times


def _ttt_times(seed: SeedEvidence) -> list[Measured]:
    """What learning took by its own lines, and what evaluations with it took."""
    told = [
        Measured("time of learning", block.seconds * 1000, f"{run.file}:{block.last_line}")
        for run, block in seed.learning
        if block.seconds is not None
    ]
    adapted = seed.final is not None and seed.final.kind in ("ttt", "progress")
    return _eval_times(seed, "ttt", "progress") + told if adapted or not told else told[::-1]


def _bytes(seed: SeedEvidence, name: str, megabytes: str) -> list[Measured]:
    found = [fact] if (fact := seed.fact(name)) else []
    if not found and (rough := seed.fact(megabytes)):
        step = Decimal(10) ** (6 - (rough.digits or 0))
        found.append(Measured(name, rough.value * 10**6, rough.where, -int(step.log10())))
    return found


def _total(seed: SeedEvidence) -> list[Measured]:
    """Code and model; some records print the model alone under this name."""
    return _bytes(seed, "artifact_total_bytes", "artifact_total_mb") + _model(seed)


def _model(seed: SeedEvidence) -> list[Measured]:
    return _bytes(seed, "artifact_model_bytes", "artifact_model_mb") or _rest(seed, "code_bytes")


def _code(seed: SeedEvidence) -> list[Measured | None]:
    found = _bytes(seed, "code_bytes", "artifact_code_mb") or _rest(seed, "artifact_model_bytes")
    return [*found, seed.fact("code_bytes_uncompressed")]


def _rest(seed: SeedEvidence, part: str) -> list[Measured]:
    """What the total has beside ``part``, where the log does not print it."""
    total, known = seed.fact("artifact_total_bytes"), seed.fact(part)
    if total is None or known is None:
        return []
    return [Measured(f"artifact_total_bytes - {part}", total.value - known.value, total.where, 0)]


def _headroom(seed: SeedEvidence) -> list[Measured]:
    limit = limits().artifact_bytes
    return [
        Measured(f"{limit:,} - artifact_total_bytes", limit - total.value, total.where) for total in _total(seed)[:1]
    ]


def _peak_memory(seed: SeedEvidence) -> list[Measured]:
    fact = seed.fact("peak_memory_mib")
    return [Measured("peak_memory_mib", fact.value * 2**20, fact.where)] if fact else []


def _fact(name: str) -> Reading:
    return lambda seed: [seed.fact(name)]


_QUANTITIES: dict[str, Reading] = {
    "score": lambda seed: _claimable(seed),
    "any_bpb": lambda seed: _all(seed),
    "ttt": _ttt,
    "sliding": _sliding,
    "either": _either,
    "pre_ttt": _pre_ttt,
    "roundtrip": _roundtrip,
    "post_ema": _post_ema,
    "pre_quant": _pre_quant,
    "in_training": _in_training,
    "gain": _gain,
    "quant_gap": _quant_gap,
    "loss": lambda seed: _claimable(seed, loss=True),
    "any_loss": lambda seed: _all(seed, loss=True),
    "roundtrip_loss": lambda seed: _roundtrip(seed, loss=True),
    "pre_quant_loss": lambda seed: _pre_quant(seed, loss=True),
    "steps": _fact("steps_done"),
    "iterations": _fact("iterations"),
    "parameters": _fact("model_params"),
    "val_tokens": _fact("val_tokens"),
    "step_ms": _step_ms,
    "train_time": _fact("train_time_ms"),
    "eval_time": lambda seed: _eval_times(seed, "ttt", "sliding", "roundtrip", "other"),
    "ttt_time": _ttt_times,
    "total_bytes": _total,
    "model_bytes": _model,
    "compressed": lambda seed: _model(seed) + _total(seed),
    "code_bytes": _code,
    "headroom_bytes": _headroom,
    "peak_memory": _peak_memory,
}
