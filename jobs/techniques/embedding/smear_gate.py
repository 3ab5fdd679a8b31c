from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.contract.shards import BOS_TOKEN
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class SmearGate:
    """Each position takes a learned share of the one before: x_t <- (1 - g) x_t + g x_{t-1}, after the first norm.

    g = sigmoid(gate), channel by channel, 0.5 at first. The first position has nothing before it. The published models
    also smear the end of a document into the BOS of the next; ``masks_bos: false`` does that.

    Source: PRs #162 and #198 of the field; the mask PR #1851.
    """

    masks_bos: bool = True  # a BOS takes nothing from the document before it

    def build(self, shape: Shape) -> nn.Module:
        return Smear(shape.model_dim, self.masks_bos)


class Smear(nn.Module):
    def __init__(self, model_dim: int, masks_bos: bool) -> None:
        super().__init__()
        self.masks_bos = masks_bos
        self.gate = nn.Parameter(torch.zeros(model_dim))

    def before_norm(self, x_BTD: Tensor, ids_BT: Tensor) -> Tensor:
        return x_BTD

    def after_norm(self, x_BTD: Tensor, ids_BT: Tensor) -> Tensor:
        share = self.gate.sigmoid().to(x_BTD.dtype).expand_as(x_BTD)
        if self.masks_bos:
            share = share * (ids_BT != BOS_TOKEN).unsqueeze(-1).to(x_BTD.dtype)
        before = torch.cat((torch.zeros_like(x_BTD[:, :1]), x_BTD[:, :-1]), dim=1)
        return (1 - share) * x_BTD + share * before
