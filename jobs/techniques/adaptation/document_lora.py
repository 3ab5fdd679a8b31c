from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.adapting import Setting
from jobs.contract.errors import Refused
from jobs.contract.records import SCORE_FIRST
from jobs.knobs import Count, Memory, Positive, PositiveOrZero


@dataclass(frozen=True, kw_only=True)
class DocumentLora:
    """Every document gets low-rank adapters of its own, which learn it chunk by chunk after each chunk is scored.

    Adapters of query, value and output head, y += B A x, A uniform in ±1 / sqrt(inputs) from the document's own
    generator, B zero; the weights of the model stay. A block that is run several times has one of each for all passes.
    One forward pass gives a chunk's scores and, once those are recorded, one Adam step on its mean loss. Context never
    reaches back over the document's BOS. Documents are independent of each other: batching changes nothing.

    Source: the field's LoRA record (PR #77): rank 8, chunks of 256, context 1024, Adam 0.01, betas 0.9 and 0.95.
    """

    rank: Count = 8  # of each adapter
    learning_rate: PositiveOrZero = 0.01  # of Adam
    beta1: Memory = 0.9  # of Adam
    beta2: Memory = 0.95  # of Adam
    epsilon: Positive = 1e-10  # of Adam
    chunk_targets: Count = 256  # scored together, then learned
    context_tokens: Count = 1024  # read at most, inside the document; at least a chunk
    batch_documents: Count = 64  # scored side by side

    protocol = SCORE_FIRST
    before_quantization = False

    small = {
        "laptop": {"chunk_targets": 128, "context_tokens": 256, "batch_documents": 32},
        "smoke": {"rank": 2, "chunk_targets": 256, "context_tokens": 256, "batch_documents": 64},
    }
    audit = {
        "probe": {"chunk_targets": 32, "context_tokens": 32, "batch_documents": 2},
        "canary": {
            "learning_rate": {"times": 10},
            "chunk_targets": 128,
            "context_tokens": 128,
            "batch_documents": 64,
        },
    }

    def learner(self, model: nn.Module, setting: Setting) -> "AdaptedDocuments":
        """What the scoring loop hands each document's scored chunks to."""
        if setting.sam_radius:
            raise Refused("sharpness_aware: its steps are not made for document_lora; wrap another adaptation")
        setting.log.line(
            f"ttt_lora:start protocol:{self.protocol} rank:{self.rank} chunk:{self.chunk_targets} "
            f"context:{self.context_tokens} lr:{self.learning_rate}"
        )
        return AdaptedDocuments(self, model, setting)


class AdaptedDocuments:
    """The model with one set of adapters a row."""

    def __init__(self, knobs: DocumentLora, model: Any, setting: Setting) -> None:
        self.knobs, self.model, self.setting = knobs, model, setting
        self.chunk_targets, self.context_tokens = knobs.chunk_targets, max(knobs.context_tokens, knobs.chunk_targets)
        self.batch_documents = knobs.batch_documents
        layers = [
            (layer, layer.weight.size(1), layer.weight.size(0))
            for block in model.blocks
            for layer in (block.attention.query, block.attention.value)
        ]
        self.layers = [layer for layer, _, _ in layers]
        self.sizes = [(inputs, outputs) for _, inputs, outputs in layers]
        self.sizes.append((model.table.embedding_dim, model.table.num_embeddings))  # the output head comes last

    def begin(self, starts: list[int]) -> None:
        rank, device = self.knobs.rank, self.setting.world.device
        down: list[list[Tensor]] = [[] for _ in self.sizes]
        for start in starts:
            generator = torch.Generator().manual_seed(self.setting.seed * 1_000_003 + start)
            for place, (inputs, _) in enumerate(self.sizes):
                uniform = torch.rand((rank, inputs), generator=generator) * 2 - 1
                down[place].append(uniform * inputs**-0.5)
        self.down = [torch.stack(one).to(device).requires_grad_() for one in down]
        self.up = [
            torch.zeros((len(starts), outputs, rank), device=device, requires_grad=True) for _, outputs in self.sizes
        ]
        self.adam = torch.optim.Adam(
            [*self.down, *self.up],
            lr=self.knobs.learning_rate,
            betas=(self.knobs.beta1, self.knobs.beta2),
            eps=self.knobs.epsilon,
        )

    def score(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        self.model.requires_grad_(False)
        with ExitStack() as hooks:
            for place, layer in enumerate(self.layers):
                hooks.callback(layer.register_forward_hook(self._adding(place)).remove)
            hidden_BTD = type(self.model).hidden(self.model, ids_BT)  # never the compiled one: the hooks come and go
        logits_BTV = self.model.logits(hidden_BTD, self._added(len(self.layers), hidden_BTD))
        self.model.requires_grad_(True)
        return F.cross_entropy(logits_BTV.transpose(1, 2), targets_BT, reduction="none")

    def learn(self, loss_BT: Tensor, weight_BT: Tensor) -> None:
        self.adam.zero_grad(set_to_none=True)
        (loss_BT * weight_BT).sum().backward()
        self.adam.step()

    def _added(self, place: int, x_BTI: Tensor) -> Tensor:
        """What the adapters of one layer add to its output: each row by its own document's."""
        rows = len(x_BTI)
        low_BTR = torch.bmm(x_BTI, self.down[place][:rows].mT.to(x_BTI.dtype))
        return torch.bmm(low_BTR, self.up[place][:rows].mT.to(x_BTI.dtype))

    def _adding(self, place: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda module, inputs, output: output + self._added(place, inputs[0])
