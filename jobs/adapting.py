"""Gradient steps on validation tokens: what the adaptations share.

A step's rows are dealt out over the ranks, so that any number of ranks takes the same steps: the gradients of the sums
are added over the ranks and divided by the number of targets, then clipped, then applied by every rank alike. Each step
is the same number of collectives on every rank, whether it has rows or not.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.contract.errors import Refused
from jobs.data.loader import tokens_as_batch
from jobs.layers import role_of
from jobs.log import Log
from jobs.model import IGNORED
from jobs.muon import gradients
from jobs.world import World


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where an adaptation works: the same on every rank."""

    training_length: int  # of a sequence
    seed: int
    world: World
    log: Log
    max_micro_batch_tokens: int = 98_304  # of one forward pass on one rank
    sam_radius: float = 0.0  # of sharpness-aware steps; 0: plain ones


def rate_groups(model: nn.Module, multipliers: dict[str, float], *, frozen_blocks: int = 0) -> list[dict]:
    """Parameter groups by name: ``{"feed_forward.down": 3.0}`` trains what has that in its name three times as fast.

    The first key that is part of a parameter's name counts; others train at the base rate. The first ``frozen_blocks``
    blocks are left out.

    Raises:
        Refused: a key that is part of no parameter's name, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for key in multipliers:
        if not any(key in name for name in names):
            raise Refused(f"learning_rate_groups: {key!r} is part of no parameter's name; such as {names[:8]}")
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        layer = role_of(parameter).layer
        if layer is not None and layer < frozen_blocks:
            continue
        groups.setdefault(next((value for key, value in multipliers.items() if key in name), 1.0), []).append(parameter)
    if not groups:
        raise Refused(f"frozen_blocks {frozen_blocks} leaves nothing to train")
    return [{"params": members, "multiplier": multiplier} for multiplier, members in groups.items()]


class SharedSteps:
    """An optimizer whose steps all ranks take together on rows that are dealt out over them."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, clip_norm: float, setting: Setting
    ) -> None:
        self.model, self.optimizer, self.clip_norm = model, optimizer, clip_norm
        self.world, self.sam_radius = setting.world, setting.sam_radius
        self.max_micro_batch_tokens = setting.max_micro_batch_tokens
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def take(self, inputs_RT: Tensor, targets_RT: Tensor, *, learning_rate: float) -> float:
        """One step on these rows, the same on every rank; returns the mean loss before it, nats a target."""
        loss = self._gradient(inputs_RT, targets_RT)
        if self.sam_radius:
            self._sharpness_aware_gradient(inputs_RT, targets_RT)
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["multiplier"]
        self.optimizer.step()
        return loss

    def _gradient(self, inputs_RT: Tensor, targets_RT: Tensor) -> float:
        """Leave the gradient of the mean loss over all ranks' rows in ``grad``; returns that loss."""
        for parameter in self.model.parameters():
            parameter.grad = None
        first, last = self.world.share(len(inputs_RT))
        counted = torch.zeros(2, dtype=torch.float64, device=self.world.device)
        most = max(1, self.max_micro_batch_tokens // inputs_RT.size(1))
        for begin in range(first, last, most):
            rows = slice(begin, min(begin + most, last))
            loss = self.model(inputs_RT[rows], targets_RT[rows])
            loss.backward()
            counted[0] += loss.detach().double()
            counted[1] += (targets_RT[rows] != IGNORED).sum()
        summed = gradients(self.parameters)
        self.world.sum(counted)
        self.world.sum_all(summed)
        torch._foreach_mul_(summed, float(1 / counted[1]))
        return float(counted[0] / counted[1])

    def _sharpness_aware_gradient(self, inputs_RT: Tensor, targets_RT: Tensor) -> None:
        """Replace the gradient by that at w + radius g / |g|; the weights come out as they went in (2010.01412)."""
        before = [parameter.detach().clone() for parameter in self.parameters]
        found = gradients(self.parameters)
        norm = torch.stack([gradient.float().norm() for gradient in found]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, found, strict=True):
                parameter.add_(gradient * (self.sam_radius / (norm + 1e-12)).to(gradient.dtype))
        self._gradient(inputs_RT, targets_RT)
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, before, strict=True):
                parameter.copy_(saved)


def row_batches(tokens: Tensor, *, sequence_length: int, batch_sequences: int) -> list[tuple[Tensor, Tensor]]:
    """A stream [n + 1] as batches of at most ``batch_sequences`` rows, in stream order; no target is left out."""
    inputs, targets = tokens_as_batch(tokens, sequence_length, IGNORED)
    return list(zip(inputs.split(batch_sequences), targets.split(batch_sequences), strict=True))


def weights_sha256(model: nn.Module) -> str:
    """Name of the weights of ``model``: equal on all ranks after every shared step."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def agreed_sha256(model: nn.Module, world: World) -> str:
    """The name of the weights, which must be the same on every rank.

    Raises:
        Refused: it is not: the ranks have drifted apart, and the score is that of no single model.
    """
    mine = weights_sha256(model)
    number = torch.tensor([int(mine[:15], 16)], dtype=torch.int64, device=world.device)
    if len(set(world.gather(number).tolist())) > 1:
        raise ValueError("the ranks' weights differ after adaptation: they took different steps")
    return mine


@contextmanager
def only_training(model: nn.Module, names: list[str]) -> Iterator[list[nn.Parameter]]:
    """Inside, gradients are computed for the named parameters alone; gives those parameters."""
    chosen, wanted = [], set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)
        if name in wanted:
            chosen.append(parameter)
    try:
        yield chosen
    finally:
        model.requires_grad_(True)
