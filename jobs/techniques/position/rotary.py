from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from jobs.contract.errors import Refused
from jobs.knobs import Count, Positive
from jobs.recipe import Shape


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Rotary position embedding of the first ``dims`` of each head, half-split convention.

    With ``ntk_reference_length`` the base grows to ``base * (length / reference) ** (dims / (dims - 2))`` when the
    training length exceeds the reference: 22,082 for 16 dims at 2048 over 1024, as the #414 family trains.

    Source: arXiv 2104.09864; partial rotation as in PR #315 of the field, NTK scaling as in PR #414.
    """

    dims: Annotated[int, "2 or more"] = 64  # rotated dims of each head, even; the rest passes through untouched
    base: Positive = 10_000.0  # of the angular frequencies
    ntk_reference_length: Count | None = None  # None: the base stays as it is

    small = {"laptop": {"dims": {"times": 0.5}}, "smoke": {"dims": {"times": 0.25}}}

    def build(self, shape: Shape, sequence_length: int) -> nn.Module:
        if self.dims % 2 or not 2 <= self.dims <= shape.head_dim:
            raise Refused(f"rotary dims must be even and at most the head's {shape.head_dim}, found {self.dims}")
        if self.ntk_reference_length is not None and (self.dims < 4 or self.ntk_reference_length < 1):
            raise Refused(
                f"rotary: NTK scaling needs 4 dims or more and a reference length of 1 or more, "
                f"found dims {self.dims} and ntk_reference_length {self.ntk_reference_length}"
            )
        return RotaryEmbedding(self.dims, self.effective_base(sequence_length))

    def effective_base(self, sequence_length: int) -> float:
        """The base in use at this training length."""
        if self.ntk_reference_length is None or sequence_length <= self.ntk_reference_length:
            return self.base
        return self.base * (sequence_length / self.ntk_reference_length) ** (self.dims / (self.dims - 2))


class RotaryEmbedding(nn.Module):
    """x [B, T, heads, K] -> rotated by position; angles in float32, result in the dtype of x."""

    inverse_frequency: Tensor

    def __init__(self, dims: int, base: float) -> None:
        super().__init__()
        self.dims = dims
        exponent = torch.arange(0, dims, 2, dtype=torch.float32) / dims
        self.register_buffer("inverse_frequency", base**-exponent, persistent=False)

    def forward(self, x_BTHK: Tensor) -> Tensor:
        position = torch.arange(x_BTHK.size(1), device=x_BTHK.device, dtype=torch.float32)
        angle = torch.outer(position, self.inverse_frequency.float())[None, :, None, :]
        cos, sin = angle.cos().to(x_BTHK.dtype), angle.sin().to(x_BTHK.dtype)
        half = self.dims // 2
        first, second, rest = x_BTHK[..., :half], x_BTHK[..., half : self.dims], x_BTHK[..., self.dims :]
        return torch.cat((first * cos + second * sin, second * cos - first * sin, rest), dim=-1)
