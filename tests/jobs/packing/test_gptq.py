"""GPTQ, its light version and rotation: what each promises over plain rounding."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from jobs.calibration import Calibration
from jobs.quantization import Grid, row_scales
from jobs.rotation import largest_power_of_two, rotated, unrotated
from jobs.techniques.quantizer.full_gptq import column_order, inverse_factor, rounded_by_columns
from jobs.techniques.quantizer.gptq_lite import CANDIDATES, best_rows
from tests.jobs.tiny import ALONE, LENGTH, VOCABULARY, base, model_of, noisy, technique


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def hessian(columns: int, *, seed: int = 0) -> Tensor:
    """Of correlated inputs, some of them much larger than others."""
    inputs = random(4 * columns, columns, seed=seed) @ random(columns, columns, seed=seed + 1)
    inputs = (
        inputs * torch.logspace(-1, 1, columns)[torch.randperm(columns, generator=torch.Generator().manual_seed(1))]
    )
    return inputs.T @ inputs / len(inputs)


def weighted_error(change: Tensor, hessian_CC: Tensor) -> float:
    return float(((change.double() @ hessian_CC.double()) * change.double()).sum())


def by_columns(weight: Tensor, hessian_CC: Tensor, *, bits: int = 4) -> tuple[Tensor, Tensor]:
    """GPTQ's rounding and that to the nearest, both with the rows' largest magnitudes at the end of the grid."""
    scales = row_scales(weight.abs().amax(1), bits, smallest_limit=0.0)
    factor = inverse_factor(hessian_CC, damping=0.01)
    assert factor is not None
    found = rounded_by_columns(weight, scales, bits, hessian_CC, factor) * scales.float()[:, None]
    return found, Grid(bits=bits).encoded("weight", weight).decoded()


def test_independent_inputs_make_it_plain_rounding() -> None:
    found, nearest = by_columns(random(20, 40), torch.eye(40))
    assert torch.equal(found, nearest)
    found, nearest = by_columns(random(20, 300, seed=1), torch.diag(torch.rand(300) + 0.1))  # several blocks of columns
    assert torch.equal(found, nearest)


@pytest.mark.parametrize("columns", [24, 128, 200])
def test_correlated_inputs_lose_less_than_by_plain_rounding(columns: int) -> None:
    weight, hessian_CC = random(16, columns, seed=columns), hessian(columns)
    found, nearest = by_columns(weight, hessian_CC)
    assert weighted_error(found - weight, hessian_CC) < 0.7 * weighted_error(nearest - weight, hessian_CC)


def column_by_column(weight: Tensor, hessian_CC: Tensor) -> Tensor:
    """The paper's sequence in float64: each error is spread over the rest by the inverse of what is left of H."""
    scales = row_scales(weight.abs().amax(1), 4, smallest_limit=0.0).double()
    order, columns = column_order(hessian_CC).tolist(), weight.size(1)
    damping = 0.01 * hessian_CC.double().diagonal().mean()
    left = hessian_CC.double() + damping * torch.eye(columns)
    moved, found = weight.double().clone(), torch.zeros(weight.shape, dtype=torch.float64)
    for place, column in enumerate(order):
        rest = order[place:]
        inverse = torch.linalg.inv(left[rest][:, rest])
        found[:, column] = (moved[:, column] / scales).round().clamp(-7, 7) * scales
        error = (moved[:, column] - found[:, column]) / inverse[0, 0]
        moved[:, rest[1:]] -= torch.outer(error, inverse[0, 1:])
    return found


def test_it_is_the_sequence_of_the_paper() -> None:
    weight, hessian_CC = random(6, 10), hessian(10)
    found, _ = by_columns(weight, hessian_CC)
    torch.testing.assert_close(found.double(), column_by_column(weight, hessian_CC), rtol=0, atol=1e-6)


def test_errors_cross_the_border_of_a_block() -> None:
    """192 columns are a block and a half; inputs are mixed a little, so that float32 rounds as float64 does."""
    inputs = random(768, 192) @ (torch.eye(192) + random(192, 192, seed=1) / 192**0.5)
    weight, hessian_CC = random(6, 192, seed=2), inputs.T @ inputs / 768
    found, _ = by_columns(weight, hessian_CC)
    differs = (found.double() - column_by_column(weight, hessian_CC)).abs() > 1e-6
    assert float(differs.float().mean()) < 0.01, "but for a tie that float32 sees differently"


def test_large_inputs_come_first() -> None:
    assert column_order(torch.diag(torch.tensor([1.0, 9.0, 0.0, 4.0]))).tolist() == [1, 3, 0, 2]


