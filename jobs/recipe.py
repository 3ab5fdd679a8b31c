"""A recipe: one field for each choice, and what the techniques of each family must be able to do.

The folder ``jobs/<family>/`` holds the techniques of a family; the protocol of the family is its name in CamelCase.
A new family is a protocol and a field here, and a folder; a new technique is one file in that folder.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the model that are not a technique."""

    vocab_size: int = 1024
    num_layers: int = 9
    model_dim: int = 512
    num_heads: int = 8
    num_kv_heads: int = 4
    tied_embeddings: bool = True
    logit_softcap: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long and on how much one trunk is trained."""

    train_seconds: float = 600.0  # of optimizer steps; validation is not counted, as the rules say
    iterations: int = 20_000  # upper limit of steps; the clock usually ends the run first
    batch_tokens: int = 524_288
    sequence_length: int = 1024


class FeedForward(Protocol):
    pass


class Embedding(Protocol):
    pass


class Averaging(Protocol):
    pass


class Adaptation(Protocol):
    pass


@dataclass(frozen=True, kw_only=True)
class Recipe:
    name: str
    scale: str
    shape: Shape
    budget: Budget
    feed_forward: FeedForward
    embedding: tuple[Embedding, ...] = ()
    averaging: Averaging | None = None
    arms: dict[str, Adaptation]
