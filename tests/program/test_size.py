"""What a recipe will weigh, told before it runs: against files that were published, and against simulated rounding."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs.contract.records import ARTIFACT_LIMIT_BYTES
from jobs.techniques.quantizer.row_wise import RowWise
from platform import corpus
from platform.errors import UserError
from platform.paths import RECIPES, ROOT
from platform.processes import guarded
from platform.program import recipe, size
from platform.program.size import Size
from platform.running.experiment import Request, prepare

CODE_BYTES = 70_000
TOO_LARGE = """
question: What if we use all the bits?
base: naive_baseline
shape: {num_layers: 24}
quantizer: {row_wise: {matrix_bits: 8, smallest_limit: 0.0}}
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the counts of this file are kept: each takes seconds."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def counts_of_this_file(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "DATA", kept)


@pytest.fixture
def counts_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(size, "DATA", tmp_path / "data")
    return tmp_path / "data" / "sizes"


@pytest.fixture
def too_large(tmp_path: Path) -> Path:
    (tmp_path / "naive_baseline.yaml").write_text((RECIPES / "naive_baseline.yaml").read_text())
    (tmp_path / "too_large.yaml").write_text(TOO_LARGE)
    return tmp_path / "too_large.yaml"


def estimate(name: str, scale: str = "eight_h100") -> Size:
    choices = recipe.load(RECIPES / f"{name}.yaml", scale)
    return size.estimate(choices, code_bytes=CODE_BYTES, processes=choices.machine.processes)


@pytest.mark.parametrize(
    ("name", "parameters", "published_model_bytes", "published_mib"),
    [("naive_baseline", 17_059_912, 15_815_847, 10_184), ("gptq_lite_414", 26_993_756, 15_487_414, None)],
)
def test_published_files_lie_in_the_interval(
    name: str, parameters: int, published_model_bytes: int, published_mib: int | None
) -> None:
    found = estimate(name)
    assert found.parameters == parameters and found.fits
    assert found.low_bytes < published_model_bytes + CODE_BYTES < found.high_bytes
    assert found.likely_bytes == pytest.approx(published_model_bytes + CODE_BYTES, rel=0.05)
    if published_mib:
        assert found.gpu_gib == pytest.approx(published_mib / 1024, rel=0.1)


@pytest.mark.parametrize("bits", [5, 6, 7, 8])
def test_the_entropy_of_rounded_rows_is_what_the_estimate_says(bits: int) -> None:
    """Gaussian rows of 512 on the project's own grid: entropy of the integers over a whole matrix."""
    weights = torch.randn(4096, 512, generator=torch.Generator().manual_seed(0))
    (encoded,) = RowWise(matrix_bits=bits).encode({"w": weights}, {"w": "attention"}, {})
    assert encoded.bits == bits
    shares = encoded.values.flatten().long().add(128).bincount().double() / encoded.values.numel()
    entropy = -float((shares[shares > 0] * shares[shares > 0].log2()).sum())
    low, likely, high = size._bits_per_weight(bits, 0.0)
    assert entropy == pytest.approx(likely, abs=0.06) and low < entropy < high


def test_what_cannot_fit_is_refused_with_figures_and_a_way_out(too_large: Path) -> None:
    choices = recipe.load(too_large, "eight_h100")
    found = size.estimate(choices, code_bytes=CODE_BYTES, processes=8)
    assert not found.fits and found.low_bytes > ARTIFACT_LIMIT_BYTES
    with pytest.raises(
        UserError, match=r"cannot fit 16,000,000 bytes: [\d,]+ parameters, .* MB expected .*\n.*--force"
    ):
        size.require_fit(choices, found)
    size.require_fit(choices, estimate("naive_baseline"))


def test_the_command_shows_it_and_refuses_it(too_large: Path) -> None:
    def launch(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "platform.launch", str(too_large), "--scale", "laptop", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)

    text = too_large.read_text() + "scales: {laptop: {shape: {num_layers: 24, model_dim: 512, num_heads: 8}}}\n"
    too_large.write_text(text)
    dry = launch("--dry-run")
    assert dry.returncode == 2 and "cannot run: too_large cannot fit, needs --force" in dry.stdout, dry.stderr
    refused = launch("--runs", str(too_large.parent / "runs"))
    assert refused.returncode == 2 and "cannot fit 16,000,000 bytes" in refused.stderr
    assert not refused.stdout and not (too_large.parent / "runs").exists()


def test_a_model_is_counted_once_for_each_program(counts_of_its_own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = estimate("naive_baseline", "laptop")
    (kept,) = counts_of_its_own.glob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr(guarded, "run", lambda *_, **__: pytest.fail("counted again"))
        assert estimate("naive_baseline", "laptop") == first
        kept.unlink()
        with pytest.raises(pytest.fail.Exception, match="counted again"):
            estimate("naive_baseline", "laptop")


def test_a_tokenizer_that_is_too_large_for_the_model_is_refused(tmp_path: Path) -> None:
    found = corpus.embedded()
    path = tmp_path / "small.yaml"
    (tmp_path / "naive_baseline.yaml").write_text((RECIPES / "naive_baseline.yaml").read_text())
    path.write_text("question: Fewer?\nbase: naive_baseline\nshape: {vocab_size: 512}\n")
    with pytest.raises(UserError, match=r"has 1024 pieces, small at scale laptop has shape.vocab_size 512"):
        asked = {"data": found.data_path, "tokenizer": found.tokenizer_path, "make_data": False}
        prepare(path, Request(scale="laptop", runs=tmp_path / "runs", **asked))


def test_a_model_that_cannot_be_built_is_a_mistake_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "naive_baseline.yaml").write_text((RECIPES / "naive_baseline.yaml").read_text())
    path = tmp_path / "odd.yaml"
    path.write_text("question: Seven heads?\nbase: naive_baseline\nshape: {num_heads: 7}\n")
    with pytest.raises(UserError, match=r"odd: its model cannot be built: .*head"):
        size.estimate(recipe.load(path, "eight_h100"), code_bytes=0, processes=8)


@pytest.mark.usefixtures("counts_of_its_own")
def test_a_model_that_takes_too_long_to_build_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "COUNT_SECONDS", 0.05)
    with pytest.raises(UserError, match=r"naive_baseline: its model was not built within 0.05 s.*: too large"):
        estimate("naive_baseline")


@pytest.mark.usefixtures("counts_of_its_own")
def test_the_import_path_of_the_shell_does_not_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('not this one')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert estimate("naive_baseline").parameters == 17_059_912
