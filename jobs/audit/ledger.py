"""What an evaluation under audit is given, and what is written down while it runs.

The hand-out of tokens, artifacts, the steps of optimizers and what the output head said are written down whether the
evaluation wants it or not; which targets it scored and learned from, it says itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from jobs.adapting import weights_sha256
from jobs.contract.shards import BOS_TOKEN
from jobs.scoring import StreamEvent
from jobs.world import World


class Ledger:
    """One evaluation on one rank, in the order in which it happened.

    With ``keeps_rows`` it keeps every row that the output head gives.
    """

    def __init__(self, *, world: World, artifact: str = "", keeps_rows: bool = False) -> None:
        self.world, self.keeps_rows = world, keeps_rows
        self.artifacts = [artifact]  # names of packed weights: the trunk's, and what the evaluation packs
        self.events: list[StreamEvent] = []  # as the evaluation tells them
        self.handed_out = False  # whether validation tokens have been given away
        self.steps_on_tokens = 0  # of any optimizer, after that
        self.steps_before_artifact = 0  # of these, the ones that an artifact was packed after
        self.scored_weights: str | None = None  # name of the weights with which scoring began
        self.step_weights: list[str] = []  # with several ranks: names of the weights after each step
        self.rows: list[Tensor] = []  # log-probabilities [rows, V], float32
        self._models: list[Any] = []

    def watch(self, model: Any) -> Any:
        """``model``, whose output head tells this ledger what it says."""
        self._models.append(model)
        if self.keeps_rows:
            said = model.logits

            def told(*arguments: Any, **options: Any) -> Tensor:
                logits: Tensor = said(*arguments, **options)
                self.rows.append(logits.detach().flatten(0, -2).float().log_softmax(-1))
                return logits

            model.logits = told
        return model

    def packed(self, model: Any) -> None:
        """The weights of ``model`` are those of the artifact from now on."""
        self.artifacts.append(weights_sha256(model))
        self.steps_before_artifact = self.steps_on_tokens

    def scoring(self, model: Any) -> None:
        """Scoring begins, with the weights that ``model`` has now."""
        if self.scored_weights is None:
            self.scored_weights = weights_sha256(model)

    def scored(self, begin: int, end: int) -> None:
        """The targets [begin, end) have been scored."""
        self.events.append(StreamEvent(kind="score", begin=begin, end=end))

    def trained(self, begin: int, end: int) -> None:
        """The targets [begin, end) have been learned from."""
        self.events.append(StreamEvent(kind="train", begin=begin, end=end))

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Inside, the steps of every optimizer are written down."""
        handle = register_optimizer_step_post_hook(lambda *_: self._stepped())
        try:
            yield
        finally:
            handle.remove()

    def _stepped(self) -> None:
        self.steps_on_tokens += self.handed_out
        if self.world.size > 1:
            self.step_weights.append(self.present_weights())

    @property
    def all_rows(self) -> Tensor:
        """``rows`` as one tensor."""
        if len(self.rows) > 1:
            self.rows = [torch.cat(self.rows)]
        return self.rows[0]

    def present_weights(self) -> str:
        """Name of the weights of the model that was given out last; empty where there was none."""
        return weights_sha256(self._models[-1]) if self._models else ""


class Stream:
    """The validation tokens [N + 1], whose hand-out is written down; their number and documents may be known before."""

    def __init__(self, tokens: Tensor, ledger: Ledger) -> None:
        self._tokens, self._ledger = tokens, ledger
        self.num_targets = tokens.numel() - 1
        self.bytes_N = torch.ones(self.num_targets, dtype=torch.int64)  # no text: a byte a target
        self.document_starts: list[int] = (tokens == BOS_TOKEN).nonzero().flatten().tolist()

    @property
    def tokens(self) -> Tensor:
        """int64 [N + 1]."""
        self._ledger.handed_out = True
        return self._tokens
