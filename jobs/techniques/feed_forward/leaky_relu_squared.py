from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from jobs.knobs import Count, Positive
from jobs.layers import Linear, hidden_width
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class LeakyReluSquared:
    """down(leaky_relu(up x)²): negative inputs u give (slope u)², so the function is not monotone.

    Source: PR #493 of the field; used by #518 and #549 with slope 0.5.
    """

    hidden_multiple: Positive = 3.0  # hidden width over model width
    hidden_dim: Count | None = None  # the hidden width itself, where it is given
    slope: float = 0.5  # of the negative half, before squaring

    def build(self, shape: Shape, layer: int) -> nn.Module:
        return LeakyReluSquaredLayer(
            shape.model_dim, hidden_width(shape.model_dim, self.hidden_multiple, self.hidden_dim), self.slope
        )


class LeakyReluSquaredLayer(nn.Module):
    def __init__(self, model_dim: int, hidden_dim: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.up = Linear(model_dim, hidden_dim)
        self.down = Linear(hidden_dim, model_dim, starts_at_zero=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.leaky_relu(self.up(x_BTD), self.slope).square())
