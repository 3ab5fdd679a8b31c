"""Bounds of numbers: that they hold at their ends, and that every knob of jobs/ with a bound has one that is used."""

import pytest

from platform.program import catalog
from platform.program.bounds import BOUNDS, MEMORY, ONE_OR_MORE, POSITIVE, Bounds


@pytest.mark.parametrize(
    ("bounds", "taken", "refused", "said"),
    [
        (POSITIVE, [1e-9, 5], [0, -1], "above 0"),
        (ONE_OR_MORE, [1, 10**9], [0, -3], "1 or more"),
        (MEMORY, [0, 0.999], [1, -0.1], "0 or more and below 1"),
        (Bounds(low=2, high=8), [2, 8], [1, 9], "2 to 8"),
        (Bounds(), [-1e300, 1e300], [], ""),
    ],
)
def test_ends_are_taken_or_not_as_they_say(bounds: Bounds, taken: list[float], refused: list[float], said: str) -> None:
    assert all(map(bounds.take, taken)) and not any(map(bounds.take, refused)) and str(bounds) == said


def test_every_bound_belongs_to_a_knob() -> None:
    found = catalog.read()
    knobs = {name for section in found.sections.values() for name in section.knobs}
    knobs |= {name for technique in found.techniques() for name in technique.knobs}
    assert not set(BOUNDS) - knobs
