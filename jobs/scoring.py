"""The scoring loop: every target of the validation stream once, and what an adaptation may see of it.

The loop owns the tokens. It scores a chunk, and only then hands a learner the tokens of the targets it has just scored;
a learner has no other way to them. N targets: target i is token i + 1, predicted from tokens 0..i.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from jobs.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """One forward pass: read the tokens [begin, end), score the targets [score_from, end)."""

    begin: int
    score_from: int
    end: int


class LanguageModel(Protocol):
    """What is scored: ``model.Transformer``, or anything that reads and predicts as it does."""

    def hidden(self, ids_BT: Tensor) -> Tensor: ...
    def logits(self, hidden: Tensor) -> Tensor: ...


class Learner(Protocol):
    """What a score-first adaptation is while it runs."""

    chunk_targets: int

    def learn(self, tokens: Tensor, *, chunk: int, num_chunks: int) -> None:
        """Learn from targets that have been scored: int64 [n + 1] tokens, n targets. Called by all ranks alike."""


@runtime_checkable
class DocumentLearner(Protocol):
    """A score-first adaptation that learns each document by itself, many documents at a time."""

    chunk_targets: int
    context_tokens: int
    batch_documents: int

    def begin(self, starts: list[int]) -> None:
        """Forget everything; the documents that begin at these positions of the stream come next, one a row."""

    def score(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """The loss of every target in nats, float32 [B, T], by what has been learned so far.

        The rows are those of the first B documents: the others have come to their end.
        """

    def learn(self, loss_BT: Tensor, weight_BT: Tensor) -> None:
        """Learn from losses that ``score`` has just returned, weighted; called once they have been recorded."""


@dataclass(frozen=True, kw_only=True)
class StreamEvent:
    """What was done to the targets [begin, end): "score" or "train"; the audit reads these in order."""

    kind: str
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The loss of every target of the stream, in stream order, equal on all ranks."""

    nll_N: Tensor  # float32, nats, on the CPU
    bytes_N: Tensor  # int64, on the CPU
    events: list[StreamEvent] = field(default_factory=list)

    @property
    def loss_nats(self) -> float:
        """Mean over the targets, summed in float64."""
        return float(self.nll_N.double().sum()) / self.nll_N.numel()

    @property
    def bpb(self) -> float:
        """Bits per byte: total nats / (ln 2 x total bytes)."""
        return bits_per_byte(float(self.nll_N.double().sum()), int(self.bytes_N.sum()))


def bits_per_byte(nats: float, num_bytes: int) -> float:
    """``nats`` of a text of ``num_bytes`` bytes as bits per byte; infinite where nothing was counted."""
    return nats / (math.log(2) * num_bytes) if num_bytes else math.inf


