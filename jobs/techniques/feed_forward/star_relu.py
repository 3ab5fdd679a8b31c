from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.knobs import Count, Positive
from jobs.layers import Linear, hidden_width
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class StarRelu:
    """down(s * relu(up x)² + b) with a learned scale and bias for each hidden channel.

    This is what PR #462 calls SwiGLU: there is no gate in it. With ``standardized`` s and b start at 0.8944 and
    -0.4472, which give zero mean and unit variance for Gaussian input, as in the paper; #462 starts at 1 and 0.

    Source: arXiv 2210.13452; per channel as in PR #462 of the field (hidden 3.5 x model width).
    """

    hidden_multiple: Positive = 3.5  # hidden width over model width
    hidden_dim: Count | None = None  # the hidden width itself, where it is given
    standardized: bool = False  # start at the paper's constants

    small = {"laptop": {"hidden_dim": {"times": 0.25}}, "smoke": {"hidden_dim": 224}}

    def build(self, shape: Shape, layer: int) -> nn.Module:
        hidden_dim = hidden_width(shape.model_dim, self.hidden_multiple, self.hidden_dim)
        scale, bias = (1.25**-0.5, -0.5 * 1.25**-0.5) if self.standardized else (1.0, 0.0)
        return StarReluLayer(shape.model_dim, hidden_dim, scale, bias)


class StarReluLayer(nn.Module):
    def __init__(self, model_dim: int, hidden_dim: int, scale: float, bias: float) -> None:
        super().__init__()
        self.up = Linear(model_dim, hidden_dim)
        self.scale = nn.Parameter(torch.full((hidden_dim,), scale))
        self.bias = nn.Parameter(torch.full((hidden_dim,), bias))
        self.down = Linear(hidden_dim, model_dim, starts_at_zero=True)

    def forward(self, x_BTD: Tensor) -> Tensor:
        hidden = F.relu(self.up(x_BTD)).square()
        return self.down(hidden * self.scale.to(hidden.dtype) + self.bias.to(hidden.dtype))
