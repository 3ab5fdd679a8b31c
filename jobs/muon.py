"""Muon: momentum whose matrices are made nearly orthogonal, equal shapes in one batch, shared out over the ranks."""

from collections.abc import Callable

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

    Each group of equal shape is one batch (a bank) of which every rank orthogonalizes its share; the shares are
    gathered, so that all ranks apply the same update. Momentum is Nesterov's: m <- mu m + g, update g + mu m.
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
        self.orthogonalized = torch.compile(orthogonalized, dynamic=False) if world.compiles else orthogonalized
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

    def own_gradients(self) -> dict[tuple[int, ...], Tensor]:
        """This rank's share of each group's gradients, once they are the same on all ranks; filled up with zeros."""
        shares = {}
        for shape, members in self.groups.items():
            begin, end, largest = self._share(members)
            shares[shape] = self._bank(shape, members[begin:end], rows=largest)
        return shares

    def reduced_gradients(self) -> Callable[[], dict[tuple[int, ...], Tensor]]:
        """Start summing each rank's own gradients into shares, the largest group first; call to wait for them."""
        pending = []
        for shape in sorted(self.groups, key=lambda shape: -len(self.groups[shape]) * shape[0] * shape[1]):
            members = self.groups[shape]
            bank = self._bank(shape, members, rows=self._share(members)[2] * self.world.size)
            pending.append((shape, *self.world.scatter_sum(bank.to(self.world.compute_dtype))))

        def wait() -> dict[tuple[int, ...], Tensor]:
            for _, _, finish in pending:
                finish()
            return {shape: share.float() for shape, share, _ in pending}

        return wait

    def _bank(self, shape: tuple[int, ...], members: list[tuple[Tensor, float]], *, rows: int) -> Tensor:
        """The gradients of ``members``, then zeros: float32 [rows, *shape]."""
        found = gradients([parameter for parameter, _ in members])
        return torch.stack(found + [torch.zeros(shape, device=self.world.device) for _ in range(rows - len(found))])

    @torch.no_grad()
    def step(self, gradients: dict[tuple[int, ...], Tensor], *, momentum: float, scale: float) -> None:
        """Update every matrix at ``scale`` x its rate, from this rank's share of the averaged gradients."""
        shares, momenta = [gradients[shape] for shape in self.groups], [self.momenta[shape] for shape in self.groups]
        torch._foreach_mul_(momenta, momentum)
        torch._foreach_add_(momenta, shares)
        ahead = torch._foreach_add(shares, momenta, alpha=momentum)
        parameters: list[Tensor] = []
        updates: list[Tensor] = []
        rates: list[float] = []
        stretched: list[float] = []
        for (shape, members), share in zip(self.groups.items(), ahead, strict=True):
            update = self.orthogonalized(share, steps=self.newton_schulz_steps, dtype=self.world.compute_dtype)
            updates += self.world.gather(update)[: len(members)].to(share.dtype).unbind()
            parameters += [parameter for parameter, _ in members]
            rates += [rate * scale for _, rate in members]
            stretch = max(1.0, shape[0] / shape[1]) ** 0.5
            stretched += [-rate * scale * stretch for _, rate in members]
        shrink = [1 - rate * self.weight_decay for rate in rates]
        if self.decay_first:
            torch._foreach_mul_(parameters, shrink)
        torch._foreach_mul_(updates, stretched)
        torch._foreach_add_(parameters, updates)
        if not self.decay_first:
            torch._foreach_mul_(parameters, shrink)


def gradients(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients of ``parameters``; one that the loss did not reach gets zeros, so that all ranks send the same."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
