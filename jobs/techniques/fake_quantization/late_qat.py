from dataclasses import dataclass

from torch import nn

from jobs.knobs import PositiveOrZero
from jobs.layers import Linear, role_of
from jobs.recipe import Quantizer


@dataclass(frozen=True, kw_only=True)
class LateQat:
    """Train the end of the run on rounded weights: straight-through, on the grid that the quantizer tells beforehand.

    That is the grid of the export for ``row_wise``, rotated or not; quantizers that search for a clip quantile or share
    out bits when they pack may end on another one.

    Rounding is switched on in every linear layer that is exported on a grid, at the first step whose rate is below
    ``threshold`` of the peak: 0.1 or 0.15 are late, 0.5 early, above 1 the whole run. The switch is a plain attribute
    of each layer, which torch.compile guards on; both graphs are compiled during warm-up. The published scripts keep
    it in a class attribute, which compilation folds to False: ``never_switches`` is what they trained.

    Source: arXiv 1308.3432 (straight-through); PRs #374 and #414 of the field.
    """

    threshold: PositiveOrZero = 0.15  # of the peak rate
    never_switches: bool = False  # as published: announced, and folded away

    def attach(self, model: nn.Module, quantizer: Quantizer) -> "RoundingSwitch":
        return RoundingSwitch(self, model, quantizer)


class RoundingSwitch:
    """Turns rounding on and off in the layers of a model."""

    def __init__(self, knobs: LateQat, model: nn.Module, quantizer: Quantizer) -> None:
        self.knobs = knobs
        self.is_on = self.announced = False
        self.layers = []
        for path, layer in model.named_modules():
            if isinstance(layer, Linear):
                layer.grid = quantizer.grid(f"{path}.weight", layer.weight, role_of(layer.weight).kind)
                self.layers += [layer] if layer.grid else []

    def turn(self, on: bool) -> None:
        """Round in the next forward pass, or do not."""
        self.is_on = on
        for layer in self.layers:
            layer.rounds = on

    def update(self, *, step: int, scale: float) -> str | None:
        """Switch on when the rate has fallen far enough; the log line, at the step where that happens."""
        if self.announced or scale >= self.knobs.threshold:
            return None
        self.announced = True
        self.turn(not self.knobs.never_switches)
        return f"late_qat:enabled step:{step} scale:{scale:.4f} layers:{len(self.layers)}"
