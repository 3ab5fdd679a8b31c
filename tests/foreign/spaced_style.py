"""Depth-shared transformer with EMA weights, int6 weights in zstd, and a sliding-window score.

Two blocks are passed LOOPS times. Matrices are rounded to six bits at a clip that is searched for each row, where
errors are weighted by how large the inputs of a layer are on training text. Set anything by its environment variable.
"""

import io
import math
import os
import time
import uuid
from dataclasses import asdict, dataclass, field
from glob import glob
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.distributed as dist
import zstandard
from torch import nn
from torch.nn import functional as F


def env_str(name, default):
    return os.environ.get(name, default)


def env_int(name, default):
    return int(env_str(name, str(default)))


def env_float(name, default):
    return float(env_str(name, str(default)))


def env_flag(name, default):
    return env_str(name, "1" if default else "0").lower() in ("1", "true", "yes")


@dataclass
class Settings:
    run_id: str = field(default_factory=lambda: env_str("RUN_ID", uuid.uuid4().hex))
    seed: int = field(default_factory=lambda: env_int("SEED", 42))
    data_path: str = field(default_factory=lambda: env_str("DATA_PATH", "./data/datasets/fineweb10B_sp1024"))
    tokenizer_path: str = field(
        default_factory=lambda: env_str("TOKENIZER_PATH", "./data/tokenizers/fineweb_1024_bpe.model")
    )
    vocab_size: int = field(default_factory=lambda: env_int("VOCAB_SIZE", 1024))
    iterations: int = field(default_factory=lambda: env_int("ITERATIONS", 240))
    max_wallclock_seconds: float = field(default_factory=lambda: env_float("MAX_WALLCLOCK_SECONDS", 600.0))
    quantize_reserve_seconds: float = field(default_factory=lambda: env_float("QUANTIZE_RESERVE_SECONDS", 2.0))
    train_batch_tokens: int = field(default_factory=lambda: env_int("TRAIN_BATCH_TOKENS", 2048))
    train_seq_len: int = field(default_factory=lambda: env_int("TRAIN_SEQ_LEN", 128))
    train_log_every: int = field(default_factory=lambda: env_int("TRAIN_LOG_EVERY", 40))
    val_loss_every: int = field(default_factory=lambda: env_int("VAL_LOSS_EVERY", 120))
    warmdown_frac: float = field(default_factory=lambda: env_float("WARMDOWN_FRAC", 0.4))
    model_dim: int = field(default_factory=lambda: env_int("MODEL_DIM", 64))
    num_heads: int = field(default_factory=lambda: env_int("NUM_HEADS", 2))
    num_layers: int = field(default_factory=lambda: env_int("NUM_LAYERS", 2))
    num_loops: int = field(default_factory=lambda: env_int("NUM_LOOPS", 2))
    mlp_mult: float = field(default_factory=lambda: env_float("MLP_MULT", 2.0))
    leaky_slope: float = field(default_factory=lambda: env_float("LEAKY_SLOPE", 0.5))
    logit_softcap: float = field(default_factory=lambda: env_float("LOGIT_SOFTCAP", 20.0))
    learning_rate: float = field(default_factory=lambda: env_float("LEARNING_RATE", 0.006))
    weight_decay: float = field(default_factory=lambda: env_float("WEIGHT_DECAY", 0.05))
    grad_clip_norm: float = field(default_factory=lambda: env_float("GRAD_CLIP_NORM", 1.0))
    ema_enabled: bool = field(default_factory=lambda: env_flag("EMA_ENABLED", True))
    ema_decay: float = field(default_factory=lambda: env_float("EMA_DECAY", 0.9))
    matrix_bits: int = field(default_factory=lambda: env_int("MATRIX_BITS", 6))
    embed_bits: int = field(default_factory=lambda: env_int("EMBED_BITS", 8))
    calibration_batches: int = field(default_factory=lambda: env_int("CALIBRATION_BATCHES", 2))
    zstd_level: int = field(default_factory=lambda: env_int("ZSTD_LEVEL", 22))
    sliding_window_enabled: bool = field(default_factory=lambda: env_flag("SLIDING_WINDOW_ENABLED", True))
    eval_stride: int = field(default_factory=lambda: env_int("EVAL_STRIDE", 64))
    rank: int = field(default_factory=lambda: env_int("RANK", 0))
    world_size: int = field(default_factory=lambda: env_int("WORLD_SIZE", 1))

    @property
    def is_main(self):
        return self.rank == 0


class Log:
    """Rank 0 speaks, to stdout and to a file."""

    def __init__(self, settings):
        self.on = settings.is_main
        self.path = Path("logs") / f"{settings.run_id}.txt"
        if self.on:
            self.path.parent.mkdir(exist_ok=True)

    def __call__(self, text):
        if self.on:
            print(text, flush=True)
            with self.path.open("a") as file:
                file.write(text + "\n")


