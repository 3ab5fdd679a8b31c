"""Numbers of things, in words."""

import pytest

from platform.words import counted


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 seeds"), (1, "1 seed"), (3, "3 seeds"), (1.0, "1 seed"), (0.5, "0.5 seeds"), (2_000_000, "2000000 seeds")],
)
def test_things_are_counted(number: float, words: str) -> None:
    assert counted(number, "seed") == words


def test_a_plural_that_is_irregular() -> None:
    assert (counted(1, "process", "processes"), counted(2, "process", "processes")) == ("1 process", "2 processes")
