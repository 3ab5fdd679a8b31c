"""The scoring loop: each target once, in the context that its window gives it, whatever the sizes."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jobs import scoring
from jobs.contract.shards import BOS_TOKEN
from jobs.model import Transformer
from jobs.scoring import Scores, Window, bits_per_byte, score_stream
from jobs.techniques.evaluation.aligned import Aligned
from jobs.techniques.evaluation.sliding import Sliding
from tests.jobs import tiny
from tests.jobs.tiny import ALONE, LENGTH, VOCABULARY, Case, base, every, model_of, noisy, technique


class Bigram:
    """A model that needs no training: the logits of the next token are a row of a table, whatever came before.

    Its hidden state is the token's logits behind its own position in the row, so a test can see the context too.
    """

    def __init__(self) -> None:
        self.table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0))
        self.batches: list[tuple[int, int]] = []

    def hidden(self, ids_BT: Tensor) -> Tensor:
        self.batches.append((ids_BT.size(0), ids_BT.size(1)))
        return self.table[ids_BT]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden

    def losses(self, tokens: Tensor) -> Tensor:
        return F.cross_entropy(self.table[tokens[:-1]], tokens[1:], reduction="none")


class Context:
    """A model whose loss tells how many tokens of context a target was scored in: logits 0 but one."""

    def hidden(self, ids_BT: Tensor) -> Tensor:
        return torch.arange(1, ids_BT.size(1) + 1).expand_as(ids_BT)[..., None]

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.cat((torch.zeros_like(hidden), hidden), dim=-1).float()

    @staticmethod
    def tokens_seen(scores: Scores) -> list[int]:
        """Of all-zero tokens: the loss of logits (0, c) at target 0 is log(1 + e^c)."""
        return scores.nll_N.double().expm1().log().round().int().tolist()


def scored(
    model: object, tokens: Tensor, windows: Sequence[Window], *, batch_tokens: int = 128, bytes_N: Tensor | None = None
) -> Scores:
    return score_stream(
        model,  # type: ignore[arg-type]
        tokens,
        torch.ones(len(tokens) - 1, dtype=torch.int64) if bytes_N is None else bytes_N,
        windows,
        world=ALONE,
        batch_tokens=batch_tokens,
    )


sizes = {"num_targets": st.integers(1, 200), "length": st.integers(1, 40), "seed": st.integers(0, 9)}


@pytest.mark.parametrize("case", every("evaluation"), ids=str)
@settings(max_examples=60)
@given(stride=st.integers(1, 40), batch_tokens=st.integers(1, 300), **sizes)
def test_every_target_is_scored_once(
    case: Case, num_targets: int, length: int, seed: int, stride: int, batch_tokens: int
) -> None:
    """For any stream, window and stride, dividing each other or not, documents anywhere."""
    knobs = tiny.catalog().technique(case.family, case.name).knobs
    evaluation = case.made(**({"stride": min(stride, length)} if "stride" in knobs else {}))
    tokens = torch.randint(0, VOCABULARY, (num_targets + 1,), generator=torch.Generator().manual_seed(seed))
    documents = (tokens < 3).nonzero().flatten().tolist()
    windows = list(evaluation.windows(num_targets, length, documents))
    counter = [0] * num_targets
    for window in windows:
        assert 0 <= window.begin <= window.score_from < window.end <= num_targets
        assert window.end - window.begin <= length
        for target in range(window.score_from, window.end):
            counter[target] += 1
    assert counter == [1] * num_targets
    model = Bigram()
    scores = scored(model, tokens, windows, batch_tokens=batch_tokens)
    torch.testing.assert_close(scores.nll_N, model.losses(tokens))
    assert all(rows == 1 or rows * positions <= batch_tokens for rows, positions in model.batches)


@given(num_targets=st.integers(1, 120), length=st.integers(1, 40), stride=st.integers(1, 40))
def test_sliding_gives_each_target_its_context(num_targets: int, length: int, stride: int) -> None:
    stride = min(stride, length)
    windows = list(Sliding(stride=stride).windows(num_targets, length, []))
    seen = Context.tokens_seen(scored(Context(), torch.zeros(num_targets + 1, dtype=torch.int64), windows))
    for target, context in enumerate(seen):
        assert context == target + 1 if target < length else length - stride < context <= length
    assert len(windows) == 1 + max(0, math.ceil((num_targets - length) / stride)), "no window that scores nothing new"


@given(num_windows=st.integers(1, 6), length=st.integers(1, 40), rest=st.integers(0, 39))
def test_sliding_by_whole_windows_is_aligned(num_windows: int, length: int, rest: int) -> None:
    """But for a last window that is not full: sliding gives its targets the context that is there."""
    num_targets = num_windows * length + min(rest, length - 1)
    aligned = list(Aligned().windows(num_targets, length, []))
    sliding = list(Sliding(stride=length).windows(num_targets, length, []))
    assert sliding[:num_windows] == aligned[:num_windows]
    assert [(one.score_from, one.end) for one in sliding] == [(one.score_from, one.end) for one in aligned]


@pytest.mark.parametrize("case", every("evaluation"), ids=str)
@pytest.mark.parametrize("num_targets", [1, LENGTH - 1, LENGTH])
def test_a_stream_of_one_window_is_scored_in_its_whole_context(case: Case, num_targets: int) -> None:
    model = noisy(model_of(base()))
    tokens = tiny.stream(num_targets + 1)
    windows = list(case.made().windows(num_targets, LENGTH, [0]))
    with torch.no_grad():
        logits = model.logits(model.hidden(tokens[None, :-1]))[0].double()
    expected = F.cross_entropy(logits, tokens[1:], reduction="none").float()
    torch.testing.assert_close(scored(model, tokens, windows).nll_N, expected, rtol=0, atol=1e-5)


def test_batching_changes_nothing() -> None:
    model = noisy(model_of(base()))
    tokens = tiny.stream(150)
    windows = list(Sliding(stride=5).windows(149, LENGTH, []))
    one_by_one, together = (scored(model, tokens, windows, batch_tokens=count).nll_N for count in (1, 10_000))
    torch.testing.assert_close(one_by_one, together, rtol=0, atol=2e-6)


def test_a_document_is_scored_as_if_it_were_alone() -> None:
    """Each of three documents: the losses are those of a stream that holds nothing else."""
    model = noisy(model_of(base()))
    tokens = tiny.stream(300)
    evaluation = technique("evaluation", "document_isolated", stride=8)
    found = scored(model, tokens, list(evaluation.windows(299, LENGTH, [0, 100, 200]))).nll_N
    for start in (0, 100, 200):
        alone = tokens[start : start + 101]
        count = len(alone) - 1
        expected = scored(model, alone, list(Sliding(stride=8).windows(count, LENGTH, [])))
        torch.testing.assert_close(found[start : start + count], expected.nll_N, rtol=0, atol=1e-6)


WRONG = {
    "skips the first": [Window(begin=0, score_from=1, end=10)],
    "skips in between": [Window(begin=0, score_from=0, end=4), Window(begin=0, score_from=5, end=10)],
    "repeats": [Window(begin=0, score_from=0, end=5), Window(begin=0, score_from=4, end=10)],
    "repeats the tail": [Window(begin=0, score_from=0, end=10), Window(begin=5, score_from=8, end=10)],
    "goes back": [Window(begin=5, score_from=5, end=10), Window(begin=0, score_from=0, end=5)],
    "stops early": [Window(begin=0, score_from=0, end=9)],
    "scores beyond the end": [Window(begin=0, score_from=0, end=11)],
    "scores nothing": [Window(begin=0, score_from=0, end=0), Window(begin=0, score_from=0, end=10)],
    "scores what it does not read": [Window(begin=0, score_from=0, end=5), Window(begin=6, score_from=5, end=10)],
    "reads round the end": [Window(begin=-2, score_from=0, end=10)],
    "has no window": [],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_windows_that_do_not_score_each_target_once_are_refused(wrong: str) -> None:
    model = Bigram()
    with pytest.raises(ValueError, match="of 10"):
        scored(model, tiny.stream(11), WRONG[wrong])
    assert not model.batches, "refused before anything is scored"


@pytest.mark.parametrize("name", ["sliding", "document_isolated"])
@pytest.mark.parametrize("stride", [0, -1, LENGTH + 1])
def test_a_stride_that_leaves_gaps_is_refused(name: str, stride: int) -> None:
    with pytest.raises(ValueError, match=f"{name}.stride: {stride}"):
        list(technique("evaluation", name, stride=stride).windows(100, LENGTH, []))


def test_the_running_score_ends_at_the_total() -> None:
    tokens = tiny.stream(1001)
    bytes_N = torch.randint(0, 6, (1000,), generator=torch.Generator().manual_seed(3))
    seen: list[tuple[int, float]] = []
    model = Bigram()
    scores = score_stream(
        model,
        tokens,
        bytes_N,
        Sliding(stride=7).windows(1000, LENGTH, []),
        world=ALONE,
        batch_tokens=128,
        progress=lambda position, bpb: seen.append((position, bpb)),
    )
    losses = model.losses(tokens).double()
    for position, bpb in seen:
        expected = float(losses[:position].sum()) / (math.log(2) * int(bytes_N[:position].sum()))
        assert bpb == pytest.approx(expected, rel=1e-6)
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(seen)) and len(seen) > 20
    assert seen[-1] == (1000, pytest.approx(scores.bpb, rel=1e-12))


def test_the_score_is_nats_over_bytes() -> None:
    scores = Scores(nll_N=torch.full((8,), math.log(4)), bytes_N=torch.tensor([0, 1, 2, 1, 1, 1, 1, 1]))
    assert scores.loss_nats == pytest.approx(math.log(4), rel=1e-7)
    assert scores.bpb == pytest.approx(8 * 2 / 8, rel=1e-7)
    assert bits_per_byte(1.0, 0) == math.inf


def test_sums_are_taken_in_float64() -> None:
    """2²⁴ + 2 losses of 1: float32 would stop counting at 16,777,216."""
    count = 2**24 + 2
    scores = Scores(nll_N=torch.ones(count), bytes_N=torch.ones(count, dtype=torch.int64))
    assert scores.loss_nats == 1.0 and scores.bpb == pytest.approx(1 / math.log(2), rel=1e-12)


def test_scoring_leaves_no_gradient_and_no_graph() -> None:
    model: Transformer = noisy(model_of(base()))
    scores = scored(model, tiny.stream(40), list(Aligned().windows(39, LENGTH, [])))
    assert not scores.nll_N.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("evaluation", [Sliding(stride=8), technique("evaluation", "document_isolated", stride=8)])
def test_padded_batches_of_any_lengths_score_the_same(evaluation: Any) -> None:
    """As a card has them, where all batches have one shape: windows of unlike lengths come together."""
    model = noisy(model_of(base()))
    tokens = torch.randint(3, VOCABULARY, (5 * LENGTH,), generator=torch.Generator().manual_seed(0))
    starts = [0, 7, 9, 40, 90, 91]
    tokens[starts] = BOS_TOKEN
    windows = list(evaluation.windows(len(tokens) - 1, LENGTH, starts))
    alone, together = torch.zeros(len(tokens) - 1), torch.zeros(len(tokens) - 1)
    batches = list(scoring._batches(windows, (4, LENGTH), padded=True))
    assert len(batches) == -(-len(windows) // 4) <= len(list(scoring._batches(windows, (4, LENGTH), padded=False)))
    with torch.no_grad():
        for batch in batches:
            for window in batch:
                scoring._score_batch(model, tokens, [window], alone, (1, LENGTH))
            scoring._score_batch(model, tokens, batch, together, (4, LENGTH), padded=True)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
