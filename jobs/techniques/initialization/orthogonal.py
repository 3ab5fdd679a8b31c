from dataclasses import dataclass

import torch
from torch import nn

from jobs.knobs import CountOrZero
from jobs.layers import Linear, num_layers_of, role_of


@dataclass(frozen=True, kw_only=True)
class Orthogonal:
    """Orthogonal linear layers (gain 1) where both sides have at least 64; output projections zero.

    Projections (of the bigram hash and the shared value embedding) are scaled by 1 / sqrt(2 L).
    Smaller layers keep torch's default.

    Source: arXiv 1312.6120; as in PR #414 of the field.
    """

    smallest_side: CountOrZero = 64  # smaller layers keep the default

    def initialize(self, model: nn.Module) -> None:
        num_layers = num_layers_of(model)
        for layer in model.modules():
            if not isinstance(layer, Linear):
                continue
            with torch.no_grad():
                if layer.starts_at_zero:
                    layer.weight.zero_()
                elif min(layer.weight.shape) < self.smallest_side:
                    layer.weight.uniform_(-(layer.weight.size(1) ** -0.5), layer.weight.size(1) ** -0.5)
                else:
                    nn.init.orthogonal_(layer.weight)
                    if role_of(layer.weight).kind == "projection":
                        layer.weight.mul_((2 * num_layers) ** -0.5)
