"""A folder for launches, a function that launches, and trials of a program that stands in for a real one."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.contract.shards import SHARD_MAGIC, SHARD_VERSION, data_sha256, file_sha256
from platform import corpus
from platform.paths import ROOT
from platform.program.inline import inline
from platform.runs.paths import RunPaths
from platform.runs.plan import Plan, Trial
from tests.launching import BROKEN, HOPELESS, LONG, PATIENCE_SECONDS, TINY, start
from tests.stand_in import PROGRAM

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
        text = inline(PROGRAM.format(fault=fault), ROOT)
        program = tmp_path / "program.py"
        program.write_text(text)
        sha256 = file_sha256(program)
        paths = RunPaths.of(tmp_path / "runs", "test", sha256)
        paths.folder.mkdir(parents=True, exist_ok=True)
        paths.program.write_text(text)
        return Plan(
            run_path=paths.folder,
            recipe="test",
            scale="laptop",
            program_sha256=sha256,
            trunk_text_sha256="7" * 64,
            arms=("plain", "sgd", "adamw"),
            data_path=data,
            tokenizer_path=data / "tokenizer.model",
            data_sha256=data_sha256(data),
            tokenizer_sha256=file_sha256(data / "tokenizer.model"),
            processes=2,
            gpus=0,
            cpus=2,
            machine="2xcpu",
        ).trial(seed)

    return make
