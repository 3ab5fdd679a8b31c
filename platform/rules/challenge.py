"""What the challenge defines: limits, machine, validation text and datasets, each number once and with its source.

The numbers are in ``challenge.yaml`` and read when the first of them is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest

FILE = Path(__file__).with_name("challenge.yaml")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a record keeps to, and by how much it beats the last one."""

    artifact_bytes: int  # code and compressed model; decimal
    train_seconds: int
    eval_seconds: int
    margin_nats: float  # per token
    alpha: float  # of the one-sided test that the margin is beaten
    sources: Mapping[str, str]  # by the names above


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the limits in seconds are meant for."""

    card: str  # part of the device's name
    gpus: int
    source: str


@dataclass(frozen=True, kw_only=True)
class ValidationText:
    """A text by the bytes that evaluations of it divide by."""

    low_bytes: int
    high_bytes: int
    source: str
    documents: int | None = None  # None: no log tells

    def __contains__(self, scored_bytes: int) -> bool:
        return self.low_bytes <= scored_bytes <= self.high_bytes


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The challenge's documents under one tokenizer."""

    name: str
    nats_per_bpb: float  # ln 2 times bytes per token of the validation split
    source: str
    val_tokens: int | None = None  # None: no log tells
    val_bytes: int | None = None  # of these tokens
    folder: str = ""  # of its shards, as the challenge calls it; "" where no log tells
    evaluators: Mapping[int, str] = field(default_factory=dict)  # what the bytes of an evaluation say of it


@dataclass(frozen=True, kw_only=True)
class Challenge:
    limits: Limits
    machine: Machine
    text: ValidationText  # that scores are compared on
    older_text: ValidationText  # of the first baseline
    datasets: Mapping[str, Dataset]


@cache
def challenge() -> Challenge:
    """Everything that is defined."""
    import yaml

    data: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    limits, texts = data["limits"], data["validation_texts"]
    return Challenge(
        limits=Limits(
            **{name: stated["value"] for name, stated in limits.items()},
            sources={name: stated["source"] for name, stated in limits.items()},
        ),
        machine=Machine(**data["machine"]),
        text=ValidationText(**texts["present"]),
        older_text=ValidationText(**texts["older"]),
        datasets={name: Dataset(name=name, **stated) for name, stated in data["datasets"].items()},
    )


def whole_validation(folder: str) -> int | None:
    """How many targets the validation shards in a folder of this name have at least; None for a name not known."""
    known = [data.val_tokens for data in challenge().datasets.values() if data.folder == folder and data.val_tokens]
    return min(known, default=None)


def limits() -> Limits:
    return challenge().limits


def dataset(name: str) -> Dataset:
    """The dataset called ``name``.

    Raises:
        UserError: there is none.
    """
    datasets = challenge().datasets
    if name not in datasets:
        raise UserError(f"there is no dataset {name!r}{nearest(name, datasets)}; possible: {', '.join(datasets)}")
    return datasets[name]
