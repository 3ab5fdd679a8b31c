from dataclasses import dataclass

import torch
from torch import nn

from jobs.knobs import Count, Positive


@dataclass(frozen=True, kw_only=True)
class Swa:
    """The plain mean of snapshots taken every so many steps near the end, in float32, and applied.

    Snapshots are taken once the rate's scale is below ``start_below``: 0.4 (#180's record), or 0.2, "tight". Where the
    run ends before the first snapshot, the last weights stay as they are, and the log says so.

    Source: arXiv 1803.05407; PRs #180 and #374 of the field. The #414 family collects one and never loads it.
    """

    start_below: Positive = 0.4  # of the peak rate
    every: Count = 50  # steps

    small = {"laptop": {"every": 10}, "smoke": {"every": 1}, "one_gpu_quick": {"every": {"times": 0.1}}}

    def start(self, model: nn.Module) -> "SwaAverage":
        return SwaAverage(self, model)


class SwaAverage:
    def __init__(self, knobs: Swa, model: nn.Module) -> None:
        self.knobs, self.parameters = knobs, list(model.parameters())
        self.total = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in self.parameters]
        self.snapshots = 0

    @torch.no_grad()
    def update(self, *, step: int, scale: float) -> None:
        if scale < self.knobs.start_below and step % self.knobs.every == 0:
            torch._foreach_add_(self.total, [parameter.detach().float() for parameter in self.parameters])
            self.snapshots += 1

    @torch.no_grad()
    def apply(self) -> str:
        if not self.snapshots:
            return "swa:no checkpoint was taken, the last weights stay"
        for parameter, total in zip(self.parameters, self.total, strict=True):
            parameter.copy_(total / self.snapshots)
        return f"swa:applying averaged {self.snapshots} checkpoints"
