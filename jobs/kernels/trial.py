"""Which attention kernel a job takes: each is tried on the job's own shapes, the fastest right one wins.

Nothing is concluded from the name of a card or from what can be imported. A kernel is out when it cannot be imported,
cannot be compiled in one piece, computes something else than float32 does, or fails on any rank; the log says why.
"""

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.contract.assignment import KERNEL_NAMES, SDPA
from jobs.contract.errors import Refused
from jobs.data.loader import micro_batches
from jobs.kernels.attention import CHOSEN, KERNELS, Call, recorded_calls, torch_attention
from jobs.model import Transformer
from jobs.recipe import Recipe
from jobs.world import World

TOLERANCE = 0.02  # of the norm of the result and of each gradient: bfloat16 keeps 8 bits of each factor
CHECKED_ROWS = 2  # of a call, against float32
WARM_UP, REPETITIONS, TIMING_SECONDS = 3, 15, 0.3  # of the timing of one kernel
ALIKE = 1.03  # kernels so close are equally fast: seeds should not differ in their kernel by chance


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of one kernel at one call: the seconds of forward and backward; infinite where it is out."""

    name: str
    seconds: float
    reason: str = ""  # why it is out


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The kernels of attention that a job takes, and how they were found."""

    kernel: str  # "cudnn"; where heads of several shapes have different ones "cudnn+sdpa"
    told: str  # all figures, for the log

    def __str__(self) -> str:
        return f"{self.kernel}: {self.told}"


ON_A_CPU = Choice(kernel=SDPA, told="no CUDA device, torch's own for a CPU")


def choose(recipe: Recipe, world: World, *, forced: str | None = None) -> Choice:
    """Try the kernels on the attention calls of a training step of ``recipe``, and take the fastest right ones.

    Raises:
        Refused: ``forced`` cannot be used here; names the reason and what can.

    Distributed: every rank calls it; all ranks take the same, which is right on each of them.
    """
    CHOSEN.clear()
    if world.device.type != "cuda":
        if forced not in (None, SDPA):
            raise Refused(f"--kernel {forced}: there is no CUDA device here; possible is {SDPA}")
        return ON_A_CPU
    return select(calls_of(recipe, world), world, forced=forced)


def select(calls: Counter[Call], world: World, *, forced: str | None = None) -> Choice:
    """``choose`` for these calls."""
    names = KERNEL_NAMES if forced is None else (forced,)
    taken: list[str] = []
    told: list[str] = []
    for call, times in calls.items():
        found = agreed([tried(name, call, world.device) for name in names], world)
        best = fastest(found)
        if best is None:
            raise Refused(_none(call, found, forced))
        CHOSEN[call.heads] = best.name
        taken.append(best.name)
        told.append(f"{best.name} for {times} calls of {call}: {', '.join(map(_said, found))}")
    torch.compiler.reset()  # of what the trials compiled
    return Choice(kernel="+".join(dict.fromkeys(taken)), told="; ".join(told))


def calls_of(recipe: Recipe, world: World) -> Counter[Call]:
    """The attention calls of the forward pass over one micro-batch, found by running it without numbers."""
    budget = recipe.budget
    rows = micro_batches(
        batch_tokens=budget.batch_tokens,
        sequence_length=budget.sequence_length,
        max_micro_batch_tokens=budget.max_micro_batch_tokens,
        world=world,
    )[0]
    with torch.device("meta"), torch.no_grad(), recorded_calls() as calls:
        Transformer(recipe).hidden(torch.zeros(rows, budget.sequence_length, dtype=torch.int64))
    return Counter(calls)


