"""FlashAttention 4 as two operators of torch, so that torch.compile keeps it in the graph: it has none of its own.

Installed by ``pip install flash-attn-4``: plain wheels, for Hopper and Blackwell. They have no ``flash_attn_func``
where FlashAttention 2 has it: the package ``flash_attn`` is then an empty namespace around ``flash_attn.cute``.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, library


def flash_attention_4(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    """Raises ImportError where the package is not there. What is compiled has been called once before."""
    if not torch.compiler.is_compiling():
        _make_operators()
    y_BTHW: Tensor = torch.ops.fairway.fa4_forward(q_BTHK, k_BTGK, v_BTGW)[0]
    return y_BTHW


@lru_cache(maxsize=1)
def _make_operators() -> None:
    """Once a process."""
    forward = library.custom_op(
        "fairway::fa4_forward", _forward, mutates_args=(), schema="(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor)"
    )
    backward = library.custom_op(
        "fairway::fa4_backward",
        _backward,
        mutates_args=(),
        schema="(Tensor q, Tensor k, Tensor v, Tensor y, Tensor lse, Tensor dy) -> (Tensor, Tensor, Tensor)",
    )
    forward.register_fake(_forward_shapes)
    backward.register_fake(lambda q, k, v, y, lse, dy: tuple(torch.empty_like(one) for one in (q, k, v)))

    def keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, *output)

    def gradient(ctx: Any, dy: Tensor, _: Tensor) -> Any:
        return backward(*ctx.saved_tensors, dy.contiguous())

    forward.register_autograd(gradient, setup_context=keep)


def _forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    from flash_attn.cute import interface

    y, lse, *_ = interface._flash_attn_fwd(q, k, v, causal=True, return_lse=True)
    return y, lse


def _backward(q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from flash_attn.cute import interface

    dq, dk, dv, *_ = interface._flash_attn_bwd(q, k, v, y, dy, lse, causal=True)
    return dq, dk, dv


def _forward_shapes(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """[B, T, H, W] like the values, and the log-sum-exp: float32 [B, H, T]."""
    return q.new_empty((*q.shape[:3], v.size(3))), q.new_empty((q.size(0), q.size(2), q.size(1)), dtype=torch.float32)
