from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.knobs import Count, PositiveOrZero


@dataclass(frozen=True, kw_only=True)
class Fomaml:
    """Every few steps, also follow the gradient that remains after one step of adaptation (first-order MAML).

    The batch is split: one SGD step on the first half, the gradient of the second half at the weights it leads to,
    added with ``weight``; then the weights are put back.

    Source: arXiv 1703.03400; PRs #1501 and #1502 of the field (no gain there).
    """

    every: Count = 4  # steps
    inner_learning_rate: PositiveOrZero = 0.002  # of the one SGD step
    weight: float = 0.5  # of the outer gradient

    def add_gradient(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, step: int, batch_targets: int) -> None:
        if self.weight == 0 or step % self.every or len(inputs) < 2:
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        half = len(inputs) // 2
        before = [parameter.detach().clone() for parameter in parameters]
        support = model(inputs[:half], targets[:half]) / targets[:half].numel()
        inner = torch.autograd.grad(support, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, inner, strict=True):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=self.inner_learning_rate)
        share = len(inputs) / (len(inputs) - half)  # so that half a batch weighs as much as a whole one
        outer = torch.autograd.grad(
            model(inputs[half:], targets[half:]) * share / batch_targets, parameters, allow_unused=True
        )
        with torch.no_grad():
            for parameter, saved, gradient in zip(parameters, before, outer, strict=True):
                parameter.copy_(saved)
                if gradient is not None:
                    added = self.weight * gradient
                    parameter.grad = added if parameter.grad is None else parameter.grad + added
