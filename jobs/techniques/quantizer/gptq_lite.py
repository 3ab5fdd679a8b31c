from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from jobs.artifact import Encoded
from jobs.knobs import Bits, CountOrZero, PositiveOrZero, TableBits
from jobs.quantization import Grid
from jobs.row_quantizer import RowQuantizer

CANDIDATES = (0.999, 0.9995, 0.9999, 0.99999, 1.0)  # clip quantiles; the last is the row's largest magnitude


@dataclass(frozen=True, kw_only=True)
class GptqLite(RowQuantizer):
    """Row-wise rounding whose clip quantile is searched for: of five, the one with the least squared error.

    By default each row chooses for itself; PR #414's script chooses one quantile for a whole matrix
    (``search: matrix``), whatever its README says. With a scale floor of 1 / qmax the candidates of most rows are the
    same, and the search does nothing.

    Source: PR #414 of the field.
    """

    matrix_bits: Bits = 6  # of linear layers: 4 to 8
    feed_forward_bits: Bits | None = None  # of feed-forward layers; None: as the other linear layers
    token_table_bits: TableBits = 8  # of the token embedding and an untied head: 4 to 8, 16: float16
    table_bits: TableBits = 8  # of other tables: 4 to 8, 16: float16
    search: Literal["row", "matrix"] = "row"  # one quantile for each row, or one for a matrix
    smallest_limit: PositiveOrZero = 0.0  # a row's scale is at least this over qmax; the field uses 1.0
    keep_elements: CountOrZero = 65_536  # tensors of at most this many elements are not rounded
    control_dtype: Literal["float32", "float16"] = "float32"  # of control vectors

    small = {
        "laptop": {"keep_elements": 4096},
        "smoke": {"keep_elements": 1024},
        "one_gpu_quick": {"matrix_bits": 5},  # what so short a training weighs is not known: room, to be scored at all
    }

    def rounded(self, name: str, weight_RC: Tensor, grid: Grid, statistic: Tensor | None) -> Encoded:
        return best_rows(name, weight_RC, candidates(grid), by_matrix=self.search == "matrix")


def candidates(grid: Grid) -> list[Grid]:
    """``grid`` with each of the clip quantiles that are tried."""
    return [replace(grid, clip_quantile=quantile) for quantile in CANDIDATES]


def best_rows(name: str, weight_RC: Tensor, grids: list[Grid], *, by_matrix: bool) -> Encoded:
    """The matrix rounded on the grid with the least squared error: chosen for each row, or once for all."""
    best: Encoded | None = None
    best_error_R = torch.empty(0)
    for grid in grids:
        trial = grid.encoded(name, weight_RC)
        error_R = (trial.decoded().float() - weight_RC.float()).square().sum(dim=1)
        if by_matrix:
            error_R = error_R.sum().expand_as(error_R)
        if best is None or best.scales is None or trial.scales is None:
            best, best_error_R = trial, error_R
            continue
        better_R = error_R < best_error_R
        best.values[better_R], best.scales[better_R] = trial.values[better_R], trial.scales[better_R]
        best_error_R = torch.where(better_R, error_R, best_error_R)
    assert best is not None
    return best
