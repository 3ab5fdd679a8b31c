from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from jobs.knobs import CountOrZero
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class ExclusiveSelfAttention:
    """Take out of each head's output what points along the value of its own token ("XSA").

    y <- y - (y . u) u with u the unit vector of the token's own value (shared value embedding included) in the head's
    group; the first token, which attends to itself alone, is left with nothing. Grouped heads are broadcast, not
    repeated.

    Source: arXiv 2603.09078; grouped form PR #265 of the field.
    """

    last_layers: CountOrZero | None = 4  # how many layers, from the last; None: all

    small = {"laptop": {"last_layers": 2}, "smoke": {"last_layers": 2}}

    def build(self, shape: Shape, layer: int) -> nn.Module | None:
        if self.last_layers is not None and layer < shape.num_layers - self.last_layers:
            return None
        return WithoutOwnValue()


class WithoutOwnValue(nn.Module):
    def forward(self, y_BTHK: Tensor, v_BTGK: Tensor, n_BTD: Tensor) -> Tensor:
        y_BTGRK = y_BTHK.unflatten(2, (v_BTGK.size(2), -1))
        own_BTG1K = F.normalize(v_BTGK, dim=-1).unsqueeze(3)
        along = (y_BTGRK * own_BTG1K).sum(dim=-1, keepdim=True)
        return (y_BTGRK - along * own_BTG1K).flatten(2, 3)
