from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jobs.artifact import Encoded
from jobs.quantization import passed_through, rounded, row_quantile, row_scales


@dataclass(frozen=True, kw_only=True)
class RowWise:
    """Round to nearest with one scale a row: int8 as the naive baseline, int6 with int8 tables as its successors.

    Control vectors stay float32, small tensors float16. The published int6 exporters keep the
    control vectors in float16 (they test the size first) and hold every scale at 1 / qmax or above, which makes the
    grid the same for all rows of small weights and the file compressible.

    Source: the challenge's naive baseline (int8, quantile 0.9999984), PR #374 (int6).
    """

    matrix_bits: int = 6  # of linear layers: 4 to 8
    table_bits: int = 8  # of embedding tables and an untied head: 4 to 8
    clip_quantile: float = 1.0  # of the magnitudes of a row, put at the end of the grid; 1.0: the largest
    full_range: bool = False  # also use the integer below -qmax
    scale_floor: float = 0.0  # smallest scale of matrices and tables; the field uses 1 / qmax
    keep_elements: int = 65_536  # tensors of at most this many elements are not rounded
    control_dtype: Literal["float32", "float16"] = "float32"

    def label(self) -> str:
        return f"int{self.matrix_bits}"

    def encode(self, state: dict[str, Tensor], kinds: dict[str, str]) -> list[Encoded]:
        return [self._encoded(name, tensor, kinds[name]) for name, tensor in state.items()]

    def _encoded(self, name: str, tensor: Tensor, kind: str) -> Encoded:
        control_dtype = torch.float32 if self.control_dtype == "float32" else torch.float16
        small = passed_through(name, tensor, kind, control_dtype=control_dtype, largest=self.keep_elements)
        if small:
            return small
        bits = self.table_bits if kind in ("table", "head") else self.matrix_bits
        scales = row_scales(row_quantile(tensor, self.clip_quantile), bits, scale_floor=self.scale_floor)
        values = rounded(tensor, scales, bits, full_range=self.full_range)
        return Encoded(name=name, dtype=tensor.dtype, bits=bits, values=values, scales=scales)
