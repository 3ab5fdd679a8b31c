"""The layers that techniques are built from, and what each parameter is in the model that they make up."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.quantization import Grid

Module = TypeVar("Module", bound=nn.Module)
LINEAR_KINDS = {"attention": "attention", "feed_forward": "feed_forward", "head": "head"}  # by part; else projection
TABLE_KINDS = {"token_table": "token_table"}  # by part; else table


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a parameter is: what optimizers group, adaptations choose and quantizers tell apart by.

    Its kind is ``attention`` or ``feed_forward``, of linear layers in a block; ``head``, of an untied output head;
    ``projection``, of other linear layers; ``token_table``, of the token embedding; ``table``, of other tables;
    ``control``, of everything else: gains, scales, mixes, gates.
    """

    kind: str = ""  # "" until it is placed
    part: str = ""  # of the model: token_table, embedding, values, residual, norm, attention, feed_forward, skips, head
    layer: int | None = None  # of the block that it belongs to; None: to none
    starts_at_zero: bool = False  # its output is added to the residual stream: the block begins as identity
    keeps_float32: bool = False  # a table that stays float32 on a GPU, and is trained at the rate of control vectors


def role_of(parameter: Tensor) -> Role:
    """What ``parameter`` is in the model."""
    role = told_role(parameter)
    assert role.kind, "a parameter that the model has not placed, or a copy of one: copies have no role"
    return role


def told_role(parameter: Tensor) -> Role:
    """What is known of ``parameter`` so far."""
    role: Role = getattr(parameter, "role", Role())
    return role


def mark(parameter: Tensor, **known: Any) -> None:
    """Say what whoever makes ``parameter`` knows of its role."""
    carrier: Any = parameter
    carrier.role = replace(told_role(parameter), **known)


def placed(module: Module, part: str, layer: int | None = None) -> Module:
    """``module``, whose parameters know from now on what they are in the model."""
    for inner in module.modules():
        kind = "control"
        if isinstance(inner, Linear):
            kind = LINEAR_KINDS.get(part, "projection")
        elif isinstance(inner, nn.Embedding):
            kind = TABLE_KINDS.get(part, "table")
        for parameter in inner.parameters(recurse=False):
            mark(parameter, kind=kind, part=part, layer=layer)
    return module


def num_layers_of(model: nn.Module) -> int:
    """How many blocks the parameters of ``model`` belong to."""
    return 1 + max((layer for one in model.parameters() if (layer := role_of(one).layer) is not None), default=-1)


class Linear(nn.Module):
    """``x @ weight.T`` without bias: weight float32 [out, in], cast to the dtype of ``x`` for the product.

    ``starts_at_zero`` is for a layer whose output is added to the residual stream: the block begins as identity.
    """

    def __init__(self, in_features: int, out_features: int, *, starts_at_zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        mark(self.weight, starts_at_zero=starts_at_zero)
        self.grid: Grid | None = None  # set where a recipe trains on rounded weights
        self.rounds = False  # torch.compile guards on it: flipping it takes the other graph

    @property
    def starts_at_zero(self) -> bool:
        return told_role(self.weight).starts_at_zero

    def forward(self, x: Tensor) -> Tensor:
        weight = self.grid.straight_through(self.weight) if self.rounds and self.grid else self.weight
        return F.linear(x, weight.to(x.dtype))


def hidden_width(model_dim: int, multiple: float, number: int | None) -> int:
    """The hidden width of a feed-forward: ``number`` where it is given, else ``multiple`` times the model's width."""
    return number if number is not None else int(multiple * model_dim)


def rms_norm(x: Tensor) -> Tensor:
    """``x`` divided by its root mean square over the last dimension; no weight, torch's own eps."""
    return F.rms_norm(x, (x.size(-1),))
