"""On a CUDA card alone: kernels, compiled models, an optimizer step, rounding, and a whole launch.

Made to end within four minutes on one H100, which is reckoned and not measured: kernels 25 s, the losses of all
recipes 70 s (those of one model are compiled once), late rounding 20 s, steps 40 s, rounding 5 s, the launch 70 s.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jobs.contract.assignment import KERNEL_NAMES, Assignment
from jobs.data.loader import SequentialLoader
from jobs.kernels.attention import KERNELS, Call, torch_attention
from jobs.kernels.trial import TOLERANCE, calls_of, tried
from jobs.loop import take_step
from jobs.model import Transformer, build_model, compile_in_place
from jobs.muon import orthogonalized
from jobs.packing import Packer
from jobs.quantization import Grid, row_scales
from jobs.techniques.quantizer.full_gptq import inverse_factor, rounded_by_columns
from jobs.world import World
from platform.paths import ROOT
from tests import recipes
from tests.benchmarks.card import measure, quiet
from tests.benchmarks.recipes import embedded_corpus, recipe_object

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CARD, CPU = torch.device("cuda", 0), torch.device("cpu")
GPUS = 1
COMPILED_AFTER = 3  # steps
OF_THE_MODEL = (
    "shape", "embedding", "depth", "normalization", "residual", "attention", "position", "values", "attention_output",
    "feed_forward", "skips", "initialization",
)  # fmt: skip
LAUNCHED = """
question: Does a launch work on this card?
base: leaky_cosine
arms:
  no_ttt: no_adaptation
  score_first: {score_first: {optimizer: sgd, learning_rate: 0.002, chunk_targets: 4096, epochs: 1}}
scales:
  one_gpu_quick:
    machine: {gpus: %d, cpus: 1}
    shape: {num_layers: 4, model_dim: 128, num_heads: 4, num_kv_heads: 2}
    budget: {iterations: 20, batch_tokens: 4096, sequence_length: 256, warmup_steps: 2}
    position: {rotary: {dims: 8}}
    values: [{shared_value_embedding: {dim: 32, last_layers: 1}}]
    techniques: {gptq_lite: {keep_elements: 4096}, zstd: {level: 3}, sliding: {stride: 128}}
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield


