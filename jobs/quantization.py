"""Rounding weights to a grid: what the quantizers share.

R rows (output channels) by C columns. A grid of b bits has the integers -(2**(b-1) - 1) .. 2**(b-1) - 1, or one more
below where ``full_range`` is asked for; the largest is called qmax.
"""

import torch
from torch import Tensor

from jobs.artifact import Encoded

SCALE_EPSILON = 1e-7  # a row of zeros gets this scale; without a floor, the smallest there is


def qmax(bits: int) -> int:
    """The largest integer of the grid: 31 for 6 bits."""
    return 2 ** (bits - 1) - 1


def row_scales(limit_R: Tensor, bits: int, *, scale_floor: float) -> Tensor:
    """float16 scales that put ``limit_R`` (largest magnitude to represent in each row) at qmax, at least the floor.

    Rounded to float16 first, so that rounding uses the scale that the artifact will hold.
    """
    scales = (limit_R.float() / qmax(bits)).clamp(min=max(scale_floor, SCALE_EPSILON))
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


def passed_through(name: str, tensor: Tensor, kind: str, *, control_dtype: torch.dtype, largest: int) -> Encoded | None:
    """The tensor in a float dtype where it is not to be rounded: control vectors, and up to ``largest`` elements."""
    if kind == "control":
        return Encoded(name=name, dtype=tensor.dtype, bits=8 * control_dtype.itemsize, values=tensor.to(control_dtype))
    if tensor.numel() <= largest or tensor.ndim != 2:
        return Encoded(name=name, dtype=tensor.dtype, bits=16, values=tensor.half())
    return None
