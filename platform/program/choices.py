"""A recipe after its bases and its scale: every choice made, checked against the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .catalog import Catalog, Technique

Value = Any  # of a knob: None, bool, int, float, str, tuple, dict or, for a nested technique, Pick


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A technique and the knobs that somebody set; every other knob has the technique's default."""

    technique: Technique
    knobs: Mapping[str, Value]

    @property
    def name(self) -> str:
        return self.technique.name

    def value(self, knob: str) -> Value:
        """What the knob is set to, or else its default."""
        return self.knobs.get(knob, self.technique.knobs[knob].default)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one job needs: its processes, and the data either as a corpus that Fairway makes or as two paths."""

    processes: int
    gpus: int
    cpus: int
    nodes: int = 1  # that a job spans; each has an equal share of its processes, GPUs and CPUs
    corpus: str | None = None
    data_path: Path | None = None  # relative paths are of the checkout
    tokenizer_path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Where a scale's nodes are, and what they cost. Nothing of it is in a program or in the name of a trunk.

    Cards, volumes and the like are named as whoever has the nodes names them: RunPod, Slurm, Kubernetes.
    """

    usd_per_hour: float | None = None  # of one node
    nodes: int = 1  # as many trials run at once
    data: tuple[str, ...] = ()  # where nodes that do not see the shards of the launch find them: folders, or sources
    folder: str = "/fairway"  # of the checkout, on every node
    token: str = "~/.fairway-token"  # the file that Ray's token is kept in
    image: str | None = None  # of a container
    gpu: str | None = None  # the kind of card
    cuda: str | None = None  # the least version that a host's driver must know, as "12.8"
    memory_gib: int | None = None  # of one node
    volume: str | None = None  # the one that outlives the nodes
    data_center: str | None = None
    partition: str | None = None
    account: str | None = None
    ssh_user: str | None = None
    ssh_key: str = "~/.ssh/id_ed25519"
    head: str | None = None  # the address of the node that the launch itself runs on
    workers: tuple[str, ...] = ()  # addresses of the others


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Everything that decides a program, and the machine and the cluster that its scale asks for."""

    name: str
    scale: str
    question: str
    source: str | None
    published: str | None
    base: str | None  # name of the recipe that this one is made from
    against: str | None  # name of the recipe that this one is compared with: its base, unless it says otherwise
    path: Path  # of the recipe file
    sections: Mapping[str, Mapping[str, Value]]  # shape, budget: the values that somebody set
    picks: Mapping[str, Pick | tuple[Pick, ...] | None]  # by field of Recipe, arms excluded
    arms: Mapping[str, Pick]
    machine: Machine
    cluster: ClusterSettings = ClusterSettings()
    overruled: tuple[str, ...] = ()  # what the recipe itself says and its scale says otherwise
    catalog: Catalog = field(repr=False, compare=False)

    def setting(self, section: str, name: str) -> Value:
        """The value of a section that this recipe runs with, set or default: ``setting("shape", "num_layers")``."""
        return self.sections[section].get(name, self.catalog.sections[section].knobs[name].default)
