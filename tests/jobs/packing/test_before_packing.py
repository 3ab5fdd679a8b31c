"""What acts on the weights on their way into the artifact: rounding while training, zeros, and what is given up."""

import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jobs.artifact import Encoded, pack
from jobs.contract.assignment import Assignment
from jobs.layers import Linear
from jobs.model import Transformer, tensor_kinds
from jobs.packing import Packer, torch_threads
from jobs.recipe import Recipe
from tests.jobs import tiny
from tests.jobs.tiny import LENGTH, Case, base, every, model_of, noisy, state_of, technique


def batch() -> tuple[Tensor, Tensor]:
    tokens = tiny.stream(2 * LENGTH + 1)
    return tokens[:-1].view(2, -1), tokens[1:].view(2, -1)


def loss_of(model: Transformer) -> Tensor:
    inputs, targets = batch()
    loss: Tensor = model(inputs, targets)
    return loss


# Training on rounded weights


def coarse() -> Recipe:
    return replace(base(), quantizer=technique("quantizer", "row_wise", matrix_bits=4, keep_elements=256))


def linear_names(model: Transformer) -> list[str]:
    return [f"{path}.weight" for path, module in model.named_modules() if isinstance(module, Linear)]


@pytest.mark.parametrize("case", every("fake_quantization"), ids=str)
def test_the_rounded_model_is_the_one_that_will_be_read_back(case: Case) -> None:
    """Loss and gradient are those of a model that holds the exported matrices."""
    recipe = coarse()
    model, exported = noisy(model_of(recipe)), noisy(model_of(recipe))
    plain = float(loss_of(model).detach())
    names = linear_names(model)
    encoded = recipe.quantizer.encode(state_of(model), tensor_kinds(model), {})
    with torch.no_grad():
        for one in encoded:
            if one.name in names:
                exported.get_parameter(one.name).copy_(one.decoded())
    switch = case.made().attach(model, recipe.quantizer)
    assert float(loss_of(model).detach()) == plain, "attached is not yet on"
    switch.turn(True)
    rounded, wanted = loss_of(model), loss_of(exported)
    torch.testing.assert_close(rounded, wanted, rtol=1e-5, atol=0)
    assert abs(float(rounded.detach()) - plain) > 1e-3 * plain
    rounded.backward()
    wanted.backward()
    for (name, parameter), other in zip(model.named_parameters(), exported.parameters(), strict=True):
        assert parameter.grad is not None and other.grad is not None
        torch.testing.assert_close(
            parameter.grad, other.grad, rtol=1e-3, atol=1e-4, msg=lambda text, at=name: f"{at}: {text}"
        )
    switch.turn(False)
    assert float(loss_of(model).detach()) == plain


@pytest.mark.parametrize("case", every("fake_quantization"), ids=str)
def test_the_switch_acts_in_a_compiled_model(case: Case) -> None:
    """Compilation must not fold it: the graph taken while it was off would train on unrounded weights for ever."""
    recipe = coarse()
    torch.compiler.reset()
    for first in (False, True):
        model = noisy(model_of(recipe))
        switch = case.made().attach(model, recipe.quantizer)
        compiled = torch.compile(model, backend="eager", dynamic=False)
        inputs, targets = batch()
        losses = []
        for on in (first, not first, first):
            switch.turn(on)
            losses.append(float(compiled(inputs, targets).detach()))
            assert losses[-1] == pytest.approx(float(model(inputs, targets).detach()), rel=1e-6)
        assert losses[0] == losses[2] != losses[1]


def test_rounding_starts_when_the_rate_has_fallen() -> None:
    recipe = coarse()
    model = noisy(model_of(recipe))
    switch = technique("fake_quantization", "late_qat", threshold=0.15).attach(model, recipe.quantizer)
    plain = float(loss_of(model).detach())
    said = {scale: switch.update(step=step, scale=scale) for step, scale in enumerate([1.0, 0.15, 0.149, 0.1])}
    assert [scale for scale, line in said.items() if line] == [0.149]
    assert said[0.149] is not None and said[0.149].startswith("late_qat:enabled step:2 scale:0.1490")
    assert float(loss_of(model).detach()) != plain


