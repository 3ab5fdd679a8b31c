from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jobs.artifact import Encoded
from jobs.calibration import Calibration
from jobs.knobs import Bits, Count, CountOrZero, Positive, PositiveOrZero, TableBits
from jobs.quantization import Grid, qmax
from jobs.row_quantizer import RowQuantizer
from jobs.techniques.quantizer.gptq_lite import best_rows, candidates

BLOCK_COLUMNS = 128


@dataclass(frozen=True, kw_only=True)
class FullGptq(RowQuantizer):
    """Round column by column, pushing each column's error into those that are still to come, by the inputs' Hessian.

    Columns go in order of falling diagonal ("act-order"), damping is added once, dead columns become zero. Of the clip
    quantiles each row takes the one with the least Hessian-weighted error, which is what the method minimises; the
    published scripts damp twice and choose by plain error (``selects_by: weight_error``). Tables are rounded as in
    ``gptq_lite``.

    The inputs come from text that the model writes itself (#1019), or from training data inside ``reserve_seconds`` of
    the training budget (#1060). Where a Hessian cannot be inverted the matrix falls back to ``gptq_lite``.

    Source: arXiv 2210.17323; PRs #508, #578, #1019 and #1060 of the field.
    """

    matrix_bits: Bits = 6  # of linear layers: 4 to 8
    feed_forward_bits: Bits | None = None  # of feed-forward layers; None: as the other linear layers
    token_table_bits: TableBits = 8  # of the token embedding and an untied head: 4 to 8, 16: float16
    table_bits: TableBits = 8  # of other tables: 4 to 8, 16: float16
    calibrates_on: Literal["self_generated", "training_data"] = "self_generated"  # where the inputs come from
    sequences: Count = 64  # of calibration text, over all ranks
    temperature: Positive = 0.8  # of self-generated text
    reserve_seconds: PositiveOrZero = 14.0  # kept back from the training budget for the calibration
    damping: PositiveOrZero = 0.01  # of the mean of the Hessian's diagonal
    selects_by: Literal["hessian_error", "weight_error"] = "hessian_error"  # how a row chooses its clip quantile
    smallest_limit: PositiveOrZero = 0.0  # a row's scale is at least this over qmax; the field uses 1.0
    keep_elements: CountOrZero = 65_536  # tensors of at most this many elements are not rounded
    control_dtype: Literal["float32", "float16"] = "float32"  # of control vectors

    sums_depend_on_threads = True  # of matrix products, on a CPU

    small = {
        "laptop": {"keep_elements": 4096, "sequences": 16, "reserve_seconds": {"times": 0.1}},
        "smoke": {"keep_elements": 1024, "sequences": 8, "reserve_seconds": 1.0},
    }

    def calibrate(self, model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
        """The Hessian of every linear layer that will be rounded with one."""
        if self.calibrates_on == "training_data":
            text = calibration.training_text(self.sequences)
        else:
            text = calibration.generated_text(model, self.sequences, temperature=self.temperature)
        hessians = calibration.hessians(model, text)
        if not hessians:
            raise ValueError("quantizer.full_gptq: no linear layer saw any calibration text, so there is no Hessian")
        return hessians

    def rounded(self, name: str, weight_RC: Tensor, grid: Grid, statistic: Tensor | None) -> Encoded:
        """``statistic``: the Hessian [C, C] of the layer's inputs; None where there is none."""
        hessian_CC = None if statistic is None else statistic.to(weight_RC.device, torch.float32)
        factor = None if hessian_CC is None else inverse_factor(hessian_CC, damping=self.damping)
        if hessian_CC is None or factor is None:
            return best_rows(name, weight_RC, candidates(grid), by_matrix=False)
        best_values, best_scales, best_error_R = torch.empty(0), torch.empty(0), torch.empty(0)
        for candidate in candidates(grid):
            scales = candidate.scales(weight_RC)
            values = rounded_by_columns(weight_RC, scales, grid.bits, hessian_CC, factor)
            difference = values.float() * scales.float()[:, None] - weight_RC.float()
            if self.selects_by == "hessian_error":
                error_R = ((difference @ hessian_CC) * difference).sum(dim=1)
            else:
                error_R = difference.square().sum(dim=1)
            if not best_error_R.numel():
                best_values, best_scales, best_error_R = values, scales, error_R
                continue
            better_R = error_R < best_error_R
            best_values[better_R], best_scales[better_R] = values[better_R], scales[better_R]
            best_error_R = torch.where(better_R, error_R, best_error_R)
        return Encoded(name=name, dtype=weight_RC.dtype, bits=grid.bits, values=best_values, scales=best_scales)


def column_order(hessian_CC: Tensor) -> Tensor:
    """Columns by falling diagonal: what matters most is rounded while all others can still make up for it."""
    return hessian_CC.diagonal().argsort(descending=True, stable=True)


def inverse_factor(hessian_CC: Tensor, *, damping: float) -> Tensor | None:
    """Upper Cholesky factor of the damped Hessian's inverse, columns in ``column_order``; None if there is none."""
    order = column_order(hessian_CC)
    damped = hessian_CC[order][:, order].clone()
    diagonal = damped.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1.0
    diagonal += damping * diagonal[~dead].mean() if bool((~dead).any()) else damping
    lower, failed = torch.linalg.cholesky_ex(damped)
    if bool(failed) or not bool(lower.isfinite().all()):
        return None
    upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    return None if bool(failed) or not bool(upper.isfinite().all()) else upper


def rounded_by_columns(weight_RC: Tensor, scales_R: Tensor, bits: int, hessian_CC: Tensor, factor_CC: Tensor) -> Tensor:
    """int8 [R, C]: GPTQ's rounding with these scales; a dead column (no input ever) is zero."""
    order = column_order(hessian_CC)
    dead = (hessian_CC.diagonal() == 0)[order]
    weight = weight_RC.float()[:, order].clone()
    weight[:, dead] = 0.0
    scale = scales_R.float()
    values = torch.zeros_like(weight)
    columns = weight.size(1)
    for begin in range(0, columns, BLOCK_COLUMNS):
        end = min(begin + BLOCK_COLUMNS, columns)
        errors = torch.zeros_like(weight[:, begin:end])
        for column in range(begin, end):
            value = (weight[:, column] / scale).round().clamp(-qmax(bits), qmax(bits))
            values[:, column] = value
            error = (weight[:, column] - value * scale) / factor_CC[column, column]
            weight[:, column + 1 : end] -= torch.outer(error, factor_CC[column, column + 1 : end])
            errors[:, column - begin] = error
        weight[:, end:] -= errors @ factor_CC[begin:end, end:]
    return values[:, order.argsort()].to(torch.int8)
