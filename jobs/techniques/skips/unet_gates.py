from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class UnetGates:
    """U-Net skips through learned gates: x <- g x + (1 - g) (w * skip), g = sigmoid(gate), 0.5 at first.

    Which block's output goes where is as with plain weights (``unet_weights``).

    Source: PR #462 of the field.
    """

    def build(self, shape: Shape, order: Sequence[int]) -> nn.Module:
        return GatedUnetSkips(len(order), shape.model_dim)


class GatedUnetSkips(nn.Module):
    def __init__(self, num_places: int, model_dim: int) -> None:
        super().__init__()
        self.num_encoders = num_places // 2
        self.skip_weights = nn.Parameter(torch.ones(self.num_encoders, model_dim))
        self.skip_gates = nn.Parameter(torch.zeros(self.num_encoders, model_dim))

    def enter(self, place: int, x_BTD: Tensor, outputs: list[Tensor]) -> Tensor:
        decoder = place - self.num_encoders
        if not 0 <= decoder < self.num_encoders:
            return x_BTD
        gate = self.skip_gates[decoder].sigmoid().to(x_BTD.dtype)
        skip = self.skip_weights[decoder].to(x_BTD.dtype) * outputs[self.num_encoders - 1 - decoder]
        return gate * x_BTD + (1 - gate) * skip

    def leave(self, x_BTD: Tensor, outputs: list[Tensor]) -> Tensor:
        return x_BTD