def test_the_published_switch_is_announced_and_does_nothing() -> None:
    recipe = coarse()
    model = noisy(model_of(recipe))
    switch = technique("fake_quantization", "late_qat", never_switches=True).attach(model, recipe.quantizer)
    plain = float(loss_of(model).detach())
    assert switch.update(step=9, scale=0.01)
    assert float(loss_of(model).detach()) == plain


@pytest.mark.parametrize("case", every("quantizer"), ids=str)
def test_every_quantizer_lends_its_grid(case: Case) -> None:
    """The grid that a matrix is trained on is as fine as that of its export; what is not rounded has none."""
    quantizer = case.made()
    model = noisy(model_of(base()))
    for name, kind in tensor_kinds(model).items():
        grid = quantizer.grid(name, model.state_dict()[name], kind)
        assert (grid is None) == (kind == "control" or model.state_dict()[name].numel() <= 256)
        if kind in ("attention", "feed_forward") and grid:
            assert grid.bits == 6


# Pruning


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.5])
def test_magnitude_pruning_zeroes_its_fraction_of_each_large_matrix(fraction: float) -> None:
    model = noisy(model_of(base()))
    state, kinds = state_of(model), tensor_kinds(model)
    found, line = technique("pruning", "magnitude", fraction=fraction, larger_than=64 * 64).prune(state, kinds)
    zeroed = total = 0
    assert list(found) == list(state)
    for name, tensor in found.items():
        if state[name].ndim == 2 and state[name].numel() > 64 * 64:
            zeros = int((tensor == 0).sum())
            assert abs(zeros / tensor.numel() - fraction) <= 1 / tensor.numel()
            kept, gone = state[name][tensor != 0].abs(), state[name][tensor == 0].abs()
            assert not zeros or float(gone.max()) <= float(kept.min())
            assert torch.equal(tensor[tensor != 0], state[name][tensor != 0])
            zeroed, total = zeroed + zeros, total + tensor.numel()
        else:
            assert tensor is state[name]
    assert total > 0 and f"fraction:{fraction} zeroed:{zeroed} of {total}" in line


# Fitting


def rounded_tensors() -> list[Encoded]:
    model = noisy(model_of(base()))
    encoded: list[Encoded] = base().quantizer.encode(state_of(model), tensor_kinds(model), {})
    return encoded


def packed_bytes(tensors: list[Encoded]) -> int:
    return len(pack(tensors, "zlib", base().compressor.compress))


def ones(tensors: list[Encoded]) -> list[float]:
    """The scale of every value ±1, sorted."""
    scales = []
    for one in tensors:
        if one.scales is not None:
            scales += one.scales.float()[:, None].expand(one.values.shape)[one.values.abs() == 1].tolist()
    return sorted(scales)


def test_what_fits_is_left_alone() -> None:
    tensors = rounded_tensors()
    size = packed_bytes(tensors)
    found, line = technique("fitting", "selective_pruning", target_bytes=size + 5000).fit(
        tensors, packed_bytes, code_bytes=5000, at_once=1
    )
    assert found is tensors and "nothing pruned" in line


