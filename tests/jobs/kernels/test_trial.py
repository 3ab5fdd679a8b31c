"""The choice of an attention kernel: what is tried, what puts one out, and that ranks agree. No card needed."""

import math
import sys
import time
import types
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, library

from jobs.contract.assignment import KERNEL_NAMES
from jobs.contract.errors import Refused
from jobs.kernels import trial
from jobs.kernels.attention import CHOSEN, KERNELS, Call, causal_attention, torch_attention
from jobs.world import World
from tests.benchmarks.recipes import recipe_object

CALL = Call(rows=2, length=32, heads=(4, 2, 16, 16))
SLOW_SECONDS = 0.02


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No kernel but torch's, whatever is installed here."""
    for name in KERNELS:
        if name != "sdpa":
            monkeypatch.setitem(KERNELS, name, missing)
    yield
    CHOSEN.clear()
    torch.compiler.reset()


@library.custom_op("fairway_tests::slow", mutates_args=(), schema="(Tensor x) -> Tensor")
def slow(x: Tensor) -> Tensor:
    time.sleep(SLOW_SECONDS)
    return x.clone()


slow.register_fake(torch.empty_like)
slow.register_autograd(lambda _, gradient: gradient)


def missing(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raise ImportError("No module named 'nothing'")


def right_and_slow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch_attention(slow(q), k, v)


def wrong(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return 1.05 * torch_attention(q, k, v)


def not_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    turned = [one.transpose(1, 2) for one in (q, k, v)]
    return torch.nn.functional.scaled_dot_product_attention(*turned, enable_gqa=True).transpose(1, 2)


def wrong_gradient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch_attention(q, k.detach() + 0 * k, v)


def no_number(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch_attention(q, k, v) * math.nan


def breaks_the_graph(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    torch._dynamo.graph_break()
    return torch_attention(q, k, v)


def use(monkeypatch: pytest.MonkeyPatch, **kernels: Any) -> trial.Choice:
    for name, kernel in kernels.items():
        monkeypatch.setitem(KERNELS, name, kernel)
    return trial.select(Counter([CALL]), World())


def test_the_fastest_right_kernel_is_taken_and_the_log_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = use(monkeypatch, sdpa=right_and_slow, cudnn=torch_attention, fa3=wrong)
    assert choice.kernel == "cudnn" and {CALL.heads: "cudnn"} == CHOSEN
    told = str(choice)
    assert told.startswith("cudnn: cudnn for 1 calls of 2x32 heads 4/2 of 16: ")
    assert "fa4 ImportError: No module named 'nothing'" in told and "fa3 wrong by " in told
    assert all(f"{name} " in told for name in KERNEL_NAMES)
    slowest = float(told.split("sdpa ")[-1].split(" ms")[0])
    assert slowest > 1000 * SLOW_SECONDS


@pytest.mark.parametrize("kernel", [wrong, not_causal, wrong_gradient, no_number, breaks_the_graph, missing])
def test_a_kernel_that_does_not_agree_or_compile_is_passed_over(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    choice = use(monkeypatch, sdpa=right_and_slow, fa4=kernel)
    assert choice.kernel == "sdpa" and trial.tried("fa4", CALL, torch.device("cpu")).reason


def test_what_was_chosen_is_called_and_is_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, sdpa=right_and_slow, fa2=torch_attention)
    monkeypatch.setitem(KERNELS, "fa2", lambda q, k, v: 2 * torch_attention(q, k, v))
    q, k, v = (torch.randn(2, 32, heads, 16).bfloat16() for heads in (4, 2, 2))
    wanted = 2 * torch_attention(q, k, v)
    compiled = torch.compile(causal_attention, backend="eager", fullgraph=True, dynamic=False)
    for called in (causal_attention, compiled):
        torch.testing.assert_close(called(q, k, v), wanted)
    whole = [one.float() for one in (q, k, v)]
    torch.testing.assert_close(causal_attention(*whole), torch_attention(*whole)), "float32 is torch's"


def test_of_equally_fast_kernels_the_first_is_taken() -> None:
    def found(**seconds: float) -> str | None:
        best = trial.fastest([trial.Tried(name=name, seconds=one) for name, one in seconds.items()])
        return best and best.name

    assert found(fa4=1.02, cudnn=1.0, sdpa=1.4) == "fa4"
    assert found(fa4=1.05, cudnn=1.0, sdpa=1.4) == "cudnn"
    assert found(fa4=math.inf, cudnn=math.inf) is None


def test_a_kernel_that_one_rank_cannot_run_is_out_for_all() -> None:
    class Two(World):
        def gather(self, tensor: Tensor) -> Tensor:
            return torch.cat([tensor, torch.tensor([[3.0, math.inf]], dtype=tensor.dtype)])

    mine = [trial.Tried(name="sdpa", seconds=2.0), trial.Tried(name="cudnn", seconds=1.0)]
    found = trial.agreed(mine, Two(size=2))
    assert [(one.seconds, one.reason) for one in found] == [(3.0, ""), (math.inf, "another rank cannot run it")]


def test_a_forced_kernel_is_taken_or_the_job_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNELS, "fa2", right_and_slow)
    assert trial.select(Counter([CALL]), World(), forced="fa2").kernel == "fa2"
    with pytest.raises(Refused, match=r"--kernel fa3: it .*No module named 'nothing'.*Others are fa4"):
        trial.select(Counter([CALL]), World(), forced="fa3")
    with pytest.raises(Refused, match="--kernel cudnn: there is no CUDA device here"):
        trial.choose(recipe_object("naive_baseline", "smoke"), World(), forced="cudnn")


def test_calls_are_those_of_a_micro_batch() -> None:
    recipe = recipe_object("gptq_lite_414", "eight_h100")
    found = trial.calls_of(recipe, World(size=8))
    assert found == {Call(rows=48, length=2048, heads=(8, 4, 64, 64)): 11}
    differential = trial.calls_of(recipe_object("diff_attention", "smoke"), World())
    assert len(differential) == 2, "the first layers split queries and keys, not values"


def gradients_by_formula(q: Tensor, k: Tensor, v: Tensor, dy: Tensor) -> list[Tensor]:
    """An operator cannot ask autograd inside of itself."""
    scale, repeats, length = q.size(3) ** -0.5, q.size(2) // k.size(2), q.size(1)
    q_BHTK, dy_BHTW = (one.float().transpose(1, 2) for one in (q, dy))
    k_BHTK, v_BHTW = (one.float().repeat_interleave(repeats, dim=2).transpose(1, 2) for one in (k, v))
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    p_BHTS = (scale * q_BHTK @ k_BHTK.mT).masked_fill(later, -math.inf).softmax(-1)
    dp_BHTS = dy_BHTW @ v_BHTW.mT
    ds_BHTS = p_BHTS * (dp_BHTS - (p_BHTS * dp_BHTS).sum(-1, keepdim=True))
    whole = (scale * ds_BHTS @ k_BHTK, scale * ds_BHTS.mT @ q_BHTK, p_BHTS.mT @ dy_BHTW)
    dq, dk, dv = (one.transpose(1, 2) for one in whole)
    dk, dv = (one.unflatten(2, (-1, repeats)).sum(3) for one in (dk, dv))
    return [ours.to(given.dtype).contiguous() for ours, given in zip((dq, dk, dv), (q, k, v), strict=True)]


def flash_attention_4_alone(monkeypatch: pytest.MonkeyPatch, forward: Any, backward: Any) -> None:
    """As ``pip install flash-attn-4`` leaves it: a namespace ``flash_attn`` with nothing in it but ``cute``."""
    namespace, cute = types.ModuleType("flash_attn"), types.ModuleType("flash_attn.cute")
    interface = types.ModuleType("flash_attn.cute.interface")
    namespace.__path__ = cute.__path__ = []  # type: ignore[attr-defined]
    cute.interface = interface  # type: ignore[attr-defined]
    interface._flash_attn_fwd, interface._flash_attn_bwd = forward, backward  # type: ignore[attr-defined]
    for module in (namespace, cute, interface):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_the_namespace_that_flash_attn_4_leaves_is_no_flash_attention_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its own functions, which torch.compile cannot follow, are operators in one graph."""
    from jobs.kernels import attention, fa4

    def forward(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, return_lse: bool) -> tuple[Any, ...]:
        assert causal and return_lse and q.dtype == torch.bfloat16
        y = torch_attention(q.detach(), k.detach(), v.detach())
        return y.contiguous(), torch.zeros(q.size(0), q.size(2), q.size(1)), None, None, None

    def backward(q: Tensor, k: Tensor, v: Tensor, y: Tensor, dy: Tensor, lse: Tensor, *, causal: bool) -> Any:
        assert causal and lse.dtype == torch.float32 and y.shape == dy.shape
        return gradients_by_formula(q, k, v, dy)

    flash_attention_4_alone(monkeypatch, forward, backward)
    monkeypatch.setitem(KERNELS, "fa2", attention.flash_attention_2)
    choice = use(monkeypatch, sdpa=right_and_slow, fa4=fa4.flash_attention_4)
    assert "fa2 ImportError: cannot import name 'flash_attn_func' from 'flash_attn'" in str(choice)
    assert choice.kernel == "fa4", choice
