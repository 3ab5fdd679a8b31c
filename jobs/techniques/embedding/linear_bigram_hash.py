from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from jobs.knobs import Count
from jobs.layers import Linear, mark
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class LinearBigramHash:
    """The bigram table of PR #462: bucket (1009 u_{t-1} + u_t) mod buckets, no gain, projection starting at zero.

    Before the first token stands token 0. The table starts normal with std 0.01 and stays float32.

    Source: variant B of the field, PR #462 (8192 buckets).
    """

    buckets: Count = 8192  # rows of the table
    dim: Count = 128  # width of the table

    small = {
        "laptop": {"buckets": {"times": 0.25}, "dim": 32},
        "smoke": {"buckets": 512, "dim": 16},
    }

    def build(self, shape: Shape) -> nn.Module:
        return LinearBigram(shape.model_dim, self.buckets, self.dim)


class LinearBigram(nn.Module):
    def __init__(self, model_dim: int, buckets: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets, dim)
        mark(self.table.weight, keeps_float32=True)
        nn.init.normal_(self.table.weight, std=0.01)
        self.projection = Linear(dim, model_dim, starts_at_zero=True)

    def bucket(self, ids_BT: Tensor) -> Tensor:
        """int64 [B, T] in 0..buckets-1."""
        return (1009 * F.pad(ids_BT[:, :-1], (1, 0)) + ids_BT) % self.table.num_embeddings

    def before_norm(self, x_BTD: Tensor, ids_BT: Tensor) -> Tensor:
        return x_BTD + self.projection(self.table(self.bucket(ids_BT)).to(x_BTD.dtype))

    def after_norm(self, x_BTD: Tensor, ids_BT: Tensor) -> Tensor:
        return x_BTD