def sum_over_ranks(tensor, settings):
    if settings.world_size > 1:
        dist.all_reduce(tensor)
    return tensor


# Data: token files with a header of 256 int32, the vocabulary's bytes, batches.


def read_tokens(paths):
    streams = []
    for path in paths:
        with open(path, "rb") as file:
            magic, version, count = np.frombuffer(file.read(1024), dtype="<i4")[:3]
            assert (magic, version) == (20240520, 1), f"{path} is no token file"
            stream = np.frombuffer(file.read(2 * count), dtype="<u2")
        assert len(stream) == count, f"{path} is cut off"
        streams.append(stream)
    return torch.from_numpy(np.concatenate(streams).astype(np.int64))


def find(folder, pattern):
    paths = sorted(glob(f"{folder}/{pattern}"))
    assert paths, f"nothing matches {folder}/{pattern}"
    return paths


class Batches:
    def __init__(self, tokens, settings):
        self.tokens, self.s = tokens, settings
        self.at = 0

    def __call__(self):
        rows = self.s.train_batch_tokens // self.s.train_seq_len // self.s.world_size
        span = rows * self.s.train_seq_len
        if self.at + span * self.s.world_size + 1 > len(self.tokens):
            self.at = 0
        start = self.at + self.s.rank * span
        self.at += span * self.s.world_size
        piece = self.tokens[start : start + span + 1]
        return piece[:-1].view(rows, -1), piece[1:].view(rows, -1)


class ByteTable:
    """How many bytes of text a token stands for, given the one before it."""

    def __init__(self, path, vocab_size):
        pieces = sentencepiece.SentencePieceProcessor(model_file=path)
        assert pieces.vocab_size() <= vocab_size, f"{path} has {pieces.vocab_size()} pieces, VOCAB_SIZE={vocab_size}"
        self.length = torch.zeros(vocab_size, dtype=torch.long)
        self.spaced = torch.zeros(vocab_size, dtype=torch.bool)
        self.is_text = torch.zeros(vocab_size, dtype=torch.bool)
        for index in range(pieces.vocab_size()):
            if pieces.is_byte(index):
                self.length[index], self.is_text[index] = 1, True
            elif not (pieces.is_control(index) or pieces.is_unknown(index) or pieces.is_unused(index)):
                piece = pieces.id_to_piece(index)
                self.spaced[index], self.is_text[index] = piece.startswith("\u2581"), True
                self.length[index] = len(piece.removeprefix("\u2581").replace("\u2581", " ").encode())

    def count(self, before, target):
        return self.length[target] + (self.spaced[target] & self.is_text[before])


# Model


class CausalAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.gain = nn.Parameter(torch.full((heads, 1, 1), 2.0))

    def forward(self, x, turn):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = (turned(F.rms_norm(z, z.shape[-1:]), turn) for z in (q, k))
        return self.out(
            F.scaled_dot_product_attention(q * self.gain, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        )


def turned(x, turn):
    cos, sin = turn
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        hidden = int(s.mlp_mult * s.model_dim)
        self.attention = CausalAttention(s.model_dim, s.num_heads)
        self.up = nn.Linear(s.model_dim, hidden, bias=False)
        self.down = nn.Linear(hidden, s.model_dim, bias=False)
        self.mix = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.slope = s.leaky_slope

    def forward(self, x, first, turn):
        x = self.mix[0] * x + self.mix[1] * first
        x = x + self.attention(F.rms_norm(x, x.shape[-1:]), turn)
        return x + self.down(F.leaky_relu(self.up(F.rms_norm(x, x.shape[-1:])), self.slope).square())


class LoopedGPT(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.loops, self.cap = s.num_loops, s.logit_softcap
        self.embedding = nn.Embedding(s.vocab_size, s.model_dim)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.num_layers))
        half = s.model_dim // s.num_heads // 2
        self.register_buffer("speed", 10000.0 ** (-torch.arange(half) / half), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02 if "embedding" in name else weight.shape[1] ** -0.5)
            if name.endswith(("out.weight", "down.weight")):
                nn.init.zeros_(weight)

    def forward(self, tokens):
        angle = torch.arange(tokens.shape[1])[:, None] * self.speed
        turn = angle.cos(), angle.sin()
        x = first = F.rms_norm(self.embedding(tokens), (self.embedding.embedding_dim,))
        for _ in range(self.loops):
            for layer in self.layers:
                x = layer(x, first, turn)
        logits = F.linear(F.rms_norm(x, x.shape[-1:]), self.embedding.weight)
        return self.cap * torch.tanh(logits / self.cap)


def losses(model, x, y):
    return F.cross_entropy(model(x).transpose(1, 2), y, reduction="none")


