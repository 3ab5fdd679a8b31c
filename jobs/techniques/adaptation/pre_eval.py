import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.adapting import Setting, SharedSteps, rate_groups, row_batches
from jobs.contract.events import EpochAdapted
from jobs.contract.records import PRE_EVAL
from jobs.knobs import Count, CountOrZero, Memory, PositiveOrZero, Share


@dataclass(frozen=True, kw_only=True)
class PreEval:
    """Train on the whole validation stream, several times over, before any of it is scored: a diagnostic.

    No record may claim the score: every token was learned before it was scored. ``before_quantization`` adapts the
    averaged weights and packs the result (#462); otherwise the weights of the artifact are adapted (#518).
    With ``decay: cosine`` the rate falls every step to ``final_fraction`` of the peak, with ``epoch_cosine`` after each
    epoch.

    Source: PRs #398 (SGD), #442 and #462 (AdamW), #518 (cosine, rates by layer) of the field. There each rank walks its
    own eighth of the stream; here all ranks take each step on the same rows, so that their number changes nothing.
    """

    optimizer: Literal["sgd", "adamw"] = "adamw"  # with torch's defaults but for the knobs below
    learning_rate: PositiveOrZero = 5e-4  # at its peak
    momentum: Memory = 0.9  # of SGD
    weight_decay: PositiveOrZero = 0.0  # decoupled in AdamW
    epochs: Count = 10  # over the whole stream
    decay: Literal["none", "cosine", "epoch_cosine"] = "none"  # every step, or after each epoch
    final_fraction: Share = 0.0  # of the peak rate, at the end of a cosine
    learning_rate_groups: dict[str, float] = field(default_factory=dict)  # part of a parameter's name: multiplier
    frozen_blocks: CountOrZero = 0  # the first blocks that are not trained
    batch_sequences: Count = 256  # rows of one step, over all ranks
    sequence_length: Count | None = None  # None: the training length
    clip_norm: PositiveOrZero = 1.0  # 0: no clipping
    before_quantization: bool = False  # adapt the averaged weights, then pack them

    protocol = PRE_EVAL

    small = {
        "laptop": {"batch_sequences": 16, "epochs": {"times": 0.067}},
        "smoke": {"batch_sequences": 64, "epochs": 1},
    }
    audit = {
        "probe": {"epochs": 2, "batch_sequences": 2, "sequence_length": 32},
        "canary": {"learning_rate": {"times": 10}, "epochs": 5, "batch_sequences": 4, "sequence_length": 32},
    }

    def adapt(self, model: nn.Module, tokens: Tensor, setting: Setting) -> None:
        """Change the weights of ``model`` in place by learning from ``tokens`` [N + 1], the whole stream."""
        groups = rate_groups(model, self.learning_rate_groups, frozen_blocks=self.frozen_blocks)
        steps = SharedSteps(model, self._optimizer(groups), clip_norm=self.clip_norm, setting=setting)
        batches = row_batches(
            tokens.to(setting.world.device),
            sequence_length=self.sequence_length or setting.training_length,
            batch_sequences=self.batch_sequences,
        )
        log = setting.log
        log.line(
            f"ttt:start protocol:{self.protocol} optimizer:{self.optimizer} epochs:{self.epochs} "
            f"lr:{self.learning_rate} decay:{self.decay} steps_per_epoch:{len(batches)}"
        )
        for epoch in range(self.epochs):
            losses = [
                steps.take(inputs, targets, learning_rate=self._rate(epoch, step, len(batches)))
                for step, (inputs, targets) in enumerate(batches)
            ]
            mean = math.fsum(losses) / len(losses)
            log.line(f"ttt_epoch:{epoch + 1}/{self.epochs} loss:{mean:.4f} time:{log.seconds():.1f}s")
            log.event(EpochAdapted(epoch=epoch + 1, loss_nats=mean, seconds=log.seconds()))

    def _optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=self.momentum, weight_decay=self.weight_decay)
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=self.weight_decay)

    def _rate(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """The rate of a step: progress runs from 0 at the first step to 1 just after the last, never beyond."""
        if self.decay == "none":
            return self.learning_rate
        progress = epoch / self.epochs
        if self.decay == "cosine":
            progress = (epoch * steps_per_epoch + step) / (self.epochs * steps_per_epoch)
        falling = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * falling)
