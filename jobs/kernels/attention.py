"""Causal attention: one signature over the kernels that a job may have, and which of them it takes.

Which one is taken is found out at the start of a job, by ``jobs.kernels.trial``; until then it is torch's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from jobs.contract.assignment import SDPA
from jobs.kernels.fa4 import flash_attention_4

HALF = (torch.bfloat16, torch.float16)  # what the kernels of a card compute in; other dtypes are torch's
Heads = tuple[int, int, int, int]  # query heads, key/value heads, width of a query, width of a value


@dataclass(frozen=True, kw_only=True)
class Call:
    """The shapes of one call of ``causal_attention``."""

    rows: int
    length: int
    heads: Heads

    def __str__(self) -> str:
        queries, groups, width, value_width = self.heads
        values = "" if width == value_width else f", values of {value_width}"
        return f"{self.rows}x{self.length} heads {queries}/{groups} of {width}{values}"


CHOSEN: dict[Heads, str] = {}  # the kernel for heads of these shapes, by its name in ``KERNELS``
RECORDERS: list[list[Call]] = []  # each is told of every call


def causal_attention(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    """softmax(q k / sqrt K) v over positions not later than the query's: [B, T, H, W], in the dtype of ``v``.

    Grouped heads: H is a multiple of G, query head h reads key/value head h // (H / G). W may differ from K.
    q and k are cast to the dtype of v (they come out of norms in float32).
    """
    q_BTHK, k_BTGK = q_BTHK.to(v_BTGW.dtype), k_BTGK.to(v_BTGW.dtype)
    heads = (q_BTHK.size(2), k_BTGK.size(2), q_BTHK.size(3), v_BTGW.size(3))
    for calls in RECORDERS:
        calls.append(Call(rows=q_BTHK.size(0), length=q_BTHK.size(1), heads=heads))
    name = CHOSEN.get(heads, SDPA) if v_BTGW.dtype in HALF else SDPA  # under torch.compile a constant of the graph
    return KERNELS[name](q_BTHK, k_BTGK, v_BTGW)


@contextmanager
def recorded_calls() -> Iterator[list[Call]]:
    """Inside, every call of ``causal_attention`` is written down."""
    calls: list[Call] = []
    RECORDERS.append(calls)
    try:
        yield calls
    finally:
        RECORDERS.remove(calls)


def flash_attention_3(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    from flash_attn_interface import flash_attn_func

    y = flash_attn_func(q_BTHK, k_BTGK, v_BTGW, causal=True)
    return y[0] if isinstance(y, tuple) else y  # early releases also return the log-sum-exp


def flash_attention_2(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    from flash_attn import flash_attn_func  # where flash-attn-4 alone is installed, the package is there without it

    return flash_attn_func(q_BTHK, k_BTGK, v_BTGW, causal=True)


def cudnn_attention(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
        return torch_attention(q_BTHK, k_BTGK, v_BTGW)


def torch_attention(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    """As torch chooses among its own; on a card that is FlashAttention 2, unless told otherwise."""
    grouped = q_BTHK.size(2) != k_BTGK.size(2)
    if grouped and v_BTGW.size(-1) != q_BTHK.size(-1):  # for which torch has no kernel but the slow one
        repeats = q_BTHK.size(2) // k_BTGK.size(2)
        k_BTGK, v_BTGW = k_BTGK.repeat_interleave(repeats, dim=2), v_BTGW.repeat_interleave(repeats, dim=2)
        grouped = False
    y_BHTW = F.scaled_dot_product_attention(
        q_BTHK.transpose(1, 2), k_BTGK.transpose(1, 2), v_BTGW.transpose(1, 2), is_causal=True, enable_gqa=grouped
    )
    return y_BHTW.transpose(1, 2)


KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fa4": flash_attention_4,
    "fa3": flash_attention_3,
    "fa2": flash_attention_2,
    "cudnn": cudnn_attention,
    SDPA: torch_attention,
}
