"""Training steps on one card: milliseconds, tokens a second, share of the card's peak and memory, for each kernel.

    python -m tests.benchmarks.gpu [--recipes naive_baseline,gptq_lite_414] [--steps 20]

The model is the full one, with the micro-batch that one of eight cards has; tokens are random, which costs the same.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.contract.assignment import KERNEL_NAMES
from jobs.contract.errors import Refused
from jobs.data.loader import micro_batches
from jobs.kernels.trial import choose
from jobs.loop import take_step
from jobs.model import build_model, compile_in_place
from jobs.world import World

from .recipes import recipe_object

RECIPES = ("naive_baseline", "gptq_lite_414")
RANKS = 8  # of the machine of the challenge: what one of its cards does is measured
WARM_UP = 5
PEAK_TFLOPS = {"H100": 989.4, "H200": 989.4, "B200": 2250.0, "A100": 311.9}  # dense bfloat16, from the data sheets


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Training steps of one recipe with one attention kernel."""

    kernel: str
    step_ms: list[float]
    tokens: int  # of one step on this card
    flops: float  # of one step: products of the forward and the backward pass
    peak_bytes: int

    def __str__(self) -> str:
        ordered = sorted(self.step_ms)
        median, quarter = statistics.median(ordered), len(ordered) // 4
        seconds = median / 1000
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        peak = next((figure for card, figure in PEAK_TFLOPS.items() if card in name), None)
        share = f"{self.flops / seconds / 1e12 / peak:.1%} of peak" if peak else "peak unknown"
        return (
            f"{self.kernel:24} {median:7.2f} ms a step ({ordered[quarter]:.2f} to {ordered[-1 - quarter]:.2f}), "
            f"{self.tokens / seconds:,.0f} tokens/s, {share}, {self.peak_bytes / 2**20:,.0f} MiB"
        )


class RandomTokens:
    """A loader of noise."""

    def __init__(self, recipe: Any, world: World) -> None:
        self.sequence_length, self.world, self.vocabulary = (
            recipe.budget.sequence_length,
            world,
            recipe.shape.vocab_size,
        )

    def prefetch(self, num_sequences: int) -> None:
        """Nothing: the noise is made on the card."""

    def next(self, num_sequences: int) -> tuple[Tensor, Tensor]:
        shape = (num_sequences, self.sequence_length + 1)
        tokens = torch.randint(self.vocabulary, shape, device=self.world.device)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def measure(recipe: Any, world: World, *, kernel: str, steps: int) -> Measured:
    """``steps`` training steps of what one of ``RANKS`` cards does, after some that compile."""
    torch.manual_seed(0)
    model = build_model(recipe, seed=0, device=world.device)
    if world.device.type == "cuda":
        compile_in_place(model)
        torch.cuda.reset_peak_memory_stats()
    optimizer = recipe.optimizer.build(model, world)
    budget, loader = recipe.budget, RandomTokens(recipe, world)
    batch_tokens = budget.batch_tokens // RANKS
    sequences = micro_batches(
        batch_tokens=batch_tokens,
        sequence_length=budget.sequence_length,
        max_micro_batch_tokens=budget.max_micro_batch_tokens,
        world=world,
    )
    times = []
    for step in range(WARM_UP + steps):
        _wait(world)
        begun = time.perf_counter()
        take_step(model, loader, optimizer, sequences, step=step, scale=1.0, world=world)  # type: ignore[arg-type]
        _wait(world)
        times.append(1000 * (time.perf_counter() - begun))
    weights = sum(one.numel() for name, one in model.named_parameters() if one.ndim == 2 and name != "table.weight")
    weights += model.table.weight.numel()  # as the output head: looking a row up costs nothing
    shape = recipe.shape
    attended = budget.sequence_length / 2 * shape.num_layers * shape.num_heads * shape.head_dim  # causal: half
    return Measured(
        kernel=kernel,
        step_ms=times[WARM_UP:],
        tokens=batch_tokens,
        flops=batch_tokens * (6 * weights + 12 * attended),
        peak_bytes=torch.cuda.max_memory_allocated() if world.device.type == "cuda" else 0,
    )


def _wait(world: World) -> None:
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("  no GPU here: nothing measured")
        return
    world = World(device=torch.device("cuda", 0))
    print(f"  {torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    for name in arguments.recipes.split(","):
        recipe = recipe_object(name, "eight_h100")
        print(f"  {name}: {recipe.budget.batch_tokens // RANKS:,} tokens a step and card, compiled")
        for kernel in KERNEL_NAMES:
            torch.compiler.reset()
            try:
                choose(recipe, world, forced=kernel)
            except Refused as error:
                print(f"    {kernel}: {error}")
                continue
            print(f"    {measure(recipe, world, kernel=kernel, steps=arguments.steps)}", flush=True)


if __name__ == "__main__":
    main()
