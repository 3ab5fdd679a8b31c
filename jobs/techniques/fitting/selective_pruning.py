from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobs.artifact import Encoded
from jobs.contract.errors import Refused
from jobs.knobs import Count

MOST_PACKINGS_AT_ONCE = 15  # four halvings ahead; of 27 million values each takes about 0.3 GB while zstd or lzma works


@dataclass(frozen=True, kw_only=True)
class SelectivePruning:
    """Where the artifact is too large, the rounded values ±1 that cost least become 0, as many as it takes.

    The cost of a value ±1 is its scale squared; of those that cost the same the first go first. How many is found by
    bisection, packing anew each time. With several cores the halvings that may come next are packed at the same time,
    whichever way they go: what is found is the same. The target is in decimal bytes; the published script computes
    15.9 MB as 15.9 x 1024², which is above the limit.

    Source: PR #1019 of the field.
    """

    target_bytes: Count = 15_900_000  # decimal, of code and model together
    trials: Count = 12  # packings of the bisection

    def fit(
        self, tensors: list[Encoded], packed_bytes: Callable[[list[Encoded]], int], *, code_bytes: int, at_once: int
    ) -> tuple[list[Encoded], str]:
        target, at_once = self.target_bytes - code_bytes, min(at_once, MOST_PACKINGS_AT_ONCE)
        size = packed_bytes(tensors)
        if size <= target:
            return tensors, f"selective_prune: {size} bytes fit {target}, nothing pruned"
        cheapest = _ones_by_cost(tensors)
        low, high = 0, len(cheapest)  # low: too large still; high: the fewest that are known to fit, or all
        size = packed_bytes(_without(tensors, cheapest))
        if size > target:
            raise Refused(
                f"fitting: even without its {high} values of ±1 the artifact has {size} bytes, "
                f"more than {target}: fewer bits or a smaller model are needed"
            )
        ahead, halvings = (at_once + 1).bit_length() - 1, 0  # 2**ahead - 1 counts are packed at once
        sizes: dict[int, int] = {}  # by how many are zeroed
        with ThreadPoolExecutor(at_once) as threads:  # compressors work without the interpreter's lock
            while halvings < self.trials and low < (middle := (low + high) // 2):
                if middle not in sizes:
                    counts = list(_middles(low, high, min(ahead, self.trials - halvings)))
                    packed = threads.map(packed_bytes, (_without(tensors, cheapest[:count]) for count in counts))
                    sizes = dict(zip(counts, packed, strict=True))
                if sizes[middle] <= target:
                    high, size = middle, sizes[middle]
                else:
                    low = middle
                halvings += 1
        found = f"{high} of {len(cheapest)} values ±1 zeroed, {size} bytes fit {target}"
        return _without(tensors, cheapest[:high]), f"selective_prune: {found}, {halvings} halvings"


def _middles(low: int, high: int, halvings: int) -> Iterator[int]:
    """Where so many halvings between ``low`` and ``high`` may look, whichever way each of them goes."""
    middle = (low + high) // 2
    if halvings and low < middle:
        yield middle
        yield from _middles(low, middle, halvings - 1)
        yield from _middles(middle, high, halvings - 1)


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
