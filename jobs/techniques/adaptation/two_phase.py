import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.adapting import Setting, SharedSteps, only_training, row_batches
from jobs.contract.errors import Refused
from jobs.contract.events import EpochAdapted
from jobs.contract.records import PRE_EVAL
from jobs.knobs import Count, CountOrZero, Memory, PositiveOrZero
from jobs.layers import num_layers_of, role_of

SCALES = ("attn_scale", "mlp_scale", "resid_mix")  # what "norm" phases really train: the norms have no weights


@dataclass(frozen=True, kw_only=True)
class TwoPhase:
    """Train on the whole validation stream before scoring it, in two phases: scales and mixes, then the last blocks.

    A diagnostic: no record may claim the score. The first phase trains the branch scales and x0 mixes of every block
    with Adam, the second the last blocks, all scales and mixes, and the token table (which is the output head, where
    they are tied) with SGD. In each the rate falls as a cosine over the epochs; rows come in a new order each epoch.

    Source: PRs #410, #415 and #417 of the field. There the last rows of the stream are never used; here all are.
    """

    phases: Literal["both", "first", "second"] = "both"  # which of the two
    first_epochs: CountOrZero = 100  # of the scales and mixes
    first_learning_rate: PositiveOrZero = 0.01  # of Adam, at its peak
    second_epochs: CountOrZero = 25  # of the last blocks and the token table
    second_learning_rate: PositiveOrZero = 0.005  # of SGD, at its peak
    second_momentum: Memory = 0.9  # of SGD
    last_blocks: CountOrZero = 3  # trained in the second phase
    batch_sequences: Count = 512  # rows of one step, over all ranks
    sequence_length: Count | None = None  # None: the training length

    protocol = PRE_EVAL
    before_quantization = False

    small = {
        "laptop": {
            "first_epochs": {"times": 0.03},
            "second_epochs": {"times": 0.1},
            "last_blocks": 1,
            "batch_sequences": 32,
        },
        "smoke": {"first_epochs": 1, "second_epochs": 1, "last_blocks": 1, "batch_sequences": 128},
    }
    audit = {
        "probe": {"first_epochs": 2, "second_epochs": 2, "batch_sequences": 2, "sequence_length": 32},
        "canary": {
            "first_epochs": 5,
            "first_learning_rate": {"times": 10},
            "second_epochs": 5,
            "second_learning_rate": {"times": 10},
            "batch_sequences": 4,
            "sequence_length": 32,
        },
    }

    def adapt(self, model: nn.Module, tokens: Tensor, setting: Setting) -> None:
        """Change the weights of ``model`` in place by learning from ``tokens`` [N + 1], the whole stream."""
        if self.phases != "second":
            with only_training(model, scale_names(model)) as chosen:
                adam = torch.optim.Adam([{"params": chosen, "multiplier": 1.0}], lr=0.0)
                rate = self.first_learning_rate
                self._phase("first", model, tokens, setting, adam, epochs=self.first_epochs, learning_rate=rate)
        if self.phases != "first":
            with only_training(model, last_block_names(model, self.last_blocks)) as chosen:
                momentum, rate = self.second_momentum, self.second_learning_rate
                sgd = torch.optim.SGD([{"params": chosen, "multiplier": 1.0}], lr=0.0, momentum=momentum)
                self._phase("second", model, tokens, setting, sgd, epochs=self.second_epochs, learning_rate=rate)

    def _phase(
        self,
        name: str,
        model: nn.Module,
        tokens: Tensor,
        setting: Setting,
        optimizer: torch.optim.Optimizer,
        *,
        epochs: int,
        learning_rate: float,
    ) -> None:
        steps = SharedSteps(model, optimizer, clip_norm=0.0, setting=setting)
        length = self.sequence_length or setting.training_length
        [(inputs, targets)] = row_batches(
            tokens.to(setting.world.device), sequence_length=length, batch_sequences=tokens.numel()
        )
        trained = sum(parameter.numel() for parameter in steps.parameters)
        frozen = sum(parameter.numel() for parameter in model.parameters()) - trained
        setting.log.line(
            f"ttt:phase_{name}:start epochs:{epochs} lr:{learning_rate} unfrozen:{trained} frozen:{frozen}"
        )
        generator = torch.Generator().manual_seed(setting.seed)
        for epoch in range(epochs):
            rate = learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
            losses = [
                steps.take(inputs[rows], targets[rows], learning_rate=rate)
                for rows in order.split(self.batch_sequences)
            ]
            mean = math.fsum(losses) / len(losses)
            setting.log.line(f"ttt:phase_{name}:epoch:{epoch + 1}/{epochs} lr:{rate:.6f} loss:{mean:.4f}")
            log = setting.log
            log.event(EpochAdapted(phase=name, epoch=epoch + 1, loss_nats=mean, seconds=log.seconds()))


def scale_names(model: nn.Module) -> list[str]:
    """The branch scales and mixes of every block: what the field calls "norm", though its norms have no weights.

    Raises:
        Refused: the recipe's residual has none.
    """
    names = [name for name, parameter in model.named_parameters() if role_of(parameter).part == "residual"]
    if not names:
        raise Refused("two_phase: the residual of this recipe has no scales and mixes to train in the first phase")
    return names


def last_block_names(model: nn.Module, last_blocks: int) -> list[str]:
    """Everything in the last blocks, the scales and mixes of all, and the token table or untied head."""
    first = num_layers_of(model) - last_blocks
    scales = set(scale_names(model))
    return [
        name
        for name, parameter in model.named_parameters()
        if name in scales
        or (role := role_of(parameter)).kind in ("token_table", "head")
        or (role.layer is not None and role.layer >= first)
    ]