# Scores


@torch.no_grad()
def disjoint_score(model, tokens, table, s, rows=32):
    """Loss in nats and bits per byte over the windows that lie side by side; the last incomplete one is left out."""
    count = (len(tokens) - 1) // s.train_seq_len
    end = count * s.train_seq_len
    x, y = tokens[:end].view(count, -1), tokens[1 : end + 1].view(count, -1)
    total = torch.zeros(3, dtype=torch.float64)
    for at in range(s.rank * rows, count, s.world_size * rows):
        a, b = x[at : at + rows], y[at : at + rows]
        total += torch.tensor([losses(model, a, b).double().sum(), b.numel(), table.count(a, b).sum()])
    return in_units(sum_over_ranks(total, s))


@torch.no_grad()
def sliding_score(model, tokens, table, s, rows=32):
    """As ``disjoint_score``, but every window gives only its last ``eval_stride`` targets, the first one all."""
    length, stride = s.train_seq_len, s.eval_stride
    end = (len(tokens) - 1) // length * length
    starts = list(range(0, end - length + 1, stride))
    total = torch.zeros(3, dtype=torch.float64)
    for at in range(s.rank * rows, len(starts), s.world_size * rows):
        now = starts[at : at + rows]
        x = torch.stack([tokens[start : start + length] for start in now])
        y = torch.stack([tokens[start + 1 : start + length + 1] for start in now])
        counted = torch.zeros_like(y, dtype=torch.bool)
        counted[:, length - stride :] = True
        if now[0] == 0:
            counted[0] = True
        nats = (losses(model, x, y) * counted).double().sum()
        total += torch.tensor([nats, counted.sum(), (table.count(x, y) * counted).sum()])
    return in_units(sum_over_ranks(total, s))


def in_units(total):
    nats, targets, text_bytes = total.tolist()
    return nats / targets, nats / math.log(2) / text_bytes


# Artifact


def input_sizes(model, batches, s):
    """The mean square of every input of each linear layer on training text, the same on all ranks."""
    sums, hooks = {}, []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):

            def see(module, inputs, output, name=name):
                sums[name] = sums.get(name, 0) + inputs[0].detach().double().square().mean((0, 1))

            hooks.append(module.register_forward_hook(see))
    with torch.no_grad():
        for _ in range(s.calibration_batches):
            model(batches()[0])
    for hook in hooks:
        hook.remove()
    return {name: sum_over_ranks(value, s) / s.calibration_batches / s.world_size for name, value in sums.items()}


def rounded(weight, bits, importance):
    """Whole numbers and a scale for each row: of ten clips the one with the least weighted error."""
    top = 2 ** (bits - 1) - 1
    best = None
    for share in torch.linspace(0.55, 1.0, 10):
        scale = (weight.abs().amax(1, keepdim=True) * share / top).clamp_min(1e-8).half().float()
        whole = (weight / scale).round().clamp(-top, top)
        error = ((whole * scale - weight).square() * importance).sum(1, keepdim=True)
        if best is None:
            best = whole, scale, error
        else:
            better = error < best[2]
            best = tuple(torch.where(better, new, old) for new, old in zip((whole, scale, error), best, strict=True))
    return best[0].to(torch.int8), best[1].half()


def pack(model, sizes, s):
    tensors = {}
    for name, weight in model.state_dict().items():
        if weight.ndim < 2:
            tensors[name] = weight.half()
            continue
        bits = s.embed_bits if name.startswith("embedding") else s.matrix_bits
        importance = sizes.get(name.removesuffix(".weight"), torch.ones(weight.shape[1])).float()
        tensors[name + "/q"], tensors[name + "/s"] = rounded(weight, bits, importance)
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return zstandard.ZstdCompressor(level=s.zstd_level).compress(buffer.getvalue())


def unpack(content):
    tensors = torch.load(io.BytesIO(zstandard.ZstdDecompressor().decompress(content)))
    state = {name: value.float() for name, value in tensors.items() if "/" not in name}
    for name in tensors:
        if name.endswith("/q"):
            state[name[:-2]] = tensors[name].float() * tensors[name[:-2] + "/s"].float()
    return state


# The run


def learning_rate_scale(progress, s):
    return min(1.0, max(0.0, (1.0 - progress) / s.warmdown_frac)) if s.warmdown_frac > 0 else 1.0


