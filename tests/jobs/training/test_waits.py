"""Between two lines of the log, training never waits for the device.

Shown on tensors without numbers, torch's device "meta": whoever asks one for a number, or for a shape that depends on
numbers, gets an error. That is where a card would have to finish all that is queued before the program goes on.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.loop import train
from jobs.model import Transformer
from jobs.recipe import Recipe
from jobs.techniques.optimizer.muon_adam import MuonAdamOptimizer
from tests import recipes
from tests.benchmarks.operators import ShapedLikeACard, tables_in_bfloat16
from tests.benchmarks.recipes import recipe_object
from tests.jobs.tiny import quiet_log, stream, write_shard

META = torch.device("meta")
STEPS = 3


class NoBlockingCopies(TorchDispatchMode):
    """Refuses copies between host and device for which the host waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = kwargs.get("device")
        if target is not None and args and isinstance(args[0], torch.Tensor):
            assert torch.device(target) == args[0].device or kwargs.get("non_blocking"), f"{func} waits for the device"
        return func(*args, **kwargs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shard(tmp_path / "some_train_000000.bin", stream(20_000).tolist())
    return tmp_path


@pytest.fixture(autouse=True)
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What torch has no form of for such tensors: the fused AdamW, compiled functions and the constants in them."""
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *args, **knobs: adamw(*args, **{**knobs, "fused": False}))
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr("jobs.rotation._signs", lambda columns, seed, device: torch.ones(columns, device=device))
    monkeypatch.setattr("jobs.loop.FIRST_STEPS_LOGGED", 0)
    yield


def trained(recipe: Recipe, folder: Path, *, log_every: int) -> int:
    """Steps of the loop on tensors without numbers."""
    recipe = replace(
        recipe, budget=replace(recipe.budget, iterations=STEPS, warmup_steps=2, validate_every=0, log_every=log_every)
    )
    with META:
        model = Transformer(recipe)
    tables_in_bfloat16(model)
    world = ShapedLikeACard(device=META)
    with NoBlockingCopies():
        return train(recipe, model, folder, world=world, log=quiet_log(folder), validate=lambda: (0.0, 0.0)).steps


@pytest.mark.parametrize("name", recipes.NAMES)
def test_no_step_of_a_recipe_waits(name: str, folder: Path) -> None:
    assert trained(recipe_object(name, "smoke"), folder, log_every=STEPS + 1) == STEPS


def test_a_line_of_the_log_does_wait(folder: Path) -> None:
    """So a wait is seen."""
    with pytest.raises(RuntimeError, match="meta"):
        trained(recipe_object("naive_baseline", "smoke"), folder, log_every=1)


@pytest.mark.parametrize(
    "waits",
    [
        lambda gradient: float(gradient.sum()),
        lambda gradient: gradient.isnan().any().item(),
        lambda gradient: gradient[gradient > 0],
        lambda gradient: gradient.cpu(),
        lambda gradient: torch.ones(1, device="cpu").to(gradient.device),
    ],
)
def test_an_optimizer_that_waits_is_seen(
    waits: Callable[[torch.Tensor], Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = MuonAdamOptimizer.step

    def waiting(self: MuonAdamOptimizer, **knobs: Any) -> None:
        waits(self.matrices[0].grad)  # type: ignore[arg-type]
        step(self, **knobs)

    monkeypatch.setattr(MuonAdamOptimizer, "step", waiting)
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        trained(recipe_object("naive_baseline", "smoke"), folder, log_every=STEPS + 1)
