from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from jobs.knobs import Count, Positive
from jobs.layers import Linear, hidden_width
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class ReluSquared:
    """down(relu(up x)²), without biases, down starting at zero.

    Source: Primer, arXiv 2109.08668.
    """

    hidden_multiple: Positive = 2.0  # hidden width over model width
    hidden_dim: Count | None = None  # the hidden width itself, where it is given

    def build(self, shape: Shape, layer: int) -> nn.Module:
        return ReluSquaredLayer(shape.model_dim, hidden_width(shape.model_dim, self.hidden_multiple, self.hidden_dim))


class ReluSquaredLayer(nn.Module):
    def __init__(self, model_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.up = Linear(model_dim, hidden_dim)
        self.down = Linear(hidden_dim, model_dim, starts_at_zero=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x_BTD)).square())