def batch(recipe: Any) -> tuple[Tensor, Tensor]:
    length = recipe.budget.sequence_length
    tokens = torch.randint(recipe.shape.vocab_size, (4, length + 1), generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def apart(found: Tensor, wanted: Tensor) -> float:
    """Of the norm of ``wanted``."""
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    return float((found - wanted).norm() / wanted.norm())


# --- kernels


@lru_cache
def calls() -> tuple[Call, ...]:
    """Of a step of each recipe, as one of eight cards has it."""
    found = [calls_of(recipe_object(name, "eight_h100"), World(size=8)) for name in recipes.NAMES]
    return tuple(dict.fromkeys(call for one in found for call in one))


@pytest.mark.parametrize("name", KERNEL_NAMES)
def test_a_kernel_is_right_and_timed_at_every_call_of_the_recipes(name: str) -> None:
    """One that is not installed, or has no form for a call, is skipped with its reason; a wrong one is not."""
    found = {str(call): tried(name, call, CARD) for call in calls()}
    told = {call: one.reason or f"{1000 * one.seconds:.3f} ms" for call, one in found.items()}
    print(f"{name}: {told}")
    assert not any("wrong by" in one.reason for one in found.values()), f"{name}, {TOLERANCE:.0%} are allowed: {told}"
    assert all(bool(one.reason) == math.isinf(one.seconds) and one.seconds > 0 for one in found.values()), told
    if name == "sdpa":
        assert not any(one.reason for one in found.values()), f"torch's own has to work: {told}"
    elif all(one.reason for one in found.values()):
        pytest.skip(f"{name} cannot be used here: {told}")


@pytest.mark.parametrize(("heads", "groups"), [(8, 8), (8, 4), (8, 1)])
def test_every_kernel_computes_the_same_attention(heads: int, groups: int) -> None:
    """Against float64 on the CPU; bfloat16 has 8 bits of mantissa: 2^-8 of the values, gradients a little more."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 256, count, 64, generator=generator) for count in (heads, groups, groups)]
    rounded = [one.bfloat16().double().requires_grad_() for one in inputs]
    wanted = torch_attention(*rounded)
    wanted.square().mean().backward()
    call = Call(rows=2, length=256, heads=(heads, groups, 64, 64))
    usable = [one.name for one in (tried(name, call, CARD) for name in KERNEL_NAMES) if not one.reason]
    assert "sdpa" in usable, f"only {usable} can be used"
    for name in usable:
        given = [one.bfloat16().to(CARD).requires_grad_() for one in inputs]
        found = KERNELS[name](*given)
        found.float().square().mean().backward()
        assert apart(found, wanted) < 0.01, f"{name}: {apart(found, wanted):.2%} off"
        for which, ours, theirs in zip("qkv", given, rounded, strict=True):
            assert ours.grad is not None and theirs.grad is not None, f"{name}: no gradient of {which}"
            assert apart(ours.grad, theirs.grad) < 0.02, f"{name}, {which}: {apart(ours.grad, theirs.grad):.2%} off"


# --- compiled models


@cache
def losses_of(model: str) -> tuple[float, float]:
    """Nats a target: by the CPU, uncompiled, and by the card; ``model`` is the first recipe that has this model."""
    recipe = recipe_object(model, "laptop")
    inputs, targets = batch(recipe)
    with torch.no_grad():
        wanted = build_model(recipe, seed=1, device=CPU)(inputs, targets)
        compiled = build_model(recipe, seed=1, device=CARD)
        compile_in_place(compiled)
        found = compiled(inputs.to(CARD), targets.to(CARD))
    return float(wanted) / targets.numel(), float(found) / targets.numel()


@lru_cache
def first_with_the_model_of(name: str) -> str:
    def model(one: str) -> list[Any]:
        return [getattr(recipe_object(one, "laptop"), field) for field in OF_THE_MODEL]

    wanted = [repr(part) for part in model(name)]
    return next(one for one in recipes.NAMES if [repr(part) for part in model(one)] == wanted)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_the_compiled_loss_is_the_one_of_the_cpu(name: str) -> None:
    wanted, found = losses_of(first_with_the_model_of(name))
    assert found == pytest.approx(wanted, abs=0.01), f"{name}: {found} nats on the card, {wanted} on the CPU"


def test_the_compiled_gradient_is_the_one_of_the_cpu() -> None:
    recipe = recipe_object("gptq_lite_414", "laptop")
    inputs, targets = batch(recipe)
    models = [build_model(recipe, seed=1, device=device) for device in (CPU, CARD)]
    compile_in_place(models[1])
    for model, device in zip(models, (CPU, CARD), strict=True):
        (model(inputs.to(device), targets.to(device)) / targets.numel()).backward()
    gradients = [
        torch.cat([one.grad.cpu().float().flatten() for one in model.parameters() if one.grad is not None])
        for model in models
    ]
    assert apart(gradients[1], gradients[0]) < 0.05, f"{apart(gradients[1], gradients[0]):.2%} off, in bfloat16"


def test_the_switch_of_late_qat_acts_in_the_compiled_model() -> None:
    recipe = recipe_object("gptq_lite_414", "laptop")
    inputs, targets = (one.to(CARD) for one in batch(recipe))
    model = build_model(recipe, seed=1, device=CARD)
    switch = recipe.fake_quantization.attach(model, recipe.quantizer)
    with torch.no_grad():  # layers that start at zero would hide what rounding does
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        compile_in_place(model)
        losses = []
        for on in (False, True, False):
            switch.turn(on)
            losses.append(float(model(inputs, targets)))
        assert losses[0] == losses[2] != losses[1], f"off, on, off: {losses}"
        switch.turn(True)
        uncompiled = float(Transformer.forward(model, inputs, targets))
    assert losses[1] == pytest.approx(uncompiled, rel=1e-3), f"compiled {losses[1]}, uncompiled {uncompiled}"


# --- steps


@pytest.mark.parametrize("shape", [(22, 512, 512), (11, 1536, 512), (11, 512, 1536)])
def test_the_compiled_orthogonalization_is_that_of_float64(shape: tuple[int, ...]) -> None:
    """bfloat16 on a CPU is 2.7 % off; a wrong product would be tens of percent."""
    update = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wanted = orthogonalized(update[:1].double(), steps=5, dtype=torch.float64)
    compiled = torch.compile(orthogonalized, dynamic=False, fullgraph=True)
    with torch.no_grad():
        found = compiled(update.to(CARD), steps=5, dtype=torch.bfloat16)[:1]
    assert apart(found, wanted) < 0.06, f"{apart(found, wanted):.2%} off"


def test_a_step_waits_for_nothing_and_the_loss_falls() -> None:
    """torch itself raises at whatever waits for the card: at the line that does."""
    recipe, world = recipe_object("gptq_lite_414", "laptop"), World(device=CARD)
    model = build_model(recipe, seed=1, device=CARD)
    compile_in_place(model)
    optimizer = recipe.optimizer.build(model, world)
    loader = SequentialLoader(embedded_corpus().data_path, sequence_length=recipe.budget.sequence_length, world=world)
    losses = []
    for step in range(20):
        torch.cuda.set_sync_debug_mode("error" if step >= COMPILED_AFTER else "default")
        try:
            losses.append(take_step(model, loader, optimizer, [8], step=step, scale=0.5, world=world))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    nats = [float(loss) / (8 * recipe.budget.sequence_length) for loss in losses]
    assert nats[-1] < nats[0] - 0.5, f"nats a target, step by step: {nats}"


def test_steps_of_the_full_model_fit_and_are_measured() -> None:
    found = measure(recipe_object("naive_baseline", "eight_h100"), World(device=CARD), kernel="any", steps=3)
    assert all(math.isfinite(one) and one > 0 for one in found.step_ms), found
    assert found.peak_bytes is not None and found.peak_bytes > 2**30, found


# --- rounding


def test_gptq_rounds_on_the_card_as_well_as_on_the_cpu() -> None:
    """By the error that it minimises; single values may fall to the other side of a border."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 512, generator=generator)
    inputs = torch.randn(2048, 512, generator=generator) @ torch.randn(512, 512, generator=generator)
    hessian = inputs.T @ inputs / len(inputs)
    errors = {}
    for device in (CPU, CARD):
        on_CC, weight_RC = hessian.to(device), weight.to(device)
        scales = row_scales(weight_RC.abs().amax(1), 4, smallest_limit=0.0)
        factor = inverse_factor(on_CC, damping=0.01)
        assert factor is not None, f"no factor on {device}"
        rounded = rounded_by_columns(weight_RC, scales, 4, on_CC, factor) * scales.float()[:, None]
        errors[str(device)] = _weighted(rounded - weight_RC, hessian)
    nearest = _weighted(Grid(bits=4).encoded("weight", weight.to(CARD)).decoded() - weight.to(CARD), hessian)
    by_cpu, by_card = errors.values()
    told = f"weighted errors {errors}, to the nearest {nearest}"
    assert by_card == pytest.approx(by_cpu, rel=0.02) and by_card < 0.7 * nearest, told


def _weighted(change_RC: Tensor, hessian_CC: Tensor) -> float:
    change = change_RC.detach().cpu().double()
    return float(((change @ hessian_CC.double()) * change).sum())


def test_a_recipe_of_full_gptq_packs_from_the_card(tmp_path: Path) -> None:
    """Its Hessians are of a compiled model; the artifact is as large as the CPU's, within a percent."""
    recipe, corpus, sizes = recipe_object("full_gptq_reserve", "smoke"), embedded_corpus(), {}
    for device in (CPU, CARD):
        told = Assignment(
            seed=1,
            data_path=corpus.data_path,
            tokenizer_path=corpus.tokenizer_path,
            output_path=tmp_path,
            trunk_path=tmp_path,
            arms=(),
            max_wallclock_seconds=None,
        )
        packer = Packer(recipe=recipe, assignment=told, world=World(device=device), code_bytes=0)
        model = build_model(recipe, seed=1, device=device)
        sizes[str(device)] = packer.pack(model, tmp_path / "artifact.bin", quiet())
    by_cpu, by_card = sizes.values()
    assert by_card == pytest.approx(by_cpu, rel=0.01), f"bytes: {sizes}"


# --- all of it


def test_a_whole_launch_through_ray(tmp_path: Path) -> None:
    """One seed, two arms, by the command: trained, packed, read back, scored, and in the report."""
    recipe = tmp_path / "on_this_card.yaml"
    recipe.write_text(LAUNCHED % GPUS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "platform.launch", str(recipe), "--scale", "one_gpu_quick"),
            *("--seeds", "1", "--runs", str(tmp_path / "runs")),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    results = sorted((tmp_path / "runs").glob("on_this_card-*/*/*/result.json"))
    found = {path.parent.name: json.loads(path.read_text()) for path in results}
    told = {arm: (one["val_bpb"], one["machine"]) for arm, one in found.items()}
    assert sorted(found) == ["no_ttt", "score_first"], told
    for one in found.values():
        assert one["trunk"]["steps"] == 20 and 2 < one["val_bpb"] < 5, told
        assert ("NVIDIA" in one["machine"]["device"]) == bool(GPUS), told
    assert list((tmp_path / "runs").glob("on_this_card-*/report.md")), "no report"
