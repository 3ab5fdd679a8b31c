"""A folder for launches, a function that launches, and trials of a program that stands in for a real one."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.contract.shards import SHARD_MAGIC, SHARD_VERSION
from platform import corpus
from platform.paths import ROOT
from platform.runs.plan import Trial
from platform.runs.planning import extend
from tests import stand_in
from tests.launching import BROKEN, PATIENCE_SECONDS, TINY, start

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipes and runs, both with a space in their names."""
    folder = tmp_path_factory.mktemp("launch")
    recipes = folder / "my recipes"
    recipes.mkdir()
    (recipes / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    for name, text in (("tiny", TINY), ("broken", BROKEN), ("audited", TINY)):
        (recipes / f"{name}.yaml").write_text(text)
    twins = recipes / "twins"
    twins.mkdir()
    (twins / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    (twins / "tiny.yaml").write_text(TINY.replace("0.001", "0.002"))
    corpus.embedded()  # made once for all tests of this machine
    return folder


@pytest.fixture(scope="module")
def launch(folder: Path) -> Launch:
    """Runs ``python -m platform.launch`` with recipes by name, at laptop scale unless told otherwise, or with runs."""

    def run(*recipes: str | Path, **changes: object) -> subprocess.CompletedProcess[str]:
        process = start(folder, *recipes, **changes)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def make_trial(tmp_path: Path) -> Callable[..., Trial]:
    data = tmp_path / "data with a space"
    data.mkdir()
    for name in ("x_train_000000.bin", "x_val_000000.bin"):
        header = [SHARD_MAGIC, SHARD_VERSION, 4, *[0] * 253]
        (data / name).write_bytes(b"".join(number.to_bytes(4, "little") for number in header) + bytes(8))
    (data / "tokenizer.model").write_bytes(b"pieces")

    def make(fault: str = "none", seed: int = 1337) -> Trial:
        return stand_in.planned(
            tmp_path / "runs", data, data / "tokenizer.model", text=stand_in.PROGRAM.format(fault=fault)
        ).trial(seed)

    return make


@pytest.fixture(scope="module")
def stand_in_run(folder: Path) -> Callable[..., Path]:
    """Makes a run for ``launch`` to continue, planned with one seed, of a program that stands in for a real one."""
    found = corpus.embedded()

    def make(fault: str = "none") -> Path:
        draft = stand_in.planned(
            folder / "my runs", found.data_path, found.tokenizer_path, text=stand_in.PROGRAM.format(fault=fault)
        )
        return extend(draft, (1337,)).run_path

    return make
