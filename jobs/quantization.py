"""Rounding weights to a grid.

R rows (output channels) by C columns. A grid of b bits has the integers -(2**(b-1) - 1) .. 2**(b-1) - 1, or one more
below where ``full_range`` is asked for; the largest is called qmax.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.artifact import Encoded
from jobs.contract.errors import Refused
from jobs.rotation import rotated, unrotated


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How the rows of a matrix are rounded: the same object for training on rounded weights and for the export."""

    bits: int
    clip_quantile: float = 1.0  # of the magnitudes of a row, put at the end of the grid; 1.0: the largest
    full_range: bool = False  # also use the integer below -qmax
    smallest_limit: float = 0.0  # a row's scale is at least this over qmax
    rotation_seed: int | None = None  # the rows are turned by this Hadamard matrix before they are rounded

    def scales(self, weight_RC: Tensor) -> Tensor:
        """float16 [R]."""
        return row_scales(row_quantile(weight_RC, self.clip_quantile), self.bits, smallest_limit=self.smallest_limit)

    def encoded(self, name: str, weight_RC: Tensor) -> Encoded:
        """The matrix rounded, as it goes into the artifact."""
        scales = self.scales(weight_RC)
        values = rounded(weight_RC, scales, self.bits, full_range=self.full_range)
        return Encoded(name=name, dtype=weight_RC.dtype, bits=self.bits, values=values, scales=scales)

    def straight_through(self, weight_RC: Tensor) -> Tensor:
        """The rounded matrix, whose gradient is that of the matrix: w + stop_gradient(round(w) - w)."""
        with torch.no_grad():
            turned_RC = weight_RC if self.rotation_seed is None else rotated(weight_RC, self.rotation_seed)
            scales = self.scales(turned_RC)
            kept_RC = rounded(turned_RC, scales, self.bits, full_range=self.full_range) * scales.float()[:, None]
            change = (kept_RC if self.rotation_seed is None else unrotated(kept_RC, self.rotation_seed)) - weight_RC
        return weight_RC + change


def qmax(bits: int) -> int:
    """The largest integer of the grid: 31 for 6 bits.

    Raises:
        Refused: a grid that int8 cannot hold, or that has no point beside zero.
    """
    if not 2 <= bits <= 8:
        raise Refused(f"quantizer: rounding to {bits} bits; possible are 2 to 8")
    return 2 ** (bits - 1) - 1


def row_scales(limit_R: Tensor, bits: int, *, smallest_limit: float) -> Tensor:
    """float16 scales that put ``limit_R``, the largest magnitude to represent in each row, at qmax.

    Rounded to float16 first, so that rounding uses the scale that the artifact will hold.
    """
    scales = limit_R.float().clamp(min=smallest_limit) / qmax(bits)
    return scales.clamp(min=2**-24, max=65504.0).half()  # the smallest and the largest float16 above zero


def rounded(weight_RC: Tensor, scales_R: Tensor, bits: int, *, full_range: bool) -> Tensor:
    """int8 [R, C]: the nearest grid points of each row."""
    lowest = -qmax(bits) - 1 if full_range else -qmax(bits)
    return (weight_RC.float() / scales_R.float()[:, None]).round().clamp(lowest, qmax(bits)).to(torch.int8)


def row_quantile(weight_RC: Tensor, quantile: float) -> Tensor:
    """The ``quantile`` of the magnitudes of each row, interpolated linearly; 1.0 is the largest.

    By partial sort: torch.quantile refuses more than 2**24 elements.
    """
    magnitude = weight_RC.float().abs()
    if quantile >= 1.0:
        return magnitude.amax(dim=1)
    place = quantile * (magnitude.size(1) - 1)
    above = magnitude.size(1) - int(place)  # how many of the largest reach down to the place
    largest = magnitude.topk(above, dim=1, sorted=True).values
    return torch.lerp(largest[:, -1], largest[:, -2] if above > 1 else largest[:, -1], place - int(place))


def magnitude_quantile(weight: Tensor, quantile: float) -> float:
    """The ``quantile`` of all magnitudes, without interpolation; by partial sort, so that any size will do."""
    magnitude = weight.detach().float().abs().flatten()
    place = min(magnitude.numel() - 1, int(quantile * magnitude.numel()))
    return float(magnitude.kthvalue(place + 1).values)
