from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class ValueResidual:
    """The values of every later layer mixed with those of the first: v <- a v + b v_first, learned for each layer.

    Source: arXiv 2410.17897; PR #1045 of the field (a = b = 0.5 at first).
    """

    own_init: float = 0.5  # weight of a layer's own values
    first_init: float = 0.5  # weight of the first layer's

    def build(self, shape: Shape) -> nn.Module:
        return MixedValues(shape.num_layers, self.own_init, self.first_init)


class MixedValues(nn.Module):
    def __init__(self, num_layers: int, own: float, first: float) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.tensor([[own, first]]).repeat(num_layers - 1, 1))

    def forward(self, layer: int, v_BTGK: Tensor, first_BTGK: Tensor | None, ids_BT: Tensor) -> Tensor:
        if first_BTGK is None:
            return v_BTGK
        own, first = self.mix[layer - 1].to(v_BTGK.dtype)
        return own * v_BTGK + first * first_BTGK
