from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobs.artifact import Encoded
from jobs.contract.errors import Refused
from jobs.knobs import Count


@dataclass(frozen=True, kw_only=True)
class SelectivePruning:
    """Where the artifact is too large, the rounded values ±1 that cost least become 0, as many as it takes.

    The cost of a value ±1 is its scale squared; of those that cost the same the first go first. How many is found by
    bisection, packing anew each time. The target is in decimal bytes; the published script computes 15.9 MB as
    15.9 x 1024², which is above the limit.

    Source: PR #1019 of the field.
    """

    target_bytes: Count = 15_900_000  # decimal, of code and model together
    trials: Count = 12  # packings of the bisection

    def fit(
        self, tensors: list[Encoded], packed_bytes: Callable[[list[Encoded]], int], *, code_bytes: int
    ) -> tuple[list[Encoded], str]:
        target = self.target_bytes - code_bytes
        size = packed_bytes(tensors)
        if size <= target:
            return tensors, f"selective_prune: {size} bytes fit {target}, nothing pruned"
        cheapest = _ones_by_cost(tensors)
        low, high = 0, len(cheapest)  # low: too large still; high: the fewest that are known to fit, or all
        best = _without(tensors, cheapest)
        best_size = packed_bytes(best)
        if best_size > target:
            raise Refused(
                f"fitting: even without its {high} values of ±1 the artifact has {best_size} bytes, "
                f"more than {target}: fewer bits or a smaller model are needed"
            )
        for _ in range(self.trials):
            middle = (low + high) // 2
            if middle in (low, high):
                break
            trial = _without(tensors, cheapest[:middle])
            size = packed_bytes(trial)
            if size <= target:
                high, best, best_size = middle, trial, size
            else:
                low = middle
        return best, f"selective_prune: {high} of {len(cheapest)} values ±1 zeroed, {best_size} bytes fit {target}"


def _ones_by_cost(tensors: list[Encoded]) -> Tensor:
    """int64, on the CPU: where the values ±1 stand among all rounded values one after the other, the cheapest first."""
    costs = []
    for one in tensors:
        if one.scales is not None:
            squared = one.scales.cpu().float().square()[:, None].expand(one.values.shape)
            costs.append(squared.masked_fill(one.values.cpu().abs() != 1, torch.inf).flatten())
    if not costs:
        return torch.zeros(0, dtype=torch.int64)
    order = torch.cat(costs).sort(stable=True)
    return order.indices[: int(order.values.isfinite().sum())]


def _without(tensors: list[Encoded], places: Tensor) -> list[Encoded]:
    """The tensors with 0 at ``places``, counted as ``_ones_by_cost`` counts them."""
    drop = torch.zeros(sum(one.values.numel() for one in tensors if one.scales is not None), dtype=torch.bool)
    drop[places] = True
    result, begin = [], 0
    for one in tensors:
        if one.scales is not None:
            here = drop[begin : begin + one.values.numel()].view(one.values.shape)
            begin += one.values.numel()
            one = replace(one, values=one.values.masked_fill(here.to(one.values.device), 0))
        result.append(one)
    return result
