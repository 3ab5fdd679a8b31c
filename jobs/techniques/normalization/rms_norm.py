from dataclasses import dataclass

from torch import Tensor, nn

from jobs.layers import rms_norm
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class RmsNorm:
    """Root mean square norm without weights, optionally damped with depth ("LN scale").

    With ``depth_scaled`` the norms of block l (from 0) are multiplied by the constant 1 / sqrt(l + 1). Query and key
    norms cancel it; it acts on the values and, squared by relu², on the feed-forward.

    Source: arXiv 1910.07467; depth scaling as in PR #374 of the field.
    """

    depth_scaled: bool = False  # damp block l by 1 / sqrt(l + 1)

    def build(self, shape: Shape, layer: int) -> nn.Module:
        return ScaledRmsNorm((layer + 1) ** -0.5 if self.depth_scaled else 1.0)


class ScaledRmsNorm(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x_BTD: Tensor) -> Tensor:
        normed = rms_norm(x_BTD)
        return normed if self.scale == 1.0 else normed * self.scale
