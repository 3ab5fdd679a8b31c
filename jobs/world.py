"""The processes of a job: one, or several under torchrun; gloo on CPUs, NCCL on GPUs, one code path."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from jobs.contract.assignment import number_in

CPU = torch.device("cpu")
PATIENCE = timedelta(hours=1)  # with other ranks: one of them packs alone, which takes minutes


@dataclass(frozen=True, kw_only=True)
class World:
    """Rank, size and device of this process. Every collective is called by all ranks, the same number of times."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def compute_dtype(self) -> torch.dtype:
        """Of activations and embedding tables."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    @property
    def compiles(self) -> bool:
        """Whether models are compiled: on a GPU."""
        return self.device.type == "cuda"

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_all(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor summed over the ranks, in place, as one message for each dtype."""
        if self.size == 1:
            return
        for group in by_dtype(tensors):
            flat = torch.cat([tensor.flatten() for tensor in group])
            dist.all_reduce(flat)
            for tensor, part in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def told_by_main(self, value: float) -> Callable[[], float]:
        """Rank 0's ``value``, on every rank: clocks differ, decisions may not. Calling what is returned waits for it.

        On a GPU it waits for this message alone, not for what has been queued behind it: hence a kernel that fills (a
        copy from the host would wait), pinned memory and an event.
        """
        if self.size == 1:
            return lambda: value
        tensor = torch.full((1,), value, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, src=0)
        if self.device.type != "cuda":
            return lambda: float(tensor)
        here = torch.empty(1, dtype=torch.float64, pin_memory=True).copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()

        def read() -> float:
            arrived.synchronize()
            return float(here)

        return read

    def gather(self, tensor: Tensor) -> Tensor:
        """The ranks' equal-shaped tensors, concatenated along the first dimension in rank order."""
        if self.size == 1:
            return tensor
        parts = torch.empty((self.size * tensor.size(0), *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
        gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # renamed in torch 2.13
        gather(parts, tensor.contiguous())
        return parts

    def scatter_sum(self, bank: Tensor) -> tuple[Tensor, Callable[[], object]]:
        """This rank's part of ``bank`` (whose first dimension is a multiple of the ranks), summed over the ranks.

        The sum goes on in the background; the part is ready when the function that comes with it returns.
        """
        if self.size == 1:
            return bank, lambda: None
        part = torch.empty_like(bank.chunk(self.size)[self.rank])
        scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor  # renamed in torch 2.13
        work = scatter(part, bank, async_op=True)
        return part, work.wait

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            dist.barrier()

    def share(self, total: int) -> tuple[int, int]:
        """This rank's part [begin, end) of ``total`` items: contiguous, in rank order, sizes differing by one."""
        return total * self.rank // self.size, total * (self.rank + 1) // self.size


def by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """``tensors`` of one dtype together: what one message carries, or one call of a fused operator of a card takes."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


@contextmanager
def joined_world() -> Iterator[World]:
    """The world that torchrun's environment describes, left in order: barrier, then destroy; alone without torchrun.

    Where RANKS_FILE names a file, the ranks of one machine find each other in it. Otherwise rank 0 opens the port that
    torchrun chose, on every network of the machine.
    """
    size, rank = (
        int(number_in(os.environ, name, default, int)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"))
    )
    device = CPU
    if torch.cuda.is_available():
        device = torch.device("cuda", int(number_in(os.environ, "LOCAL_RANK", "0", int)))
        torch.cuda.set_device(device)
    if size == 1:
        yield World(device=device)
        return
    meeting = os.environ.get("RANKS_FILE")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.FileStore(meeting, size) if meeting else None,  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    try:
        yield World(rank=rank, size=size, device=device)
        dist.barrier()
    finally:
        dist.destroy_process_group()
