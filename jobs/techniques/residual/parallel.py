from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from jobs.knobs import CountOrZero
from jobs.recipe import Shape
from jobs.techniques.residual.x0_mixing import MixedResidual


@dataclass(frozen=True, kw_only=True)
class ParallelResidual:
    """In the later blocks, attention and feed-forward read the same input and are added together.

    z = a * x + b * x0, n = norm(z), x <- z + s * attention(n) + t * feed_forward(n), with the scales and mixes of
    ``x0_mixing`` (a = s = t = 1, b = 0 at first), which the blocks before ``first_layer`` are.

    Source: GPT-J; PRs #1412 and #1493 of the field (from block 7 of 11). Their neighbours with two lanes are not this.
    """

    first_layer: CountOrZero = 7  # that is parallel; the layers before it are not

    small = {"laptop": {"first_layer": 2}, "smoke": {"first_layer": 2}}

    def build(self, shape: Shape, layer: int) -> nn.Module:
        mixed = MixedResidual if layer < self.first_layer else MixedParallelResidual
        return mixed(shape.model_dim, 1.0)


class MixedParallelResidual(MixedResidual):
    def forward(
        self,
        x_BTD: Tensor,
        x0_BTD: Tensor,
        attention: Callable[[Tensor], Tensor],
        feed_forward: Callable[[Tensor], Tensor],
        norm: Callable[[Tensor], Tensor],
    ) -> Tensor:
        z_BTD = self.mixed(x_BTD, x0_BTD)
        n_BTD = norm(z_BTD)
        return self.with_feed_forward(self.with_attention(z_BTD, attention(n_BTD)), feed_forward(n_BTD))
