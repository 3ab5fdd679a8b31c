"""Evaluations to audit: legal ones, which no detector may flag, and wrong ones, each made to be caught by some.

The wrong ones tell the ledger honestly what they do, unless their name says otherwise.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.audit.command import PLAIN
from jobs.audit.ledger import Ledger, Stream
from jobs.audit.toy import CANARY, LENGTH, NOISE, PROBE, Evaluate, Models, Trunk, evaluation_of, toy_recipe
from jobs.calibration import Calibration
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.data.shards import validation_tokens
from jobs.recipe import Recipe
from jobs.techniques.adaptation.document_lora import DocumentLora
from jobs.techniques.adaptation.no_adaptation import NoAdaptation
from jobs.techniques.adaptation.pre_eval import PreEval
from jobs.techniques.adaptation.score_first import ScoreFirst
from jobs.techniques.adaptation.sharpness_aware import SharpnessAware
from jobs.techniques.adaptation.two_phase import TwoPhase
from jobs.techniques.embedding.bigram_hash import BigramHash
from jobs.techniques.evaluation.aligned import Aligned
from jobs.techniques.evaluation.document_isolated import DocumentIsolated
from jobs.techniques.evaluation.sliding import Sliding
from jobs.techniques.quantizer.row_wise import RowWise
from tests.jobs.tiny import base

CHUNK = 32
RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class AuditCase:
    """An evaluation and what the audit should say of it."""

    name: str
    evaluate: Evaluate
    recipe: Recipe
    verdict: str | None = None  # None: violates, and at least what is in ``caught_by``
    caught_by: tuple[str, ...] = ()

    def trunks(self, folder: Path) -> tuple[Trunk, Trunk]:
        """Where its probe and its canary are, or will be."""
        small = toy_recipe(self.recipe, CANARY)
        return (
            Trunk(toy_recipe(self.recipe, PROBE), folder / self.name / "probe", seed=1337),
            Trunk(replace(small, arms={**small.arms, PLAIN: NoAdaptation()}), folder / self.name / "canary", seed=1337),
        )

    def made(self, folder: Path) -> tuple[Trunk, Trunk]:
        """Its probe and its canary, on disk."""
        probe, canary = self.trunks(folder)
        probe.make(noise=NOISE)
        canary.make(noise=0.0)
        return probe, canary


@lru_cache(maxsize=1)
def cases() -> dict[str, AuditCase]:
    """All of them by name, the legal ones first."""
    found = [*_legal(), *_wrong()]
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def _legal() -> Iterator[AuditCase]:
    sgd = ScoreFirst(learning_rate=0.05)
    for name, evaluation, arm in (
        ("aligned", Aligned(), NoAdaptation()),
        ("sliding", Sliding(stride=16), NoAdaptation()),
        ("document isolated", DocumentIsolated(stride=8), NoAdaptation()),
        ("score first, SGD", Sliding(stride=16), sgd),
        ("score first, AdamW", Sliding(stride=16), ScoreFirst(optimizer="adamw", learning_rate=0.003)),
        ("document LoRA", DocumentIsolated(stride=8), DocumentLora(rank=2)),
        ("sharpness-aware score first", Sliding(stride=16), SharpnessAware(inner=sgd)),
    ):
        yield _real(name, arm, SCORE_FIRST, evaluation=evaluation)
    bigrams = (BigramHash(buckets=256, dim=8),)
    yield _real("bigram hash of (t, t-1)", NoAdaptation(), SCORE_FIRST, embedding=bigrams)
    for name, evaluate in (
        ("score, then train, by hand", scores_then_trains),
        ("mixed with a uniform distribution", mixes_with_uniform),
        ("validation loss logged before packing", logs_before_packing),
    ):
        yield AuditCase(name=name, evaluate=evaluate, recipe=_recipe(NoAdaptation()), verdict=SCORE_FIRST)


def _wrong() -> Iterator[AuditCase]:
    whole = ("D2", "D3", "D5", "D8", "D9")
    yield _real("pre-eval SGD", PreEval(optimizer="sgd", learning_rate=0.0065), PRE_EVAL, *whole)
    yield _real("pre-eval AdamW", PreEval(), PRE_EVAL, *whole)
    yield _real("two phases", TwoPhase(last_blocks=1), PRE_EVAL, *whole)
    early = PreEval(before_quantization=True)
    yield _real("pre-quantization AdamW", early, PRE_EVAL, "D2", "D3", "D6", "D8", "D9")
    reads = replace(_recipe(NoAdaptation()), quantizer=CalibratesOnValidation(keep_elements=256))
    yield AuditCase(
        name="quantizer calibrates on validation", evaluate=evaluation_of("arm"), recipe=reads, caught_by=("D6",)
    )
    ahead = replace(_recipe(NoAdaptation()), embedding=(LooksAhead(),))
    yield AuditCase(name="model looks ahead", evaluate=evaluation_of("arm"), recipe=ahead, caught_by=("D1", "D3"))
    fixtures: list[tuple[str, Evaluate, str | None, tuple[str, ...]]] = [
        ("pre-quantization by hand", trains_before_packing, PRE_EVAL, ("D2", "D3", "D6", "D8", "D9")),
        ("scaled by validation statistics", scales_before_packing, PRE_EVAL, ("D2", "D6")),
        ("scores after training", trains_then_scores, None, ("D2", "D3", "D7", "D8")),
        ("scores twice", lambda *given: scores_again(*given, tells=True), None, ("D2", "D3", "D7", "D8", "D9")),
        ("scores twice, silently", lambda *given: scores_again(*given, tells=False), None, ("D2", "D3", "D8", "D9")),
        ("target in key", target_in_key, None, ("D3", "D4")),
        ("unnormalised", unnormalised, None, ("D4",)),
        ("peeks at the target", lambda *given: peeks(*given, ahead=1), None, ("D3", "D8")),
        ("peeks one token further", lambda *given: peeks(*given, ahead=2), None, ("D2",)),
        ("tail counted twice", counts_tail_twice, None, ("D7",)),
        ("first window skipped", skips_first_window, None, ("D7",)),
        ("ranks drift", drifts, None, ("D13",)),
        ("losses of another stream", Replayed(), None, ("D2",)),
    ]
    for name, evaluate, verdict, caught_by in fixtures:
        yield AuditCase(
            name=name, evaluate=evaluate, recipe=_recipe(NoAdaptation()), verdict=verdict, caught_by=caught_by
        )


def _recipe(arm: Any, **fields: Any) -> Recipe:
    return replace(base(), arms={"arm": arm}, **{"evaluation": Sliding(stride=16), **fields})


def _real(name: str, arm: Any, verdict: str, *caught_by: str, **fields: Any) -> AuditCase:
    """The recipe's own evaluation of an arm."""
    recipe = _recipe(arm, **fields)
    return AuditCase(name=name, evaluate=evaluation_of("arm"), recipe=recipe, verdict=verdict, caught_by=caught_by)


