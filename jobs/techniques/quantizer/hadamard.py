from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from jobs.artifact import Encoded
from jobs.calibration import Calibration
from jobs.contract.errors import Refused
from jobs.knobs import Count, CountOrZero
from jobs.model import MATRIX_KINDS
from jobs.quantization import Grid
from jobs.recipe import Quantizer
from jobs.rotation import largest_power_of_two, rotated
from jobs.row_quantizer import RowQuantizer


@dataclass(frozen=True, kw_only=True)
class HadamardRotation:
    """Turn the rows of every matrix by a randomised Hadamard matrix, round as ``inner`` does, turn back on reading.

    Rotation spreads outliers over the row: smaller scales, but values closer to Gaussian, which compress less. Weights
    only; the model that is scored is the one that was read back, so nothing is paid while it runs. The signs come from
    ``seed``, which the artifact records. Rows whose length is no power of two are turned in blocks. Calibrating inner
    quantizers are refused: their statistics are those of unrotated inputs.

    Source: QuaRot, arXiv 2404.00456; the GPTQ+OptRot fork of PR #462.
    """

    inner: Quantizer  # rounds the turned matrices
    seed: CountOrZero = 0  # of the signs
    smallest_block: Count = 16  # rows whose length has no power of two this large as a factor stay as they are

    @property
    def reserve_seconds(self) -> float:
        """None. This is asked before the first step: that is when a calibrating ``inner`` is refused."""
        if type(self.inner).calibrate is not RowQuantizer.calibrate:
            raise Refused(
                f"quantizer.hadamard.inner: {type(self.inner).__name__} calibrates on inputs that are not rotated; "
                f"take one that does not, such as gptq_lite"
            )
        return 0.0

    @property
    def sums_depend_on_threads(self) -> bool:
        return self.inner.sums_depend_on_threads

    def grid(self, name: str, tensor: Tensor, kind: str) -> Grid | None:
        grid = self.inner.grid(name, tensor, kind)
        return replace(grid, rotation_seed=self.seed) if grid and self._turns(tensor, kind) else grid

    def _turns(self, tensor: Tensor, kind: str) -> bool:
        return tensor.ndim == 2 and kind in MATRIX_KINDS and largest_power_of_two(tensor.size(1)) >= self.smallest_block

    def kept_dtype(self, kind: str) -> torch.dtype:
        return self.inner.kept_dtype(kind)

    def label(self) -> str:
        return self.inner.label()

    def calibrate(self, model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
        return {}

    def encode(self, state: dict[str, Tensor], kinds: dict[str, str], statistics: dict[str, Tensor]) -> list[Encoded]:
        turned = {
            name: rotated(tensor, self.seed) for name, tensor in state.items() if self._turns(tensor, kinds[name])
        }
        encoded = self.inner.encode(state | turned, kinds, statistics)
        return [
            replace(one, rotation_seed=self.seed)
            if one.name in turned and one.scales is not None
            else (replace(one, values=state[one.name].to(one.values.dtype)) if one.name in turned else one)
            for one in encoded
        ]
