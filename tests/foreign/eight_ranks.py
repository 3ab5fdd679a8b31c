"""A script that is written for eight ranks. WAITS=1: it does not look how many there are, and waits for the others."""

import os
from datetime import timedelta

import torch.distributed as dist

WORLD_SIZE = 8
seed = int(os.environ.get("SEED", 1337))
rank = int(os.environ.get("RANK", "0"))


def main() -> None:
    if os.environ.get("WAITS", "0") != "1":
        found = int(os.environ.get("WORLD_SIZE", "1"))
        assert found == WORLD_SIZE, f"this script is for {WORLD_SIZE} GPUs, WORLD_SIZE is {found}"
    if rank == 0:
        print(f"seed:{seed}", flush=True)
    patience = timedelta(seconds=int(os.environ.get("PATIENCE_SECONDS", "900")))
    dist.init_process_group("gloo", rank=rank, world_size=WORLD_SIZE, timeout=patience)
    dist.barrier()
    if rank == 0:
        print(f"world_size:{dist.get_world_size()} grad_accum_steps:1", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
