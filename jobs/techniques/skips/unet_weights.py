from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class UnetWeights:
    """The outputs of the first half of the blocks are added, in reverse order, before those of the second half.

    Of the L blocks as they are run the first L // 2 encode, the rest decode; decoder block i gets weight_i * (output of
    encoder block L // 2 - 1 - i), with one weight a channel that starts at 1. With odd L the last decoder block gets
    none. Where blocks recur, L counts them as often as they are run.

    Source: the challenge's naive baseline, after modded-nanogpt.
    """

    def build(self, shape: Shape, order: Sequence[int]) -> nn.Module:
        return UnetSkips(len(order), shape.model_dim)


class UnetSkips(nn.Module):
    def __init__(self, num_places: int, model_dim: int) -> None:
        super().__init__()
        self.num_encoders = num_places // 2
        self.skip_weights = nn.Parameter(torch.ones(self.num_encoders, model_dim))

    def enter(self, place: int, x_BTD: Tensor, outputs: list[Tensor]) -> Tensor:
        decoder = place - self.num_encoders
        if not 0 <= decoder < self.num_encoders:
            return x_BTD
        return x_BTD + self.skip_weights[decoder].to(x_BTD.dtype) * outputs[self.num_encoders - 1 - decoder]

    def leave(self, x_BTD: Tensor, outputs: list[Tensor]) -> Tensor:
        return x_BTD
