from dataclasses import dataclass

import torch
from torch import nn

from jobs.layers import Linear


@dataclass(frozen=True, kw_only=True)
class TorchDefault:
    """Linear layers uniform in ±1 / sqrt(inputs), as torch's own; output projections zero.

    Source: torch.nn.Linear; zero output projections as in the challenge's naive baseline.
    """

    def initialize(self, model: nn.Module) -> None:
        for layer in model.modules():
            if isinstance(layer, Linear):
                bound = 0.0 if layer.starts_at_zero else layer.weight.size(1) ** -0.5
                with torch.no_grad():
                    layer.weight.uniform_(-bound, bound)
