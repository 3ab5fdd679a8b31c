"""What only shows under torch.compile: graphs in one piece, and what they keep. No card needed."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import default_partition, min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table

from jobs.layers import role_of
from jobs.model import MATRIX_KINDS, Transformer, build_model
from jobs.muon import orthogonalized
from jobs.rotation import rotated, unrotated
from jobs.world import World
from tests import recipes
from tests.benchmarks.card import measure
from tests.benchmarks.operators import tables_in_bfloat16
from tests.benchmarks.recipes import recipe_object


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("name", recipes.parameters())
def test_the_loss_and_its_gradient_are_one_graph(name: str) -> None:
    """A break in the graph of a layer costs a launch of Python for every layer and step."""
    recipe = recipe_object(name, "smoke")
    model = build_model(recipe, seed=1, device=torch.device("cpu"))
    rounding = recipe.fake_quantization.attach(model, recipe.quantizer) if recipe.fake_quantization else None
    compiled = torch.compile(model, backend="eager", dynamic=False, fullgraph=True)
    tokens = torch.randint(recipe.shape.vocab_size, (2, 33), generator=torch.Generator().manual_seed(0))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    for on in (False, True) if rounding else (False,):
        if rounding:
            rounding.turn(on)
        loss = compiled(inputs, targets)
        loss.backward()
        torch.testing.assert_close(loss, model(inputs, targets), rtol=1e-5, atol=0)


def test_the_benchmark_of_a_card_counts_tokens_and_products() -> None:
    """Run where there is no card, so that it works where there is one."""
    recipe = recipe_object("naive_baseline", "smoke")
    found = measure(recipe, World(), kernel="sdpa", steps=1)
    shape, budget = recipe.shape, recipe.budget
    assert len(found.step_ms) == 1 and found.tokens == budget.batch_tokens // 8
    matrices = 2 * shape.model_dim**2 + 2 * shape.model_dim * shape.num_kv_heads * shape.head_dim  # of attention
    matrices += 4 * shape.model_dim**2  # of the feed-forward, twice as wide
    weights = shape.num_layers * matrices + shape.vocab_size * shape.model_dim
    controls = 2 * shape.num_layers * shape.model_dim + shape.num_layers // 2 * shape.model_dim  # mixes and skips
    assert (
        6 * weights
        < found.flops / found.tokens
        < 6 * (weights + controls) + 6 * budget.sequence_length * (shape.num_layers * shape.model_dim) * 1.01
    )
    assert found.kernel == "sdpa" and found.step_ms[0] > 0


def kept_for_the_backward_pass(recipe: Any, partition: Callable[..., Any]) -> list[Tensor]:
    """What the compiled loss keeps, shapes and dtypes alone, in the dtypes of a card; ``partition`` decides."""
    kept: list[Tensor] = []

    def forward(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        output = next(node for node in graph.graph.nodes if node.op == "output")
        kept.extend(node.meta["val"] for node in output.args[0] if isinstance(node.meta.get("val"), Tensor))
        return make_boxed_func(graph.forward)

    model = build_model(recipe, seed=1, device=torch.device("cpu"))
    tables_in_bfloat16(model)
    backend = aot_autograd(
        fw_compiler=forward,
        bw_compiler=lambda graph, inputs: make_boxed_func(graph.forward),
        partition_fn=partition,
        decompositions=select_decomp_table(),
    )
    tokens = torch.zeros((2, 48), dtype=torch.int64)
    torch.compile(model, backend=backend, fullgraph=True, dynamic=False)(tokens, tokens).backward()
    return kept


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "gptq_lite_414" else pytest.mark.soak) for name in recipes.NAMES]
)
def test_the_loss_keeps_no_logits_in_float32(name: str) -> None:
    """The backward pass makes the cap and the softmax again from the product of the head, which is bfloat16.

    That is decided by the partitioner that torch.compile's own backend has; where everything is kept, they are there.
    """
    recipe = recipe_object(name, "smoke")
    logits = (2 * 48, recipe.shape.vocab_size)
    inductor_s = partial(min_cut_rematerialization_partition, compiler="inductor")

    def dtypes(partition: Callable[..., Any]) -> list[torch.dtype]:
        torch.compiler.reset()
        kept = kept_for_the_backward_pass(recipe, partition)
        return [one.dtype for one in kept if one.numel() == logits[0] * logits[1] and one.size(-1) == logits[1]]

    assert torch.float32 in dtypes(default_partition)
    assert dtypes(inductor_s) == [torch.bfloat16]


@pytest.mark.parametrize("shape", [(3, 16, 40), (3, 40, 16), (1, 24, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_orthogonalization_is_one_graph(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    update = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(orthogonalized, backend="aot_eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        found = compiled(update, steps=5, dtype=dtype)
    assert torch.equal(found, orthogonalized(update, steps=5, dtype=dtype)) and found.dtype == dtype


@pytest.mark.parametrize("name", recipes.NAMES)
def test_no_recipe_has_matrices_of_more_shapes_than_torch_compiles(name: str) -> None:
    """Beyond the limit torch goes on without compiling, and only warns."""
    with torch.device("meta"):
        model = Transformer(recipe_object(name, "eight_h100"))
    shapes = {tuple(one.shape) for one in model.parameters() if role_of(one).kind in MATRIX_KINDS}
    assert 1 < len(shapes) <= torch._dynamo.config.recompile_limit


@pytest.mark.parametrize("name", ["naive_baseline", "gptq_lite_414", "legal_leaky"])
def test_steps_of_a_world_that_compiles_are_those_of_one_that_does_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiled orthogonalization, and the norm of the gradient in few calls; with and without clipping."""

    class Compiling(World):
        compiles = True  # type: ignore[assignment]

    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **knobs: compile_(function, backend=backend, **knobs))
    recipe = recipe_object(name, "smoke")
    states = []
    for world in (World(), Compiling()):
        model = build_model(recipe, seed=1, device=world.device)
        optimizer = recipe.optimizer.build(model, world)
        generator = torch.Generator().manual_seed(0)
        for step in range(2):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step(step=step, scale=1.0)
        states.append({key: one.clone() for key, one in model.state_dict().items()})
    shapes = {tuple(one.shape) for one in model.parameters() if role_of(one).kind in MATRIX_KINDS}
    assert len(graphs) == len(shapes)
    for key, wanted in states[0].items():
        torch.testing.assert_close(states[1][key], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("turned", [rotated, unrotated])
def test_the_signs_of_a_rotation_are_a_constant_on_the_device(turned: Callable[[Tensor, int], Tensor]) -> None:
    """On torch's device without numbers, in the place of a card: a sign on the host would be copied in every step."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    weight = torch.empty(8, 32, device="meta")
    torch.compile(turned, backend=backend, fullgraph=True, dynamic=False)(weight, 7)
    assert [one.device for graph in graphs for one in graph.buffers()] == [weight.device]
