"""What only shows under torch.compile: graphs in one piece. No card needed."""

from collections.abc import Iterator

import pytest
import torch

from jobs.model import build_model
from jobs.world import World
from tests import recipes
from tests.benchmarks.gpu import measure
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
    assert "ms a step" in str(found) and "sdpa" in str(found)
