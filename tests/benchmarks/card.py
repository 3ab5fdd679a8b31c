"""What is measured on a card, part by part. A part gives rows of figures, whose names end with their unit.

Each row is of one run of the code of ``jobs/`` on one device; nothing in it is typed in but shapes and names. Where
something is compiled, or made once, it has been called before it is timed.
"""

import math
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import platform
from jobs.adapting import Setting
from jobs.contract.assignment import KERNEL_NAMES, Assignment
from jobs.contract.shards import BOS_TOKEN
from jobs.data.loader import micro_batches
from jobs.data.shards import validation_tokens
from jobs.kernels.attention import Call
from jobs.kernels.trial import calls_of, select, tried
from jobs.log import Log
from jobs.loop import take_step
from jobs.model import Transformer, build_model, compile_in_place
from jobs.packing import Packer
from jobs.scoring import Scores, score_documents, score_stream
from jobs.world import World

from .recipes import ROOT, embedded_corpus, recipe_object

Figures = list[dict[str, Any]]
RANKS = 8  # of the machine of the challenge: what one of its cards does is measured
WARM_UP = 5  # steps
TARGETS_ON_A_CPU = 1024  # of the validation text; a card scores all of it
PEAK_TFLOPS = {"H100": 989.4, "H200": 989.4, "B200": 2250.0, "A100": 311.9}  # dense bfloat16, from the data sheets
RECIPES = tuple(sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
STEPPED = ("naive_baseline", "gptq_lite_414", "legal_leaky")  # and the newest
WEIGHT_STD = 0.05  # of matrices that are packed; assumed, as in ``packing``


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and at which scale parts are measured."""

    scale: str
    device: torch.device
    steps: int = 20  # timed, of each kind

    @property
    def world(self) -> World:
        return World(device=self.device)

    def recipe(self, name: str) -> Any:
        return recipe_object(name, self.scale)

    def calls(self, recipe: Any) -> Counter[Call]:
        """The attention calls of one of ``RANKS`` ranks."""
        return calls_of(recipe, World(size=RANKS))

    def model(self, recipe: Any) -> Transformer:
        model = build_model(recipe, seed=0, device=self.device)
        if self.world.compiles:
            compile_in_place(model)
        return model

    def tokens(self) -> Tensor:
        """The validation text of the embedded corpus, or its beginning."""
        tokens = validation_tokens(embedded_corpus().data_path)
        return tokens if self.device.type == "cuda" else tokens[: TARGETS_ON_A_CPU + 1]

    def setting(self, recipe: Any) -> Setting:
        budget = recipe.budget
        return Setting(
            training_length=budget.sequence_length,
            seed=0,
            world=self.world,
            log=quiet(),
            max_micro_batch_tokens=budget.max_micro_batch_tokens,
        )


def quiet() -> Log:
    """A log that writes nothing."""
    return Log(ROOT, writes=False)


# --- kernels


def kernels(bench: Bench) -> Figures:
    """Every kernel at every attention call of the recipes: milliseconds of forward and backward, or why it is out."""
    users: dict[Call, list[str]] = {}
    for name in RECIPES:
        for call in bench.calls(bench.recipe(name)):
            users.setdefault(call, []).append(name)
    return [
        {
            "call": str(call),
            "recipes": names,
            "kernel": one.name,
            "ms": None if math.isinf(one.seconds) else 1000 * one.seconds,
            "reason": one.reason,
        }
        for call, names in users.items()
        for one in (tried(kernel, call, bench.device) for kernel in KERNEL_NAMES)
    ]


# --- training steps


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Training steps of one recipe with one attention kernel."""

    kernel: str
    first_step_seconds: float  # with what it compiles
    step_ms: list[float]
    tokens: int  # of one step on this card
    flops: float  # of one step: products of the forward and the backward pass
    peak_bytes: int | None  # None: not on a card

    @property
    def tokens_per_second(self) -> float:
        return 1000 * self.tokens / statistics.median(self.step_ms)

    @property
    def peak_share(self) -> float | None:
        """Of what the data sheet of the card says; None where there is none."""
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
        peak = next((figure for card, figure in PEAK_TFLOPS.items() if card in name), None)
        return peak and self.flops / self.tokens * self.tokens_per_second / 1e12 / peak

    def figures(self) -> dict[str, Any]:
        ordered = sorted(self.step_ms)
        quarter = len(ordered) // 4
        return {
            "kernel": self.kernel,
            "first_step_seconds": self.first_step_seconds,
            "step_ms": statistics.median(ordered),
            "step_ms_low": ordered[quarter],
            "step_ms_high": ordered[-1 - quarter],
            "steps": len(ordered),
            "tokens": self.tokens,
            "tokens_per_second": self.tokens_per_second,
            "peak_share": self.peak_share,
            "peak_bytes": self.peak_bytes,
        }


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


def measure(recipe: Any, world: World, *, kernel: str, steps: int, warm_up: int = WARM_UP) -> Measured:
    """``steps`` training steps of what one of ``RANKS`` cards does, after some that compile."""
    torch.manual_seed(0)
    model = build_model(recipe, seed=0, device=world.device)
    on_a_card = world.device.type == "cuda"
    if world.compiles:
        compile_in_place(model)
    if on_a_card:
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
    for step in range(warm_up + steps):
        begun = now(world.device)
        take_step(model, loader, optimizer, sequences, step=step, scale=1.0, world=world)  # type: ignore[arg-type]
        times.append(now(world.device) - begun)
    weights = sum(one.numel() for name, one in model.named_parameters() if one.ndim == 2 and name != "table.weight")
    weights += model.table.weight.numel()  # as the output head: looking a row up costs nothing
    shape = recipe.shape
    attended = budget.sequence_length / 2 * shape.num_layers * shape.num_heads * shape.head_dim  # causal: half
    return Measured(
        kernel=kernel,
        first_step_seconds=times[0],
        step_ms=[1000 * seconds for seconds in times[warm_up:]],
        tokens=batch_tokens,
        flops=batch_tokens * (6 * weights + 12 * attended),
        peak_bytes=torch.cuda.max_memory_allocated() if on_a_card else None,
    )


def steps_of(name: str) -> Callable[[Bench], Figures]:
    """Steps of a recipe with the kernel that a job would take."""

    def part(bench: Bench) -> Figures:
        recipe = bench.recipe(name)
        kernel = select(bench.calls(recipe), bench.world).kernel
        return [{"recipe": name, **measure(recipe, bench.world, kernel=kernel, steps=bench.steps).figures()}]

    return part


def other_kernels_of(name: str) -> Callable[[Bench], Figures]:
    """Steps of a recipe with each kernel that a job would not take, or why it cannot."""

    def part(bench: Bench) -> Figures:
        recipe = bench.recipe(name)
        calls = bench.calls(recipe)
        taken = select(calls, bench.world).kernel
        rows: Figures = []
        for kernel in (one for one in KERNEL_NAMES if one != taken):
            reasons = [found.reason for call in calls if (found := tried(kernel, call, bench.device)).reason]
            if reasons:
                rows.append({"recipe": name, "kernel": kernel, "reason": reasons[0]})
                continue
            select(calls, bench.world, forced=kernel)
            rows.append({"recipe": name, **measure(recipe, bench.world, kernel=kernel, steps=bench.steps).figures()})
        return rows

    return part


def newest() -> str:
    """The recipe whose source has the latest date."""

    def date(name: str) -> str:
        found = re.search(r"^source: *\"?(\d{4}-\d\d-\d\d)", (ROOT / "recipes" / f"{name}.yaml").read_text(), re.M)
        return found[1] if found else ""

    return max(RECIPES, key=date)


def first_step(bench: Bench) -> Figures:
    """What a job does before its first step has ended, in a process that has done nothing yet."""
    recipe = bench.recipe("gptq_lite_414")
    begun = time.perf_counter()
    kernel = select(bench.calls(recipe), bench.world).kernel
    chosen = time.perf_counter()
    found = measure(recipe, bench.world, kernel=kernel, steps=0, warm_up=1)
    return [
        {
            "recipe": "gptq_lite_414",
            "kernel": kernel,
            "kernel_trial_seconds": chosen - begun,
            "first_step_seconds": found.first_step_seconds,
        }
    ]


# --- packing, scoring and adapting


def packing(bench: Bench) -> Figures:
    """Gaussian weights of the full model to an artifact."""
    recipe = bench.recipe("gptq_lite_414")
    model = build_model(recipe, seed=0, device=bench.device)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=WEIGHT_STD)
    corpus = embedded_corpus()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        told = Assignment(
            seed=0,
            data_path=corpus.data_path,
            tokenizer_path=corpus.tokenizer_path,
            output_path=path,
            trunk_path=path,
            arms=(),
            max_wallclock_seconds=None,
        )
        packer = Packer(recipe=recipe, assignment=told, world=bench.world, code_bytes=0)
        begun = now(bench.device)
        size = packer.pack(model, path / "artifact.bin", quiet())
        seconds = now(bench.device) - begun
    parameters = sum(one.numel() for one in model.parameters())
    return [{"recipe": "gptq_lite_414", "parameters": parameters, "artifact_bytes": size, "seconds": seconds}]


