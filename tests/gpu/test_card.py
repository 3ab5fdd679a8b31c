"""On a CUDA card alone: the kernels, the compiled model, and a whole job."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.contract.assignment import KERNEL_NAMES, RESULT_FILE, Assignment
from jobs.kernels.attention import KERNELS, Call, torch_attention
from jobs.kernels.trial import tried
from jobs.model import Transformer, build_model, compile_in_place
from jobs.muon import NEWTON_SCHULZ
from jobs.world import World
from tests.benchmarks.card import measure
from tests.benchmarks.recipes import embedded_corpus, recipe_object

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CARD = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield


def batch(recipe: Any) -> tuple[torch.Tensor, torch.Tensor]:
    length = recipe.budget.sequence_length
    tokens = torch.randint(recipe.shape.vocab_size, (4, length + 1), generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


@pytest.mark.parametrize(("heads", "groups"), [(8, 8), (8, 4), (8, 1)])
def test_every_kernel_computes_the_same_attention(heads: int, groups: int) -> None:
    """Against float64 on the CPU; bfloat16 has 8 bits of mantissa: 2^-8 of the values, gradients a little more."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 256, count, 64, generator=generator) for count in (heads, groups, groups)]
    rounded = [one.bfloat16().double().requires_grad_() for one in inputs]
    wanted = torch_attention(*rounded)
    wanted.square().mean().backward()
    call = Call(rows=2, length=256, heads=(heads, groups, 64, 64))
    found = [tried(name, call, CARD) for name in KERNEL_NAMES]
    assert {one.name for one in found if not one.reason} >= {"sdpa"}, found
    for name in (one.name for one in found if not one.reason):
        given = [one.bfloat16().to(CARD).requires_grad_() for one in inputs]
        found = KERNELS[name](*given)
        found.float().square().mean().backward()
        torch.testing.assert_close(found.cpu().double(), wanted, rtol=2**-6, atol=2**-7)
        for ours, theirs in zip(given, rounded, strict=True):
            assert ours.grad is not None and theirs.grad is not None
            error = (ours.grad.cpu().double() - theirs.grad).norm() / theirs.grad.norm()
            assert error < 0.02, (name, float(error))


@pytest.mark.parametrize("name", ["naive_baseline", "gptq_lite_414", "swiglu_adamw", "diff_attention"])
def test_the_compiled_model_is_the_one_of_the_cpu(name: str) -> None:
    recipe = recipe_object(name, "laptop")
    inputs, targets = batch(recipe)
    wanted = float(build_model(recipe, seed=1, device=torch.device("cpu"))(inputs, targets)) / targets.numel()
    model = build_model(recipe, seed=1, device=CARD)
    compile_in_place(model)
    found = model(inputs.to(CARD), targets.to(CARD))
    found.backward()
    assert float(found) / targets.numel() == pytest.approx(wanted, abs=0.01)
    assert all(
        one.grad is not None and bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None
    )


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
    assert losses[0] == losses[2] != losses[1]
    switch.turn(True)
    assert losses[1] == pytest.approx(float(Transformer.forward(model, inputs, targets)), rel=1e-3)


def test_steps_of_the_full_model_fit_and_are_measured() -> None:
    found = measure(recipe_object("naive_baseline", "eight_h100"), World(device=CARD), kernel="any", steps=3)
    assert all(math.isfinite(one) for one in found.step_ms) and found.peak_bytes > 2**30 and len(NEWTON_SCHULZ) == 3


def test_a_whole_job_runs_under_torchrun(tmp_path: Path) -> None:
    """Trunk, artifact read back, no TTT and score-first, by the program alone in an empty folder."""
    from platform.program import entry, recipe
    from platform.program.catalog import read
    from platform.program.inline import inline

    corpus = embedded_corpus()
    choices = recipe.with_arms(
        recipe.load(Path("recipes/leaky_cosine.yaml").resolve(), "smoke"), ("no_ttt", "score_first")
    )
    program = tmp_path / "train_gpt.py"
    program.write_text(inline(entry.entry_program(choices), read().root))
    assignment = Assignment(
        seed=1337,
        data_path=corpus.data_path,
        tokenizer_path=corpus.tokenizer_path,
        output_path=tmp_path / "out",
        trunk_path=tmp_path / "trunk",
        arms=(),
        max_wallclock_seconds=None,
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", str(program)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **assignment.to_environment()},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for arm in ("no_ttt", "score_first"):
        result = json.loads((tmp_path / "out" / arm / RESULT_FILE).read_text())
        assert result["device"].startswith("1x NVIDIA") and 2 < result["val_bpb"] < 5
