"""The layers that techniques are built from."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.quantization import Grid


class Linear(nn.Module):
    """``x @ weight.T`` without bias: weight float32 [out, in], cast to the dtype of ``x`` for the product.

    ``starts_at_zero`` is for a layer whose output is added to the residual stream: the block begins as identity.
    """

    def __init__(self, in_features: int, out_features: int, *, starts_at_zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.starts_at_zero = starts_at_zero
        self.grid: Grid | None = None  # set where a recipe trains on rounded weights
        self.rounds = False  # torch.compile guards on it: flipping it takes the other graph

    def forward(self, x: Tensor) -> Tensor:
        weight = self.grid.straight_through(self.weight) if self.rounds and self.grid else self.weight
        return F.linear(x, weight.to(x.dtype))


def hidden_width(model_dim: int, multiple: float, number: int | None) -> int:
    """The hidden width of a feed-forward: ``number`` where it is given, else ``multiple`` times the model's width."""
    return number if number is not None else int(multiple * model_dim)


def rms_norm(x: Tensor) -> Tensor:
    """``x`` divided by its root mean square over the last dimension; no weight, torch's own eps."""
    return F.rms_norm(x, (x.size(-1),))
