import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.kernels.attention import causal_attention
from jobs.knobs import CountOrZero
from jobs.recipe import Shape
from jobs.techniques.attention.softmax import SoftmaxHeads


@dataclass(frozen=True, kw_only=True)
class DifferentialAttention:
    """In the first layers, the difference of two attentions, one over each half of the query/key dims.

    y = softmax(q1 k1 / sqrt(K/2)) v - lambda softmax(q2 k2 / sqrt(K/2)) v, with one learned lambda a head that starts
    at 0.8 - 0.6 exp(-0.3 layer). Query/key norm comes before the split; partial rotation then reaches the first half
    only. The paper's reparametrised lambda, head norm and (1 - lambda) factor are left out, as in the fork of #462.

    Source: arXiv 2410.05258; fork of PR #462 (no result was ever published).
    """

    first_layers: CountOrZero = 7  # how many layers, from the first, are differential; the rest is softmax attention

    small = {"laptop": {"first_layers": 3}, "smoke": {"first_layers": 3}}

    def build(self, shape: Shape, layer: int) -> nn.Module:
        if layer >= self.first_layers:
            return SoftmaxHeads()
        return DifferentialHeads(shape.num_heads, initial_lambda(layer))


def initial_lambda(layer: int) -> float:
    """0.200, 0.356, 0.471, ... for layers 0, 1, 2, ..."""
    return 0.8 - 0.6 * math.exp(-0.3 * layer)


class DifferentialHeads(nn.Module):
    def __init__(self, num_heads: int, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_heads,), weight))

    def forward(self, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor) -> Tensor:
        (q1, q2), (k1, k2) = q_BTHK.chunk(2, dim=-1), k_BTGK.chunk(2, dim=-1)
        second = causal_attention(q2, k2, v_BTGK)
        return causal_attention(q1, k1, v_BTGK) - self.weight.to(second.dtype)[:, None] * second
