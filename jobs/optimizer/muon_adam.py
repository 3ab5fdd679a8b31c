from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jobs.model import tensor_kinds
from jobs.muon import Muon
from jobs.recipe import TrainingOptimizer
from jobs.world import World


@dataclass(frozen=True, kw_only=True)
class MuonAdam:
    """Muon for the linear layers, AdamW for tables, head and control vectors.

    The momentum of Muon rises linearly from ``momentum_start`` over the first steps. Weight decay is decoupled and
    scaled by the current rate. Gradients are averaged over the ranks first and clipped after that.

    Source: Keller Jordan's Muon; groups and rates of the challenge's naive baseline.
    """

    matrix_learning_rate: float = 0.04  # of linear layers, by Muon
    table_learning_rate: float = 0.05  # of embedding tables, by AdamW
    control_learning_rate: float = 0.04  # of gains, scales, mixes, gates, by AdamW
    head_learning_rate: float = 0.008  # of an untied head, by AdamW
    decoder_multiplier: float = 1.0  # on the rates of the second half of the blocks
    momentum: float = 0.95
    momentum_start: float = 0.85
    momentum_warmup_steps: int = 500
    newton_schulz_steps: int = 5
    muon_weight_decay: float = 0.0
    decay_first: bool = True  # Muon's decay before the update; #462 decays after it
    adam_weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip_norm: float = 0.0  # of the averaged gradient, all parameters together; 0: no clipping

    def build(self, model: nn.Module, world: World) -> TrainingOptimizer:
        return MuonAdamOptimizer(self, model, world)


class MuonAdamOptimizer:
    def __init__(self, knobs: MuonAdam, model: nn.Module, world: World) -> None:
        self.knobs, self.world = knobs, world
        self.parameters = list(model.parameters())
        kinds = tensor_kinds(model)
        num_layers = len(model.get_submodule("blocks"))  # type: ignore[arg-type]
        rates = {
            "attention": knobs.matrix_learning_rate,
            "feed_forward": knobs.matrix_learning_rate,
            "projection": knobs.matrix_learning_rate,
            "table": knobs.table_learning_rate,
            "head": knobs.head_learning_rate,
            "control": knobs.control_learning_rate,
        }
        matrices: list[tuple[Tensor, float]] = []
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in model.named_parameters():
            decodes = name.startswith("blocks.") and int(name.split(".")[1]) >= num_layers // 2
            rate = rates[kinds[name]] * (knobs.decoder_multiplier if decodes else 1.0)
            if kinds[name] in ("attention", "feed_forward", "projection"):
                matrices.append((parameter, rate))
            else:
                groups.setdefault(rate, []).append(parameter)
        self.muon = Muon(
            [parameter for parameter, _ in matrices],
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
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        self.world.sum_all(gradients)
        if self.knobs.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.knobs.clip_norm)
        share = min(1.0, step / max(1, self.knobs.momentum_warmup_steps))
        momentum = (1 - share) * self.knobs.momentum_start + share * self.knobs.momentum
        self.muon.step(momentum=momentum, scale=scale)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * scale
        self.adam.step()
        for parameter in self.parameters:
            parameter.grad = None
