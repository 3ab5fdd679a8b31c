"""The machine that measured something, as ``node.json`` beside it holds it, and whether two of them are equally fast.

Where a trunk was trained its step times were measured; where an arm was scored its evaluation was. Runs of older
versions have no such file.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from .reading import read_record

APART = 0.05  # share by which two probes may differ; public records' seeds of one machine differ by 0.15 % in step time


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """The Fairway that launched: its commit, and what differs from that."""

    commit: str
    diff_sha256: str | None  # of the output of ``git diff HEAD``; None where it is empty
    changed_files: int
    new_files: int  # that git neither knows nor ignores; not in the diff

    def __str__(self) -> str:
        others = self.changed_files + self.new_files
        return f"commit {self.commit[:12]}" + (f" + {others} changed file{'s' * (others > 1)}" if others else "")


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU; None: its driver does not tell."""

    name: str
    sm_mhz: float | None  # when it was asked; an idle card clocks down
    memory_mhz: float | None
    max_sm_mhz: float | None
    max_memory_mhz: float | None
    power_limit_watts: float | None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How fast a node was, by ``jobs/probe.py``: every repeat on every device; or why nobody knows."""

    time: str  # UTC, ISO 8601, when it ended
    launch: str  # that measured it
    seconds: float  # the whole of it, with the start of Python and torch
    device: str = ""  # "cuda" or "cpu"
    dtype: str = ""  # of the product, as in a job
    matmul_tflops: tuple[tuple[float, ...], ...] = ()  # by device, then by repeat
    copy_gb_per_s: tuple[tuple[float, ...], ...] = ()  # read and written
    failed: str = ""

    @property
    def tflops(self) -> float:
        """Of the slowest device, for which all others wait: the median of its repeats."""
        return min(map(median, self.matmul_tflops))

    @property
    def gb_per_s(self) -> float:
        return min(map(median, self.copy_gb_per_s))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles of a device's products, as a share of its median; of the worst."""
        return max(map(_spread, self.matmul_tflops))

    def __str__(self) -> str:
        if self.failed:
            return f"probe failed: {self.failed}"
        said = f"probe {_digits(self.tflops)} TFLOP/s ±{self.spread:.0%}, {_digits(self.gb_per_s)} GB/s"
        fastest = max(map(median, self.matmul_tflops))
        if fastest <= (1 + APART) * self.tflops:
            return said
        return f"{said}, of the slowest of {len(self.matmul_tflops)} cards; {_digits(fastest)} TFLOP/s of the fastest"


@dataclass(frozen=True, kw_only=True)
class Node:
    """What measured, and what ran there."""

    hostname: str
    cpu: str
    cores: int  # physical ones that may be used
    memory_bytes: int | None
    cards: tuple[Card, ...]
    driver: str | None  # of the cards
    cuda: str | None  # the newest that the driver takes
    python: str
    torch: str | None
    ray: str | None
    checkout: Checkout | None  # None: not a git checkout
    probe: Probe | None
    unknown: str = ""  # what could not be asked, and why

    @property
    def hardware(self) -> str:
        """``8x NVIDIA H100 80GB HBM3, driver 570.86``; without cards the processor."""
        if not self.cards:
            return f"{self.cpu}, {self.cores} core{'s' * (self.cores > 1)}"
        names = ", ".join(f"{count}x {name}" for name, count in Counter(card.name for card in self.cards).items())
        return f"{names}, driver {self.driver}" if self.driver else names

    @property
    def measured(self) -> Probe | None:
        """Its probe, where that came to figures."""
        return self.probe if self.probe and not self.probe.failed else None

    def __str__(self) -> str:
        return f"{self.hostname} ({self.hardware})" + (f", {self.probe}" if self.probe else "")


def read_node(path: Path) -> Node | None:
    """The node in a ``node.json``; None where there is none. Raises ValueError, naming the file, when it is not one."""
    try:
        return read_record(Node, path)
    except FileNotFoundError:
        return None


def apart(nodes: Iterable[Node]) -> float | None:
    """By what share the fastest of ``nodes`` is above the slowest, in product or copy; 0 of one machine without probe.

    None where it cannot be told: not all of several machines have figures, or they are of different kinds of device.
    """
    each = list(nodes)
    probes = [probe for node in each if (probe := node.measured)]
    if len(probes) < len(each) or len({(probe.device, probe.dtype) for probe in probes}) > 1:
        return 0.0 if len({node.hostname for node in each}) == 1 else None
    figures = ([probe.tflops for probe in probes], [probe.gb_per_s for probe in probes])
    return max((max(values) / min(values) for values in figures if values), default=1.0) - 1


def _spread(repeats: tuple[float, ...]) -> float:
    if len(repeats) < 2:
        return 0.0
    low, middle, high = quantiles(repeats, n=4)
    return (high - low) / 2 / middle


def _digits(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
