from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class Backout:
    """Before the last norm, a learned share of the middle block's output is taken out: x <- x - w * h_middle.

    The middle is block L // 2, where encoder meets decoder.

    Source: PR #339 of the field (w = 0.2 at first).
    """

    initial: float = 0.2  # learned weight at step 0

    def build(self, shape: Shape, order: Sequence[int]) -> nn.Module:
        return MiddleOut(len(order) // 2, self.initial)


class MiddleOut(nn.Module):
    def __init__(self, middle: int, initial: float) -> None:
        super().__init__()
        self.middle = middle
        self.weight = nn.Parameter(torch.tensor(initial))

    def enter(self, place: int, x_BTD: Tensor, outputs: list[Tensor]) -> Tensor:
        return x_BTD

    def leave(self, x_BTD: Tensor, outputs: list[Tensor]) -> Tensor:
        return x_BTD - self.weight.to(x_BTD.dtype) * outputs[self.middle]
