from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.artifact import Encoded
from jobs.calibration import Calibration
from jobs.knobs import Bits, Count, CountOrZero, PositiveOrZero, Share, TableBits
from jobs.model import MATRIX_KINDS
from jobs.quantization import Grid
from jobs.row_quantizer import RowQuantizer
from jobs.techniques.quantizer.gptq_lite import best_rows, candidates


@dataclass(frozen=True, kw_only=True)
class AdaptiveBits(RowQuantizer):
    """More bits for the matrices that the loss feels most, fewer for those that it feels least.

    Matrices are ranked by the mean square of their gradient on training text: the top tenth gets one bit more, the
    bottom fifth one bit less. Rounding is that of ``gptq_lite``. The gradient is taken once, at the weights that are
    packed; PR #332 averages it over the last tenth of the warmdown.

    Source: PR #332 of the field; the "Neptune" fork of #462.
    """

    matrix_bits: Bits = 6  # of the matrices in the middle
    token_table_bits: TableBits = 8  # of the token embedding and an untied head: 4 to 8, 16: float16
    table_bits: TableBits = 8  # of other tables: 4 to 8, 16: float16
    top_share: Share = 0.1  # of the matrices, by number: one bit more
    bottom_share: Share = 0.2  # of the matrices, by number: one bit less
    sequences: Count = 64  # of training text, over all ranks
    reserve_seconds: PositiveOrZero = 5.0  # kept back from the training budget for the gradients
    smallest_limit: PositiveOrZero = 0.0  # a row's scale is at least this over qmax; the field uses 1.0
    keep_elements: CountOrZero = 65_536  # tensors of at most this many elements are not rounded
    control_dtype: Literal["float32", "float16"] = "float32"  # of control vectors

    small = {
        "laptop": {"keep_elements": 4096, "sequences": 16, "reserve_seconds": 1.0},
        "smoke": {"keep_elements": 1024, "sequences": 8, "reserve_seconds": 1.0},
    }

    def calibrate(self, model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
        return calibration.squared_gradients(model, calibration.training_text(self.sequences))

    def bits_of(self, names: list[str], statistics: dict[str, Tensor]) -> dict[str, int]:
        """Bits of each matrix, by its rank among them."""
        ranked = sorted(names, key=lambda name: float(statistics[name]), reverse=True)
        top = round(self.top_share * len(ranked))
        bottom = len(ranked) - round(self.bottom_share * len(ranked))
        return {
            name: self.matrix_bits + (1 if place < top else -1 if place >= bottom else 0)
            for place, name in enumerate(ranked)
        }

    def encode(self, state: dict[str, Tensor], kinds: dict[str, str], statistics: dict[str, Tensor]) -> list[Encoded]:
        names = [
            name
            for name, tensor in state.items()
            if kinds[name] in MATRIX_KINDS and self.grid(name, tensor, kinds[name])
        ]
        bits = {name: torch.tensor(bits) for name, bits in self.bits_of(names, statistics).items()}
        return super().encode(state, kinds, bits)

    def rounded(self, name: str, weight_RC: Tensor, grid: Grid, statistic: Tensor | None) -> Encoded:
        """``statistic``: the bits that the matrix was given; None for a table."""
        if statistic is not None:
            grid = replace(grid, bits=int(statistic))
        return best_rows(name, weight_RC, candidates(grid), by_matrix=False)
