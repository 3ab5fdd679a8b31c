from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.knobs import Count
from jobs.layers import Linear
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class BigramHash:
    """A hashed table of pairs (this token, the one before), projected and added to the token embedding.

    Bucket ((36313 u_t) xor (27191 u_{t-1})) mod (buckets - 1); the first position has the last bucket to itself. Both
    tokens of a pair are inputs: the table never sees the target. The table starts at zero, the learned gain at 0.05.

    Source: variant A of the field, PRs #162 and #414; 2048 to 12288 buckets.
    """

    buckets: Count = 2048  # rows of the table
    dim: Count = 128  # width of the table
    gain_init: float = 0.05  # of the learned gain

    small = {
        "laptop": {"buckets": {"times": 0.25}, "dim": 32},
        "smoke": {"buckets": 512, "dim": 16},
    }

    def build(self, shape: Shape) -> nn.Module:
        return XorBigram(shape.model_dim, self.buckets, self.dim, self.gain_init)


class XorBigram(nn.Module):
    def __init__(self, model_dim: int, buckets: int, dim: int, gain: float) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets, dim)
        nn.init.zeros_(self.table.weight)
        self.projection = Linear(dim, model_dim)
        self.gain = nn.Parameter(torch.tensor(gain))

    def bucket(self, ids_BT: Tensor) -> Tensor:
        """int64 [B, T] in 0..buckets-1; in int64, so that no product overflows."""
        last = self.table.num_embeddings - 1
        pair = torch.bitwise_xor(36_313 * ids_BT[:, 1:], 27_191 * ids_BT[:, :-1]) % last
        return torch.cat((torch.full_like(ids_BT[:, :1], last), pair), dim=1)

    def before_norm(self, x_BTD: Tensor, ids_BT: Tensor) -> Tensor:
        looked_up = self.table(self.bucket(ids_BT)).to(x_BTD.dtype)
        return x_BTD + self.gain.to(x_BTD.dtype) * self.projection(looked_up)

    def after_norm(self, x_BTD: Tensor, ids_BT: Tensor) -> Tensor:
        return x_BTD
