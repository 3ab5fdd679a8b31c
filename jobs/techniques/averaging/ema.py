from dataclasses import dataclass

import torch
from torch import nn

from jobs.knobs import Count, Memory


@dataclass(frozen=True, kw_only=True)
class Ema:
    """Exponential moving average of the weights, in float32, from the initial weights on.

    e <- d e + (1 - d) w after every ``every`` steps, with d = decay ** every, so that the memory in steps stays.

    Source: Polyak averaging; decay 0.997 as in PR #414 of the field.
    """

    decay: Memory = 0.997  # a step; the memory is about 1 / (1 - decay) steps
    every: Count = 1  # steps

    small = {"laptop": {"decay": 0.95}, "smoke": {"decay": 0.5}, "one_gpu_quick": {"decay": 0.95}}

    def start(self, model: nn.Module) -> "EmaAverage":
        return EmaAverage(self, model)


class EmaAverage:
    def __init__(self, knobs: Ema, model: nn.Module) -> None:
        self.knobs, self.model = knobs, model
        self.parameters = list(model.parameters())
        self.average = [parameter.detach().float().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, *, step: int, scale: float) -> None:
        if step % self.knobs.every:
            return
        current = [parameter.detach().float() for parameter in self.parameters]
        torch._foreach_lerp_(self.average, current, 1 - self.knobs.decay**self.knobs.every)

    @torch.no_grad()
    def apply(self) -> str:
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.copy_(average)
        return "ema:applying EMA weights"
