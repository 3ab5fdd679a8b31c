"""The layers that techniques are built from."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Module):
    """``x @ weight.T`` without bias: weight float32 [out, in], cast to the dtype of ``x`` for the product.

    ``starts_at_zero`` is for a layer whose output is added to the residual stream: the block begins as identity.
    """

    def __init__(self, in_features: int, out_features: int, *, starts_at_zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.starts_at_zero = starts_at_zero

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


def rms_norm(x: Tensor) -> Tensor:
    """``x`` divided by its root mean square over the last dimension; no weight, eps that of the dtype."""
    return F.rms_norm(x, (x.size(-1),))
