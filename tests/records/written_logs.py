"""Logs written for tests, in every dialect.

The lines have the form of public logs and no text of theirs. Every number comes from a ``Numbers``, so a test knows
what a correct reader finds.
"""

from dataclasses import dataclass, replace

RULE = "=" * 100
SP1024, SP8192 = 1.688454, 2.583104  # nats per BPB


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What was measured of one seed."""

    seed: int = 1337
    steps: int = 7179
    iterations: int = 9000
    train_ms: int = 600_128
    step_avg: float = 83.59
    in_training: float = 1.1379
    post_ema: float = 1.13692417
    roundtrip: float = 1.14518023
    sliding: float | None = 1.12165091
    ttt: float | None = 1.11922988
    ratio: float = SP1024
    tokens: int = 62_021_632
    model_bytes: int = 15_887_928
    code_bytes: int = 89_458
    eval_ms: int = 410_268

    @property
    def total_bytes(self) -> int:
        return self.model_bytes + self.code_bytes

    @property
    def score(self) -> float:
        """What the record claims of this seed: the last evaluator that there is."""
        return next(bpb for bpb in (self.ttt, self.sliding, self.roundtrip) if bpb is not None)

    def loss(self, bpb: float) -> float:
        return self.ratio * bpb

    def coarse(self) -> "Numbers":
        """With scores of four decimals, as some dialects print them."""
        four = {
            name: round(getattr(self, name), 4) for name in ("post_ema", "roundtrip", "sliding") if getattr(self, name)
        }
        return replace(self, **four)


THREE = (
    Numbers(),
    Numbers(
        seed=42, steps=7182, train_ms=600_110, step_avg=83.56, in_training=1.1386, post_ema=1.13762233,
        roundtrip=1.14603277, sliding=1.12266503, ttt=1.12002032, model_bytes=15_787_052, eval_ms=408_049,
    ),
    Numbers(
        seed=2025, steps=7193, train_ms=600_110, step_avg=83.43, in_training=1.1374, post_ema=1.13631255,
        roundtrip=1.14467677, sliding=1.12119033, ttt=1.11888882, model_bytes=15_900_548, eval_ms=407_984,
    ),
)  # fmt: skip

SCRIPT = f'''"""A script with the format strings and sample lines that a reader must not take for results."""

import os
import torch

SAMPLE = """
final_int8_zlib_roundtrip_exact val_loss:1.00000000 val_bpb:0.60000000
"""

def main():
    seed = int(os.environ.get("SEED", 1337))
    log0(f"seed:{{seed}}")
    log0(f"final_int8_zlib_roundtrip val_loss:{{q_val_loss:.4f}} val_bpb:{{q_val_bpb:.4f}} eval_time:{{t:.0f}}ms")
    # step:9999/20000 val_loss:1.5000 val_bpb:0.9000 is what we hope for
seed:99
final_int6_sliding_window_exact val_loss:1.10000000 val_bpb:0.65000000
    log0("=" * 100, console=False)
{"x = 1" + chr(10)}'''

SMI = """Running Python 3.12.3 (main, Nov  6 2025, 13:44:16) [GCC 13.3.0]
Running PyTorch 2.9.1+cu128
Fri Mar 20 22:49:34 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.126.09             Driver Version: 580.126.09     CUDA Version: 13.0     |
|   0  NVIDIA H100 80GB HBM3          On  |   00000000:0A:00.0 Off |                    0 |
| N/A   35C    P0            120W /  700W |    1521MiB /  81559MiB |      0%      Default |
+-----------------------------------------------------------------------------------------+
"""


def _pair(n: Numbers, bpb: float, decimals: int) -> str:
    return f"val_loss:{n.loss(bpb):.{decimals}f} val_bpb:{bpb:.{decimals}f}"


def _last_step(n: Numbers) -> str:
    return f"step:{n.steps}/{n.iterations} {_pair(n, n.in_training, 4)} train_time:{n.train_ms}ms"


def _twins(n: Numbers, label: str, bpb: float, time_ms: int, extra: str = "") -> str:
    return f"{label} {_pair(n, bpb, 4)}{extra} eval_time:{time_ms}ms\n{label}_exact {_pair(n, bpb, 8)}\n"


def baseline_log(n: Numbers, *, dump: bool = True, every: int = 500, alias: bool = True) -> str:
    """Dialect A: ``seed:N`` in column 0, pairs of a rounded and an ``_exact`` line."""
    head = f"{SCRIPT}{RULE}\n" if dump else ""
    lines = [
        f"{head}{SMI}{RULE}",
        "W0323 15:20:53.391000 134686 torch/distributed/run.py:803] *****************************************",
        "val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path=./data/fineweb_1024_bpe.model",
        "train_loader:dataset:fineweb10B_sp1024 train_shards:80",
        f"val_loader:shards pattern=./data/fineweb_val_*.bin tokens:{n.tokens}",
        "model_params:26928220",
        "world_size:8 grad_accum_steps:1",
        f"train_batch_tokens:786432 train_seq_len:2048 iterations:{n.iterations} max_wallclock_seconds:600.000",
        f"seed:{n.seed}",
        *(f"warmup_step:{i}/20" for i in range(1, 21)),
        f"step:0/{n.iterations} val_loss:6.9293 val_bpb:4.1039 train_time:0ms step_avg:0.01ms",
    ]
    for step in range(every, n.steps, every):
        lines.append(
            f"step:{step}/{n.iterations} train_loss:{2.5 - step / 9000:.4f} "
            f"train_time:{step * n.step_avg:.0f}ms step_avg:{n.step_avg - 0.04:.2f}ms"
        )
    lines += [
        f"{_last_step(n)} step_avg:{n.step_avg:.2f}ms",
        f"stopping_early: wallclock_cap train_time:{n.train_ms}ms step:{n.steps}/{n.iterations}",
        "peak memory allocated: 21471 MiB reserved: 22000 MiB",
        "ema:applying EMA weights",
        f"DIAGNOSTIC post_ema {_pair(n, n.post_ema, 4)} eval_time:1977ms",
        "Serialized model: 106027446 bytes",
        f"Code size: {n.code_bytes} bytes",
        f"Total submission size: {106027446 + n.code_bytes} bytes",
        f"Serialized model int6+lzma: {n.model_bytes} bytes (payload:26000000 payload_ratio:3.9x)",
        f"Total submission size int6+lzma: {n.total_bytes} bytes",
    ]
    text = "\n".join(lines) + "\n"
    text += _twins(n, "final_int6_roundtrip", n.roundtrip, 20430)
    if n.sliding is not None:
        text += _twins(n, "final_int6_sliding_window", n.sliding, 97749, " stride:64")
    if alias and n.sliding is not None:  # the sliding score again, under an older label
        text += f"final_int8_zlib_roundtrip_exact {_pair(n, n.sliding, 8)}\n"
    if n.ttt is not None:
        text += "ttt_sliding:start chunks=1893 chunk_tokens=32768 stride=64 ttt_lr=0.002 ttt_epochs=3\n"
        text += "".join(
            f"  ttt_chunk [{i}/1893] bpb={1.16 - i / 50000:.6f} time={i / 5:.1f}s\n" for i in range(1, 1893, 400)
        )
        text += (
            f"ttt_sliding:done val_loss={n.loss(n.ttt):.6f} val_bpb={n.ttt:.6f} elapsed={n.eval_ms / 1000 - 0.5:.1f}s\n"
        )
        text += _twins(n, "legal_ttt", n.ttt, n.eval_ms)
    return text


def spaced_log(n: Numbers, *, dump: bool = True, clock: bool = False, phased: bool = True) -> str:
    """Dialect B: a block of hyperparameters, ``N/M train_loss: x``, eight decimals without a twin."""
    lines = [
        RULE,
        "Hyperparameters:",
        "  adam_eps: 1e-08",
        f"  iterations: {n.iterations}",
        "  rank: 0",
        f"  seed: {n.seed}",
        "  world_size: 8",
        RULE,
        *(SCRIPT.splitlines() if dump else []),
        RULE,
        "Running PyTorch 2.9.1+cu128",
        RULE,
        "train_shards: 80",
        f"val_tokens: {n.tokens}",
        "model_params:35944602",
        "gptq:reserving 4s, effective=596000ms",
        "warmup_step: 1/20",
        "loop_warmup_step: 1/20",
        f"0/{n.iterations} val_loss: 9.0078 val_bpb: 3.4871",
    ]
    lines += [
        f"{step}/{n.iterations} train_loss: {3.2 - step / 9000:.4f} train_time: {step / 720:.1f}m tok/s: 8318758"
        for step in range(500, n.steps, 500)
    ]
    lines += [
        f"{n.steps}/{n.iterations} val_loss: {n.loss(n.in_training):.4f} val_bpb: {n.in_training:.4f}",
        f"stopping_early: wallclock_cap train_time: {n.train_ms}ms step: {n.steps}/{n.iterations}",
        "peak memory allocated: 40019 MiB reserved: 44090 MiB",
        "ema:applying EMA weights",
        f"diagnostic pre-quantization post-ema {_pair(n, n.post_ema, 8)} eval_time:6045ms",
        "Serialized model: 135409136 bytes",
        f"Code size (uncompressed): {n.code_bytes * 4} bytes",
        f"Code size (compressed): {n.code_bytes} bytes",
        "Quantized weights:",
        "  gptq (int6): blocks.attn.c_k.weight, blocks.attn.c_q.weight",
        f"Serialized model quantized+brotli: {n.model_bytes} bytes",
        f"Total submission size quantized+brotli: {n.total_bytes} bytes",
    ]
    if n.ttt is None or n.sliding is None:
        lines += [
            f"quantized {_pair(n, n.roundtrip, 8)} eval_time:7531ms",
            f"quantized_sliding_window {_pair(n, n.sliding, 8)} eval_time:{n.eval_ms}ms",
        ]
    elif phased:
        lines += [
            f"diagnostic quantized {_pair(n, n.roundtrip, 8)} eval_time:9129ms",
            "ttt_phased: total_docs:50000 prefix_docs:2000 suffix_docs:48000 num_phases:3",
            "tttg: c1/95 lr:0.001000 t:0.3s",
            "ttp: b3/782 bl:3.3192 bb:1.2588 rl:2.7772 rb:1.0748 dl:75-78 gd:1",
            f"quantized_ttt_phased {_pair(n, n.ttt, 8)} eval_time:{n.eval_ms}ms",
            f"total_eval_time:{n.eval_ms / 1000:.1f}s",
        ]
    else:
        lines += [
            f"quantized {_pair(n, n.roundtrip, 8)} eval_time:7531ms",
            f"quantized_sliding_window {_pair(n, n.sliding, 8)} eval_time:84000ms",
            "ttt_sliding:start chunks=1238 chunk_tokens=32768",
            f"legal_ttt_exact {_pair(n, n.ttt, 8)} eval_time:{n.eval_ms}ms",
        ]
    if clock:
        lines = [f"{1776144156.999 + i:.3f} {line}" for i, line in enumerate(lines)]
    return "\n".join(lines) + "\n"


def compact_log(n: Numbers) -> str:
    """Dialect C: hyperparameters in one line, ``t:`` and ``avg:``, four decimals, a budget line."""
    lines = [
        RULE,
        "Python 3.13.12 | packaged by Anaconda, Inc.",
        "PyTorch 2.10.0+cu128",
        "--- Hyperparameters ---",
        f"activation_type=relu2 adam_eps=1e-08 iterations={n.iterations} compile_mode=default",
        f"params:73685840 L:10 d:768 h:8 kv:4 ws:8 ga:1 s:{n.seed}",
        "warmup:1/5",
    ]
    lines += [
        f"step:{step}/{n.iterations} loss:{3.3 - step / 9000:.4f} t:{step * n.step_avg:.0f}ms avg:{n.step_avg:.1f}ms"
        for step in range(1000, n.steps, 1000)
    ]
    lines += [
        f"{_last_step(n)} zero_frac:0.336",
        f"stopping_early: wallclock_cap train_time:{n.train_ms}ms step:{n.steps}/{n.iterations}",
        f"artifact:15.92MB ternary:64880640(14239486B) fp:2513744(2537376B) code:{n.code_bytes}",
        f"budget:{n.total_bytes}/16000000 (15.99/16.00MB) FITS",
        f"final_ternary_roundtrip {_pair(n, n.roundtrip, 4)}",
        "temp_scaling optimal_T:0.90 eval_time:146ms",
        f"final_sliding {_pair(n, n.sliding, 4)} (stride=16, T=0.90) eval_time:{n.eval_ms}ms",
    ]
    return "\n".join(lines) + "\n"


def other_log(n: Numbers) -> str:
    """Dialect D: ``lr_mul`` in the step lines and a line of two sizes."""
    lines = [f"seed:{n.seed}", f"val_loader:shards pattern=x tokens:{n.tokens}"]
    lines += [
        f"step:{step}/{n.iterations} train_loss:2.0055 lr_mul:0.0999 train_time:{step * 83}ms step_avg:83.00ms"
        for step in range(500, n.steps, 500)
    ]
    lines += [
        f"{_last_step(n)} step_avg:{n.step_avg:.2f}ms",
        "peak memory: 23749 MiB",
        f"INT7+zlib model: {n.model_bytes} bytes | Total submission: {n.total_bytes} bytes",
        f"final_INT7_zlib_roundtrip {_pair(n, n.roundtrip, 4)} eval_time:1000ms",
    ]
    return "\n".join(lines) + "\n"