def train(model, batches, val_tokens, table, s, log):
    """Train until the steps or the seconds are over; the averaged weights, or None where EMA is off."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=s.learning_rate, betas=(0.9, 0.95), weight_decay=s.weight_decay
    )
    average = {name: value.detach().clone() for name, value in model.state_dict().items()} if s.ema_enabled else None
    budget_ms = 1000 * (s.max_wallclock_seconds - s.quantize_reserve_seconds)
    log(f"quantize:reserving {s.quantize_reserve_seconds:.0f}s, effective={budget_ms:.0f}ms")
    spent_ms, begun, step, stop = 0.0, time.perf_counter(), 0, False
    while True:
        ends = stop or step >= s.iterations
        if ends or (s.val_loss_every and step % s.val_loss_every == 0):
            spent_ms += 1000 * (time.perf_counter() - begun)
            loss, bpb = disjoint_score(model, val_tokens, table, s)
            log(
                f"{step}/{s.iterations} val_loss: {loss:.4f} val_bpb: {bpb:.4f} "
                f"train_time: {spent_ms:.0f}ms step_avg: {spent_ms / max(1, step):.2f}ms"
            )
            begun = time.perf_counter()
        if ends:
            break
        for group in optimizer.param_groups:
            group["lr"] = s.learning_rate * learning_rate_scale(step / s.iterations, s)
        x, y = batches()
        loss = losses(model, x, y).mean()
        optimizer.zero_grad()
        loss.backward()
        if s.world_size > 1:
            flat = sum_over_ranks(torch.cat([p.grad.flatten() for p in model.parameters()]), s) / s.world_size
            for p, part in zip(model.parameters(), flat.split([p.numel() for p in model.parameters()]), strict=True):
                p.grad.copy_(part.view_as(p))
        nn.utils.clip_grad_norm_(model.parameters(), s.grad_clip_norm)
        optimizer.step()
        if average is not None:
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - s.ema_decay)
        step += 1
        now_ms = spent_ms + 1000 * (time.perf_counter() - begun)
        if step <= 5 or step % s.train_log_every == 0:
            speed = int(step * s.train_batch_tokens / now_ms * 1000)
            log(f"{step}/{s.iterations} train_loss: {loss.item():.4f} train_time: {now_ms / 60000:.1f}m tok/s: {speed}")
        stop = bool(sum_over_ranks(torch.tensor(float(now_ms > budget_ms)), s))
    if step < s.iterations:
        log(f"stopping_early: wallclock_cap train_time: {spent_ms:.0f}ms step: {step}/{s.iterations}")
    return average


def timed(score, *args):
    begun = time.perf_counter()
    loss, bpb = score(*args)
    return f"val_loss:{loss:.8f} val_bpb:{bpb:.8f} eval_time:{1000 * (time.perf_counter() - begun):.0f}ms"


def main():
    s = Settings()
    log = Log(s)
    if s.world_size > 1:
        dist.init_process_group("gloo")
    log("Hyperparameters:")
    for name, value in sorted(asdict(s).items()):
        log(f"  {name}: {value}")
    torch.manual_seed(s.seed)
    table = ByteTable(s.tokenizer_path, s.vocab_size)
    train_paths = find(s.data_path, "*_train_*.bin")
    val_tokens = read_tokens(find(s.data_path, "*_val_*.bin"))
    log(f"train_shards: {len(train_paths)}")
    log(f"val_tokens: {(len(val_tokens) - 1) // s.train_seq_len * s.train_seq_len}")
    model = LoopedGPT(s)
    log(f"model_params:{sum(p.numel() for p in model.parameters())}")
    batches = Batches(read_tokens(train_paths), s)

    average = train(model, batches, val_tokens, table, s, log)
    if average is not None:
        log("ema:applying EMA weights")
        model.load_state_dict(average)
    log("pre-quantization post-ema " + timed(disjoint_score, model, val_tokens, table, s))

    code_bytes = len(Path(__file__).read_bytes())
    path = Path(f"final_model.int{s.matrix_bits}.ptz")
    begun = time.perf_counter()
    sizes = input_sizes(model, batches, s)
    log(f"calibration:collected inputs of {len(sizes)} layers in {time.perf_counter() - begun:.1f}s")
    if s.is_main:
        torch.save(model.state_dict(), "final_model.pt")
        log(f"Serialized model: {os.path.getsize('final_model.pt')} bytes")
        log(f"Code size: {code_bytes} bytes")
        path.write_bytes(pack(model, sizes, s))
        log(f"Serialized model int{s.matrix_bits}+zstd: {path.stat().st_size} bytes")
        log(f"Total submission size int{s.matrix_bits}+zstd: {path.stat().st_size + code_bytes} bytes")
    if s.world_size > 1:
        dist.barrier()
    model.load_state_dict(unpack(path.read_bytes()))

    begun = time.perf_counter()
    log("quantized " + timed(disjoint_score, model, val_tokens, table, s))
    if s.sliding_window_enabled:
        log("quantized_sliding_window " + timed(sliding_score, model, val_tokens, table, s))
    log(f"total_eval_time:{time.perf_counter() - begun:.1f}s")
    if s.world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
