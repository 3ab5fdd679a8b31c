"""Training batches in stream order, as the challenge's own loader deals them out."""

from pathlib import Path

import torch
from torch import Tensor

from jobs.contract.errors import Refused
from jobs.data.shards import training_shards
from jobs.world import World


class SequentialLoader:
    """Reads the stream once, from its first token on and round again; seeds do not change the order.

    A micro-step takes world.size * (local tokens + 1) tokens; rank r gets the r-th span of (local tokens + 1), its
    inputs are all but the last, its targets all but the first. Spans of two ranks share no token.
    """

    def __init__(self, data_path: Path, *, sequence_length: int, world: World) -> None:
        self.shards = training_shards(data_path)
        self.sequence_length, self.world = sequence_length, world
        self.position = 0
        self._ready: tuple[int, tuple[Tensor, Tensor]] | None = None

    def prefetch(self, num_sequences: int) -> None:
        """Read now what ``next(num_sequences)`` will return: while the GPU is still at work on the step before."""
        self._ready = num_sequences, self.next(num_sequences)

    def next(self, num_sequences: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of this rank's ``num_sequences`` sequences, int64 [B, T] on the world's device."""
        if self._ready:
            (expected, batch), self._ready = self._ready, None
            assert num_sequences == expected, f"{expected} sequences were read ahead, {num_sequences} are wanted"
            return batch
        local = num_sequences * self.sequence_length
        begin = self.position + self.world.rank * (local + 1)
        self.position += self.world.size * (local + 1)
        tokens = self.shards.read(begin, local + 1)
        if self.world.device.type == "cuda":
            tokens = tokens.pin_memory()
        tokens = tokens.to(self.world.device, non_blocking=True)
        return tokens[:-1].view(num_sequences, -1), tokens[1:].view(num_sequences, -1)


def micro_batches(*, batch_tokens: int, sequence_length: int, max_micro_batch_tokens: int, world: World) -> list[int]:
    """Sequences in each forward pass of a step on this rank: equal, the same on all ranks.

    Raises:
        Refused: the batch is not a whole number of sequences for every rank.
    """
    sequences, remainder = divmod(batch_tokens, sequence_length * world.size)
    if remainder or not sequences:
        raise Refused(
            f"budget.batch_tokens: {batch_tokens} is not a multiple of sequence_length x processes = "
            f"{sequence_length} x {world.size}"
        )
    most = max(1, max_micro_batch_tokens // sequence_length)
    steps = next(count for count in range(1, sequences + 1) if sequences % count == 0 and sequences // count <= most)
    return [sequences // steps] * steps


def tokens_as_batch(tokens: Tensor, sequence_length: int, padding: int) -> tuple[Tensor, Tensor]:
    """A stream cut into rows: inputs and targets [rows, T]; the last row is filled with 0 and ``padding``."""
    num_targets = tokens.numel() - 1
    rows = -(-num_targets // sequence_length)
    inputs = torch.zeros(rows * sequence_length, dtype=tokens.dtype, device=tokens.device)
    targets = torch.full_like(inputs, padding)
    inputs[:num_targets], targets[:num_targets] = tokens[:-1], tokens[1:]
    return inputs.view(rows, sequence_length), targets.view(rows, sequence_length)