def test_a_dead_input_gets_zero_and_disturbs_nobody() -> None:
    weight, hessian_CC = random(6, 10), hessian(10)
    hessian_CC[:, 3], hessian_CC[3] = 0.0, 0.0
    found, _ = by_columns(weight, hessian_CC)
    assert not found[:, 3].any()
    alive = [column for column in range(10) if column != 3]
    scales = row_scales(weight.abs().amax(1), 4, smallest_limit=0.0)
    factor = inverse_factor(hessian_CC[alive][:, alive], damping=0.01)
    assert factor is not None
    without = rounded_by_columns(weight[:, alive], scales, 4, hessian_CC[alive][:, alive], factor)
    assert torch.equal(found[:, alive], without * scales.float()[:, None])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_hessian_that_is_none_has_no_factor(value: float) -> None:
    """The matrix then falls back to searching its clip quantile."""
    broken = torch.eye(5)
    broken[2, 2] = value
    assert inverse_factor(broken, damping=0.01) is None


# The search for a clip quantile


def test_each_row_gets_its_best_candidate() -> None:
    weight = random(30, 2000) ** 3  # long tails: where clipping pays
    grids = [Grid(bits=4, clip_quantile=quantile) for quantile in CANDIDATES]
    errors = torch.stack([(grid.encoded("w", weight).decoded() - weight).square().sum(1) for grid in grids])
    by_row = (best_rows("w", weight, grids, by_matrix=False).decoded() - weight).square().sum(1)
    by_matrix = (best_rows("w", weight, grids, by_matrix=True).decoded() - weight).square().sum(1)
    torch.testing.assert_close(by_row, errors.amin(0))
    torch.testing.assert_close(by_matrix, errors[errors.sum(1).argmin()])
    assert float(by_row.sum()) < float(by_matrix.sum()) <= float(errors.sum(1).min()) * 1.000_001
    assert len(set(errors.argmin(0).tolist())) > 1, "the rows do not agree"


def test_a_floor_makes_the_search_idle() -> None:
    weight = 0.05 * random(30, 2000)
    grids = [Grid(bits=6, clip_quantile=quantile, smallest_limit=1.0) for quantile in CANDIDATES]
    found = best_rows("w", weight, grids, by_matrix=False)
    assert torch.equal(found.values, grids[-1].encoded("w", weight).values)


# Rotation


@pytest.mark.parametrize("columns", [1, 16, 24, 64, 96])
def test_rotation_is_orthonormal_and_turned_back(columns: int) -> None:
    turn = rotated(torch.eye(columns), 7)
    torch.testing.assert_close(turn @ turn.T, torch.eye(columns), rtol=0, atol=1e-6)
    weight = random(5, columns)
    torch.testing.assert_close(rotated(weight, 7), weight @ turn, rtol=0, atol=1e-5)
    torch.testing.assert_close(unrotated(rotated(weight, 7), 7), weight, rtol=0, atol=1e-6)
    assert torch.equal(rotated(weight, 7), rotated(weight, 7))
    if columns > 8:
        assert not torch.allclose(rotated(weight, 7), rotated(weight, 8))


def test_rotation_spreads_an_outlier_over_its_block() -> None:
    weight = torch.zeros(1, 96)
    weight[0, 40] = 8.0
    assert largest_power_of_two(96) == 32
    magnitudes = rotated(weight, 0).abs()[0]
    torch.testing.assert_close(magnitudes[32:64], torch.full((32,), 8 / 32**0.5))
    assert not magnitudes[:32].any() and not magnitudes[64:].any()


def test_a_compiled_model_is_calibrated_as_it_is() -> None:
    """Hooks that come after compilation are not in its graphs; and text that grows must not compile each length."""
    recipe = replace(base(), quantizer=technique("quantizer", "full_gptq"))
    model = noisy(model_of(recipe))
    calibration = Calibration(world=ALONE, data_path=Path(), sequence_length=LENGTH, vocab_size=VOCABULARY, seed=1)
    text = torch.randint(VOCABULARY, (8, LENGTH), generator=torch.Generator().manual_seed(0))
    wanted = calibration.hessians(model, text)
    torch.compiler.reset()
    compiled = CompileCounter()
    model.hidden = torch.compile(model.hidden, backend=compiled, dynamic=False)  # type: ignore[method-assign]
    model.hidden(text)
    found = calibration.hessians(model, text)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    calibration.generated_text(model, 4, temperature=1.0)
    calibration.squared_gradients(model, text)
    assert compiled.frame_count == 1, "of the call above"
