"""Randomised Hadamard rotation of the rows of a matrix, in blocks of a power of two."""

import torch
from torch import Tensor


def largest_power_of_two(number: int) -> int:
    """The largest power of two that divides ``number``."""
    return number & -number


def rotated(weight_RC: Tensor, seed: int) -> Tensor:
    """Each row times D H / sqrt(n) with random signs D and the Hadamard matrix H, block by block; orthonormal."""
    return _hadamard(weight_RC.float() * _signs(weight_RC.size(1), seed, weight_RC.device)).to(weight_RC.dtype)


def unrotated(weight_RC: Tensor, seed: int) -> Tensor:
    """The inverse of ``rotated``: H / sqrt(n) is its own inverse, and so is D."""
    return (_hadamard(weight_RC.float()) * _signs(weight_RC.size(1), seed, weight_RC.device)).to(weight_RC.dtype)


@torch.compiler.assume_constant_result  # a generator cannot be part of a compiled graph, its signs can
def _signs(columns: int, seed: int, device: torch.device) -> Tensor:
    """On ``device``, as the graph keeps it: a copy from the host in every step would wait for the device."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(2, (columns,), generator=generator).float() * 2 - 1).to(device)


def _hadamard(weight_RC: Tensor) -> Tensor:
    """Fast Walsh-Hadamard transform of each block of each row, divided by sqrt(block)."""
    block = largest_power_of_two(weight_RC.size(1))
    x = weight_RC.reshape(-1, block)
    width = 1
    while width < block:
        pairs = x.view(-1, block // (2 * width), 2, width)
        x = torch.stack((pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]), dim=2).view(-1, block)
        width *= 2
    return (x * block**-0.5).view_as(weight_RC)
