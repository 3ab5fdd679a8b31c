"""A folder for launches, and a function that launches."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from platform import corpus
from platform.paths import ROOT
from tests.launching import BROKEN, HOPELESS, LONG, TINY, start

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipes and runs, both with a space in their names."""
    folder = tmp_path_factory.mktemp("launch")
    recipes = folder / "my recipes"
    recipes.mkdir()
    (recipes / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    for name, text in (("tiny", TINY), ("broken", BROKEN), ("long", LONG), ("hopeless", HOPELESS), ("audited", TINY)):
        (recipes / f"{name}.yaml").write_text(text)
    twins = recipes / "twins"
    twins.mkdir()
    (twins / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    (twins / "tiny.yaml").write_text(TINY.replace("0.001", "0.002"))
    corpus.embedded()  # made once for all tests of this machine
    return folder


@pytest.fixture(scope="module")
def launch(folder: Path) -> Launch:
    """Runs ``python -m platform.launch`` with recipes by name, at laptop scale unless told otherwise."""

    def run(*recipes: str, **changes: object) -> subprocess.CompletedProcess[str]:
        process = start(folder, *recipes, **changes)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
