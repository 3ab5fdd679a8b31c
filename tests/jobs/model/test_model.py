"""What must hold for every model that a recipe can describe: each technique alone, and several together."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from jobs.kernels.attention import causal_attention
from jobs.layers import Linear, num_layers_of, role_of
from jobs.model import IGNORED, MATRIX_KINDS, Transformer, tensor_kinds
from jobs.recipe import Recipe
from platform.program.recipe import entry_program, load
from tests.jobs import tiny
from tests.jobs.tiny import (
    ALONE,
    LENGTH,
    ROOT,
    VOCABULARY,
    Case,
    base,
    every,
    model_families,
    model_of,
    noisy,
    technique,
)

GOLDEN = yaml.safe_load((ROOT / "tests" / "golden" / "parameter_counts.yaml").read_text())
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


SHAPES = [  # of the mixtures
    replace(tiny.SHAPE, num_layers=4),
    replace(tiny.SHAPE, num_kv_heads=4),
    replace(tiny.SHAPE, tied_embeddings=False),
    replace(tiny.SHAPE, num_layers=4, num_kv_heads=1),
    replace(tiny.SHAPE, num_layers=2, num_heads=2, num_kv_heads=2, tied_embeddings=False),
]


def mixture(number: int) -> Recipe:
    """Technique ``number`` of each family, round and round, and the first ones of those that take several."""
    recipe = replace(base(), shape=SHAPES[number])
    for field in tiny.catalog().fields.values():
        names = tiny.catalog().families[field.family].techniques
        if field.family in tiny.WITHOUT_MODEL or not names:
            continue
        if field.takes == "several":
            first = tuple(technique(field.family, name) for name in names[: 1 + number % len(names)])
            recipe = replace(recipe, **{field.name: first})
        else:
            recipe = replace(recipe, **{field.name: technique(field.family, names[number % len(names)])})
    return recipe


@pytest.fixture(params=[*every(*model_families(), switched=True), *range(len(SHAPES))], ids=str)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """The base recipe with one technique in it, or a mixture of many."""
    if isinstance(request.param, int):
        return mixture(request.param)
    return tiny.with_technique(base(), request.param.family, request.param.made())


def batch(rows: int = 3, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random inputs with a BOS in the middle of a row, and targets."""
    generator = torch.Generator().manual_seed(seed)
    ids, targets = torch.randint(4, VOCABULARY, (2, rows, LENGTH), generator=generator)
    ids[0, LENGTH // 2] = 1
    return ids, targets


@torch.no_grad()
def logits_of(model: Transformer, ids: Tensor) -> Tensor:
    return model.logits(model.hidden(ids))


def test_no_position_sees_a_later_token(recipe: Recipe) -> None:
    model = noisy(model_of(recipe))
    ids, _ = batch()
    before = logits_of(model, ids)
    for place in (0, 1, LENGTH // 2, LENGTH - 1):
        for other in (1, 63):  # a BOS too, since masks look for it
            changed = ids.clone()
            changed[:, place] = torch.where(ids[:, place] == other, other - 1, other)
            after = logits_of(model, changed)
            assert torch.equal(after[:, :place], before[:, :place]), f"positions before {place} saw it"
            assert (after[:, place:] != before[:, place:]).any(dim=-1)[:, 0].all(), f"position {place} did not see it"


def test_rows_of_a_batch_know_nothing_of_each_other(recipe: Recipe) -> None:
    model = noisy(model_of(recipe))
    ids, _ = batch()
    before = logits_of(model, ids)
    changed = ids.clone()
    changed[1] = ids[1].flip(0)
    after = logits_of(model, changed)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


def test_the_untrained_model_knows_nothing(recipe: Recipe) -> None:
    model = model_of(recipe)
    ids, targets = batch(rows=16)
    loss = float(model(ids, targets).detach()) / targets.numel()
    assert abs(loss - math.log(VOCABULARY)) < 0.02


def test_the_loss_is_the_cross_entropy_of_the_logits(recipe: Recipe) -> None:
    model = noisy(model_of(recipe))
    ids, targets = batch()
    targets[1, 5:9] = IGNORED
    counted = targets != IGNORED
    logits = logits_of(model, ids).double()[counted]
    expected = -logits.log_softmax(-1).gather(1, targets[counted][:, None]).sum()
    assert logits.abs().max() < recipe.shape.logit_softcap
    assert float(model(ids, targets).detach()) == pytest.approx(float(expected), rel=1e-5)


def test_logits_for_some_positions_are_those_for_all(recipe: Recipe) -> None:
    model = noisy(model_of(recipe))
    ids, _ = batch()
    with torch.no_grad():
        hidden = model.hidden(ids)
        some = model.logits(hidden[1, 7:9])
    torch.testing.assert_close(some, logits_of(model, ids)[1, 7:9], rtol=0, atol=1e-5)


def test_every_parameter_has_a_gradient_by_the_second_step(recipe: Recipe) -> None:
    model = model_of(recipe)
    optimizer = recipe.optimizer.build(model, ALONE)
    reached = set()
    for step in range(2 if recipe.shape.tied_embeddings else 3):  # a head that starts at zero hides the rest for a step
        ids, targets = batch(seed=step)
        (model(ids, targets) / targets.numel()).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all(), name
                if parameter.grad.any():
                    reached.add(name)
        optimizer.step(step=step, scale=1.0)
    assert reached == {name for name, _ in model.named_parameters()}


def test_every_tensor_has_the_kind_of_its_module(recipe: Recipe) -> None:
    model = model_of(recipe)
    kinds = tensor_kinds(model)
    assert list(kinds) == list(model.state_dict())
    for path, module in model.named_modules():
        for name, tensor in module.named_parameters(recurse=False):
            kind = kinds[f"{path}.{name}"]
            assert (kind.endswith("table"), kind in (*MATRIX_KINDS, "head"), kind == "control") == (
                isinstance(module, nn.Embedding),
                isinstance(module, Linear),
                not isinstance(module, nn.Embedding | Linear),
            ), f"{path}.{name} is of kind {kind}"
            assert tensor.dtype == torch.float32
    assert ("head" in kinds.values()) == (not recipe.shape.tied_embeddings)
    for layer in range(recipe.shape.num_layers):
        of_layer = {name: kind for name, kind in kinds.items() if name.startswith(f"blocks.{layer}.")}
        assert of_layer[f"blocks.{layer}.attention.query.weight"] == "attention"
        assert "feed_forward" in of_layer.values()


PARTS = {  # by the child of the model or of a block
    "table": "token_table", "embedding": "embedding", "values": "values", "skips": "skips", "head": "head",
    "residual": "residual", "norm": "norm", "attention": "attention", "feed_forward": "feed_forward",
}  # fmt: skip


def test_every_parameter_knows_its_role(recipe: Recipe) -> None:
    """By the names of the state dict, which only this test reads so; after what is done to a model, too."""
    for model in (model_of(recipe), model_of(recipe).to(torch.bfloat16), on_meta(recipe)):
        model.load_state_dict(model.state_dict())
        for name, parameter in model.named_parameters():
            role, path = role_of(parameter), name.split(".")
            layer = int(path[1]) if path[0] == "blocks" else None
            assert (role.layer, role.part) == (layer, PARTS[path[0 if layer is None else 2]]), name
            assert role.kind == tensor_kinds(model)[name]
            assert role.keeps_float32 == (name.startswith("embedding.") and parameter.shape == (8192, 128)), name
        assert num_layers_of(model) == recipe.shape.num_layers
    for name, parameter in model_of(recipe).named_parameters():
        if role_of(parameter).starts_at_zero:
            assert not parameter.any(), name


def on_meta(recipe: Recipe) -> Transformer:
    with torch.device("meta"):
        return Transformer(recipe)


def test_a_parameter_that_nobody_placed_is_found_out() -> None:
    with pytest.raises(AssertionError, match="has not placed"):
        role_of(nn.Parameter(torch.zeros(1)))


def test_the_seed_alone_decides_the_weights(recipe: Recipe) -> None:
    torch.manual_seed(1)
    first = tiny.state_of(model_of(recipe, seed=7))
    torch.manual_seed(2)
    again, other = tiny.state_of(model_of(recipe, seed=7)), tiny.state_of(model_of(recipe, seed=8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("case", every(*model_families()), ids=str)
def test_a_technique_changes_what_the_model_computes(case: Case) -> None:
    field = next(field for field in tiny.catalog().fields.values() if field.family == case.family)
    chosen = tiny.with_technique(base(), case.family, case.made())
    without = replace(base(), **{field.name: ()}) if field.takes == "several" else base()
    ids, _ = batch()
    with_it, without_it = (logits_of(noisy(model_of(one)), ids) for one in (chosen, without))
    is_the_same = getattr(chosen, field.name) == getattr(without, field.name)
    assert torch.equal(with_it, without_it) == is_the_same


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"num_heads": 3}, "model_dim 64"), ({"num_heads": 64}, "model_dim 64"), ({"num_kv_heads": 3}, "num_kv_heads 3")],
)
def test_impossible_shapes_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Transformer(replace(base(), shape=replace(tiny.SHAPE, **sizes)))


