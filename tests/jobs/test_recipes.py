"""Every recipe, whole: it trains, packs, reads back and scores each of its arms."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.contract.assignment import Assignment
from jobs.train import main
from platform.program.recipe import entry_program, load
from platform.runs.reading import read_result
from tests.jobs.tiny import ENGLISH, ROOT, TEXT_VOCABULARY, recipe_of, stream, train_tokenizer, write_shard


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards of random tokens, documents of a hundred, and a tokenizer."""
    folder = tmp_path_factory.mktemp("random tokens")
    train_tokenizer(folder, ENGLISH, vocabulary=TEXT_VOCABULARY)
    for kind, count in (("train", 5000), ("val", 400)):
        write_shard(folder / f"random_{kind}_000000.bin", stream(count, vocabulary=TEXT_VOCABULARY).tolist())
    return folder


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipe_trains_packs_and_scores(
    name: str, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its smallest scale and fewer steps still, on random tokens, with all of its arms."""
    recipe = recipe_of(entry_program(load(ROOT / "recipes" / f"{name}.yaml", "smoke")))
    recipe = replace(recipe, budget=replace(recipe.budget, iterations=3, batch_tokens=256, max_micro_batch_tokens=256))
    told = Assignment(
        seed=7,
        data_path=tokens,
        tokenizer_path=tokens / "tokenizer.model",
        output_path=tmp_path / "out",
        trunk_path=tmp_path / "trunk",
        arms=(),
        max_wallclock_seconds=None,
    )
    for variable, value in told.to_environment().items():
        monkeypatch.setenv(variable, value)
    main(recipe, __file__)
    for arm in recipe.arms:
        result = read_result(tmp_path / "out" / arm / "result.json")
        assert result.trunk.steps == 3 and result.scored_tokens == 399
        assert 0 < result.val_loss_nats < 1.1 * math.log(recipe.shape.vocab_size)
