from dataclasses import dataclass

from torch import Tensor, nn

from jobs.kernels.attention import causal_attention
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class SoftmaxAttention:
    """Causal softmax attention; grouped where there are fewer key/value heads than query heads.

    Source: grouped queries, arXiv 2305.13245.
    """

    def build(self, shape: Shape, layer: int) -> nn.Module:
        return SoftmaxHeads()


class SoftmaxHeads(nn.Module):
    def forward(self, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor) -> Tensor:
        return causal_attention(q_BTHK, k_BTGK, v_BTGK)
