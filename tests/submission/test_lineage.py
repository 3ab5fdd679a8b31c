"""What a record says it builds on: the bases of its recipe, whatever it is compared with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from platform.program.recipe import load, resolved_yaml
from platform.submission.files import lineage


def of(text: str, folder: Path) -> list[dict[str, str]]:
    (folder / "recipe.yaml").write_text(text)
    found: Any = SimpleNamespace(
        paths=SimpleNamespace(recipe=folder / "recipe.yaml"), run=SimpleNamespace(plan=SimpleNamespace(recipe="mine"))
    )
    return lineage(found)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("base: sliding_window", ["mine", "sliding_window", "naive_baseline"]),
        ("base: sliding_window\nagainst: leaky_cosine", ["mine", "sliding_window", "naive_baseline"]),
        ("base: sliding_window\nagainst: none", ["mine", "sliding_window", "naive_baseline"]),
    ],
)
def test_the_bases_are_the_lineage(tmp_path: Path, said: str, names: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"question: Which?\n{said}\n")
    chain = of(resolved_yaml(load(path, "smoke")), tmp_path)
    assert [one["name"] for one in chain] == names
    assert chain[0].get("against") == {"leaky_cosine": "leaky_cosine", "none": None}.get(said.split()[-1], names[1])


def test_what_is_compared_and_made_from_nothing_builds_on_nothing(tmp_path: Path) -> None:
    chain = of("question: Which?\nbase: null\nagainst: leaky_cosine\n", tmp_path)
    assert chain == [{"name": "mine", "question": "Which?", "against": "leaky_cosine"}]


def test_a_run_from_before_the_two_were_told_apart(tmp_path: Path) -> None:
    """Its recipe has the one key that was both."""
    chain = of("question: Which?\nagainst: sliding_window\n", tmp_path)
    assert [one["name"] for one in chain] == ["mine", "sliding_window", "naive_baseline"]
