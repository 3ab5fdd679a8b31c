import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.adapting import Setting, SharedSteps, rate_groups, row_batches
from jobs.contract.records import SCORE_FIRST
from jobs.knobs import Count, CountOrZero, Memory, PositiveOrZero


@dataclass(frozen=True, kw_only=True)
class ScoreFirst:
    """Score a chunk of the stream, then train on it, then score the next: legal test-time training.

    The learner gets a chunk only after the scoring loop has scored it, and the last chunk is never learned. The rate
    falls as a cosine over the chunks; momentum persists from chunk to chunk.

    Source: PRs #461 and #549 of the field (SGD, chunks of 32,768 targets, 3 epochs, all parameters).
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"  # with torch's defaults but for the knobs below
    learning_rate: PositiveOrZero = 0.002  # at its peak
    momentum: Memory = 0.9  # of SGD
    weight_decay: PositiveOrZero = 0.0  # decoupled in AdamW
    chunk_targets: Count = 32_768  # scored together, then learned
    epochs: Count = 3  # over each chunk
    batch_sequences: Count = 16  # rows of one step, over all ranks
    sequence_length: Count | None = None  # None: the training length
    decay: Literal["none", "cosine"] = "cosine"  # over the chunks
    frozen_blocks: CountOrZero = 0  # the first blocks that are not trained
    clip_norm: PositiveOrZero = 1.0  # 0: no clipping

    protocol = SCORE_FIRST
    before_quantization = False

    small = {
        "laptop": {"chunk_targets": 4096, "epochs": {"times": 0.67}},
        "smoke": {"chunk_targets": 8192, "batch_sequences": 64, "epochs": 1},
        "one_gpu_quick": {"chunk_targets": 4096},  # of 42,622: ten chunks are learned
    }
    audit = {
        "probe": {"chunk_targets": 32, "epochs": 2, "batch_sequences": 2, "sequence_length": 32},
        "canary": {
            "learning_rate": {"times": 10},
            "chunk_targets": 128,
            "epochs": 5,
            "batch_sequences": 4,
            "sequence_length": 32,
        },
    }

    def adapt(self, model: nn.Module, tokens: Tensor, setting: Setting) -> None:
        raise AssertionError("a score-first adaptation has no door to the unscored stream")

    def learner(self, model: nn.Module, setting: Setting) -> "ChunkLearner":
        """What the scoring loop hands each scored chunk to."""
        setting.log.line(
            f"ttt_sliding:start protocol:{self.protocol} optimizer:{self.optimizer} chunk:{self.chunk_targets} "
            f"epochs:{self.epochs} lr:{self.learning_rate}"
        )
        return ChunkLearner(self, model, setting)


class ChunkLearner:
    def __init__(self, knobs: ScoreFirst, model: nn.Module, setting: Setting) -> None:
        self.knobs, self.chunk_targets = knobs, knobs.chunk_targets
        self.sequence_length = knobs.sequence_length or setting.training_length
        groups = rate_groups(model, {}, frozen_blocks=knobs.frozen_blocks)
        optimizer: torch.optim.Optimizer
        if knobs.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=0.0, momentum=knobs.momentum, weight_decay=knobs.weight_decay)
        else:
            optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=knobs.weight_decay)
        self.steps = SharedSteps(model, optimizer, clip_norm=knobs.clip_norm, setting=setting)

    def learn(self, tokens: Tensor, *, chunk: int, num_chunks: int) -> None:
        rate = self.knobs.learning_rate
        if self.knobs.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * chunk / max(1, num_chunks - 1)))
        batches = row_batches(tokens, sequence_length=self.sequence_length, batch_sequences=self.knobs.batch_sequences)
        for _ in range(self.knobs.epochs):
            for inputs, targets in batches:
                self.steps.take(inputs, targets, learning_rate=rate)
