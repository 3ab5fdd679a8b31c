"""Causal attention: one signature over FlashAttention 3, FlashAttention 2 and torch's own kernels."""

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_attention(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    """softmax(q k / sqrt K) v over positions not later than the query's: [B, T, H, W], in the dtype of ``v``.

    Grouped heads: H is a multiple of G, query head h reads key/value head h // (H / G). W may differ from K.
    q and k are cast to the dtype of v (they come out of norms in float32).
    """
    q_BTHK, k_BTGK = q_BTHK.to(v_BTGW.dtype), k_BTGK.to(v_BTGW.dtype)
    if v_BTGW.is_cuda and v_BTGW.dtype != torch.float32 and v_BTGW.size(-1) == q_BTHK.size(-1):
        return _flash_kernel()[0](q_BTHK, k_BTGK, v_BTGW)
    return _torch_attention(q_BTHK, k_BTGK, v_BTGW)


def kernel_in_use(device: torch.device) -> str:
    """Which kernel ``causal_attention`` takes on ``device``, and why: for the log."""
    if device.type != "cuda":
        return "sdpa: no CUDA device, torch's own CPU kernel"
    return _flash_kernel()[1]


def _torch_attention(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    grouped = q_BTHK.size(2) != k_BTGK.size(2)
    y_BHTW = F.scaled_dot_product_attention(
        q_BTHK.transpose(1, 2), k_BTGK.transpose(1, 2), v_BTGW.transpose(1, 2), is_causal=True, enable_gqa=grouped
    )
    return y_BHTW.transpose(1, 2)


@lru_cache(maxsize=1)
def _flash_kernel() -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], str]:
    """The fastest kernel that is installed and runs on this card, and the reason; decided once a process."""
    reasons = []
    major = torch.cuda.get_device_capability()[0]
    if major != 9:
        reasons.append(f"FlashAttention 3 needs compute capability 9, this card has {major}")
    else:
        try:
            from flash_attn_interface import flash_attn_func as flash_attention_3

            def run_3(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                y = flash_attention_3(q, k, v, causal=True)
                return y[0] if isinstance(y, tuple) else y  # early releases also return the log-sum-exp

            return run_3, "FlashAttention 3: installed, compute capability 9"
        except ImportError as error:
            reasons.append(f"FlashAttention 3: {error}")
    try:
        from flash_attn import flash_attn_func as flash_attention_2

        return (lambda q, k, v: flash_attention_2(q, k, v, causal=True)), "; ".join(
            [*reasons, "FlashAttention 2 it is"]
        )
    except ImportError as error:
        reasons.append(f"FlashAttention 2: {error}")
    return _torch_attention, "; ".join([*reasons, "sdpa it is"])
