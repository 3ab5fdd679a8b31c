from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class GatedAttention:
    """Each head's output times a sigmoid gate that the block's input opens and closes.

    The gate's weights start at zero and its bias at 4, so that it begins nearly open (0.98).

    Source: arXiv 2505.06708; bias as in the field's scripts, where it is switched off.
    """

    bias_init: float = 4.0  # of each gate, before the sigmoid

    def build(self, shape: Shape, layer: int) -> nn.Module:
        return HeadGate(shape.num_heads, shape.model_dim, self.bias_init)


class HeadGate(nn.Module):
    def __init__(self, num_heads: int, model_dim: int, bias: float) -> None:
        super().__init__()
        self.gate_weight = nn.Parameter(torch.zeros(num_heads, model_dim))
        self.gate_bias = nn.Parameter(torch.full((num_heads,), bias))

    def forward(self, y_BTHK: Tensor, v_BTGK: Tensor, n_BTD: Tensor) -> Tensor:
        gate_BTH = F.linear(n_BTD, self.gate_weight.to(n_BTD.dtype), self.gate_bias.to(n_BTD.dtype)).sigmoid()
        return y_BTHK * gate_BTH.unsqueeze(-1)