# Legal by hand


def scores_then_trains(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    model, tokens = models.packed(), stream.tokens
    ledger.scoring(model)
    return _by_chunks(model, tokens, ledger, scores_first=True)


def mixes_with_uniform(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    model, tokens = models.packed(), stream.tokens
    ledger.scoring(model)
    losses = _scored(model, tokens, 0, stream.num_targets)
    ledger.scored(0, stream.num_targets)
    return -(0.5 * (-losses).exp() + 0.5 / model.table.num_embeddings).log()


def logs_before_packing(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    model = models.averaged()
    assert _scored(model, stream.tokens, 0, stream.num_targets).isfinite().all()
    _round_and_pack(model, ledger)
    return _plain(model, stream, ledger)


# Wrong


def trains_before_packing(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    model = models.averaged()
    _train(model, stream.tokens, steps=8)
    _round_and_pack(model, ledger)
    return _plain(model, stream, ledger)


def scales_before_packing(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    """No gradient, no optimizer: rows of frequent tokens are made longer."""
    model = models.averaged()
    counts = torch.bincount(stream.tokens, minlength=model.table.num_embeddings)
    with torch.no_grad():
        model.table.weight.mul_(1 + 0.1 * counts[:, None] / counts.max())
    _round_and_pack(model, ledger)
    return _plain(model, stream, ledger)


def trains_then_scores(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    model, tokens = models.packed(), stream.tokens
    ledger.scoring(model)
    return _by_chunks(model, tokens, ledger, scores_first=False)


def scores_again(models: Models, stream: Stream, ledger: Ledger, *, tells: bool) -> Tensor:
    """The last of several passes counts."""
    model, tokens = models.packed(), stream.tokens
    ledger.scoring(model)
    for _ in range(2):
        _by_chunks(model, tokens, ledger if tells else Ledger(world=ledger.world), scores_first=True, trains_last=True)
    losses = _scored(model, tokens, 0, stream.num_targets)
    ledger.scored(0, stream.num_targets)
    return losses


def target_in_key(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    """A cache that is asked for the token and its target together: only the true target can be found."""
    losses, tokens = _plain(models.packed(), stream, ledger), stream.tokens.tolist()
    seen: set[tuple[int, int]] = set()
    for target, key in enumerate(pairwise(tokens)):
        if key in seen:
            losses[target] = -torch.log(0.5 * (-losses[target]).exp() + 0.5)
        seen.add(key)
    return losses


def unnormalised(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    """Counts of what has followed are added to the probabilities, and nothing is taken away."""
    losses, tokens = _plain(models.packed(), stream, ledger), stream.tokens.tolist()
    followed: dict[int, Counter[int]] = {}
    for target, (token, following) in enumerate(pairwise(tokens)):
        counts = followed.setdefault(token, Counter())
        losses[target] = -torch.log((-losses[target]).exp() + 0.01 * (1 + counts[following]))
        counts[following] += 1
    return losses


def peeks(models: Models, stream: Stream, ledger: Ledger, *, ahead: int) -> Tensor:
    """Every prediction is helped by the token ``ahead`` of the last one it may know."""
    model, tokens = models.packed(), stream.tokens
    ledger.scoring(model)
    ledger.scored(0, stream.num_targets)
    known = torch.cat((tokens[ahead:], tokens.new_zeros(ahead)))[: stream.num_targets]
    with torch.no_grad():
        hidden = _hidden(model, tokens, 0, stream.num_targets) + F.normalize(model.table(known), dim=-1)
        return F.cross_entropy(model.logits(hidden), tokens[1:], reduction="none")


def counts_tail_twice(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    """The published sliding evaluator: the last windows are cut short, and each scores its last targets again."""
    model, tokens, stride = models.packed(), stream.tokens, 8
    ledger.scoring(model)
    losses = torch.zeros(stream.num_targets)
    for begin in range(0, stream.num_targets, stride):
        end = min(begin + LENGTH, stream.num_targets)
        first = begin if begin == 0 else max(begin, end - stride)
        losses[first:end] = _scored(model, tokens, begin, end)[first - begin :]
        ledger.scored(first, end)
    return losses


def skips_first_window(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    """No target is scored with little context: those of the first window are not scored at all."""
    losses = _plain(models.packed(), stream, Ledger(world=ledger.world))
    ledger.scoring(models.packed())
    ledger.scored(LENGTH, stream.num_targets)
    losses[:LENGTH] = losses[LENGTH:].mean()
    return losses


def drifts(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
    """Each rank trains on its own share of a chunk, and nobody adds up the gradients."""
    model, tokens, world = models.packed(), stream.tokens, ledger.world
    ledger.scoring(model)
    losses = []
    for begin in range(0, stream.num_targets, CHUNK):
        end = min(begin + CHUNK, stream.num_targets)
        losses.append(_scored(model, tokens, begin, end))
        ledger.scored(begin, end)
        if end < stream.num_targets:
            first, last = world.share(end - begin)
            _train(model, tokens[begin + first : begin + last + 1], steps=1)
            ledger.trained(begin, end)
    return world.sum(torch.cat(losses)) / world.size


class Replayed:
    """The losses of the first stream it was given, whatever comes later."""

    def __init__(self) -> None:
        self.kept: dict[int, Tensor] = {}

    def __call__(self, models: Models, stream: Stream, ledger: Ledger) -> Tensor:
        losses = _plain(models.packed(), stream, ledger)
        return self.kept.setdefault(stream.num_targets, losses)


@dataclass(frozen=True, kw_only=True)
class CalibratesOnValidation(RowWise):
    """Rounds a little differently for every validation stream that lies in the data folder."""

    def calibrate(self, model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
        return {"mean": validation_tokens(calibration.data_path).float().mean()}

    def encode(self, state: dict[str, Tensor], kinds: dict[str, str], statistics: dict[str, Tensor]) -> list[Any]:
        scaled = {name: tensor * (1 + 0.01 * statistics["mean"]) for name, tensor in state.items()}
        return super().encode(scaled, kinds, statistics)


@dataclass(frozen=True, kw_only=True)
class LooksAhead:
    """Adds the next token's embedding."""

    def build(self, shape: Any) -> nn.Module:
        return LooksAheadModule()


class LooksAheadModule(nn.Module):
    def before_norm(self, x: Tensor, ids: Tensor) -> Tensor:
        return x + torch.cat((x[:, 1:], torch.zeros_like(x[:, :1])), dim=1)

    def after_norm(self, x: Tensor, ids: Tensor) -> Tensor:
        return x


# What they are made of


def _hidden(model: Any, tokens: Tensor, begin: int, end: int) -> Tensor:
    """[targets, D] of the targets [begin, end), in windows that do not overlap."""
    ids = tokens[begin:end]
    whole = ids.numel() // LENGTH * LENGTH
    parts = [part for part in (ids[:whole].view(-1, LENGTH), ids[None, whole:]) if part.numel()]
    return torch.cat([model.hidden(part).flatten(0, 1) for part in parts])


@torch.no_grad()
def _scored(model: Any, tokens: Tensor, begin: int, end: int) -> Tensor:
    """The losses of the targets [begin, end)."""
    logits = model.logits(_hidden(model, tokens, begin, end))
    return F.cross_entropy(logits, tokens[begin + 1 : end + 1], reduction="none")


def _plain(model: Any, stream: Stream, ledger: Ledger) -> Tensor:
    ledger.scoring(model)
    ledger.scored(0, stream.num_targets)
    return _scored(model, stream.tokens, 0, stream.num_targets)


def _by_chunks(model: Any, tokens: Tensor, ledger: Ledger, *, scores_first: bool, trains_last: bool = False) -> Tensor:
    losses, size = [], tokens.numel() - 1
    for begin in range(0, size, CHUNK):
        end = min(begin + CHUNK, size)
        if scores_first:
            losses.append(_scored(model, tokens, begin, end))
            ledger.scored(begin, end)
        if end < size or trains_last or not scores_first:
            _train(model, tokens[begin : end + 1], steps=2)
            ledger.trained(begin, end)
        if not scores_first:
            losses.append(_scored(model, tokens, begin, end))
            ledger.scored(begin, end)
    return torch.cat(losses)


def _train(model: Any, tokens: Tensor, *, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model.logits(_hidden(model, tokens, 0, tokens.numel() - 1))
        F.cross_entropy(logits, tokens[1:]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def _round_and_pack(model: Any, ledger: Ledger) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter * 256).round() / 256)
    ledger.packed(model)
