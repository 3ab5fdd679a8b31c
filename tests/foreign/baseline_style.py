"""A small GPT for 16 MB: grouped-query attention, relu^2, Muon, int8 + zlib, and optionally legal test-time training.

    torchrun --standalone --nproc_per_node=2 baseline_style.py

Everything is set by environment variables, see Hyperparameters. The log goes to logs/RUN_ID.txt and to stdout.
"""

import copy
import glob
import io
import math
import os
import random
import time
import uuid
import zlib
from pathlib import Path

import numpy as np
import sentencepiece as spm
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel as DDP


class Hyperparameters:
    # Data
    data_path = os.environ.get("DATA_PATH", "./data/datasets/fineweb10B_sp1024")
    train_files = os.path.join(data_path, "*_train_*.bin")
    val_files = os.path.join(data_path, "*_val_*.bin")
    tokenizer_path = os.environ.get("TOKENIZER_PATH", "./data/tokenizers/fineweb_1024_bpe.model")
    run_id = os.environ.get("RUN_ID", str(uuid.uuid4()))
    seed = int(os.environ.get("SEED", 1337))

    # Length of the run
    iterations = int(os.environ.get("ITERATIONS", 240))
    warmdown_iters = int(os.environ.get("WARMDOWN_ITERS", 80))
    warmup_steps = int(os.environ.get("WARMUP_STEPS", 2))
    max_wallclock_seconds = float(os.environ.get("MAX_WALLCLOCK_SECONDS", 600.0))
    train_batch_tokens = int(os.environ.get("TRAIN_BATCH_TOKENS", 2048))
    train_seq_len = int(os.environ.get("TRAIN_SEQ_LEN", 128))
    val_batch_size = int(os.environ.get("VAL_BATCH_SIZE", 8192))
    val_loss_every = int(os.environ.get("VAL_LOSS_EVERY", 120))
    train_log_every = int(os.environ.get("TRAIN_LOG_EVERY", 10))

    # Model
    vocab_size = int(os.environ.get("VOCAB_SIZE", 1024))
    num_layers = int(os.environ.get("NUM_LAYERS", 2))
    model_dim = int(os.environ.get("MODEL_DIM", 64))
    num_heads = int(os.environ.get("NUM_HEADS", 2))
    num_kv_heads = int(os.environ.get("NUM_KV_HEADS", 1))
    mlp_mult = int(os.environ.get("MLP_MULT", 2))
    rope_base = float(os.environ.get("ROPE_BASE", 10000.0))
    logit_softcap = float(os.environ.get("LOGIT_SOFTCAP", 30.0))

    # Optimizers
    embed_lr = float(os.environ.get("EMBED_LR", 0.02))
    matrix_lr = float(os.environ.get("MATRIX_LR", 0.03))
    scalar_lr = float(os.environ.get("SCALAR_LR", 0.02))
    muon_momentum = float(os.environ.get("MUON_MOMENTUM", 0.9))
    muon_backend_steps = int(os.environ.get("MUON_BACKEND_STEPS", 5))

    # Test-time training: every chunk is scored before anything is learned from it
    ttt_enabled = bool(int(os.environ.get("TTT_ENABLED", "0")))
    ttt_lr = float(os.environ.get("TTT_LR", 0.05))
    ttt_epochs = int(os.environ.get("TTT_EPOCHS", 1))
    ttt_chunk_tokens = int(os.environ.get("TTT_CHUNK_TOKENS", 4096))


# ---------------------------------------------------------------- data


def load_shard(path: str) -> Tensor:
    header = np.fromfile(path, dtype="<i4", count=256)
    if header.size != 256 or header[0] != 20240520 or header[1] != 1:
        raise ValueError(f"unexpected shard header in {path}")
    tokens = np.fromfile(path, dtype="<u2", offset=1024)
    if tokens.size != header[2]:
        raise ValueError(f"{path} has {tokens.size} tokens, its header says {header[2]}")
    return torch.from_numpy(tokens.astype(np.int64))


def shard_paths(pattern: str) -> list[str]:
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"no files found for pattern {pattern}")
    return paths


