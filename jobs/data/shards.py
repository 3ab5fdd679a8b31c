"""Token shards on disk as one long stream."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jobs.contract.errors import Refused
from jobs.contract.shards import SHARD_HEADER_INTS, TRAIN_SHARDS, VAL_SHARDS, shard_tokens


class Shards:
    """The shards of a data set in the order of their names, mapped into memory; nothing is read before it is asked for.

    Raises:
        Refused: no shard there, or a broken one.
    """

    def __init__(self, data_path: Path, pattern: str) -> None:
        self.paths = sorted(data_path.glob(pattern))
        if not self.paths:
            raise Refused(f"{data_path}: no {pattern} shard there; python -m platform.corpus makes some")
        counts = [shard_tokens(path) for path in self.paths]
        self.starts = np.cumsum([0, *counts])
        self.num_tokens = int(self.starts[-1])
        self._maps = [np.memmap(path, dtype="<u2", mode="r", offset=4 * SHARD_HEADER_INTS) for path in self.paths]

    def read(self, begin: int, count: int) -> Tensor:
        """``count`` tokens from position ``begin`` as int64, going on from the first shard after the last."""
        parts = []
        while count > 0:
            begin %= self.num_tokens
            shard = int(np.searchsorted(self.starts, begin, side="right")) - 1
            offset = begin - int(self.starts[shard])
            part = self._maps[shard][offset : offset + count]
            parts.append(part)
            begin, count = begin + len(part), count - len(part)
        return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def training_shards(data_path: Path) -> Shards:
    return Shards(data_path, TRAIN_SHARDS)


def validation_tokens(data_path: Path) -> Tensor:
    """The whole validation stream, int64 [N + 1]: target i is token i + 1, predicted from tokens up to i.

    Raises:
        Refused: no shard there, a broken one, or a single token, which leaves nothing to score.
    """
    shards = Shards(data_path, VAL_SHARDS)
    if shards.num_tokens < 2:
        raise Refused(f"{data_path}: its validation shards hold one token; the first that is scored is the second")
    return shards.read(0, shards.num_tokens)
