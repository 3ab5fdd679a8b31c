"""A speedrun: how fast does a small transformer reach the target loss? Settings stand in the code, as in every run.

    torchrun --standalone --nproc_per_node=2 speedrun_style.py

The log has the code, then the versions, then one line for each validation. Loss only, in nats per token.
"""

import os
import sys

with open(sys.argv[0]) as f:
    code = f.read()  # what runs is what is logged
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Hyperparameters:
    # data
    data_path: str = os.environ.get("DATA_PATH", "data/fineweb10B")
    train_files: str = "*_train_*.bin"
    val_files: str = "*_val_*.bin"
    val_tokens: int = int(os.environ.get("VAL_TOKENS", 32_768))
    train_seq_len: int = 128
    batch_seqs: int = 16
    # schedule
    num_iterations: int = int(os.environ.get("ITERATIONS", 240))
    cooldown_frac: float = 0.5
    val_loss_every: int = 60
    target_loss: float = float(os.environ.get("TARGET_LOSS", 4.0))
    # model
    vocab_size: int = 1024
    num_layers: int = 2
    num_heads: int = 2
    model_dim: int = 64
    seed: int = int(os.environ.get("SEED", 0))


args = Hyperparameters()
rank = int(os.environ.get("RANK", 0))
world_size = int(os.environ.get("WORLD_SIZE", 1))
run_id = os.environ.get("RUN_ID", str(uuid.uuid4()))


def print0(s, console=False):
    if rank == 0:
        with open(f"logs/{run_id}.txt", "a") as f:
            if console:
                print(s, flush=True)
            print(s, file=f)


# -----------------------------------------------------------------------------
# Optimizers


def newton_schulz(update: Tensor, steps: int = 5) -> Tensor:
    flat = update.T if update.size(-2) > update.size(-1) else update
    flat = flat / (flat.norm() + 1e-7)
    for _ in range(steps):
        square = flat @ flat.T
        flat = 3.4445 * flat + (-4.7750 * square + 2.0315 * square @ square) @ flat
    return flat.T if update.size(-2) > update.size(-1) else flat