@pytest.mark.parametrize("name", RECIPES)
def test_parameters_at_full_scale(name: str) -> None:
    recipe = tiny.recipe_of(entry_program(load(ROOT / "recipes" / f"{name}.yaml")))
    with torch.device("meta"):
        model = Transformer(recipe)
    found = sum(parameter.numel() for parameter in model.parameters())
    assert name in GOLDEN, f"tests/golden/parameter_counts.yaml does not know {name}; this model has {found}"
    assert found == GOLDEN[name]


def test_grouped_heads_read_the_heads_of_their_group() -> None:
    """A grouped model equals the full one whose key/value heads are the grouped ones, each repeated."""
    grouped = noisy(model_of(base()))
    full = model_of(replace(base(), shape=replace(tiny.SHAPE, num_kv_heads=4)))
    state = grouped.state_dict()
    for name in list(state):
        if name.endswith(("attention.key.weight", "attention.value.weight")):
            state[name] = state[name].view(2, 16, 64).repeat_interleave(2, dim=0).reshape(64, 64)
    full.load_state_dict(state)
    ids, _ = batch()
    torch.testing.assert_close(logits_of(full, ids), logits_of(grouped, ids), rtol=0, atol=1e-5)


def test_attention_agrees_with_the_sum_written_out() -> None:
    """softmax(q k / sqrt K) v over the past, in float64, one head at a time; values wider than keys."""
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 7, heads, 8, generator=generator) for heads in (4, 2))
    v = torch.randn(2, 7, 2, 12, generator=generator)
    expected = torch.zeros(2, 7, 4, 12, dtype=torch.float64)
    for row in range(2):
        for head in range(4):
            for place in range(7):
                scores = k[row, : place + 1, head // 2].double() @ q[row, place, head].double() / math.sqrt(8)
                expected[row, place, head] = scores.softmax(0) @ v[row, : place + 1, head // 2].double()
    torch.testing.assert_close(causal_attention(q, k, v).double(), expected, rtol=0, atol=1e-5)


def test_a_linear_layer_of_torch_s_own_is_refused() -> None:
    """Initialization, optimizer, QAT and quantizer would not know it for what it is."""

    class Foreign:
        def build(self, shape: Any, layer: int) -> nn.Module:
            return nn.Sequential(nn.Linear(shape.model_dim, shape.model_dim))

    with pytest.raises(
        ValueError, match=r"blocks.0.feed_forward.0: torch.nn.Linear; techniques build with jobs.layers"
    ):
        model_of(replace(base(), feed_forward=Foreign()))