def test_the_cheapest_ones_go_until_it_fits() -> None:
    tensors = rounded_tensors()
    size, least = packed_bytes(tensors), packed_bytes([without_ones(one) for one in tensors])
    target = (size + least) // 2
    found, line = technique("fitting", "selective_pruning", target_bytes=target + 5000).fit(
        tensors, packed_bytes, code_bytes=5000, at_once=1
    )
    assert packed_bytes(found) <= target, "decimal bytes, code and model together"
    gone = len(ones(tensors)) - len(ones(found))
    assert 0 < gone < len(ones(tensors)) and f"{packed_bytes(found)} bytes" in line
    assert min(ones(found)) >= ones(tensors)[gone - 1], "no cheaper one is left"
    for one, other in zip(tensors, found, strict=True):
        changed = one.values != other.values
        assert not other.values[changed].any() and bool((one.values[changed].abs() == 1).all())
    assert packed_bytes(found) > least + (target - least) * 0.9, "and hardly more than it takes"


def without_ones(one: Encoded) -> Encoded:
    return one if one.scales is None else replace(one, values=one.values.masked_fill(one.values.abs() == 1, 0))


def test_what_cannot_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer bits"):
        technique("fitting", "selective_pruning", target_bytes=6000).fit(
            rounded_tensors(), packed_bytes, code_bytes=5000, at_once=1
        )


def zeros_in(tensors: list[Encoded]) -> int:
    return sum(int((one.values == 0).sum()) for one in tensors if one.scales is not None)


