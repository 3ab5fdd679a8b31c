from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from jobs.adapting import Setting
from jobs.knobs import PositiveOrZero
from jobs.recipe import Adaptation


@dataclass(frozen=True, kw_only=True)
class SharpnessAware:
    """Any adaptation with sharpness-aware steps: the gradient is taken at w + radius * g / |g|. Twice the cost.

    A radius of 0 is the adaptation itself. Which door it learns through is that of ``inner``.

    Source: arXiv 2010.01412; PR #1601 of the field (no gain in legal adaptation).
    """

    inner: Adaptation  # the adaptation whose steps these are
    radius: PositiveOrZero = 0.05  # how far from the weights the gradient is taken

    @property
    def protocol(self) -> str:
        return self.inner.protocol

    @property
    def before_quantization(self) -> bool:
        return self.inner.before_quantization

    def adapt(self, model: nn.Module, tokens: Tensor, setting: Setting) -> None:
        self.inner.adapt(model, tokens, replace(setting, sam_radius=self.radius))

    def learner(self, model: nn.Module, setting: Setting) -> Any:
        return self.inner.learner(model, replace(setting, sam_radius=self.radius))
