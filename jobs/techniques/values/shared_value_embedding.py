from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.knobs import Count, CountOrZero
from jobs.layers import Linear
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class SharedValueEmbedding:
    """One small table of token vectors, projected and added to the values of the last layers ("VE128").

    v <- v + s_layer * s * projection(table[token]); s starts at 0.1, each s_layer at 1.

    Source: PR #374 of the field.
    """

    dim: Count = 128  # width of the table
    last_layers: CountOrZero = 2  # how many layers, from the last

    small = {"laptop": {"dim": 32, "last_layers": 1}, "smoke": {"dim": 16, "last_layers": 1}}

    def build(self, shape: Shape, order: Sequence[int]) -> nn.Module:
        return ValueTable(shape, order, self.dim, self.last_layers)


class ValueTable(nn.Module):
    def __init__(self, shape: Shape, order: Sequence[int], dim: int, last_layers: int) -> None:
        super().__init__()
        self.order = tuple(order)
        self.first_layer = shape.num_layers - last_layers
        self.table = nn.Embedding(shape.vocab_size, dim)
        nn.init.normal_(self.table.weight, std=0.01)
        self.projection = Linear(dim, shape.num_kv_heads * shape.head_dim)
        self.scale = nn.Parameter(torch.tensor(0.1))
        self.layer_scales = nn.ParameterList([nn.Parameter(torch.ones(())) for _ in range(last_layers)])

    def forward(self, place: int, v_BTGK: Tensor, first_BTGK: Tensor | None, ids_BT: Tensor) -> Tensor:
        layer = self.order[place]
        if layer < self.first_layer:
            return v_BTGK
        scale = (self.scale * self.layer_scales[layer - self.first_layer]).to(v_BTGK.dtype)
        return v_BTGK + scale * self.projection(self.table(ids_BT).to(v_BTGK.dtype)).view_as(v_BTGK)