def halved_one_by_one(
    tensors: list[Encoded], packed: Callable[[list[Encoded]], int], target: int, trials: int
) -> tuple[int, list[int]]:
    """How many ±1 go, and the counts that were packed on the way: the bisection with nothing at once, written out."""
    costs = [
        one.scales.float().square()[:, None].expand(one.values.shape)[one.values.abs() == 1]
        for one in tensors
        if one.scales is not None
    ]
    by_cost = torch.cat(costs).sort(stable=True).indices
    low, high, looked = 0, by_cost.numel(), list[int]()
    while len(looked) < trials and (middle := (low + high) // 2) not in (low, high):
        looked.append(middle)
        gone = torch.zeros(by_cost.numel(), dtype=torch.bool)
        gone[by_cost[:middle]] = True
        candidate, begin = [], 0
        for one in tensors:
            if one.scales is not None:
                values, places = one.values.clone(), one.values.abs() == 1
                values[places] = values[places].masked_fill(gone[begin : begin + int(places.sum())], 0)
                begin += int(places.sum())
                one = replace(one, values=values)
            candidate.append(one)
        low, high = (low, middle) if packed(candidate) <= target else (middle, high)
    return high, looked


def erratic_bytes(tensors: list[Encoded]) -> int:
    """Falls with the zeros on the whole, and goes up and down on the way: bisection ends where its path leads it."""
    zeros = zeros_in(tensors)
    return 1_000_000 - 10 * zeros + zlib.crc32(str(zeros).encode()) % 20_000


@pytest.mark.parametrize("trials", [1, 5, 12, 30])
@pytest.mark.parametrize("packed", [packed_bytes, erratic_bytes], ids=lambda one: one.__name__)
@pytest.mark.parametrize("at_once", [1, 2, 8, 64])
def test_what_is_found_at_once_is_what_is_found_one_by_one(
    at_once: int, packed: Callable[[list[Encoded]], int], trials: int
) -> None:
    tensors = rounded_tensors()
    before = zeros_in(tensors)
    target = (packed(tensors) + packed([without_ones(one) for one in tensors])) // 2
    count, looked = halved_one_by_one(tensors, packed, target, trials)
    asked, out, most, lock = list[int](), 0, 0, threading.Lock()

    def counted(candidates: list[Encoded]) -> int:
        nonlocal out, most
        with lock:
            out, most = out + 1, max(most, out + 1)
            asked.append(zeros_in(candidates) - before)
        try:
            return packed(candidates)
        finally:
            with lock:
                out -= 1

    found, line = technique("fitting", "selective_pruning", target_bytes=target, trials=trials).fit(
        tensors, counted, code_bytes=0, at_once=at_once
    )
    assert zeros_in(found) - before == count and packed(found) <= target
    assert line.endswith(f" {len(looked)} halvings") and set(looked) <= set(asked) and most <= min(at_once, 15)
    if at_once == 1:
        assert asked == [0, len(ones(tensors)), *looked], "nothing is packed in vain"


@pytest.mark.parametrize(("at_once", "out"), [(1, 1), (2, 1), (8, 7), (64, 15)])
def test_packings_run_at_the_same_time(at_once: int, out: int) -> None:
    """The whole, then all pruned, then what the next halvings may ask: nobody goes on before all have come."""
    tensors = rounded_tensors()
    target = (packed_bytes(tensors) + packed_bytes([without_ones(one) for one in tensors])) // 2
    gate, calls, lock = threading.Barrier(out), 0, threading.Lock()

    def met(candidates: list[Encoded]) -> int:
        nonlocal calls
        with lock:
            calls += 1
            alone = calls <= 2
        if not alone:
            gate.wait(timeout=60)  # raises where too few are out
        return packed_bytes(candidates)

    trials = 2 * out.bit_length()  # twice as far as it looks ahead
    fitting = technique("fitting", "selective_pruning", target_bytes=target, trials=trials)
    fitting.fit(tensors, met, code_bytes=0, at_once=at_once)
    assert calls == 2 + 2 * out


@pytest.mark.parametrize("at_once", [1, 8])
def test_what_fits_is_packed_once(at_once: int) -> None:
    packed: list[list[Encoded]] = []

    def noted(candidates: list[Encoded]) -> int:
        packed.append(candidates)
        return packed_bytes(candidates)

    tensors = rounded_tensors()
    fitting = technique("fitting", "selective_pruning", target_bytes=packed_bytes(tensors))
    fitting.fit(tensors, noted, code_bytes=0, at_once=at_once)
    assert len(packed) == 1 and packed[0] is tensors


@pytest.mark.parametrize("case", every("quantizer"), ids=str)
def test_packing_takes_the_cores_of_the_ranks_that_wait_and_gives_them_back(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for sums that depend on how many threads make them: a score may not depend on the machine's cores."""
    seen: dict[str, int] = {}
    made = case.made()

    class Watched:
        sums_depend_on_threads = made.sums_depend_on_threads
        reserve_seconds = 0.0

        def __getattr__(self, name: str) -> Any:
            return getattr(made, name)

        def encode(self, *arguments: Any) -> list[Encoded]:
            seen["encode"] = torch.get_num_threads()
            encoded: list[Encoded] = made.encode(*arguments)
            return encoded

        def calibrate(self, *arguments: Any) -> dict[str, Tensor]:
            matrices = {name: one for name, one in state_of(model_of(base())).items() if one.ndim == 2}
            if case.name == "full_gptq":
                return {name: torch.eye(one.size(1)) for name, one in matrices.items()}
            return {name: one.square().mean() for name, one in matrices.items()}

    class Fitting:
        def fit(
            self, tensors: list[Encoded], packed: Any, *, code_bytes: int, at_once: int
        ) -> tuple[list[Encoded], str]:
            seen["fit"], seen["at_once"] = torch.get_num_threads(), at_once
            return tensors, "fits"

    monkeypatch.setattr("jobs.packing.cores_here", lambda: 7)
    recipe = replace(
        base(), quantizer=Watched(), fitting=Fitting(), compressor=technique("compressor", "zstd", level=1)
    )
    nowhere = dict.fromkeys(("data_path", "tokenizer_path", "output_path", "trunk_path"), tmp_path)
    assignment = Assignment(seed=1, arms=(), max_wallclock_seconds=None, **nowhere)
    packer = Packer(recipe=recipe, assignment=assignment, world=tiny.ALONE, code_bytes=1)
    with torch_threads(2):
        packer.pack(noisy(model_of(base())), tmp_path / "artifact.bin", tiny.quiet_log())
        assert torch.get_num_threads() == 2
    many = {"encode": 7, "fit": 7, "at_once": 2}  # zstd tries three ways side by side
    assert seen == (many | {"encode": 2} if case.name == "full_gptq" else many)


# Meta-training


@pytest.mark.parametrize("case", every("meta_training"), ids=str)
def test_meta_training_adds_a_gradient_and_leaves_the_weights(case: Case) -> None:
    model = noisy(model_of(base()))
    before = state_of(model)
    inputs, targets = batch()
    (loss_of(model) / targets.numel()).backward()
    plain = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    case.made().add_gradient(model, inputs, targets, step=0, batch_targets=targets.numel())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert any(
        not torch.equal(plain[name], parameter.grad)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    )


def test_fomaml_written_out() -> None:
    """The gradient on the second half at the weights after one step on the first, weighted; and none of weight 0."""
    inputs, targets = batch()
    count = targets.numel()
    for weight in (0.0, 0.5):
        model, moved = noisy(model_of(base())), noisy(model_of(base()))
        technique("meta_training", "fomaml", weight=weight, inner_learning_rate=0.1).add_gradient(
            model, inputs, targets, step=4, batch_targets=count
        )
        (moved(inputs[:1], targets[:1]) / LENGTH).backward()
        with torch.no_grad():
            for parameter in moved.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.1 * parameter.grad)
                parameter.grad = None
        (moved(inputs[1:], targets[1:]) * 2 / count).backward()
        for parameter, other in zip(model.parameters(), moved.parameters(), strict=True):
            assert other.grad is not None
            if weight:
                assert parameter.grad is not None
                torch.testing.assert_close(parameter.grad, weight * other.grad, rtol=1e-4, atol=1e-6)
            else:
                assert parameter.grad is None


def test_of_values_that_cost_the_same_no_more_go_than_it_takes() -> None:
    """One scale for all rows, as exporters with a limit of 1.0 have it: every ±1 costs the same."""
    generator = torch.Generator().manual_seed(0)
    values = (torch.randn(64, 128, generator=generator) * 1.5).round().clamp(-31, 31).to(torch.int8)
    ones = int((values.abs() == 1).sum())
    scales = torch.full((64,), 1 / 31, dtype=torch.float16)
    tensors = [Encoded(name="w", dtype=torch.float32, bits=6, values=values, scales=scales)]

    def left(candidates: list[Encoded]) -> int:
        return int((candidates[0].values != 0).sum())

    wanted = left(tensors) - 100
    found, line = technique("fitting", "selective_pruning", target_bytes=wanted, trials=20).fit(
        tensors, left, code_bytes=0, at_once=1
    )
    assert left(found) == wanted and f"100 of {ones} values ±1 zeroed" in line
    gone = (found[0].values != values).flatten().nonzero().flatten()
    assert torch.equal(gone, (values.flatten().abs() == 1).nonzero().flatten()[:100]), "the first go first"


def test_a_rotated_grid_trains_on_what_the_export_rounds() -> None:
    """Rounded once by the switch and once by the export, the weights must be the same."""
    inner = technique("quantizer", "row_wise", keep_elements=256)
    quantizer = technique("quantizer", "hadamard", inner=inner)
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    grid = quantizer.grid("w", weight, "attention")
    (exported,) = quantizer.encode({"w": weight}, {"w": "attention"}, {})
    torch.testing.assert_close(grid.straight_through(weight), exported.decoded(), rtol=0, atol=1e-5)
    plain = inner.grid("w", weight, "attention").straight_through(weight)
    assert not torch.allclose(plain, exported.decoded(), atol=1e-3)


def test_a_quantizer_that_calibrates_is_not_rotated() -> None:
    for inner in ("full_gptq", "adaptive_bits"):
        rotation = technique("quantizer", "hadamard", inner=technique("quantizer", inner, reserve_seconds=0.0))
        with pytest.raises(ValueError, match=r"calibrates on inputs that are not rotated"):
            _ = rotation.reserve_seconds
