"""The scale for one card and minutes: the full model, on the embedded corpus, with the graphs of few shapes."""

import pytest

from jobs.adapting import row_batches
from jobs.contract.shards import BOS_TOKEN
from jobs.data.byte_counts import ByteCounts
from jobs.data.loader import micro_batches
from jobs.data.shards import training_shards, validation_tokens
from jobs.model import check_recipe
from jobs.world import World
from platform import corpus
from tests import recipes
from tests.benchmarks.recipes import recipe_object

SCALE = "one_gpu_quick"


@pytest.fixture(scope="module")
def found() -> corpus.Corpus:
    return corpus.embedded()


@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_is_its_full_model_on_an_eighth_of_the_batch(name: str) -> None:
    quick, full = recipe_object(name, SCALE), recipe_object(name, "eight_h100")
    assert quick.shape == full.shape and quick.budget.sequence_length == full.budget.sequence_length
    for family in ("feed_forward", "embedding", "values", "skips", "attention", "attention_output", "position"):
        assert getattr(quick, family) == getattr(full, family), family
    check_recipe(quick)
    budget, whole = quick.budget, full.budget
    on_one_of_eight = micro_batches(
        batch_tokens=whole.batch_tokens,
        sequence_length=whole.sequence_length,
        max_micro_batch_tokens=whole.max_micro_batch_tokens,
        world=World(size=8),
    )
    assert on_one_of_eight == micro_batches(
        batch_tokens=budget.batch_tokens,
        sequence_length=budget.sequence_length,
        max_micro_batch_tokens=budget.max_micro_batch_tokens,
        world=World(),
    )
    assert 20 <= budget.train_seconds - quick.quantizer.reserve_seconds <= 60


@pytest.mark.parametrize("name", recipes.NAMES)
def test_the_embedded_corpus_has_the_vocabulary_of_the_recipe(name: str, found: corpus.Corpus) -> None:
    vocabulary = recipe_object(name, SCALE).shape.vocab_size
    tokens = validation_tokens(found.data_path)
    counts = ByteCounts.of_tokenizer(found.tokenizer_path, vocabulary)
    assert int(counts.of_targets(tokens).sum()) > 2 * tokens.numel(), "bytes of text, some for each token"
    shards = training_shards(found.data_path)
    assert max(int(tokens.max()), int(shards.read(0, shards.num_tokens).max())) == vocabulary - 1
    assert BOS_TOKEN in tokens


def test_each_arm_of_leaky_cosine_trains_on_rows_of_one_shape(found: corpus.Corpus) -> None:
    """A shape more is a graph more to compile, and that takes longer than the steps."""
    recipe = recipe_object("leaky_cosine", SCALE)
    tokens, length = validation_tokens(found.data_path), recipe.budget.sequence_length
    assert len(recipe.arms) == 5
    for arm, adaptation in recipe.arms.items():
        if arm == "no_ttt":
            continue
        seen = tokens[: adaptation.chunk_targets + 1] if arm == "score_first" else tokens
        batches = row_batches(seen, sequence_length=length, batch_sequences=adaptation.batch_sequences)
        assert len({inputs.shape for inputs, _ in batches}) == 1, arm
    assert tokens.numel() > 10 * recipe.arms["score_first"].chunk_targets, "ten chunks are learned"
