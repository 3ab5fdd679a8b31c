"""Two processes do what one does: the numbers of ``two_ranks.py``."""

from typing import Any

import pytest

from tests.jobs.tiny import LENGTH, every

Ranks = list[dict[str, Any]]

# Adam divides by the size of gradients, Newton-Schulz by the norm of updates: both turn the last bits of a sum, which
# two ranks add up in another order, into something near 1e-6 of a parameter of size 0.1 to 1.
WEIGHTS_TOLERANCE = 1e-5


def test_collectives(two_ranks: Ranks) -> None:
    for rank, found in enumerate(two_ranks):
        assert found["world"] == {
            "sum": [3.0, 6.0],
            "sum_all": [[3.0, 3.0], [1.0], [2.0, 2.0, 2.0]],
            "told_by_main": 0.1,
            "gather": [[0], [1], [10], [11]],
            "scatter_sum": [0.0, 3.0] if rank == 0 else [6.0, 9.0],
            "shares": [[[0, 0], [0, 0], [0, 1], [0, 2]], [[0, 0], [0, 1], [1, 2], [2, 5]]][rank],
        }


def test_rank_0_tells_the_time(two_ranks: Ranks) -> None:
    """Two steps late where the device is behind: after three steps of 1, 2 and 3 seconds the first is known."""
    for found in two_ranks:
        assert found["clock"] == {"elapsed": [0.0, 0.0, 3.0], "steps": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize("case", every("optimizer", switched=True), ids=str)
def test_two_ranks_take_the_steps_of_one(two_ranks: Ranks, case: Any) -> None:
    first, second = (found["optimizers"][str(case)] for found in two_ranks)
    assert first["sha256"] == second["sha256"]
    assert first["difference"] < WEIGHTS_TOLERANCE


def test_gradients_are_clipped_after_they_are_summed(two_ranks: Ranks) -> None:
    """0.1 everywhere is left of what almost cancels, and of that a norm of 0.3; clipped first, next to nothing."""
    left = {
        local: sum(norm**2 for found in two_ranks for norm in found["clipping"][local]) ** 0.5
        for local in ("False", "True")
    }
    assert 0.2 < left["False"] < 0.3, "the rest of 0.3 is in the parameters that Muon does not have"
    assert left["True"] < 0.001


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_shared_steps_are_the_same_on_every_number_of_ranks(two_ranks: Ranks, rows: int) -> None:
    first, second = (found["steps"][str(rows)] for found in two_ranks)
    assert first["sha256"] == second["sha256"]
    assert first["difference"] < 1e-6 and first["loss"] < 1e-6


@pytest.mark.parametrize("num_targets", [1, 2, LENGTH + 1, 300])
@pytest.mark.parametrize("case", every("adaptation", switched=True), ids=str)
def test_two_ranks_score_what_one_scores(two_ranks: Ranks, case: Any, num_targets: int) -> None:
    """Streams of one target too, which leave a rank without a row."""
    first, second = (found["adaptations"][str(case)][str(num_targets)] for found in two_ranks)
    assert first == second, "the scores and the weights are the same on both"
    assert first["targets"] == num_targets
    assert first["told"] == pytest.approx(first["total"], rel=1e-9), "the running score ends at the total"
    # of the mean loss; AdamW makes steps of equal size of gradients of any size, and so of what is rounding in them
    assert first["difference"] < (1e-4 if getattr(case.made(), "optimizer", "") == "adamw" else 1e-6)


def test_two_ranks_share_the_windows(two_ranks: Ranks) -> None:
    assert all(found["sliding"] < 2e-6 for found in two_ranks)


def test_weights_that_drift_apart_are_found_out(two_ranks: Ranks) -> None:
    assert all("weights differ" in found["drift"] for found in two_ranks)


def test_calibration_sees_the_text_of_all_ranks(two_ranks: Ranks) -> None:
    for found in two_ranks:
        calibration = found["calibration"]
        assert calibration["rows"] == [2, 2] and calibration["own_begins"] == [1, 1]
        assert calibration["hessians"] < 1e-4 and calibration["squared_gradients"] < 1e-4
    own = [found["calibration"]["first_of_own"] for found in two_ranks]
    assert own[0] != own[1], "each rank writes its own text"
