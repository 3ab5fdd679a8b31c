from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.knobs import Count, CountOrZero, Memory, Positive, PositiveOrZero
from jobs.layers import num_layers_of, role_of
from jobs.model import MATRIX_KINDS
from jobs.muon import Muon, gradients
from jobs.recipe import TrainingOptimizer
from jobs.world import World, by_dtype


@dataclass(frozen=True, kw_only=True)
class MuonAdam:
    """Muon for the linear layers, AdamW for tables, head and control vectors.

    The momentum of Muon rises linearly from ``momentum_start`` over the first steps. Weight decay is decoupled and
    scaled by the current rate. The gradient is summed over the ranks first and clipped after that.

    With ``parallel`` the linear layers' gradients are reduce-scattered in banks of equal shape instead of being summed
    everywhere, and AdamW updates the rest meanwhile, unless it has to wait for the norm that clips: each rank gets just
    the part that it orthogonalizes. Same update, less traffic. ``clips_locally`` clips each rank's own gradient before
    it is summed, as PR #549 does.

    Source: Keller Jordan's Muon; groups and rates of the challenge's naive baseline; banks PRs #399 and #549.
    """

    matrix_learning_rate: PositiveOrZero = 0.04  # of linear layers, by Muon
    table_learning_rate: PositiveOrZero = 0.05  # of embedding tables, by AdamW
    control_learning_rate: PositiveOrZero = 0.04  # of gains, scales, mixes, gates and float32 tables, by AdamW
    head_learning_rate: PositiveOrZero = 0.008  # of an untied head, by AdamW
    decoder_multiplier: PositiveOrZero = 1.0  # on the rates of the second half of the blocks
    momentum: Memory = 0.95  # of Muon, after the rise
    momentum_start: Memory = 0.85  # of Muon, at step 0
    momentum_warmup_steps: CountOrZero = 500  # of the rise
    newton_schulz_steps: Count = 5  # iterations of each update
    muon_weight_decay: PositiveOrZero = 0.0  # decoupled, times the current rate
    decay_first: bool = True  # Muon's decay before the update; #462 decays after it
    adam_weight_decay: PositiveOrZero = 0.0  # decoupled, times the current rate
    beta1: Memory = 0.9  # of AdamW
    beta2: Memory = 0.95  # of AdamW
    epsilon: Positive = 1e-8  # of AdamW
    clip_norm: PositiveOrZero = 0.0  # of the gradient of all parameters together; 0: no clipping
    parallel: bool = False  # reduce-scatter the linear layers' gradients
    clips_locally: bool = False  # clip before the sum over the ranks instead of after it

    small = {
        "laptop": {"momentum": 0.95, "momentum_start": 0.85, "momentum_warmup_steps": 100},
        "one_gpu_quick": {"momentum_warmup_steps": {"times": 0.075}},
    }

    def build(self, model: nn.Module, world: World) -> TrainingOptimizer:
        return MuonAdamOptimizer(self, model, world)


class MuonAdamOptimizer:
    def __init__(self, knobs: MuonAdam, model: nn.Module, world: World) -> None:
        self.knobs, self.world = knobs, world
        half = num_layers_of(model) // 2
        rates = dict.fromkeys(MATRIX_KINDS, knobs.matrix_learning_rate) | {
            "token_table": knobs.table_learning_rate,
            "table": knobs.table_learning_rate,
            "head": knobs.head_learning_rate,
            "control": knobs.control_learning_rate,
        }
        matrices: list[tuple[Tensor, float]] = []
        groups: dict[float, list[Tensor]] = {}
        for parameter in model.parameters():
            role = role_of(parameter)
            decodes = role.layer is not None and role.layer >= half
            rate = rates[role.kind] * (knobs.decoder_multiplier if decodes else 1.0)
            if role.keeps_float32:
                rate = knobs.control_learning_rate
            if role.kind in MATRIX_KINDS:
                matrices.append((parameter, rate))
            else:
                groups.setdefault(rate, []).append(parameter)
        self.matrices = [parameter for parameter, _ in matrices]
        self.others = [parameter for members in groups.values() for parameter in members]
        self.muon = Muon(
            self.matrices,
            [rate for _, rate in matrices],
            weight_decay=knobs.muon_weight_decay,
            decay_first=knobs.decay_first,
            newton_schulz_steps=knobs.newton_schulz_steps,
            world=world,
        )
        self.adam = torch.optim.AdamW(
            [{"params": members, "lr": rate, "peak": rate} for rate, members in groups.items()],
            betas=(knobs.beta1, knobs.beta2),
            eps=knobs.epsilon,
            weight_decay=knobs.adam_weight_decay,
            fused=True,
        )

    def step(self, *, step: int, scale: float) -> None:
        knobs = self.knobs
        share = min(1.0, step / max(1, knobs.momentum_warmup_steps))
        momentum = (1 - share) * knobs.momentum_start + share * knobs.momentum
        if knobs.clip_norm and knobs.clips_locally:
            everything = [*self.matrices, *self.others]
            torch.nn.utils.clip_grad_norm_(everything, knobs.clip_norm / self.world.size)
        if knobs.parallel:
            own_gradients = self.muon.reduced_gradients()
            self.world.sum_all(gradients(self.others))
        else:
            self.world.sum_all(gradients([*self.matrices, *self.others]))
            own_gradients = self.muon.own_gradients
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * scale
        if knobs.clip_norm and not knobs.clips_locally:
            matrix_gradients = own_gradients()
            self._clip(matrix_gradients)
            self.adam.step()
        else:
            self.adam.step()
            matrix_gradients = own_gradients()
        self.muon.step(matrix_gradients, momentum=momentum, scale=scale)
        for parameter in (*self.matrices, *self.others):
            parameter.grad = None

    def _clip(self, matrix_gradients: dict[tuple[int, ...], Tensor]) -> None:
        """Scale the summed gradient down to the clip norm: the matrices' shares of all ranks, and the rest."""
        shares, others = list(matrix_gradients.values()), gradients(self.others)
        squares = torch.zeros((), device=self.world.device)
        add_squares(squares, shares, at_once=self.world.compiles)
        self.world.sum(squares)
        add_squares(squares, others, at_once=self.world.compiles)
        factor = (self.knobs.clip_norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for alike in by_dtype([*shares, *others]):
            torch._foreach_mul_(alike, factor)


def add_squares(total: Tensor, tensors: list[Tensor], *, at_once: bool) -> None:
    """Add the squares of all values of ``tensors`` to ``total``, float32; ``at_once`` in few calls, for a card.

    On a CPU one after the other: there calls cost little, and the order of a sum is in the bits of every weight.
    """
    in_float32 = [tensor.float() for tensor in tensors]
    if at_once:
        total += torch.stack(torch._foreach_norm(in_float32)).square().sum()
        return
    for tensor in in_float32:
        total += tensor.square().sum()
