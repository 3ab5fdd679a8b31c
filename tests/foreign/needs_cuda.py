"""A script that is for cards alone, and says so as the public baseline does: with an exception."""

import os

import torch


def main() -> None:
    seed = int(os.environ.get("SEED", 1337))
    if not torch.cuda.is_available():
        raise RuntimeError("CUDA is required")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.manual_seed(seed)
    print(f"seed:{seed}", flush=True)
    print(torch.randn(4, device=device).sum().item())


if __name__ == "__main__":
    main()
