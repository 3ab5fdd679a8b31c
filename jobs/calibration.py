"""Watching a trained model at work, for quantizers that round with an eye on what the weights are used for.

The model is called as it was before compilation: hooks come and go, and every length would be compiled anew.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.contract.shards import BOS_TOKEN
from jobs.data.loader import SequentialLoader
from jobs.layers import Linear
from jobs.world import World


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Where calibration text may come from: the training data, or the model itself. Never the validation stream."""

    world: World
    data_path: Path
    sequence_length: int
    vocab_size: int
    seed: int

    def training_text(self, sequences: int) -> Tensor:
        """This rank's share of ``sequences`` training sequences, int64 [B, T], from the start of the stream."""
        loader = SequentialLoader(self.data_path, sequence_length=self.sequence_length, world=self.world)
        return loader.next(max(1, sequences // self.world.size))[0]

    @torch.no_grad()
    def generated_text(self, model: Any, sequences: int, *, temperature: float) -> Tensor:
        """This rank's share of ``sequences`` sequences that the model writes itself, int64 [B, T].

        They begin with BOS and a random token; each rank draws from its own generator.
        """
        generator = torch.Generator(device=self.world.device).manual_seed(self.seed * 1009 + self.world.rank)
        count = max(1, sequences // self.world.size)
        first = torch.randint(self.vocab_size, (count, 1), generator=generator, device=self.world.device)
        text = torch.cat((torch.full_like(first, BOS_TOKEN), first), dim=1)
        while text.size(1) < self.sequence_length:
            logits_BV = model.logits(type(model).hidden(model, text)[:, -1]) / temperature
            text = torch.cat((text, torch.multinomial(logits_BV.softmax(-1), 1, generator=generator)), dim=1)
        return text

    @torch.no_grad()
    def hessians(self, model: Any, text_BT: Tensor, *, batch_sequences: int = 8) -> dict[str, Tensor]:
        """Of every linear layer, the mean of x xᵀ over the inputs x it sees: float32 [in, in], summed over all ranks.

        Keyed by the weight's name. Undamped: damping is added once, where the matrix is inverted.
        """
        sums: dict[str, Tensor] = {}
        hooks = []

        def watch(name: str) -> Any:
            def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
                inputs = arguments[0].flatten(0, -2).float()
                sums[name] = sums.get(name, 0) + inputs.mT @ inputs

            return hook

        for name, module in model.named_modules():
            if isinstance(module, Linear):
                hooks.append(module.register_forward_pre_hook(watch(f"{name}.weight")))
        try:
            for batch in text_BT.split(batch_sequences):
                model.logits(type(model).hidden(model, batch))
        finally:
            for one in hooks:
                one.remove()
        self.world.sum_all(sums.values())
        positions = text_BT.numel() * self.world.size
        return {name: total / positions for name, total in sums.items()}

    def squared_gradients(self, model: Any, text_BT: Tensor, *, batch_sequences: int = 8) -> dict[str, Tensor]:
        """Of every parameter, the mean square of its gradient on ``text_BT``: how much the loss feels it; scalars."""
        sums = {name: torch.zeros((), device=self.world.device) for name, _ in model.named_parameters()}
        batches = text_BT.split(batch_sequences)
        for batch in batches:
            model.zero_grad(set_to_none=True)
            logits_NV = model.logits(type(model).hidden(model, batch[:, :-1])).flatten(0, 1)
            F.cross_entropy(logits_NV, batch[:, 1:].flatten()).backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    sums[name] += parameter.grad.float().square().mean()
        model.zero_grad(set_to_none=True)
        self.world.sum_all(sums.values())
        return {name: total / (len(batches) * self.world.size) for name, total in sums.items()}
