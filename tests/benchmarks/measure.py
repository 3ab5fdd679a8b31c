"""Timing two things against each other: in turn, so that a machine that slows down slows both."""

import statistics
import time
from collections.abc import Callable


def in_turn(
    first: Callable[[], object], second: Callable[[], object], *, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of ``rounds`` calls of each, A B A B ..., after one call of each that is not counted."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, kept in ((first, times[0]), (second, times[1])):
            begun = time.perf_counter()
            call()
            kept.append(time.perf_counter() - begun)
    return times


def ratio(first: list[float], second: list[float]) -> str:
    """Median of first / second pair by pair, with the middle half of the pairs."""
    ratios = sorted(one / other for one, other in zip(first, second, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def milliseconds(times: list[float]) -> str:
    """Median, with the middle half."""
    ordered = sorted(times)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    return f"{1000 * statistics.median(ordered):.2f} ms ({1000 * low:.2f} to {1000 * high:.2f})"
