"""Causal attention: one signature over FlashAttention 3, FlashAttention 2 and torch's own kernels."""

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
        return KERNELS[gpu_kernel()](q_BTHK, k_BTGK, v_BTGW)
    return torch_attention(q_BTHK, k_BTGK, v_BTGW)


def kernel_in_use(device: torch.device) -> str:
    """Which kernel ``causal_attention`` takes on ``device``, and why: for the log."""
    if device.type != "cuda":
        return "sdpa: no CUDA device, torch's own CPU kernel"
    return "; ".join((f"{gpu_kernel()}: the fastest that is here", *available_kernels()[1]))


@torch.compiler.assume_constant_result  # torch.compile puts the name into the graph instead of following the imports
def gpu_kernel() -> str:
    """The fastest kernel that is installed and runs on this card, by its name in ``KERNELS``."""
    return available_kernels()[0][0]


@lru_cache(maxsize=1)
def available_kernels() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kernels of this card, the fastest first, and for each that is missing a word why; found once a process."""
    names, missing = [], []
    major = torch.cuda.get_device_capability()[0]
    if major != 9:
        missing.append(f"FlashAttention 3 needs compute capability 9, this card has {major}")
    else:
        try:
            import flash_attn_interface  # noqa: F401

            names.append("FlashAttention 3")
        except ImportError as error:
            missing.append(f"FlashAttention 3: {error}")
    try:
        import flash_attn  # noqa: F401

        names.append("FlashAttention 2")
    except ImportError as error:
        missing.append(f"FlashAttention 2: {error}")
    return (*names, "sdpa"), tuple(missing)


def flash_attention_3(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor) -> Tensor:
    from flash_attn_interface import flash_attn_func

    y = flash_attn_func(q_BTHK, k_BTGK, v_BTGK, causal=True)
    return y[0] if isinstance(y, tuple) else y  # early releases also return the log-sum-exp


def flash_attention_2(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor) -> Tensor:
    from flash_attn import flash_attn_func

    return flash_attn_func(q_BTHK, k_BTGK, v_BTGK, causal=True)


def torch_attention(q_BTHK: Tensor, k_BTGK: Tensor, v_BTGW: Tensor) -> Tensor:
    grouped = q_BTHK.size(2) != k_BTGK.size(2)
    if grouped and v_BTGW.size(-1) != q_BTHK.size(-1):  # for which torch has no kernel but the slow one
        repeats = q_BTHK.size(2) // k_BTGK.size(2)
        k_BTGK, v_BTGW = k_BTGK.repeat_interleave(repeats, dim=2), v_BTGW.repeat_interleave(repeats, dim=2)
        grouped = False
    y_BHTW = F.scaled_dot_product_attention(
        q_BTHK.transpose(1, 2), k_BTGK.transpose(1, 2), v_BTGW.transpose(1, 2), is_causal=True, enable_gqa=grouped
    )
    return y_BHTW.transpose(1, 2)


KERNELS = {"FlashAttention 3": flash_attention_3, "FlashAttention 2": flash_attention_2, "sdpa": torch_attention}
