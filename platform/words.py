"""Words for people."""

from collections.abc import Iterable
from typing import TypeVar

Thing = TypeVar("Thing")

HOUR_SECONDS = 3600


def counted(number: float, noun: str, plural: str = "") -> str:
    """``1 seed``, ``3 seeds``, ``0.5 GPUs``; ``plural``: where it is not the noun and an s."""
    shown = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{shown} {noun if number == 1 else plural or noun + 's'}"


def cost(node_seconds: float, usd: float | None = None) -> str:
    """``0.512 node-hours, 12.29 USD``; without the dollars where they are not known."""
    hours = f"{node_seconds / HOUR_SECONDS:,.3f} node-hours"
    return hours if usd is None else f"{hours}, {usd:,.2f} USD"


def known(values: Iterable[Thing | None]) -> list[Thing]:
    """Those that are told: what no file and no log says is None."""
    return [value for value in values if value is not None]
