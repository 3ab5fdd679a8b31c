"""The recipes of this checkout, and few of them that together have every technique."""

from collections.abc import Iterator
from functools import lru_cache

import pytest
from _pytest.mark import ParameterSet

from platform.paths import RECIPES
from platform.program.choices import Pick, Value
from platform.program.recipe import load

NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))


def parameters() -> list[ParameterSet]:
    """Every recipe; all but the few are for the soak."""
    few = few_of_every_technique()
    return [pytest.param(name, marks=() if name in few else pytest.mark.soak) for name in NAMES]


@lru_cache
def few_of_every_technique() -> tuple[str, ...]:
    """Recipes that together have every technique that any recipe has, each with some that those before it lack."""
    left = {name: _techniques(name) for name in NAMES}
    few: list[str] = []
    while any(left.values()):
        few.append(max(left, key=lambda name: len(left[name])))
        found = left[few[-1]]
        left = {name: techniques - found for name, techniques in left.items()}
    return tuple(few)


def _techniques(name: str) -> set[tuple[str, str]]:
    """Family and name of each technique of the recipe, those inside others too."""
    choices = load(RECIPES / f"{name}.yaml", "smoke")
    return set(_of([*choices.picks.values(), *choices.arms.values()]))


def _of(value: Value) -> Iterator[tuple[str, str]]:
    if isinstance(value, Pick):
        yield value.technique.family, value.name
        yield from _of(list(value.knobs.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _of(one)