class ShardedMuon(torch.optim.Optimizer):
    """Muon in which rank r updates every world_size-th matrix and sends it to the others."""

    def __init__(self, params, lr=0.03, momentum=0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for index, p in enumerate(group["params"]):
                if index % world_size == rank:
                    momentum = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                    momentum.lerp_(p.grad, 1 - group["momentum"])
                    update = newton_schulz(p.grad.lerp(momentum, group["momentum"]))
                    p.add_(update, alpha=-group["lr"] * max(1, p.size(-2) / p.size(-1)) ** 0.5)
                if world_size > 1:
                    dist.broadcast(p.data, index % world_size)


# -----------------------------------------------------------------------------
# Model


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


class CausalSelfAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv_w = nn.Parameter(torch.randn(3 * dim, dim) * 0.5 * dim**-0.5)
        self.o_w = nn.Parameter(torch.zeros(dim, dim))
        quarter = dim // num_heads // 4  # half of the pairs are turned, the other half stand still
        self.freq = torch.cat([(1 / 1024) ** torch.linspace(0, 1, quarter), torch.zeros(quarter)])

    def forward(self, x: Tensor, ve: Tensor | None, lambdas: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = F.linear(x, self.qkv_w).view(B, T, 3 * self.num_heads, -1).chunk(3, dim=-2)
        theta = torch.arange(T)[:, None, None] * self.freq
        q, k = self.turn(norm(q), theta), self.turn(norm(k), theta)
        v = lambdas[0] * v if ve is None else lambdas[0] * v + lambdas[1] * ve.view_as(v)
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, scale=0.2
        )
        return F.linear(y.transpose(1, 2).reshape(B, T, D), self.o_w)

    @staticmethod
    def turn(x: Tensor, theta: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=-1)
        return torch.cat((x1 * theta.cos() + x2 * theta.sin(), x2 * theta.cos() - x1 * theta.sin()), -1)


class MLP(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.c_fc = nn.Parameter(torch.randn(3 * dim, dim) * 0.5 * dim**-0.5)
        self.c_proj = nn.Parameter(torch.zeros(dim, 3 * dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x, self.c_fc)).square(), self.c_proj)


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        dim = args.model_dim
        self.embed = nn.Embedding(args.vocab_size, dim)
        self.value_embed = nn.Embedding(args.vocab_size, dim)
        self.attn = nn.ModuleList(CausalSelfAttention(dim, args.num_heads) for _ in range(args.num_layers))
        self.mlp = nn.ModuleList(MLP(dim) for _ in range(args.num_layers))
        self.lambdas = nn.Parameter(torch.tensor([[1.0, 0.0, 0.5, 0.5]] * args.num_layers))
        self.lm_head = nn.Parameter(torch.zeros(args.vocab_size, dim))

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        ve = self.value_embed(x)
        h = h0 = norm(self.embed(x))
        for layer in range(args.num_layers):
            lambdas = self.lambdas[layer]
            h = lambdas[0] * h + lambdas[1] * h0
            h = h + self.attn[layer](norm(h), ve if layer in (0, args.num_layers - 1) else None, lambdas[2:])
            h = h + self.mlp[layer](norm(h))
        logits = F.linear(norm(h), self.lm_head)
        return F.cross_entropy((15 * logits * torch.rsqrt(logits.square() + 225)).flatten(0, 1), targets.flatten())


# -----------------------------------------------------------------------------
# Data


def load_data_shard(file: Path) -> Tensor:
    header = torch.from_numpy(np.fromfile(file, dtype=np.int32, count=256))
    assert header[0] == 20240520, "magic number mismatch in the data .bin file"
    assert header[1] == 1, "unsupported version"
    tokens = np.fromfile(file, dtype=np.uint16, offset=256 * 4)
    assert len(tokens) == header[2], "number of tokens read does not match header"
    return torch.from_numpy(tokens.astype(np.int64))


def data_generator(pattern: str, batch_tokens: int):
    """This rank's share of one batch after the other; the stream begins again when it is over."""
    files = sorted(Path(args.data_path).glob(pattern))
    assert files, f"no {pattern} in {args.data_path}"
    local = batch_tokens // world_size
    while True:
        for file in files:
            tokens = load_data_shard(file)
            for pos in range(0, len(tokens) - batch_tokens, batch_tokens):
                buf = tokens[pos + rank * local :][: local + 1]
                yield buf[:-1].view(-1, args.train_seq_len), buf[1:].view(-1, args.train_seq_len)


# -----------------------------------------------------------------------------
# Run


def get_lr(step: int) -> float:
    left = 1 - step / max(args.num_iterations, 1)
    return min(1.0, left / args.cooldown_frac)


@torch.no_grad()
def validate(model: nn.Module) -> float:
    batch = min(args.batch_seqs * args.train_seq_len * 2, args.val_tokens)
    steps = args.val_tokens // batch
    loader = data_generator(args.val_files, batch)
    total = torch.zeros((), dtype=torch.float64)
    for _ in range(steps):
        total += model(*next(loader)).double()
    if world_size > 1:
        dist.all_reduce(total)
    return total.item() / steps / world_size


def main():
    if world_size > 1:
        dist.init_process_group("gloo")
    os.makedirs("logs", exist_ok=True)
    print0(code)
    print0("=" * 100)
    print0(f"Running Python {sys.version.split()[0]}", console=True)
    print0(f"Running PyTorch {torch.__version__}", console=True)
    torch.manual_seed(args.seed)
    model = GPT()
    if world_size > 1:
        for p in model.parameters():
            dist.broadcast(p.data, 0)
    hidden = [p for layers in (model.attn, model.mlp) for p in layers.parameters() if p.ndim == 2]
    others = [
        {"params": [model.embed.weight, model.value_embed.weight], "lr": 0.1},
        {"params": [model.lm_head], "lr": 0.01},
        {"params": [model.lambdas], "lr": 0.01},
    ]
    optimizers = [torch.optim.Adam(others, betas=(0.8, 0.95), eps=1e-10), ShardedMuon(hidden)]
    for opt in optimizers:
        for group in opt.param_groups:
            group["initial_lr"] = group["lr"]
    train_loader = data_generator(args.train_files, args.batch_seqs * args.train_seq_len)
    training_time_ms, reached = 0.0, None
    t0 = time.perf_counter()
    for step in range(args.num_iterations + 1):
        last_step = step == args.num_iterations
        if last_step or step % args.val_loss_every == 0:
            training_time_ms += 1000 * (time.perf_counter() - t0)
            val_loss = validate(model)
            print0(
                f"step:{step}/{args.num_iterations} val_loss:{val_loss:.5f} train_time:{training_time_ms:.0f}ms "
                f"step_avg:{training_time_ms / max(step, 1):.2f}ms",
                console=True,
            )
            if val_loss <= args.target_loss and reached is None:
                reached = step
            t0 = time.perf_counter()
        if last_step:
            break
        loss = model(*next(train_loader))
        loss.backward()
        for p in model.parameters():
            if world_size > 1:
                dist.all_reduce(p.grad)
                p.grad /= world_size
        for opt in optimizers:
            for group in opt.param_groups:
                group["lr"] = group["initial_lr"] * get_lr(step)
            opt.step()
        model.zero_grad(set_to_none=True)
        approx_training_time_ms = training_time_ms + 1000 * (time.perf_counter() - t0)
        print0(
            f"step:{step + 1}/{args.num_iterations} train_time:{approx_training_time_ms:.0f}ms "
            f"step_avg:{approx_training_time_ms / (step + 1):.2f}ms",
            console=True,
        )
    print0(f"target {args.target_loss} " + ("not reached" if reached is None else f"reached by step {reached}"))
    if world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
