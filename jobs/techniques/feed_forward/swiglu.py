from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from jobs.knobs import Count, Positive
from jobs.layers import Linear, hidden_width
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class Swiglu:
    """down(silu(gate x) * up x), the gated unit itself; three matrices, so 2/3 of the hidden width for equal size.

    Source: arXiv 2002.05202.
    """

    hidden_multiple: Positive = 2.0  # hidden width over model width; 2 is as large as 3 without a gate
    hidden_dim: Count | None = None  # the hidden width itself, where it is given

    def build(self, shape: Shape, layer: int) -> nn.Module:
        return SwigluLayer(shape.model_dim, hidden_width(shape.model_dim, self.hidden_multiple, self.hidden_dim))


class SwigluLayer(nn.Module):
    def __init__(self, model_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate = Linear(model_dim, hidden_dim)
        self.up = Linear(model_dim, hidden_dim)
        self.down = Linear(hidden_dim, model_dim, starts_at_zero=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))
