"""Which tensors are rounded, and to which grid: what the quantizers share."""

from typing import Literal

import torch
from torch import Tensor, nn

from jobs.artifact import DTYPES, Encoded
from jobs.calibration import Calibration
from jobs.quantization import Grid


class RowQuantizer:
    """A quantizer with one scale a row. Its knobs are declared here and are fields of each quantizer."""

    matrix_bits: int
    feed_forward_bits: int | None = None  # None: as the other matrices
    token_table_bits: int  # of the token embedding and an untied head; 16: float16
    table_bits: int  # of other tables; 16: float16
    clip_quantile: float = 1.0
    full_range: bool = False
    smallest_limit: float
    keep_elements: int  # tensors of at most this many elements become float16
    control_dtype: Literal["float32", "float16"]
    reserve_seconds: float = 0.0
    sums_depend_on_threads = False  # each row is summed by itself

    def bits(self, kind: str) -> int:
        """Bits of a large tensor of this kind."""
        if kind in ("token_table", "head"):
            return self.token_table_bits
        if kind == "table":
            return self.table_bits
        if kind == "feed_forward" and self.feed_forward_bits is not None:
            return self.feed_forward_bits
        return self.matrix_bits

    def grid(self, name: str, tensor: Tensor, kind: str) -> Grid | None:
        if kind == "control" or tensor.ndim != 2 or tensor.numel() <= self.keep_elements or self.bits(kind) == 16:
            return None
        return Grid(
            bits=self.bits(kind),
            clip_quantile=self.clip_quantile,
            full_range=self.full_range,
            smallest_limit=self.smallest_limit,
        )

    def kept_dtype(self, kind: str) -> torch.dtype:
        return DTYPES[self.control_dtype] if kind == "control" else torch.float16

    def label(self) -> str:
        return f"int{self.matrix_bits}"

    def calibrate(self, model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
        return {}

    def encode(self, state: dict[str, Tensor], kinds: dict[str, str], statistics: dict[str, Tensor]) -> list[Encoded]:
        encoded = []
        for name, tensor in state.items():
            grid = self.grid(name, tensor, kinds[name])
            if grid is None:
                dtype = self.kept_dtype(kinds[name])
                kept = Encoded(name=name, dtype=tensor.dtype, bits=8 * dtype.itemsize, values=tensor.to(dtype))
                encoded.append(kept)
            else:
                encoded.append(self.rounded(name, tensor, grid, statistics.get(name)))
        return encoded

    def rounded(self, name: str, weight_RC: Tensor, grid: Grid, statistic: Tensor | None) -> Encoded:
        """One matrix on ``grid``; ``statistic`` is what ``calibrate`` said of it."""
        return grid.encoded(name, weight_RC)
