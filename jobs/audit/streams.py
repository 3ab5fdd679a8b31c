"""Token streams for an audit: a few documents, the same with other tokens from some place on, pure chance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jobs.contract.shards import BOS_TOKEN

FIRST_ID = BOS_TOKEN + 1  # the ids of text; those below it mean something


def documents(lengths: Sequence[int], *, vocab_size: int, seed: int) -> Tensor:
    """int64: documents of these lengths, each a BOS and chance; the last token ends the last one's targets."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(FIRST_ID, vocab_size, (sum(lengths) + 1,), generator=generator)
    begin = 0
    for length in lengths:
        tokens[begin] = BOS_TOKEN
        begin += length
    return tokens


def changed_from(tokens: Tensor, position: int, *, vocab_size: int, seed: int) -> Tensor:
    """``tokens`` with another id at every position from ``position`` on, but for the BOS."""
    generator = torch.Generator().manual_seed(seed)
    ids = vocab_size - FIRST_ID
    offset = torch.randint(1, ids, tokens.shape, generator=generator)
    other = (tokens - FIRST_ID + offset) % ids + FIRST_ID
    from_there = torch.arange(tokens.numel()) >= position
    return torch.where(from_there & (tokens != BOS_TOKEN), other, tokens)


def with_token(tokens: Tensor, position: int, token: int) -> Tensor:
    """``tokens`` with ``token`` at ``position``."""
    changed = tokens.clone()
    changed[position] = token
    return changed


def chance(count: int, *, vocab_size: int, seed: int) -> Tensor:
    """int64 [count]: every id equally likely, each drawn by itself; nobody can predict one."""
    return torch.randint(vocab_size, (count,), generator=torch.Generator().manual_seed(seed))