class TrainLoader:
    """Deals out the training stream in order; every rank takes its own span of each global batch."""

    def __init__(self, pattern: str, rank: int, world_size: int):
        self.paths = shard_paths(pattern)
        self.rank, self.world_size = rank, world_size
        self.shard = 0
        self.tokens = load_shard(self.paths[0])
        self.position = 0

    def take(self, count: int) -> Tensor:
        parts = []
        while count > 0:
            if self.position == len(self.tokens):
                self.shard = (self.shard + 1) % len(self.paths)
                self.tokens, self.position = load_shard(self.paths[self.shard]), 0
            part = self.tokens[self.position : self.position + count]
            parts.append(part)
            self.position += len(part)
            count -= len(part)
        return torch.cat(parts)

    def next_batch(self, batch_tokens: int, seq_len: int) -> tuple[Tensor, Tensor]:
        span = batch_tokens // self.world_size + 1
        mine = self.take(span * self.world_size)[self.rank * span : (self.rank + 1) * span]
        return mine[:-1].view(-1, seq_len), mine[1:].view(-1, seq_len)


def load_validation(pattern: str, seq_len: int) -> Tensor:
    tokens = torch.cat([load_shard(path) for path in shard_paths(pattern)])
    usable = (len(tokens) - 1) // seq_len * seq_len
    if usable <= 0:
        raise ValueError(f"validation split is too short for TRAIN_SEQ_LEN={seq_len}")
    return tokens[: usable + 1]


