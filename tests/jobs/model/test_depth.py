"""Blocks that are run in another order than their layers': what is by layer, what by place, and what it costs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jobs.calibration import Calibration
from jobs.contract.errors import Refused
from jobs.model import Transformer
from jobs.recipe import Recipe
from jobs.size import print_size
from tests.jobs import tiny
from tests.jobs.tiny import LENGTH, SHAPE, VOCABULARY, base, model_of, noisy, technique

RECURRENT = {"first_layer": 1, "last_layer": 2, "extra_passes": 1}
ORDER = (0, 1, 2, 1, 2, 3)  # of four layers


def recurrent(**changes: Any) -> Recipe:
    """The base recipe with four layers, of which the middle two are run twice."""
    recipe = replace(base(), shape=replace(SHAPE, num_layers=4), depth=technique("depth", "recurrent", **RECURRENT))
    return replace(recipe, **changes)


def ids(rows: int = 2) -> torch.Tensor:
    return torch.randint(4, VOCABULARY, (rows, LENGTH), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("first", "last", "extra", "encoder", "decoder"),
    [  # as the field's records with 11 layers print them
        (4, 5, 1, (0, 1, 2, 3, 4, 5), (4, 5, 6, 7, 8, 9, 10)),
        (4, 5, 2, (0, 1, 2, 3, 4, 5, 4), (5, 4, 5, 6, 7, 8, 9, 10)),
        (3, 5, 2, (0, 1, 2, 3, 4, 5, 3, 4), (5, 3, 4, 5, 6, 7, 8, 9, 10)),
        (0, 0, 1, (0, 0, 1, 2, 3, 4), (5, 6, 7, 8, 9, 10)),
        (4, 5, 0, (0, 1, 2, 3, 4), (5, 6, 7, 8, 9, 10)),
    ],
)
def test_the_order_is_that_of_the_records(
    first: int, last: int, extra: int, encoder: tuple[int, ...], decoder: tuple[int, ...]
) -> None:
    order = technique("depth", "recurrent", first_layer=first, last_layer=last, extra_passes=extra).order(11)
    assert order == encoder + decoder and len(order) // 2 == len(encoder)
    skips = technique("skips", "unet_weights").build(replace(SHAPE, num_layers=11), order)
    assert skips.skip_weights.size(0) == min(len(encoder), len(decoder))


def test_once_is_every_layer_in_turn() -> None:
    assert technique("depth", "once").order(5) == (0, 1, 2, 3, 4)
    assert base().depth == technique("depth", "once")


@pytest.mark.parametrize("knobs", [{"last_layer": 4}, {"first_layer": 3}, {"first_layer": -1}, {"extra_passes": -1}])
def test_layers_that_are_not_there_are_refused(knobs: dict[str, int]) -> None:
    with pytest.raises(Refused, match=r"depth\.recurrent: layers .* possible are layers from 0 to 3"):
        model_of(recurrent(depth=technique("depth", "recurrent", **{**RECURRENT, **knobs})))


def test_an_order_that_leaves_a_layer_out_is_found_out() -> None:
    class Forgetful:
        def order(self, num_layers: int) -> tuple[int, ...]:
            return tuple(range(num_layers - 1))

    with pytest.raises(ValueError, match=r"depth: runs the layers \(0, 1, 2\), which are not all of 0 to 3"):
        model_of(recurrent(depth=Forgetful()))


def unrolled(model: Transformer, recipe: Recipe) -> Transformer:
    """A model of as many layers as ``model`` has places, with its weights."""
    deep = model_of(replace(recipe, shape=replace(recipe.shape, num_layers=len(ORDER)), depth=base().depth))
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("blocks.")}
    for place, layer in enumerate(ORDER):
        for name, tensor in model.blocks[layer].state_dict().items():
            state[f"blocks.{place}.{name}"] = tensor
    deep.load_state_dict(state)
    return deep


@pytest.mark.parametrize("residual", ["x0_mixing", "parallel"])
def test_a_recurrent_model_is_the_deep_one_whose_layers_are_equal(residual: str) -> None:
    """Its gates, skips and mixed values included, which are by place; a shared matrix has the sum of the gradients."""
    recipe = recurrent(
        residual=technique("residual", residual, **({"first_layer": 0} if residual == "parallel" else {})),
        skips=(technique("skips", "unet_gates"), technique("skips", "backout")),
        values=(technique("values", "value_residual"),),
    )
    model = noisy(model_of(recipe))
    deep = unrolled(model, recipe)
    assert model.order == ORDER and deep.order == tuple(range(6))
    inputs, targets = ids(), ids().flip(0)
    losses = [one(inputs, targets) for one in (model, deep)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    for layer in range(4):
        for name, parameter in model.blocks[layer].named_parameters():
            passes = [deep.blocks[place].get_parameter(name).grad for place, of in enumerate(ORDER) if of == layer]
            torch.testing.assert_close(parameter.grad, sum(passes), rtol=1e-4, atol=1e-6)
    for name, parameter in model.named_parameters():
        if not name.startswith("blocks."):
            torch.testing.assert_close(parameter.grad, deep.get_parameter(name).grad, rtol=1e-4, atol=1e-6)


def test_what_belongs_to_weights_is_by_layer() -> None:
    """The shared value embedding of the last layer stays with it, however often a layer before it is run."""
    module = technique("values", "shared_value_embedding", last_layers=2).build(replace(SHAPE, num_layers=4), ORDER)
    v, tokens = torch.randn(2, LENGTH, 2, 16), ids()
    with torch.no_grad():
        module.projection.weight.fill_(1.0)
        module.layer_scales[1].fill_(0.0)
        added = [not torch.equal(module(place, v, None, tokens), v) for place in range(len(ORDER))]
    assert added == [layer == 2 for layer in ORDER] and len(module.layer_scales) == 2


def test_the_first_values_are_those_of_the_first_place() -> None:
    """Also where layer 0 is run again: then its own values are mixed with those that it had the first time."""
    seen: list[tuple[int, bool]] = []

    class Watching:
        def build(self, shape: Any, order: Sequence[int]) -> nn.Module:
            return Watcher()

    class Watcher(nn.Module):
        def forward(self, place: int, v: torch.Tensor, first: torch.Tensor | None, ids: torch.Tensor) -> torch.Tensor:
            seen.append((place, first is None))
            return v

    again = technique("depth", "recurrent", first_layer=0, last_layer=0, extra_passes=1)
    model_of(recurrent(depth=again, values=(Watching(),)))(ids(), ids())
    assert seen == [(0, True), *((place, False) for place in range(1, 5))]
    mixed = technique("values", "value_residual").build(SHAPE, (0, 0, 1, 2))
    assert mixed.mix.shape == (3, 2)


def test_passes_cost_memory_and_no_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for recipe in (recurrent(depth=base().depth), recurrent()):
        print_size(replace(recipe, skips=()), "size.py")
        told.append(json.loads(capsys.readouterr().out))
    assert [one.pop("places") for one in told] == [4, 6]
    assert told[0] == told[1], "the same parameters, tensors and widths"


def test_calibration_sees_every_pass() -> None:
    """The Hessian of a shared matrix is the sum over its passes."""
    model = noisy(model_of(recurrent(skips=())))
    deep = unrolled(model, recurrent(skips=()))
    calibration = Calibration(world=tiny.ALONE, data_path=Path(), sequence_length=LENGTH, vocab_size=VOCABULARY, seed=1)
    shared, single = calibration.hessians(model, ids()), calibration.hessians(deep, ids())
    name = "attention.query.weight"
    for layer in range(4):
        passes = [single[f"blocks.{place}.{name}"] for place, of in enumerate(ORDER) if of == layer]
        torch.testing.assert_close(shared[f"blocks.{layer}.{name}"], sum(passes))


def test_a_recurrent_model_takes_a_step() -> None:
    model = model_of(recurrent())
    optimizer = recurrent().optimizer.build(model, tiny.ALONE)
    before = tiny.state_of(model)
    for step in range(2):  # layers that start at zero hide those before them for a step
        (model(ids(), ids().flip(0)) / ids().numel()).backward()
        optimizer.step(step=step, scale=1.0)
    assert all(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
