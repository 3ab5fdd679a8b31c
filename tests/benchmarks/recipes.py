"""The recipes of this checkout as objects, for benchmarks and tests that run jobs/ in their own process."""

import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def recipe_object(name: str, scale: str) -> Any:
    """The ``Recipe`` that ``recipes/<name>.yaml`` at ``scale`` compiles to."""
    from platform.program import entry, recipe

    text = entry.entry_program(recipe.load(ROOT / "recipes" / f"{name}.yaml", scale))
    module = types.ModuleType(f"entry_{name}_{scale}")
    sys.modules[module.__name__] = module
    exec(compile(text, f"{name} at {scale}", "exec"), module.__dict__)
    return module.__dict__["RECIPE"]


def embedded_corpus() -> Any:
    """The embedded corpus, made if it is not there."""
    from platform import corpus

    return corpus.embedded()
