"""Weights to small integers: what every quantizer keeps, and the row-wise grid against float64."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from jobs.artifact import Encoded, load_into, pack, unpack
from jobs.calibration import Calibration
from jobs.model import tensor_kinds
from jobs.packing import torch_threads
from jobs.quantization import Grid, magnitude_quantile, qmax, row_quantile
from platform.program.knobs import nested_family
from tests.jobs import tiny
from tests.jobs.tiny import ALONE, LENGTH, VOCABULARY, Case, every, model_of, noisy, state_of, technique

UP = "blocks.0.feed_forward.up.weight"


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    folder = tmp_path_factory.mktemp("tokens")
    tiny.write_shard(folder / "some_train_000000.bin", tiny.stream(40 * LENGTH).tolist())
    return Calibration(world=ALONE, data_path=folder, sequence_length=LENGTH, vocab_size=VOCABULARY, seed=1337)


@pytest.fixture(params=every("quantizer", switched=True), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


Encode = Callable[..., list[Encoded]]
KINDS = tensor_kinds(model_of(tiny.small()))


def weights() -> dict[str, Tensor]:
    """Of a model of two layers, none of them at a starting value."""
    return state_of(noisy(model_of(tiny.small())))


@pytest.fixture
def encode(case: Case, calibration: Calibration) -> Encode:
    """A function from weights, by default those above, to what the quantizer puts into an artifact."""

    def encoded(state: dict[str, Tensor] | None = None, *, bits: int | None = None) -> list[Encoded]:
        model = noisy(model_of(tiny.small()))
        quantizer = case.made(**with_bits(case.family, case.name, bits))
        found: list[Encoded] = quantizer.encode(state or weights(), KINDS, quantizer.calibrate(model, calibration))
        return found

    return encoded


def with_bits(family: str, name: str, bits: int | None) -> dict[str, Any]:
    """The knobs that give every rounded tensor so many bits, in the technique itself or in the one that it turns."""
    knobs: dict[str, Any] = {}
    for knob in tiny.catalog().technique(family, name).knobs.values() if bits else ():
        inner = nested_family(knob.kind)
        if inner:
            knobs[knob.name] = technique(inner, "row_wise", **with_bits(inner, "row_wise", bits))
        elif knob.name.endswith("_bits") and knob.default is not None:
            knobs[knob.name] = bits
    return knobs


def relative_error(tensors: list[Encoded], state: dict[str, Tensor]) -> float:
    """Squared error of all rounded tensors over their squared size."""
    found = [one for one in tensors if one.scales is not None]
    errors = sum(float((one.decoded() - state[one.name]).double().square().sum()) for one in found)
    return errors / sum(float(state[one.name].double().square().sum()) for one in found)


def test_every_tensor_is_there_once_and_in_order(encode: Encode) -> None:
    state = weights()
    tensors = encode()
    assert [one.name for one in tensors] == list(state)
    for one in tensors:
        decoded = one.decoded()
        assert decoded.shape == state[one.name].shape and decoded.dtype == state[one.name].dtype
        assert decoded.isfinite().all()


def test_values_are_on_a_grid_of_their_bits(encode: Encode) -> None:
    rounded = [one for one in encode() if one.scales is not None]
    assert {KINDS[one.name] for one in rounded} >= {"attention", "feed_forward", "token_table"}
    for one in rounded:
        assert one.scales is not None and one.scales.dtype == torch.float16 and one.values.dtype == torch.int8
        assert one.scales.shape == one.values.shape[:1] and bool((one.scales > 0).all())
        assert -qmax(one.bits) - 1 <= int(one.values.min()) and int(one.values.max()) <= qmax(one.bits)
        assert int(one.values.abs().max()) > qmax(one.bits) // 2, "the grid is used up to its end"


def test_rounding_is_about_as_good_as_its_bits(encode: Encode) -> None:
    assert relative_error(encode(), weights()) < 5e-3  # 6 bits of a Gaussian row: 9e-4


def test_more_bits_are_less_error(encode: Encode) -> None:
    state = weights()
    errors = [relative_error(encode(bits=bits), state) for bits in (4, 5, 7)]
    assert errors[0] > 2.5 * errors[1] > 2.5 * 8 * errors[2], errors  # 4 for each bit in theory


def test_what_is_on_the_grid_stays_there(encode: Encode) -> None:
    """In every row that reaches the end of its grid: only there can the scale be read off the row again."""
    first = encode()
    again = encode({one.name: one.decoded() for one in first})
    for one, other in zip(first, again, strict=True):
        rows = slice(None) if one.scales is None else one.values.abs().amax(1) == qmax(one.bits)
        torch.testing.assert_close(other.decoded()[rows], one.decoded()[rows], rtol=1e-6, atol=1e-9)


def test_the_bytes_do_not_depend_on_threads(case: Case, encode: Encode) -> None:
    """While one rank packs it takes every core; matrices large enough that torch shares them out, and no even parts."""
    if case.made().sums_depend_on_threads:
        pytest.skip("it says so itself, and is given no more threads")
    shapes = {"token_table": (4099, 67), "table": (4099, 67)}
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shapes.get(KINDS[name], (515, 517)), generator=generator) if tensor.ndim == 2 else tensor
        for name, tensor in weights().items()
    }
    packed = []
    for count in (1, 3, 8):
        with torch_threads(count):
            packed.append(pack(encode(state), "none", bytes))
    assert packed[0] == packed[1] == packed[2]


def test_encoding_leaves_the_weights_alone_and_repeats_itself(encode: Encode) -> None:
    state = weights()
    before = {name: tensor.clone() for name, tensor in state.items()}
    first, again = encode(state), encode(state)
    assert all(torch.equal(before[name], state[name]) for name in state)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.values, other.values) and one.bits == other.bits


def test_a_model_reads_back_what_was_encoded(encode: Encode, tmp_path: Path) -> None:
    tensors, path, model = encode(), tmp_path / "artifact.bin", model_of(tiny.small(), seed=2)
    path.write_bytes(pack(tensors, "none", lambda payload: payload))
    load_into(model, unpack(path))
    for one in tensors:
        assert torch.equal(model.state_dict()[one.name], one.decoded())


def test_strange_rows(encode: Encode) -> None:
    """Zeros stay zeros, and nothing gets larger than it was."""
    state = weights()
    rows = state[UP]
    rows[0] = 0.0
    rows[1, 3] = 1e4  # an outlier
    rows[2] = 1e-6 * rows[2]
    rows[3] = 0.25
    rows[4], rows[4, 5] = torch.zeros(()), -2.0
    rows[5] = torch.tensor([1.0, -1.0]).repeat(rows.size(1) // 2)
    rows[6] = 1e-30
    found = {one.name: one.decoded() for one in encode(state)}[UP]
    assert found.isfinite().all()
    if not any(one.rotation_seed is not None for one in encode(state)):  # turning spreads an outlier over the row
        assert bool((found.abs().amax(1) <= 1.01 * rows.abs().amax(1) + 1e-6).all())
    assert not found[0].any()
    assert float(found[1, 3]) == pytest.approx(1e4, rel=0.05)
    assert float(found[4, 5]) == pytest.approx(-2.0, rel=0.05)


# What is not rounded


def test_control_vectors_and_small_tensors_keep_their_precision(encode: Encode, case: Case) -> None:
    state = weights()
    for one in encode(state):
        if KINDS[one.name] == "control":
            wanted = torch.float16 if case.knobs.get("control_dtype") == "float16" else torch.float32
            assert one.scales is None and one.values.dtype == wanted and one.bits == 8 * wanted.itemsize
            assert torch.equal(one.decoded(), state[one.name].to(wanted).float())


def test_the_limit_of_what_is_kept_is_inclusive() -> None:
    """128 x 512 elements stay as they are at a limit of 65,536, as in the published exporters."""
    for columns, is_kept in ((512, True), (513, False)):
        state = {"layer.weight": torch.randn(128, columns)}
        (one,) = technique("quantizer", "row_wise", keep_elements=65_536).encode(
            state, {"layer.weight": "projection"}, {}
        )
        assert (one.scales is None) == is_kept
        assert one.values.dtype == (torch.float16 if is_kept else torch.int8)


# The grid, in float64


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("full_range", [False, True])
def test_rounding_uses_the_scale_that_the_artifact_holds(bits: int, full_range: bool) -> None:
    """The nearest integers for the float16 scale; for the exact scale some of these 50,000 would be others."""
    weight = torch.randn(100, 500, generator=torch.Generator().manual_seed(bits))
    one = Grid(bits=bits, full_range=full_range).encoded("weight", weight)
    assert one.scales is not None
    exact = weight.double().abs().amax(1) / qmax(bits)
    assert torch.equal(one.scales, exact.half())
    lowest = -qmax(bits) - 1 if full_range else -qmax(bits)
    nearest = [(weight.double() / s[:, None]).round().clamp(lowest, qmax(bits)) for s in (one.scales.double(), exact)]
    assert torch.equal(one.values.double(), nearest[0])
    assert not torch.equal(nearest[0], nearest[1])


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 16])
def test_bits_that_int8_cannot_hold_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"{bits} bits"):
        Grid(bits=bits).encoded("weight", torch.ones(2, 3))


def test_the_floor_of_the_scale_makes_all_small_rows_alike() -> None:
    weight = 0.1 * torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    one = Grid(bits=6, smallest_limit=1.0).encoded("weight", weight)
    assert one.scales is not None and one.scales.tolist() == [float(torch.tensor(1 / 31).half())] * 20
    free = Grid(bits=6).encoded("weight", weight)
    assert float((free.decoded() - weight).norm()) < float((one.decoded() - weight).norm())


def test_clipping_puts_the_quantile_at_the_end_of_the_grid() -> None:
    weight = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    one = Grid(bits=6, clip_quantile=0.95).encoded("weight", weight)
    limits = torch.quantile(weight.abs(), 0.95, dim=1)
    torch.testing.assert_close(one.decoded().abs().amax(1), limits, rtol=2e-3, atol=0)
    assert 45 <= int((one.values.abs()[0] == 31).sum()) <= 60, "a twentieth of the row, and what rounds up to it"


@given(
    columns=st.integers(1, 40),
    quantile=st.one_of(st.sampled_from([0.0, 0.5, 0.9999984, 1.0]), st.floats(0, 1)),
    seed=st.integers(0, 99),
)
def test_row_quantile_is_torchs(columns: int, quantile: float, seed: int) -> None:
    weight = torch.randn(3, columns, generator=torch.Generator().manual_seed(seed))
    expected = torch.quantile(weight.abs().double(), quantile, dim=1)
    torch.testing.assert_close(row_quantile(weight, quantile).double(), expected, rtol=1e-5, atol=1e-6)


def test_quantiles_of_more_than_torch_can_sort() -> None:
    weight = torch.linspace(-1, 1, 2**24 + 2).view(2, -1)
    assert row_quantile(weight, 0.9999984).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert magnitude_quantile(weight, 0.25) == pytest.approx(0.25, abs=1e-5)


@given(elements=st.integers(1, 60), fraction=st.floats(0, 1), seed=st.integers(0, 99))
def test_magnitude_quantile_has_its_fraction_below_it(elements: int, fraction: float, seed: int) -> None:
    weight = torch.randn(elements, generator=torch.Generator().manual_seed(seed))
    limit = magnitude_quantile(weight, fraction)
    below = int((weight.abs() < limit).sum())
    assert below == min(elements - 1, int(fraction * elements))


def test_rotated_rows_cannot_be_rounded_by_what_their_inputs_say() -> None:
    for name in ("full_gptq", "adaptive_bits"):
        with pytest.raises(ValueError, match="inner"):
            _ = technique("quantizer", "hadamard", inner=technique("quantizer", name)).reserve_seconds
