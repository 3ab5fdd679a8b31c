"""Muon: momentum whose matrices are made nearly orthogonal, equal shapes in one batch, shared out over the ranks."""

import torch
from torch import Tensor

from jobs.world import World

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic with the steepest slope at zero; singular values end in 0.7..1.2


def orthogonalized(update: Tensor, *, steps: int, dtype: torch.dtype) -> Tensor:
    """The nearest matrices with singular values near 1, for each of [..., rows, cols]; computed in ``dtype``.

    Source: Newton-Schulz iteration of Keller Jordan's Muon.
    """
    a, b, c = NEWTON_SCHULZ
    x = update.to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """The update of a set of matrices.

    Each group of equal shape is one batch of which every rank orthogonalizes its share; the shares are gathered, so
    that all ranks apply the same update. Momentum is Nesterov's: m <- mu m + g, update g + mu m.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        learning_rates: list[float],
        *,
        weight_decay: float,
        decay_first: bool,
        newton_schulz_steps: int,
        world: World,
    ) -> None:
        self.weight_decay, self.decay_first = weight_decay, decay_first
        self.newton_schulz_steps, self.world = newton_schulz_steps, world
        self.groups: dict[tuple[int, ...], list[tuple[Tensor, float]]] = {}
        for parameter, rate in zip(parameters, learning_rates, strict=True):
            self.groups.setdefault(tuple(parameter.shape), []).append((parameter, rate))
        self.momenta = {
            shape: torch.zeros((self._share(members)[2], *shape), device=world.device)
            for shape, members in self.groups.items()
        }

    def _share(self, members: list) -> tuple[int, int, int]:
        """This rank's part [begin, end) of a group, and the largest part of any rank.

        Every rank but the last ones has the largest part, so that row i of the gathered parts is member i.
        """
        largest = -(-len(members) // self.world.size)
        begin = min(self.world.rank * largest, len(members))
        return begin, min(begin + largest, len(members)), largest

    @torch.no_grad()
    def step(self, *, momentum: float, scale: float) -> None:
        """Update every matrix from its gradient, which must be the same on all ranks, at ``scale`` x its rate."""
        for shape, members in self.groups.items():
            begin, end, _ = self._share(members)
            buffer = self.momenta[shape]
            update = torch.zeros_like(buffer)
            if end > begin:
                gradient = torch.stack([parameter.grad for parameter, _ in members[begin:end]])  # type: ignore[misc]
                mine = buffer[: end - begin].mul_(momentum).add_(gradient)
                update[: end - begin] = gradient.add_(mine, alpha=momentum)
            update = orthogonalized(update, steps=self.newton_schulz_steps, dtype=self.world.compute_dtype)
            update = self.world.gather(update)
            stretch = max(1.0, shape[0] / shape[1]) ** 0.5
            for row, (parameter, rate) in enumerate(members):
                rate = rate * scale
                if self.decay_first:
                    parameter.mul_(1 - rate * self.weight_decay)
                parameter.add_(update[row], alpha=-rate * stretch)
                if not self.decay_first:
                    parameter.mul_(1 - rate * self.weight_decay)
