from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobs.artifact import Encoded


@dataclass(frozen=True, kw_only=True)
class SelectivePruning:
    """Where the artifact is too large, the rounded values ±1 that cost least become 0, as many as it takes.

    The cost of a value ±1 is its scale squared. How many is found by bisection, packing anew each time. The target
    is in decimal bytes; the published script computes 15.9 MB as 15.9 x 1024², which is above the limit.

    Source: PR #1019 of the field.
    """

    target_bytes: int = 15_900_000  # decimal, of code and model together
    trials: int = 12  # packings of the bisection

    def fit(
        self, tensors: list[Encoded], packed_bytes: Callable[[list[Encoded]], int], *, code_bytes: int
    ) -> tuple[list[Encoded], str]:
        target = self.target_bytes - code_bytes
        size = packed_bytes(tensors)
        if size <= target:
            return tensors, f"selective_prune: {size} bytes fit {target}, nothing pruned"
        costs = torch.cat([_cost_of_ones(one).flatten() for one in tensors])
        ordered = costs[costs.isfinite()].sort().values
        low, high = 0, len(ordered)  # low: too large still; high: the fewest that are known to fit, or all
        best, best_size = _without(tensors, torch.inf), 0
        best_size = packed_bytes(best)
        if best_size > target:
            raise ValueError(
                f"fitting: even without its {high} values of ±1 the artifact has {best_size} bytes, "
                f"more than {target}: fewer bits or a smaller model are needed"
            )
        for _ in range(self.trials):
            middle = (low + high) // 2
            if middle in (low, high):
                break
            trial = _without(tensors, float(ordered[middle - 1]))
            size = packed_bytes(trial)
            if size <= target:
                high, best, best_size = middle, trial, size
            else:
                low = middle
        return best, f"selective_prune: {high} of {len(ordered)} values ±1 zeroed, {best_size} bytes fit {target}"


def _cost_of_ones(one: Encoded) -> Tensor:
    """float32, shaped as the values: scale² where the value is ±1, infinite elsewhere."""
    if one.scales is None:
        return torch.full((0,), torch.inf)
    squared = one.scales.float().square()[:, None].expand(one.values.shape)
    return squared.masked_fill(one.values.abs() != 1, torch.inf)


def _without(tensors: list[Encoded], most: float) -> list[Encoded]:
    """The tensors with 0 for every ±1 that costs at most ``most``."""
    result = []
    for one in tensors:
        if one.scales is not None:
            cost = _cost_of_ones(one)
            one = replace(one, values=one.values.masked_fill((cost <= most) & cost.isfinite(), 0))
        result.append(one)
    return result
