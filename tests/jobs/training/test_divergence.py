"""A training that has come to nothing ends early, and no other does."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract.assignment import Assignment
from jobs.contract.errors import Diverged
from jobs.divergence import FLAT_STEPS, LossWatch
from jobs.packing import Packer
from jobs.recipe import Recipe
from tests.jobs import tiny
from tests.jobs.tiny import VOCABULARY, small

CHANCE = math.log(VOCABULARY)
RATES = ("matrix_learning_rate", "table_learning_rate", "control_learning_rate", "head_learning_rate")


def at_rates(times: float, recipe: Recipe | None = None) -> Recipe:
    recipe = recipe or small()
    rates: Any = {name: times * getattr(recipe.optimizer, name) for name in RATES}
    return replace(recipe, optimizer=replace(recipe.optimizer, **rates))


def seen(*losses: float, first: int = 1) -> int | None:
    """The step at which the watch ends a run with these losses at every step."""
    watch = LossWatch(vocab_size=VOCABULARY, spared_steps=10)
    for step, loss in enumerate(losses, first):
        try:
            watch.see(loss, step=step)
        except Diverged:
            return step
    return None


# Real runs


def test_a_loss_that_is_no_number_ends_the_run_at_the_next_line_of_the_log(run: Any) -> None:
    wild = replace(small(), optimizer=replace(small().optimizer, control_learning_rate=1e30))
    with pytest.raises(Diverged, match=r"^the training diverged: loss is NaN at step 2$"):
        run(wild, iterations=40)


def test_a_model_that_says_nothing_any_more_ends_the_run(run: Any) -> None:
    """Rates x 10 million: ln V to rounding from step 3 on. The first ten steps do not count, five later ones do."""
    with pytest.raises(Diverged, match=rf"loss is {CHANCE:.4f} at step {10 + FLAT_STEPS}, ln of the vocabulary's size"):
        run(at_rates(1e7), iterations=40)
    assert run(at_rates(1e7), iterations=10)[1].steps == 10


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("times", [0.0, 1e-9, 1.0, 30.0])
def test_no_other_run_is_ended(run: Any, times: float, tied: bool) -> None:
    """Rates of zero, with a head that starts at zero too, whose loss is ln V for ever; healthy rates and wild ones."""
    recipe = replace(small(), shape=replace(small().shape, tied_embeddings=tied))
    assert run(at_rates(times, recipe), iterations=30)[1].steps == 30


# The rule


def test_a_warm_up_that_does_not_move_at_first_is_healthy() -> None:
    assert seen(*[CHANCE] * 40, 4.0, 3.9, 3.8) is None


def test_it_counts_only_where_the_loss_had_been_elsewhere() -> None:
    assert seen(*[CHANCE] * 100) is None
    assert seen(*[CHANCE - 0.0001] * 20, *[CHANCE] * 20) is None, "near ln V at first: a rate of zero"
    assert seen(4.0, *[CHANCE] * 100) == 10 + FLAT_STEPS
    assert seen(9.0, *[CHANCE] * 100) == 10 + FLAT_STEPS


def test_it_counts_logged_steps_one_after_the_other_and_none_of_the_first_ten() -> None:
    assert seen(4.0, *[CHANCE] * (9 + FLAT_STEPS - 1), 4.0, *[CHANCE] * (FLAT_STEPS - 1), 4.0) is None
    assert seen(4.0, *[CHANCE] * 9) is None
    assert seen(4.0, *[CHANCE] * 20, first=200) == 200 + FLAT_STEPS


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_counts_at_once(loss: float) -> None:
    assert seen(loss) == 1 and seen(4.0, 3.9, loss) == 3


@given(st.lists(st.floats(min_value=0.0, max_value=60.0), max_size=60))
def test_losses_that_differ_from_text_to_text_never_count(losses: list[float]) -> None:
    """Whatever they are: five in a row at ln V to four digits are not found by chance."""
    apart = [loss for loss in losses if abs(loss - CHANCE) > 1e-3]
    assert seen(*apart) is None


def test_weights_that_are_no_numbers_are_not_packed(tmp_path: Path) -> None:
    """A run may fall apart after its last line of the log."""
    model = tiny.model_of(small())
    with torch.no_grad():
        model.blocks[1].attention.query.weight[3, 4] = math.nan
    assignment = Assignment(
        seed=1,
        data_path=tmp_path,
        tokenizer_path=tmp_path,
        output_path=tmp_path,
        trunk_path=tmp_path,
        arms=(),
        max_wallclock_seconds=None,
    )
    packer = Packer(recipe=small(), assignment=assignment, world=tiny.ALONE, code_bytes=0)
    with pytest.raises(Diverged, match=r"some weights of blocks\.1\.attention\.query\.weight are NaN or infinite"):
        packer.pack(model, tmp_path / "artifact.bin", tiny.quiet_log())
    assert not list(tmp_path.iterdir())
