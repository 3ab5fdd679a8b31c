"""Updates: what must hold for every optimizer of the catalog, and the mathematics of Muon."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jobs.model import MATRIX_KINDS, Transformer, tensor_kinds
from jobs.muon import Muon, orthogonalized
from jobs.world import World
from tests.jobs import tiny
from tests.jobs.tiny import ALONE, LENGTH, Case, base, every, model_of, noisy, state_of, technique


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_gradients(model: Transformer, *, seed: int = 0, size: float = 1.0) -> None:
    """A random gradient for every parameter; no loss would give one to each of them."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = size * torch.randn(parameter.shape, generator=generator)


def changes(model: Transformer, before: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() - before[name] for name, tensor in model.named_parameters()}


# Every optimizer


@pytest.fixture(params=every("optimizer", switched=True), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    result: Case = request.param
    return result


def test_a_step_moves_every_parameter_and_clears_the_gradients(case: Case) -> None:
    model = noisy(model_of(base()))
    optimizer, before = case.made().build(model, ALONE), state_of(model)
    with_gradients(model)
    optimizer.step(step=0, scale=1.0)
    assert all(change.any() for change in changes(model, before).values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_at_scale_zero_nothing_moves(case: Case) -> None:
    model = noisy(model_of(base()))
    decays = {knob: 0.5 for knob in tiny.catalog().technique(case.family, case.name).knobs if "weight_decay" in knob}
    optimizer, before = case.made(**decays).build(model, ALONE), state_of(model)
    for step in range(3):
        with_gradients(model, seed=step)
        optimizer.step(step=step, scale=0.0)
    assert not any(change.any() for change in changes(model, before).values())


def test_half_the_scale_is_half_the_first_step(case: Case) -> None:
    moved = []
    for scale in (1.0, 0.5):
        model = noisy(model_of(base()))
        optimizer, before = case.made().build(model, ALONE), state_of(model)
        with_gradients(model)
        optimizer.step(step=0, scale=scale)
        moved.append(changes(model, before))
    for name, change in moved[0].items():
        torch.testing.assert_close(moved[1][name] * 2, change, rtol=1e-3, atol=1e-6)


def test_the_loss_of_a_batch_falls(case: Case) -> None:
    model = model_of(base())
    optimizer = case.made().build(model, ALONE)
    tokens = tiny.stream(4 * LENGTH + 1)
    inputs, targets = tokens[:-1].view(4, -1), tokens[1:].view(4, -1)
    losses = []
    for step in range(20):
        loss = model(inputs, targets) / targets.numel()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step(step=step, scale=0.5)
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_gradients_give_the_same_weights(case: Case) -> None:
    states = []
    for _ in range(2):
        model = noisy(model_of(base()))
        optimizer = case.made().build(model, ALONE)
        for step in range(3):
            with_gradients(model, seed=step)
            optimizer.step(step=step, scale=1.0)
        states.append(state_of(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# Newton-Schulz


def with_singular_values(rows: int, cols: int, values: Tensor, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    u, _, v = torch.linalg.svd(random(rows, cols, seed=seed), full_matrices=False)
    return u @ torch.diag(values) @ v, u, v


@pytest.mark.parametrize(("rows", "cols"), [(24, 24), (24, 60), (60, 24)])
def test_orthogonalized_is_near_the_polar_factor(rows: int, cols: int) -> None:
    """Same singular vectors, singular values in 0.68..1.2: what the quintic does to values of 0.01 and more."""
    matrix, u, v = with_singular_values(rows, cols, torch.linspace(0.1, 2.0, 24), seed=rows)
    found = orthogonalized(matrix, steps=5, dtype=torch.float32)
    inside = u.T @ found @ v.T
    values = inside.diagonal()
    assert float(values.mean()) > 0.85 and float(values.min()) > 0.68 and float(values.max()) < 1.21
    assert float((inside - torch.diag(values)).abs().max()) < 1e-4
    torch.testing.assert_close(u @ inside @ v, found, rtol=0, atol=1e-4)


def test_orthogonalized_agrees_with_the_polynomial_of_the_singular_values() -> None:
    """In float64: each singular value s of u / ‖u‖ goes five times through 3.4445 s - 4.775 s³ + 2.0315 s⁵."""
    matrix = random(10, 17).double()
    found = orthogonalized(matrix, steps=5, dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrix / (matrix.norm() + 1e-7), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(found, u @ torch.diag(values) @ v, rtol=0, atol=1e-10)


def test_orthogonalized_does_not_see_the_scale() -> None:
    matrix = random(16, 40)
    expected = orthogonalized(matrix, steps=5, dtype=torch.float32)
    for factor in (1e-3, 1e3):
        found = orthogonalized(factor * matrix, steps=5, dtype=torch.float32)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_orthogonalized_of_a_batch_is_that_of_each() -> None:
    for shape in ((3, 16, 40), (3, 40, 16)):
        batch = random(*shape)
        together = orthogonalized(batch, steps=5, dtype=torch.float32)
        for one, found in zip(batch, together, strict=True):
            torch.testing.assert_close(found, orthogonalized(one, steps=5, dtype=torch.float32), rtol=0, atol=1e-5)


def test_a_gradient_of_zeros_gives_no_update() -> None:
    assert not orthogonalized(torch.zeros(2, 8, 8), steps=5, dtype=torch.float32).any()


# Muon


def muon(parameters: list[Tensor], **changes: Any) -> Muon:
    knobs: dict[str, Any] = {"weight_decay": 0.0, "decay_first": True, "newton_schulz_steps": 5, "world": ALONE}
    return Muon(parameters, [0.1] * len(parameters), **{**knobs, **changes})


@pytest.mark.parametrize("decay_first", [True, False])
def test_muon_written_out(decay_first: bool) -> None:
    """Nesterov: m <- mu m + g, u = g + mu m; rate x sqrt(max(1, rows / cols)); decay by the current rate."""
    shapes = [(12, 12), (24, 12), (12, 24), (24, 12)]
    parameters = [nn.Parameter(random(*shape, seed=place)) for place, shape in enumerate(shapes)]
    expected = [parameter.detach().double() for parameter in parameters]
    momenta = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    optimizer = muon(parameters, weight_decay=0.3, decay_first=decay_first)
    for step, (momentum, scale) in enumerate([(0.5, 1.0), (0.9, 0.5), (0.9, 0.1)]):
        for place, parameter in enumerate(parameters):
            gradient = random(*shapes[place], seed=100 * step + place)
            parameter.grad = gradient
            momenta[place] = momentum * momenta[place] + gradient.double()
            update = orthogonalized(gradient.double() + momentum * momenta[place], steps=5, dtype=torch.float64)
            rate, stretch = 0.1 * scale, max(1.0, shapes[place][0] / shapes[place][1]) ** 0.5
            shrink = 1 - rate * 0.3
            if decay_first:
                expected[place] = expected[place] * shrink - rate * stretch * update
            else:
                expected[place] = (expected[place] - rate * stretch * update) * shrink
        optimizer.step(optimizer.own_gradients(), momentum=momentum, scale=scale)
    for parameter, wanted in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("decay_first", [True, False])
def test_without_a_gradient_weights_only_decay(decay_first: bool) -> None:
    parameter = nn.Parameter(random(12, 24))
    before = parameter.detach().clone()
    optimizer = muon([parameter], weight_decay=0.25, decay_first=decay_first)
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step(optimizer.own_gradients(), momentum=0.9, scale=0.5)
    assert torch.equal(parameter.detach(), before * (1 - 0.1 * 0.5 * 0.25))


def test_ranks_of_muon_share_out_every_matrix_once() -> None:
    """However many matrices and ranks: the shares in rank order are the matrices in order."""
    for ranks in (1, 2, 3, 8):
        for count in (1, 2, 5, 8, 9):
            parameters = [torch.zeros(4, 4) for _ in range(count)]
            order = []
            for rank in range(ranks):
                one = muon(parameters, world=World(rank=rank, size=ranks))
                begin, end, largest = one._share(one.groups[4, 4])
                assert one.momenta[4, 4].size(0) == largest == (count + ranks - 1) // ranks
                assert begin == min(rank * largest, count), "row i of the gathered shares is matrix i"
                order += range(begin, end)
            assert order == list(range(count))


# Muon and Adam together


def test_each_kind_of_parameter_has_its_rate() -> None:
    """Adam's first step is its rate, whatever the gradient; Muon's is its rate times an orthogonalized gradient."""
    rates = {"matrix": 0.04, "table": 0.05, "control": 0.03, "head": 0.008}
    shape = replace(tiny.SHAPE, tied_embeddings=False)
    model = noisy(model_of(replace(base(), shape=shape)))
    kinds, before = tensor_kinds(model), state_of(model)
    optimizer = technique(
        "optimizer", "muon_adam", **{f"{name}_learning_rate": rate for name, rate in rates.items()}
    ).build(model, ALONE)
    with_gradients(model)
    gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    optimizer.step(step=0, scale=0.5)
    for name, change in changes(model, before).items():
        kind = kinds[name]
        if kind in MATRIX_KINDS:
            update = orthogonalized(gradients[name], steps=5, dtype=torch.float32)
            stretch = max(1.0, change.size(0) / change.size(1)) ** 0.5
            torch.testing.assert_close(change, -0.5 * rates["matrix"] * stretch * update, rtol=0, atol=1e-4)
        else:
            rate = rates["table" if kind.endswith("table") else kind]
            torch.testing.assert_close(change, -0.5 * rate * gradients[name].sign(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("num_layers", [3, 4])
def test_the_second_half_of_the_blocks_can_learn_faster(num_layers: int) -> None:
    moved = []
    for multiplier in (1.0, 2.0):
        model = noisy(model_of(replace(base(), shape=replace(tiny.SHAPE, num_layers=num_layers))))
        optimizer = technique("optimizer", "muon_adam", decoder_multiplier=multiplier).build(model, ALONE)
        before = state_of(model)
        with_gradients(model)
        optimizer.step(step=0, scale=1.0)
        moved.append(changes(model, before))
    decoder = tuple(f"blocks.{layer}." for layer in range(num_layers // 2, num_layers))
    for name, change in moved[0].items():
        factor = 2.0 if name.startswith(decoder) else 1.0
        torch.testing.assert_close(moved[1][name], factor * change, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.8), (5, 0.85), (10, 0.9), (500, 0.9)])
def test_momentum_rises_to_its_end(step: int, expected: float) -> None:
    """Read off the buffer: from one gradient g, a second step with the same g leaves (1 + mu) g in it."""
    model = model_of(base())
    optimizer = technique("optimizer", "muon_adam", momentum=0.9, momentum_start=0.8, momentum_warmup_steps=10).build(
        model, ALONE
    )
    with_gradients(model)
    optimizer.step(step=0, scale=0.0)
    first = {shape: buffer.clone() for shape, buffer in optimizer.muon.momenta.items()}
    with_gradients(model)
    optimizer.step(step=step, scale=0.0)
    for shape, buffer in optimizer.muon.momenta.items():
        torch.testing.assert_close(buffer, (1 + expected) * first[shape])


@pytest.mark.parametrize(("size", "clipped"), [(1.0, True), (1e-6, False)])
def test_gradients_are_clipped_all_together(size: float, clipped: bool) -> None:
    buffers = []
    for clip_norm in (0.0, 0.3):
        model = model_of(base())
        optimizer = technique("optimizer", "muon_adam", clip_norm=clip_norm).build(model, ALONE)
        with_gradients(model, size=size)
        norm = torch.stack([one.grad.norm() for one in model.parameters() if one.grad is not None]).norm()
        optimizer.step(step=0, scale=1.0)
        buffers.append(optimizer.muon.momenta)
    factor = 0.3 / float(norm) if clipped else 1.0
    for shape, buffer in buffers[1].items():
        torch.testing.assert_close(buffer, factor * buffers[0][shape], rtol=1e-4, atol=0)


def test_weight_decay_of_adam_follows_the_current_rate() -> None:
    model = noisy(model_of(base()))
    gain = model.blocks[0].attention.q_gain
    before = gain.detach().clone()
    optimizer = technique("optimizer", "muon_adam", adam_weight_decay=0.5, control_learning_rate=0.1).build(
        model, ALONE
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(step=0, scale=0.5)
    torch.testing.assert_close(gain.detach(), before * (1 - 0.05 * 0.5))