def byte_tables(sp: spm.SentencePieceProcessor, vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bytes of each piece without its leading space, whether it has one, and whether it is no text."""
    num_bytes = torch.zeros(vocab_size, dtype=torch.int64)
    has_space = torch.zeros(vocab_size, dtype=torch.bool)
    no_text = torch.ones(vocab_size, dtype=torch.bool)
    for token in range(sp.vocab_size()):
        if sp.is_control(token) or sp.is_unknown(token) or sp.is_unused(token):
            continue
        no_text[token] = False
        if sp.is_byte(token):
            num_bytes[token] = 1
            continue
        piece = sp.id_to_piece(token)
        if piece[0] == "▁":
            has_space[token] = True
            piece = piece[1:]
        num_bytes[token] = len(piece.replace("▁", " ").encode("utf-8"))
    return num_bytes, has_space, no_text


def bytes_of(prev: Tensor, target: Tensor, tables: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    num_bytes, has_space, no_text = tables
    return num_bytes[target] + (has_space[target] & ~no_text[prev]).long()


# ---------------------------------------------------------------- optimizer


def orthogonalize(grad: Tensor, steps: int) -> Tensor:
    """Newton-Schulz iteration: about the nearest matrix whose singular values are all 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = grad.size(0) > grad.size(1)
    x = grad.T if tall else grad
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr: float, momentum: float, backend_steps: int):
        super().__init__(params, {"lr": lr, "momentum": momentum, "backend_steps": backend_steps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "buffer" not in state:
                    state["buffer"] = torch.zeros_like(p)
                buffer = state["buffer"].mul_(group["momentum"]).add_(p.grad)
                update = orthogonalize(p.grad + group["momentum"] * buffer, group["backend_steps"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.size(0) / p.size(1)) ** 0.5)


# ---------------------------------------------------------------- model


class Rotary(nn.Module):
    def __init__(self, dim: int, base: float):
        super().__init__()
        self.register_buffer("inv_freq", base ** (-torch.arange(0, dim, 2) / dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.outer(torch.arange(x.size(-2), dtype=torch.float32, device=x.device), self.inv_freq)
        cos, sin = angle.cos(), angle.sin()
        left, right = x.chunk(2, dim=-1)
        return torch.cat((left * cos - right * sin, left * sin + right * cos), dim=-1)


class Attention(nn.Module):
    def __init__(self, args: type[Hyperparameters]):
        super().__init__()
        self.num_heads, self.num_kv_heads = args.num_heads, args.num_kv_heads
        self.head_dim = args.model_dim // args.num_heads
        kv_dim = self.num_kv_heads * self.head_dim
        self.c_q = nn.Linear(args.model_dim, args.model_dim, bias=False)
        self.c_k = nn.Linear(args.model_dim, kv_dim, bias=False)
        self.c_v = nn.Linear(args.model_dim, kv_dim, bias=False)
        self.proj = nn.Linear(args.model_dim, args.model_dim, bias=False)
        nn.init.zeros_(self.proj.weight)
        self.q_gain = nn.Parameter(torch.full((args.num_heads, 1, 1), 1.5))
        self.rotary = Rotary(self.head_dim, args.rope_base)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        q = self.c_q(x).view(batch, length, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.c_k(x).view(batch, length, self.num_kv_heads, self.head_dim).transpose(1, 2)
        v = self.c_v(x).view(batch, length, self.num_kv_heads, self.head_dim).transpose(1, 2)
        q = self.rotary(F.rms_norm(q, (self.head_dim,))) * self.q_gain
        k = self.rotary(F.rms_norm(k, (self.head_dim,)))
        groups = self.num_heads // self.num_kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(batch, length, dim))


class MLP(nn.Module):
    def __init__(self, dim: int, mult: int):
        super().__init__()
        self.fc = nn.Linear(dim, mult * dim, bias=False)
        self.proj = nn.Linear(mult * dim, dim, bias=False)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(F.relu(self.fc(x)).square())


class Block(nn.Module):
    def __init__(self, args: type[Hyperparameters]):
        super().__init__()
        self.attn = Attention(args)
        self.mlp = MLP(args.model_dim, args.mlp_mult)
        self.attn_scale = nn.Parameter(torch.ones(args.model_dim))
        self.mlp_scale = nn.Parameter(torch.ones(args.model_dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn_scale * self.attn(F.rms_norm(x, (x.size(-1),)))
        return x + self.mlp_scale * self.mlp(F.rms_norm(x, (x.size(-1),)))


class GPT(nn.Module):
    def __init__(self, args: type[Hyperparameters]):
        super().__init__()
        self.softcap = args.logit_softcap
        self.tok_emb = nn.Embedding(args.vocab_size, args.model_dim)
        nn.init.normal_(self.tok_emb.weight, std=0.01)
        self.blocks = nn.ModuleList(Block(args) for _ in range(args.num_layers))

    def forward(self, tokens: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        x = F.rms_norm(self.tok_emb(tokens), (self.tok_emb.embedding_dim,))
        for block in self.blocks:
            x = block(x)
        x = F.rms_norm(x, (x.size(-1),))
        logits = self.softcap * torch.tanh(F.linear(x, self.tok_emb.weight) / self.softcap)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)


# ---------------------------------------------------------------- evaluation


class Score:
    """Sums over targets, of this rank until ``reduced``."""

    def __init__(self):
        self.sums = torch.zeros(3, dtype=torch.float64)  # nats, targets, bytes

    def add(self, nats: Tensor, prev: Tensor, target: Tensor, tables) -> None:
        num_bytes = bytes_of(prev.flatten(), target.flatten(), tables).sum()
        self.sums += torch.stack((nats.double(), torch.tensor(target.numel()).double(), num_bytes.double()))

    def reduced(self, world_size: int) -> tuple[float, float]:
        sums = self.sums.clone()
        if world_size > 1:
            dist.all_reduce(sums)
        nats, targets, num_bytes = sums.tolist()
        return nats / targets, nats / math.log(2) / num_bytes


@torch.no_grad()
def eval_val(args, model: nn.Module, val_tokens: Tensor, tables, rank: int, world_size: int) -> tuple[float, float]:
    model.eval()
    inputs = val_tokens[:-1].view(-1, args.train_seq_len)
    targets = val_tokens[1:].view(-1, args.train_seq_len)
    rows = max(1, args.val_batch_size // args.train_seq_len)
    score = Score()
    for start in range(rank * rows, len(inputs), rows * world_size):
        x, y = inputs[start : start + rows], targets[start : start + rows]
        score.add(model(x, y, reduction="sum"), x, y, tables)
    model.train()
    return score.reduced(world_size)


def eval_ttt(args, model: nn.Module, val_tokens: Tensor, tables, rank: int, world_size: int, log0):
    """Score a chunk with the weights as they are, then learn from it, then go on to the next."""
    inputs = val_tokens[:-1].view(-1, args.train_seq_len)
    targets = val_tokens[1:].view(-1, args.train_seq_len)
    rows = max(world_size, args.ttt_chunk_tokens // args.train_seq_len)
    starts = range(0, len(inputs), rows)
    params = list(model.parameters())
    optimizer = torch.optim.SGD(params, lr=args.ttt_lr, momentum=0.9)
    log0(f"ttt_sliding:start chunks={len(starts)} chunk_tokens={rows * args.train_seq_len} ttt_lr={args.ttt_lr}")
    score, t0 = Score(), time.perf_counter()
    for chunk, start in enumerate(starts, 1):
        x, y = inputs[start : start + rows][rank::world_size], targets[start : start + rows][rank::world_size]
        if len(x):
            with torch.no_grad():
                score.add(model(x, y, reduction="sum"), x, y, tables)
        _, bpb = score.reduced(world_size)
        log0(f"  ttt_chunk [{chunk}/{len(starts)}] bpb={bpb:.6f} time={time.perf_counter() - t0:.1f}s")
        if chunk == len(starts):
            break
        for _ in range(args.ttt_epochs):
            optimizer.zero_grad(set_to_none=False)
            if len(x):
                (model(x, y, reduction="sum") / targets[start : start + rows].numel()).backward()
            for p in params:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                if world_size > 1:
                    dist.all_reduce(p.grad)
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
    loss, bpb = score.reduced(world_size)
    log0(f"ttt_sliding:done val_loss={loss:.6f} val_bpb={bpb:.6f} elapsed={time.perf_counter() - t0:.1f}s")
    return loss, bpb


# ---------------------------------------------------------------- int8 + zlib


def quantize(state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Matrices to int8 with one scale for each row, everything else to fp16."""
    out: dict[str, dict[str, Tensor]] = {"quantized": {}, "scales": {}, "passthrough": {}}
    for name, tensor in state.items():
        if tensor.ndim != 2:
            out["passthrough"][name] = tensor.half()
            continue
        scale = (tensor.abs().amax(dim=1) / 127.0).clamp_min(1e-8).half()
        out["scales"][name] = scale
        out["quantized"][name] = (tensor / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return out


def dequantize(obj: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    state = {name: tensor.float() for name, tensor in obj["passthrough"].items()}
    for name, tensor in obj["quantized"].items():
        state[name] = tensor.float() * obj["scales"][name].float()[:, None]
    return state


# ---------------------------------------------------------------- main


def main() -> None:
    args = Hyperparameters
    code = Path(__file__).read_text(encoding="utf-8")
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        dist.init_process_group("gloo")
    if args.train_batch_tokens % (world_size * args.train_seq_len):
        raise ValueError(f"TRAIN_BATCH_TOKENS={args.train_batch_tokens} does not divide by ranks times TRAIN_SEQ_LEN")
    logfile = f"logs/{args.run_id}.txt"
    if rank == 0:
        os.makedirs("logs", exist_ok=True)
        print(logfile, flush=True)

    def log0(msg: str, console: bool = True) -> None:
        if rank:
            return
        if console:
            print(msg, flush=True)
        with open(logfile, "a", encoding="utf-8") as f:
            print(msg, file=f)

    log0(code, console=False)
    log0("=" * 100, console=False)
    log0(f"Running PyTorch {torch.__version__}", console=False)

    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    sp = spm.SentencePieceProcessor(model_file=args.tokenizer_path)
    if sp.vocab_size() > args.vocab_size:
        raise ValueError(f"VOCAB_SIZE={args.vocab_size} is less than the tokenizer's {sp.vocab_size()}")
    tables = byte_tables(sp, args.vocab_size)
    val_tokens = load_validation(args.val_files, args.train_seq_len)
    loader = TrainLoader(args.train_files, rank, world_size)
    log0(f"val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path={args.tokenizer_path}")
    log0(f"train_loader:dataset:{Path(args.data_path).name} train_shards:{len(loader.paths)}")
    log0(f"val_loader:shards pattern={args.val_files} tokens:{len(val_tokens) - 1}")

    base_model = GPT(args)
    model = DDP(base_model) if world_size > 1 else base_model
    matrices = [p for p in base_model.blocks.parameters() if p.ndim == 2]
    scalars = [p for p in base_model.blocks.parameters() if p.ndim != 2]
    optimizers = [
        torch.optim.Adam(base_model.tok_emb.parameters(), lr=args.embed_lr, betas=(0.9, 0.95)),
        Muon(matrices, args.matrix_lr, args.muon_momentum, args.muon_backend_steps),
        torch.optim.Adam(scalars, lr=args.scalar_lr, betas=(0.9, 0.95)),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]

    log0(f"model_params:{sum(p.numel() for p in base_model.parameters())}")
    log0(f"world_size:{world_size} grad_accum_steps:1")
    log0(f"attention_mode:gqa num_heads:{args.num_heads} num_kv_heads:{args.num_kv_heads}")
    log0(
        f"tie_embeddings:True embed_lr:{args.embed_lr} head_lr:0.0 matrix_lr:{args.matrix_lr} "
        f"scalar_lr:{args.scalar_lr}"
    )
    log0(
        f"train_batch_tokens:{args.train_batch_tokens} train_seq_len:{args.train_seq_len} "
        f"iterations:{args.iterations} warmup_steps:{args.warmup_steps} "
        f"max_wallclock_seconds:{args.max_wallclock_seconds:.3f}"
    )
    log0(f"seed:{args.seed}")

    def train_step(lr_scale: float) -> Tensor:
        x, y = loader.next_batch(args.train_batch_tokens, args.train_seq_len)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * lr_scale
        loss = model(x, y)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach()

    if args.warmup_steps > 0:  # steps for caches and allocators, undone afterwards
        before = copy.deepcopy(base_model.state_dict())
        optimizers_before = [copy.deepcopy(optimizer.state_dict()) for optimizer in optimizers]
        for warmup_step in range(1, args.warmup_steps + 1):
            train_step(1.0)
            log0(f"warmup_step:{warmup_step}/{args.warmup_steps}")
        base_model.load_state_dict(before)
        for optimizer, state in zip(optimizers, optimizers_before, strict=True):
            optimizer.load_state_dict(state)
        loader = TrainLoader(args.train_files, rank, world_size)

    step, train_ms, stop_after, t0 = 0, 0.0, None, time.perf_counter()
    while True:
        last = step == args.iterations or (stop_after is not None and step >= stop_after)
        if last or (args.val_loss_every > 0 and step % args.val_loss_every == 0):
            train_ms += 1000 * (time.perf_counter() - t0)
            val_loss, val_bpb = eval_val(args, base_model, val_tokens, tables, rank, world_size)
            log0(
                f"step:{step}/{args.iterations} val_loss:{val_loss:.4f} val_bpb:{val_bpb:.4f} "
                f"train_time:{train_ms:.0f}ms step_avg:{train_ms / max(step, 1):.2f}ms"
            )
            t0 = time.perf_counter()
        if last:
            if step < args.iterations:
                log0(f"stopping_early: wallclock_cap train_time:{train_ms:.0f}ms step:{step}/{args.iterations}")
            break
        loss = train_step(min(1.0, (args.iterations - step) / max(args.warmdown_iters, 1)))
        step += 1
        approx_ms = train_ms + 1000 * (time.perf_counter() - t0)
        if step <= 10 or step % args.train_log_every == 0:
            log0(
                f"step:{step}/{args.iterations} train_loss:{loss.item():.4f} "
                f"train_time:{approx_ms:.0f}ms step_avg:{approx_ms / step:.2f}ms"
            )
        if args.max_wallclock_seconds > 0 and stop_after is None:
            over = torch.tensor(int(approx_ms >= 1000 * args.max_wallclock_seconds))
            if world_size > 1:
                dist.all_reduce(over, op=dist.ReduceOp.MAX)
            if over.item():
                stop_after = step

    # Serialize, compress, read back, and score what was read back.
    code_bytes = len(code.encode("utf-8"))
    if rank == 0:
        torch.save(base_model.state_dict(), "final_model.pt")
        model_bytes = os.path.getsize("final_model.pt")
        log0(f"Serialized model: {model_bytes} bytes")
        log0(f"Code size: {code_bytes} bytes")
        log0(f"Total submission size: {model_bytes + code_bytes} bytes")
        buffer = io.BytesIO()
        obj = quantize(base_model.state_dict())
        torch.save(obj, buffer)
        raw = buffer.getvalue()
        payload = sum(tensor.nbytes for part in obj.values() for tensor in part.values())
        with open("final_model.int8.ptz", "wb") as f:
            f.write(zlib.compress(raw, level=9))
        packed_bytes = os.path.getsize("final_model.int8.ptz")
        log0(
            f"Serialized model int8+zlib: {packed_bytes} bytes "
            f"(payload:{payload} raw_torch:{len(raw)} payload_ratio:{model_bytes / payload:.2f}x)"
        )
        log0(f"Total submission size int8+zlib: {packed_bytes + code_bytes} bytes")
    if world_size > 1:
        dist.barrier()
    with open("final_model.int8.ptz", "rb") as f:
        read_back = torch.load(io.BytesIO(zlib.decompress(f.read())))
    base_model.load_state_dict(dequantize(read_back))

    t_eval = time.perf_counter()
    val_loss, val_bpb = eval_val(args, base_model, val_tokens, tables, rank, world_size)
    log0(
        f"final_int8_zlib_roundtrip val_loss:{val_loss:.4f} val_bpb:{val_bpb:.4f} "
        f"eval_time:{1000 * (time.perf_counter() - t_eval):.0f}ms"
    )
    log0(f"final_int8_zlib_roundtrip_exact val_loss:{val_loss:.8f} val_bpb:{val_bpb:.8f}")

    if args.ttt_enabled:
        t_eval = time.perf_counter()
        val_loss, val_bpb = eval_ttt(args, base_model, val_tokens, tables, rank, world_size, log0)
        log0(
            f"legal_ttt val_loss:{val_loss:.4f} val_bpb:{val_bpb:.4f} "
            f"eval_time:{1000 * (time.perf_counter() - t_eval):.0f}ms"
        )
        log0(f"legal_ttt_exact val_loss:{val_loss:.8f} val_bpb:{val_bpb:.8f}")
    if world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