def sliding(bench: Bench) -> Figures:
    """The sliding evaluation alone."""
    recipe, tokens = bench.recipe("leaky_cosine"), bench.tokens()
    model = bench.model(recipe)
    seconds, scores = repeated(bench, lambda: scored(bench, recipe, model, tokens))
    stride = recipe.evaluation.stride
    return [{"recipe": "leaky_cosine", "stride": stride, **rate(scores.nll_N.numel(), seconds)}]


def score_first(bench: Bench) -> Figures:
    """The same, by a model that learns each chunk behind it."""
    recipe, tokens = bench.recipe("legal_leaky"), bench.tokens()
    adaptation = recipe.arms["score_first"]
    if tokens.numel() <= adaptation.chunk_targets:
        adaptation = replace(adaptation, chunk_targets=(tokens.numel() - 1) // 4)
    model = bench.model(recipe)

    def run() -> Scores:
        return scored(bench, recipe, model, tokens, adaptation.learner(model, bench.setting(recipe)))

    seconds, scores = repeated(bench, run)
    learned = sum(event.kind == "train" for event in scores.events)
    return [
        {
            "recipe": "legal_leaky",
            "chunk_targets": adaptation.chunk_targets,
            "chunks_learned": learned,
            "epochs": adaptation.epochs,
            **rate(scores.nll_N.numel(), seconds),
        }
    ]


def pre_eval(bench: Bench) -> Figures:
    """One AdamW pass over the text before it is scored."""
    recipe, tokens = bench.recipe("leaky_cosine"), bench.tokens()
    adaptation = replace(recipe.arms["adamw_30"], epochs=1)
    model = bench.model(recipe)
    seconds, _ = repeated(bench, lambda: adaptation.adapt(model, tokens, bench.setting(recipe)))
    return [{"recipe": "leaky_cosine", "arm": "adamw_30", "epochs": 1, **rate(tokens.numel() - 1, seconds)}]


def document_lora(bench: Bench) -> Figures:
    """Adapters of their own for each document, scored and learned chunk by chunk."""
    recipe, tokens = bench.recipe("lora_ttt_base"), bench.tokens()
    model = build_model(recipe, seed=0, device=bench.device)  # never the compiled one
    starts = (tokens == BOS_TOKEN).nonzero().flatten().tolist()
    ones = torch.ones(tokens.numel() - 1, dtype=torch.int64)

    def run(targets: int) -> Scores:
        learner = recipe.arms["lora"].learner(model, bench.setting(recipe))
        return score_documents(tokens[: targets + 1], ones[:targets], starts, learner=learner, world=bench.world)

    run(min(256, tokens.numel() - 1))
    begun = now(bench.device)
    scores = run(tokens.numel() - 1)
    seconds = now(bench.device) - begun
    documents = sum(start < scores.nll_N.numel() for start in {0, *starts})
    return [
        {
            "recipe": "lora_ttt_base",
            "documents": documents,
            "documents_per_second": documents / seconds,
            **rate(scores.nll_N.numel(), seconds),
        }
    ]


def scored(bench: Bench, recipe: Any, model: Transformer, tokens: Tensor, learner: Any = None) -> Scores:
    """The text under the recipe's evaluation."""
    count, length = tokens.numel() - 1, recipe.budget.sequence_length
    return score_stream(
        model,
        tokens,
        torch.ones(count, dtype=torch.int64),
        recipe.evaluation.windows(count, length, (0,)),
        world=bench.world,
        batch_tokens=recipe.budget.max_micro_batch_tokens,
        learner=learner,
    )


def repeated(bench: Bench, call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the second call, and what it returns; the first compiles."""
    call()
    begun = now(bench.device)
    found = call()
    return now(bench.device) - begun, found


def rate(targets: int, seconds: float) -> dict[str, Any]:
    return {"targets": targets, "seconds": seconds, "targets_per_second": targets / seconds}


def now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def about(bench: Bench) -> Figures:
    """The card and the versions of what runs on it."""
    card: dict[str, Any] = {"card": str(bench.device), "card_bytes": None}
    if bench.device.type == "cuda":
        properties = torch.cuda.get_device_properties(bench.device)
        card = {
            "card": properties.name,
            "card_bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "driver": said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"),
            "power_limit": said("nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader", "--id=0"),
        }
    packages = {}
    for package in ("torch", "triton", "flash-attn", "flash-attn-3", "flash-attn-4"):
        with suppress(PackageNotFoundError):
            packages[package] = version(package)
    return [
        {
            **card,
            "python": platform.python_version(),
            "packages": packages,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
            "processors": os.cpu_count(),
            "commit": said("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"),
        }
    ]


def said(*command: str) -> str | None:
    """What a command prints; None where it cannot be asked."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing to measure; it is not begun where less than ``needs_seconds`` are left: assumed for an H100."""

    measure: Callable[[Bench], Figures]
    needs_seconds: float


RECIPES_STEPPED = (*STEPPED, newest())
FIRST_STEP = "first step"  # wants a process that has done nothing yet
PARTS = {  # the most important first
    "kernels": Part(measure=kernels, needs_seconds=30),
    **{f"steps of {name}": Part(measure=steps_of(name), needs_seconds=40) for name in RECIPES_STEPPED},
    FIRST_STEP: Part(measure=first_step, needs_seconds=90),
    "sliding": Part(measure=sliding, needs_seconds=20),
    "score_first": Part(measure=score_first, needs_seconds=30),
    "pre_eval": Part(measure=pre_eval, needs_seconds=30),
    "packing": Part(measure=packing, needs_seconds=40),
    "document_lora": Part(measure=document_lora, needs_seconds=20),
    **{f"other kernels of {name}": Part(measure=other_kernels_of(name), needs_seconds=60) for name in RECIPES_STEPPED},
}
