from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class X0Mixing:
    """Blocks that can mix the first embedding back in, and scale each of their halves, channel by channel.

    x <- a * x + b * x0 (a = 1, b = 0 at first), x <- x + s * attention(x), x <- x + t * feed_forward(x).

    Source: modded-nanogpt lineage; the challenge's naive baseline.
    """

    depth_scaled_init: bool = False  # s and t start at 1 / sqrt(layer + 1) instead of 1

    def build(self, shape: Shape, layer: int) -> nn.Module:
        return MixedResidual(shape.model_dim, (layer + 1) ** -0.5 if self.depth_scaled_init else 1.0)


class MixedResidual(nn.Module):
    def __init__(self, model_dim: int, branch_scale: float) -> None:
        super().__init__()
        self.resid_mix = nn.Parameter(torch.stack((torch.ones(model_dim), torch.zeros(model_dim))))
        self.attn_scale = nn.Parameter(torch.full((model_dim,), branch_scale))
        self.mlp_scale = nn.Parameter(torch.full((model_dim,), branch_scale))

    def forward(
        self,
        x_BTD: Tensor,
        x0_BTD: Tensor,
        attention: Callable[[Tensor], Tensor],
        feed_forward: Callable[[Tensor], Tensor],
        norm: Callable[[Tensor], Tensor],
    ) -> Tensor:
        x_BTD = self.mixed(x_BTD, x0_BTD)
        x_BTD = self.with_attention(x_BTD, attention(norm(x_BTD)))
        return self.with_feed_forward(x_BTD, feed_forward(norm(x_BTD)))

    def mixed(self, x_BTD: Tensor, x0_BTD: Tensor) -> Tensor:
        mix = self.resid_mix.to(x_BTD.dtype)
        return mix[0] * x_BTD + mix[1] * x0_BTD

    def with_attention(self, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
        return x_BTD + self.attn_scale.to(x_BTD.dtype) * y_BTD

    def with_feed_forward(self, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
        return x_BTD + self.mlp_scale.to(x_BTD.dtype) * y_BTD
