from dataclasses import dataclass

from torch import Tensor

from jobs.contract.errors import Refused
from jobs.knobs import CountOrZero, Share
from jobs.quantization import magnitude_quantile


@dataclass(frozen=True, kw_only=True)
class MagnitudePruning:
    """In every large matrix, the smallest weights become zero before rounding.

    Its effect on the file is not monotone: in PR #481, 3 % made it larger.

    Source: the field's #180 (3 %), #410 (1 to 15 %), #417 (2 %).
    """

    fraction: Share = 0.03  # of the weights of each matrix
    larger_than: CountOrZero = 65_536  # elements; smaller tensors are left alone

    small = {"laptop": {"larger_than": 4096}, "smoke": {"larger_than": 1024}}

    def prune(self, state: dict[str, Tensor], kinds: dict[str, str]) -> tuple[dict[str, Tensor], str]:
        if not 0 <= self.fraction < 1:
            raise Refused(f"pruning.magnitude.fraction: found {self.fraction}, possible are 0 up to, but not, 1")
        pruned, zeros, total = {}, 0, 0
        for name, tensor in state.items():
            pruned[name] = tensor
            if tensor.ndim == 2 and tensor.numel() > self.larger_than and kinds[name] != "control":
                limit = magnitude_quantile(tensor, self.fraction)
                pruned[name] = tensor.masked_fill(tensor.abs() < limit, 0.0)
                zeros, total = zeros + int((tensor.abs() < limit).sum()), total + tensor.numel()
        return pruned, f"pruning:magnitude fraction:{self.fraction} zeroed:{zeros} of {total} weights"
