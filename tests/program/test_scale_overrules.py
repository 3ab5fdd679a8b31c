"""What a recipe asks about and its scale sets otherwise is told; what a scale multiplies is not."""

from pathlib import Path

from platform.paths import RECIPES
from platform.program.recipe import load


def overruled(tmp_path: Path, text: str) -> tuple[str, ...]:
    path = tmp_path / "mine.yaml"
    path.write_text(f"question: Which?\nbase: leaky_cosine\n{text}")
    return load(path, "laptop").overruled


def test_a_knob_that_the_scale_sets_is_told(tmp_path: Path) -> None:
    assert overruled(tmp_path, "averaging: {ema: {decay: 0.9}}\n") == ("averaging.ema.decay is 0.95, not 0.9",)
    assert overruled(tmp_path, "shape: {model_dim: 64}\n") == ("shape.model_dim is 128, not 64",)
    arms = "arms: {x: {document_lora: {chunk_targets: 64}}}\n"
    assert overruled(tmp_path, arms) == ("arms.x.adaptation.document_lora.chunk_targets is 128, not 64",)


def test_what_is_multiplied_equal_or_said_for_the_scale_is_not_told(tmp_path: Path) -> None:
    assert overruled(tmp_path, "shape: {num_layers: 20}\n") == ()
    assert overruled(tmp_path, "averaging: {ema: {decay: 0.95}}\n") == ()
    own = "averaging: {ema: {decay: 0.9}}\nscales: {laptop: {techniques: {ema: {decay: 0.9}}}}\n"
    assert overruled(tmp_path, own) == ()
    assert load(RECIPES / "leaky_cosine.yaml", "eight_h100").overruled == ()