def score_stream(
    model: LanguageModel,
    tokens: Tensor,
    bytes_N: Tensor,
    windows: Iterable[Window],
    *,
    world: World,
    batch_tokens: int,
    learner: Learner | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Scores:
    """Score every target of ``tokens`` [N + 1] in the context that ``windows`` give it.

    Args:
        windows: in stream order, scoring each target exactly once; the first that does not is refused.
        batch_tokens: of one forward pass on one rank.
        learner: handed each chunk once it is scored, except the last: nothing is scored after it.
        progress: called with (targets scored, running bits per byte) after each chunk.

    Distributed: every rank calls it with the same arguments and gets the same scores; a chunk's windows are shared out.
    """
    num_targets = tokens.numel() - 1
    tokens = tokens.to(world.device)
    nll_N = torch.zeros(num_targets, dtype=torch.float32, device=world.device)
    events: list[StreamEvent] = []
    chunk_targets = learner.chunk_targets if learner else max(1, num_targets // 50)
    chunks = list(_chunks(windows, chunk_targets, num_targets))
    longest = max((window.end - window.begin for chunk in chunks for window in chunk), default=1)
    shape = max(1, batch_tokens // longest), longest
    nats, num_bytes = 0.0, 0
    for number, chunk in enumerate(chunks):
        begin, end = chunk[0].score_from, chunk[-1].end
        first, last = world.share(len(chunk))
        for batch in _batches(chunk[first:last], shape, padded=tokens.is_cuda):
            _score_batch(model, tokens, batch, nll_N, shape, padded=tokens.is_cuda)
        world.sum(nll_N[begin:end])
        events.append(StreamEvent(kind="score", begin=begin, end=end))
        if progress:
            nats += float(nll_N[begin:end].double().sum())
            num_bytes += int(bytes_N[begin:end].sum())
            progress(end, bits_per_byte(nats, num_bytes))
        if learner and number + 1 < len(chunks):
            learner.learn(tokens[begin : end + 1].clone(), chunk=number, num_chunks=len(chunks))
            events.append(StreamEvent(kind="train", begin=begin, end=end))
    return Scores(nll_N=nll_N.cpu(), bytes_N=bytes_N, events=events)


def score_documents(
    tokens: Tensor,
    bytes_N: Tensor,
    document_starts: Sequence[int],
    *,
    learner: DocumentLearner,
    world: World,
    progress: Callable[[int, float], None] | None = None,
) -> Scores:
    """Score every target of ``tokens`` [N + 1] by a model that learns each document by itself, chunk after chunk.

    A document's targets are those of its own tokens and the BOS of the next. A chunk is scored, recorded, and only
    then learned, unless it is the document's last. Documents are batched by their length; the
    ranks take them in turn, and no batch knows of another.

    Distributed: every rank calls it with the same arguments and gets the same scores.
    """
    num_targets = tokens.numel() - 1
    tokens = tokens.to(world.device)
    nll_N = torch.zeros(num_targets, dtype=torch.float32, device=world.device)
    starts = [0, *(start for start in document_starts if 0 < start < num_targets)]
    spans = list(zip(starts, [*starts[1:], num_targets], strict=True))
    spans.sort(key=lambda span: span[0] - span[1])  # longest first, so that those in a batch end together; stable
    batches = [
        spans[first : first + learner.batch_documents] for first in range(0, len(spans), learner.batch_documents)
    ]
    events: list[StreamEvent] = []
    nats, num_bytes, done = 0.0, 0, 0
    for batch in batches[world.rank :: world.size]:
        learner.begin([start for start, _ in batch])
        for chunk in range(-(-(batch[0][1] - batch[0][0]) // learner.chunk_targets)):
            _score_and_learn_chunk(tokens, nll_N, batch, chunk, learner, events)
        if progress:
            done += sum(stop - start for start, stop in batch)
            nats += float(torch.stack([nll_N[start:stop].double().sum() for start, stop in batch]).sum())
            num_bytes += sum(int(bytes_N[start:stop].sum()) for start, stop in batch)
            progress(done, bits_per_byte(nats, num_bytes))
    world.sum(nll_N)
    scores = Scores(nll_N=nll_N.cpu(), bytes_N=bytes_N, events=events)
    if progress and world.size > 1:  # until now each rank told of its own documents
        progress(num_targets, scores.bpb)
    return scores


def _score_and_learn_chunk(
    tokens: Tensor,
    nll_N: Tensor,
    spans: list[tuple[int, int]],
    chunk: int,
    learner: DocumentLearner,
    events: list[StreamEvent],
) -> None:
    """Chunk number ``chunk`` of the documents that have one: the first of ``spans``, which come longest first."""
    rows = []
    for start, stop in spans:
        begin = start + chunk * learner.chunk_targets
        if begin >= stop:
            break
        end = min(begin + learner.chunk_targets, stop)
        rows.append((max(start, end - learner.context_tokens), begin, end, end < stop))
    first_B1, begin_B1, end_B1, goes_on_B1 = torch.tensor(rows, device=tokens.device)[:, None].unbind(-1)
    position_BT = first_B1 + torch.arange(int((end_B1 - first_B1).max()), device=tokens.device)
    inside_BT = position_BT < end_B1
    scored_BT = inside_BT & (position_BT >= begin_B1)
    last = tokens.numel() - 1
    ids_BT = torch.where(inside_BT, tokens[position_BT.clamp(max=last)], 0)
    targets_BT = torch.where(inside_BT, tokens[(position_BT + 1).clamp(max=last)], 0)
    loss_BT = learner.score(ids_BT, targets_BT)
    nll_N[position_BT[scored_BT]] = loss_BT.detach()[scored_BT]
    taught_BT = scored_BT & goes_on_B1.bool()
    for _, begin, end, goes_on in rows:
        events.append(StreamEvent(kind="score", begin=begin, end=end))
        events.extend([StreamEvent(kind="train", begin=begin, end=end)] if goes_on else [])
    if bool(taught_BT.any()):
        learner.learn(loss_BT, taught_BT / taught_BT.sum(dim=1, keepdim=True).clamp(min=1))


def _chunks(windows: Iterable[Window], chunk_targets: int, num_targets: int) -> Iterator[list[Window]]:
    """Windows grouped by the chunk in which the first target they score lies."""
    chunk: list[Window] = []
    scored = 0
    for window in windows:
        if window.score_from != scored or not 0 <= window.begin <= window.score_from < window.end <= num_targets:
            raise ValueError(f"{window} does not go on from target {scored} of {num_targets}: each is scored once")
        scored = window.end
        if chunk and window.score_from // chunk_targets != chunk[0].score_from // chunk_targets:
            yield chunk
            chunk = []
        chunk.append(window)
    if scored != num_targets:
        raise ValueError(f"the windows score {scored} of {num_targets} targets")
    if chunk:
        yield chunk


def _batches(windows: list[Window], shape: tuple[int, int], *, padded: bool) -> Iterator[list[Window]]:
    """Up to ``shape[0]`` windows together: of one length, or of any where they will be ``padded`` to one."""
    for _, equal in groupby(windows, key=lambda window: 0 if padded else window.end - window.begin):
        alike = list(equal)
        yield from (alike[first : first + shape[0]] for first in range(0, len(alike), shape[0]))


@torch.no_grad()
def _score_batch(
    model: LanguageModel,
    tokens: Tensor,
    batch: list[Window],
    nll_N: Tensor,
    shape: tuple[int, int],
    *,
    padded: bool = False,
) -> None:
    """Fill ``nll_N`` for the targets that ``batch`` scores; logits only for those.

    ``padded``, on a GPU, every batch is filled up to ``shape`` (rows, positions), so that one compiled graph serves
    all; what a row reads beyond its window is 0, and nothing there is scored.
    """
    rows = shape[0] if padded else len(batch)
    length = shape[1] if padded else batch[0].end - batch[0].begin
    bounds = torch.tensor([(one.begin, one.score_from, one.end) for one in batch]).to(tokens.device)
    bounds = torch.cat((bounds, bounds.new_zeros(rows - len(batch), 3)))
    begin_B1, from_B1, end_B1 = bounds[:, None].unbind(-1)
    position_BT = begin_B1 + torch.arange(length, device=tokens.device)
    inside_BT = position_BT < end_B1
    ids_BT = torch.where(inside_BT, tokens[position_BT.clamp(max=tokens.numel() - 1)], 0)
    scored_BT = inside_BT & (position_BT >= from_B1)
    hidden_SD = model.hidden(ids_BT)[scored_BT]
    target_S = position_BT[scored_BT]
    nll_N[target_S] = F.cross_entropy(model.logits(hidden_SD), tokens[target_S + 1], reduction="none")
