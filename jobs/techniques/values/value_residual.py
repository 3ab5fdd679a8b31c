from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class ValueResidual:
    """The values of every later block mixed with those of the first: v <- a v + b v_first, learned for each place.

    Source: arXiv 2410.17897; PR #1045 of the field (a = b = 0.5 at first).
    """

    own_init: float = 0.5  # weight of a block's own values
    first_init: float = 0.5  # weight of the first block's

    def build(self, shape: Shape, order: Sequence[int]) -> nn.Module:
        return MixedValues(len(order), self.own_init, self.first_init)


class MixedValues(nn.Module):
    def __init__(self, num_places: int, own: float, first: float) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.tensor([[own, first]]).repeat(num_places - 1, 1))

    def forward(self, place: int, v_BTGK: Tensor, first_BTGK: Tensor | None, ids_BT: Tensor) -> Tensor:
        if first_BTGK is None:
            return v_BTGK
        own, first = self.mix[place - 1].to(v_BTGK.dtype)
        return own * v_BTGK + first * first_BTGK
