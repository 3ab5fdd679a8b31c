"""Small training scripts in the styles of the field, written for the tests; none of them is ever run."""

from pathlib import Path

BASELINE = '''
"""The style of the baseline: a class of settings, a log of ``name:value`` pairs."""
import os
import uuid
from pathlib import Path

import sentencepiece as spm
import torch

try:
    import flash_attn_interface
except ImportError:
    flash_attn_interface = None


class Hyperparameters:
    data_path = os.environ.get("DATA_PATH", "./data/datasets/fineweb10B_sp1024")
    train_files = os.path.join(data_path, "fineweb_train_*.bin")
    tokenizer_path = os.environ.get("TOKENIZER_PATH", "./data/tokenizers/fineweb_1024_bpe.model")
    run_id = os.environ.get("RUN_ID", str(uuid.uuid4()))
    seed = int(os.environ.get("SEED", 1337))
    iterations = int(os.environ.get("ITERATIONS", 20_000))
    batch_tokens = int(os.environ.get("BATCH_TOKENS_K", 512)) * 1024
    max_wallclock_seconds = float(os.environ.get("MAX_WALLCLOCK_SECONDS", 600.0))
    tie_embeddings = bool(int(os.environ.get("TIE_EMBEDDINGS", "1")))
    embed_lr = float(os.environ.get("EMBED_LR", 0.6))
    tied_embed_lr = float(os.environ.get("TIED_EMBED_LR", 0.05))
    matrix_lr = float(os.environ.get("MATRIX_LR", 0.04))


def main():
    import wandb
    args = Hyperparameters()
    rank = int(os.environ["RANK"])
    master = rank == 0

    def log0(text):
        if master:
            print(text)

    token_lr = args.tied_embed_lr if args.tie_embeddings else args.embed_lr
    log0(f"tie_embeddings:{args.tie_embeddings} embed_lr:{token_lr} matrix_lr:{args.matrix_lr}")
    log0(f"iterations:{args.iterations} max_wallclock_seconds:{args.max_wallclock_seconds:.3f}")
    log0(f"seed:{args.seed}")
    for step in range(args.iterations):
        log0(f"step:{step}/{args.iterations} train_loss:{1.0:.4f}")


main()
'''

SPACED = '''
"""The style of helpers and a dataclass, every setting printed in a block."""
import os
from dataclasses import dataclass, field, fields

env = os.environ


def env_value(name, default, cast):
    text = env.get(name)
    return default if text is None else cast(text)


def env_int(name, default):
    return env_value(name, default, int)


def env_flag(name, default=False):
    return env.get(name, "1" if default else "0").lower() in ("1", "true", "yes")


@dataclass
class Config:
    seed: int = field(default_factory=lambda: env_int("SEED", 42))
    num_layers: int = field(default_factory=lambda: env_int("NUM_LAYERS", 11))
    ema_decay: float = field(default_factory=lambda: env_value("EMA_DECAY", 0.997, float))
    ttt_enabled: bool = field(default_factory=lambda: env_flag("TTT_ENABLED"))
    data_dir: str = field(default_factory=lambda: os.getenv("DATA_DIR", "./data/"))


config = Config()
print("Hyperparameters:")
for one in fields(config):
    print(f"  {one.name}: {getattr(config, one.name)}")
print(f"{1}/{2} train_loss: {3.0:.4f} train_time: {0.1:.1f}m")
'''

COMPACT = '''
"""The style of one line and tables: settings that a loop overrides from the environment."""
import os
E = os.environ.get
D = dict(model_dim=768, num_layers=10, matrix_lr=0.04, smear=False)
D["warmdown"] = 0.5
P = {"muon_momentum": 0.95, "head_lr": 0.02}
cfg = {k: type(v)(E(k.upper(), v)) for k, v in P.items()}
for name in ("adam", "muon"):
    cfg[f"{name}_wd"] = float(E(f"{name.upper()}_WD", 0.0))
S, T = int(E("SEED", 7)), E("TOKENIZER_PATH", "./data/tokenizers/fineweb_8192_bpe.model")
print("--- Hyperparameters ---")
print(" ".join(f"{k}={v}" for k, v in sorted(cfg.items())))
'''


def saved(folder: Path, text: str, name: str = "train_gpt.py") -> Path:
    """A script in a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
