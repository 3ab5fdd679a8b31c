"""What a training step asks of its device: calls of operators, and numbers that the program waits for.

    python -m tests.benchmarks.operators [--recipes naive_baseline,gptq_lite_414]

Counted, not timed, at full size and in the dtypes of a card, but uncompiled on a CPU: on a card the loss and the
orthogonalization are compiled, so that many of their calls become one. All that the optimizer calls beside that is a
launch of a kernel there, or of several. Views are not counted.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.layers import role_of
from jobs.loop import take_step
from jobs.model import Transformer, build_model
from jobs.muon import orthogonalized
from jobs.world import World

from .recipes import recipe_object

RECIPES = ("naive_baseline", "gptq_lite_414")
LENGTH = 64  # of the one sequence of the step: how many calls there are does not depend on it
NO_LAUNCHES = ("aten._unsafe_view", "profiler.")
WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal", "aten._unique2")
ASKS = ("tolist", "numpy", "cpu")  # methods of a tensor that wait on a card and call no operator on a CPU


class ShapedLikeACard(World):
    """A world whose jobs do what they do on a card, as far as another device can."""

    @property
    def compute_dtype(self) -> torch.dtype:
        return torch.bfloat16

    @property
    def compiles(self) -> bool:
        return True


def tables_in_bfloat16(model: nn.Module) -> None:
    """As ``build_model`` leaves them on a card."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and not role_of(module.weight).keeps_float32:
            module.to(torch.bfloat16)


@dataclass
class Counted:
    """What one step asked for."""

    loss: int  # calls of operators in the forward and the backward pass
    optimizer: int  # in the optimizer, beside those of ``orthogonalized``
    orthogonalized: int  # in the orthogonalization
    waits: list[str] = field(default_factory=list)  # operators and methods that brought a number to the program


class Watch(TorchDispatchMode):
    """Counts what is called inside, by the part of the step that it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.part = "loss"
        self.calls: Counter[str] = Counter()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if not func.is_view and not name.startswith(NO_LAUNCHES):
            self.calls[self.part] += 1
        masked = "aten.index" in name and any(one is not None and one.dtype == torch.bool for one in args[1])
        if name.startswith(WAITS) or masked:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))

    def inside(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose calls are those of ``part``."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            outer, self.part = self.part, part
            try:
                return function(*args, **kwargs)
            finally:
                self.part = outer

        return counted


@contextmanager
def watched() -> Iterator[Watch]:
    """Inside, operators are counted and whoever asks for a number is written down."""
    watch = Watch()
    saved = {name: getattr(Tensor, name) for name in ASKS}

    def telling(name: str) -> Callable[..., Any]:
        def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            watch.waits.append(name)
            return saved[name](self, *args, **kwargs)

        return method

    try:
        for name in ASKS:
            setattr(Tensor, name, telling(name))
        with watch:
            yield watch
    finally:
        for name, method in saved.items():
            setattr(Tensor, name, method)


class OneSequence:
    """A loader of zeros."""

    sequence_length = LENGTH

    def next(self, num_sequences: int) -> tuple[Tensor, Tensor]:
        tokens = torch.zeros((num_sequences, LENGTH), dtype=torch.int64)
        return tokens, tokens


def counted(recipe: Any) -> Counted:
    """One step of ``recipe``, the second one: the first makes the optimizer's state."""
    recipe = replace(recipe, budget=replace(recipe.budget, sequence_length=LENGTH))
    world = ShapedLikeACard()
    model: Transformer = build_model(recipe, seed=0, device=world.device)
    tables_in_bfloat16(model)
    optimizer = recipe.optimizer.build(model, world)
    optimizer.muon.orthogonalized = orthogonalized
    loader = OneSequence()
    take_step(model, loader, optimizer, [1], step=0, scale=1.0, world=world)  # type: ignore[arg-type]
    with watched() as watch:
        optimizer.muon.orthogonalized = watch.inside("orthogonalized", orthogonalized)
        optimizer.step = watch.inside("optimizer", optimizer.step)
        take_step(model, loader, optimizer, [1], step=1, scale=1.0, world=world)  # type: ignore[arg-type]
    return Counted(
        loss=watch.calls["loss"],
        optimizer=watch.calls["optimizer"],
        orthogonalized=watch.calls["orthogonalized"],
        waits=watch.waits,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    for name in parser.parse_args().recipes.split(","):
        found = counted(recipe_object(name, "eight_h100"))
        print(
            f"  {name}, a step: {len(found.waits)} waits for the device; calls of operators: "
            f"loss {found.loss:,}, optimizer {found.optimizer}, orthogonalization {found.orthogonalized}",
            flush=True,
        )


if __name__ == "__main__":
    main()