def tried(name: str, call: Call, device: torch.device) -> Tried:
    """One kernel at one call: right, in one piece under torch.compile, and how fast."""
    kernel = KERNELS[name]
    try:
        error = disagreement(kernel, call, device)
        if not error <= TOLERANCE:
            return Tried(name=name, seconds=math.inf, reason=f"wrong by {error:.1%} of float32's result")
        return Tried(name=name, seconds=seconds_of(kernel, call, device))
    except Exception as error:  # a library may raise anything: the others are tried
        said = str(error).strip().partition("\n")[0][:160]
        return Tried(name=name, seconds=math.inf, reason=f"{type(error).__name__}: {said}")


def disagreement(kernel: Callable, call: Call, device: torch.device) -> float:
    """The largest relative error of its result and its gradients, called and compiled, against float32."""
    inputs = _inputs(call, min(call.rows, CHECKED_ROWS), device)
    cotangent = torch.randn(inputs[0].shape[:3] + inputs[2].shape[3:], device=device, generator=_generator(device))
    wanted = _with_gradients(torch_attention, [one.float() for one in inputs], cotangent)
    compiled = torch.compile(kernel, backend="aot_eager", fullgraph=True, dynamic=False)
    errors = [
        float((ours.float() - theirs).norm() / theirs.norm())
        for called in (kernel, compiled)
        for ours, theirs in zip(_with_gradients(called, inputs, cotangent), wanted, strict=True)
    ]
    return math.nan if any(math.isnan(error) for error in errors) else max(errors)


def seconds_of(kernel: Callable, call: Call, device: torch.device) -> float:
    """The median time of a forward and a backward pass."""
    inputs = [one.requires_grad_() for one in _inputs(call, call.rows, device)]
    cotangent = torch.ones_like(kernel(*inputs))
    begun, times = time.perf_counter(), []
    for repetition in range(WARM_UP + REPETITIONS):
        moment = _now(device)
        torch.autograd.grad(kernel(*inputs), inputs, cotangent)
        times.append(_now(device) - moment)
        if repetition >= WARM_UP and time.perf_counter() - begun > TIMING_SECONDS:
            break
    return statistics.median(times[WARM_UP:])


def agreed(mine: Sequence[Tried], world: World) -> list[Tried]:
    """What holds for all ranks: the slowest time of each kernel, and out where it is out on any of them."""
    seconds = torch.tensor([[one.seconds for one in mine]], dtype=torch.float64, device=world.device)
    slowest = world.gather(seconds).amax(dim=0).tolist()
    return [
        Tried(
            name=one.name, seconds=most, reason=one.reason or ("another rank cannot run it" if most == math.inf else "")
        )
        for one, most in zip(mine, slowest, strict=True)
    ]


def fastest(found: Sequence[Tried]) -> Tried | None:
    """The first that is as fast as the fastest; None where all are out."""
    least = min(one.seconds for one in found)
    return next((one for one in found if one.seconds <= ALIKE * least < math.inf), None)


def _said(one: Tried) -> str:
    return f"{one.name} {one.reason or f'{1000 * one.seconds:.2f} ms'}"


def _none(call: Call, found: Sequence[Tried], forced: str | None) -> str:
    reasons = "; ".join(map(_said, found))
    if forced is None:
        return f"no attention kernel works here for {call}: {reasons}"
    others = ", ".join(name for name in KERNEL_NAMES if name != forced)
    return (
        f"--kernel {forced}: it does not work here for {call}: {reasons}. Others are {others}; "
        "without it the fastest that works is taken"
    )


def _inputs(call: Call, rows: int, device: torch.device) -> list[Tensor]:
    """q, k, v of normal numbers, bfloat16."""
    queries, groups, width, value_width = call.heads
    generator = _generator(device)
    return [
        torch.randn(rows, call.length, count, size, device=device, generator=generator).bfloat16()
        for count, size in ((queries, width), (groups, width), (groups, value_width))
    ]


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def _with_gradients(kernel: Callable, inputs: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
    given = [one.detach().requires_grad_() for one in inputs]
    result = kernel(*given)
    return [result.detach(), *torch.autograd.grad(result, given, cotangent.to(result.dtype))]


def _now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
