"""The training loop: what a run is made of, what it counts as time, and that nothing else decides its weights."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jobs.data.loader import SequentialLoader
from jobs.loop import Trained, take_step
from jobs.model import Transformer
from tests.jobs import tiny
from tests.jobs.tiny import ALONE, BUDGET, LENGTH, Case, every, model_of, noisy, small, state_of, technique

Run = Callable[..., tuple[Transformer, Trained, list[dict[str, Any]], str]]


def same(model: Transformer, other: Transformer) -> bool:
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


def test_the_same_seed_gives_the_same_weights(run: Run) -> None:
    first, again, other = run()[0], run()[0], run(seed=7)[0]
    assert same(first, again) and not same(first, other)
    assert not same(first, model_of(small())), "it trains"


@pytest.mark.parametrize(
    "case", [Case("optimizer", "muon_adam"), *every("fake_quantization"), *every("meta_training")], ids=str
)
def test_warm_up_leaves_nothing_behind(run: Run, case: Case) -> None:
    """Neither in the weights, the optimizer and the averages, nor in the order of the data."""
    recipe = tiny.with_technique(small(), case.family, case.made())
    recipe = replace(recipe, averaging=technique("averaging", "ema", decay=0.5))
    assert same(run(recipe, warmup_steps=0)[0], run(recipe, warmup_steps=3)[0])


@pytest.mark.parametrize("case", [*every("averaging"), *every("fake_quantization"), *every("meta_training")], ids=str)
def test_what_a_recipe_adds_to_training_changes_the_weights(run: Run, case: Case) -> None:
    knobs = {"ema": {"decay": 0.5}, "swa": {"every": 1}, "late_qat": {"threshold": 2.0}}.get(case.name, {})
    recipe = replace(tiny.with_technique(small(), case.family, case.made(**knobs)), schedule=FALLING)
    without = replace(small(), schedule=FALLING)
    assert not same(run(recipe, iterations=6)[0], run(without, iterations=6)[0])


FALLING = technique("schedule", "fraction_warmdown", fraction=1.0)


def test_accumulating_gradients_changes_nothing() -> None:
    """A batch of four sequences in one piece, in two and in four."""
    tokens = tiny.stream(4 * LENGTH + 1)
    inputs, targets = tokens[:-1].view(4, -1), tokens[1:].view(4, -1)
    gradients = []
    for pieces in (1, 2, 4):
        model = noisy(model_of(small()))
        recorder, given = Recorder(model), Given(list(zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True)))
        take_step(model, given, recorder, [4 // pieces] * pieces, step=0, scale=1.0, world=ALONE)  # type: ignore[arg-type]
        gradients.append(recorder.gradients)
    for found in gradients[1:]:
        for one, other in zip(gradients[0], found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


class Given:
    """Batches in place of a loader."""

    sequence_length = LENGTH

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches

    def next(self, num_sequences: int) -> tuple[Tensor, Tensor]:
        assert len(self.batches[0][0]) == num_sequences
        return self.batches.pop(0)


class Recorder:
    """An optimizer that takes no step and keeps the gradients."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.gradients: list[Tensor] = []

    def step(self, *, step: int, scale: float) -> None:
        self.gradients = [one.grad.clone() for one in self.model.parameters() if one.grad is not None]


def test_a_step_follows_the_mean_loss_of_its_batch(data_path: Path) -> None:
    model, other = noisy(model_of(small())), noisy(model_of(small()))
    loader = SequentialLoader(data_path, sequence_length=LENGTH, world=ALONE)
    recorder = Recorder(model)
    total = take_step(model, loader, recorder, [2, 2], step=0, scale=1.0, world=ALONE)
    again = SequentialLoader(data_path, sequence_length=LENGTH, world=ALONE)
    batches = [again.next(2), again.next(2)]
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    mean = other(inputs, targets) / 128
    mean.backward()
    assert float(total) == pytest.approx(128 * float(mean.detach()), rel=1e-6)
    for found, parameter in zip(recorder.gradients, other.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_clock_ends_a_run_and_does_not_count_validation(run: Run) -> None:
    def slow(model: Transformer) -> tuple[float, float]:
        time.sleep(0.05)
        return 1.0, 2.0

    _, found, events, log = run(validate=slow, iterations=10_000, train_seconds=0.2, validate_every=3)
    assert 0.2 <= found.train_seconds < 0.2 + max(found.step_seconds) + 1e-9
    assert found.steps == len(found.step_seconds) > 3
    assert sum(found.step_seconds) == pytest.approx(found.train_seconds)
    assert (
        f"stopping_early: wallclock_cap train_time:{1000 * found.train_seconds:.0f}ms step:{found.steps}/10000" in log
    )
    assert [event["step"] for event in events if event["event"] == "validation"][-1] == found.steps


def test_no_time_is_no_step(run: Run) -> None:
    model, found, _, log = run(train_seconds=0.0, iterations=10)
    assert found.steps == 0 and found.step_ms_mean == 0.0 and same(model, model_of(small()))
    assert "step:0/10 val_loss:1.0000 val_bpb:2.0000" in log


def test_time_that_the_quantizer_keeps_back_is_not_trained(run: Run) -> None:
    recipe = replace(small(), quantizer=technique("quantizer", "adaptive_bits", reserve_seconds=5.0))
    with pytest.raises(ValueError, match=r"reserve_seconds: 5.0 of the 5.0 seconds"):
        run(recipe, train_seconds=5.0, iterations=10)
    assert run(recipe, train_seconds=600.0, iterations=2)[1].steps == 2


def test_what_the_log_and_the_events_say(run: Run) -> None:
    """The first ten steps one by one, then every fifth; validation before the first, every fourth, after the last."""
    _, found, events, log = run(iterations=22, log_every=5, validate_every=4)
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == [*range(1, 11), 15, 20]
    validations = [event for event in events if event["event"] == "validation"]
    assert [event["step"] for event in validations] == [0, 4, 8, 12, 16, 20, 22]
    assert validations[0]["val_loss_nats"] == 1.0 and validations[0]["val_bpb"] == 2.0
    for event in steps:
        assert (
            f"step:{event['step']}/22 train_loss:{event['train_loss']:.4f} train_time:{event['train_ms']:.0f}ms" in log
        )
    assert steps[0]["train_loss"] == pytest.approx(4.16, abs=0.02), "ln 64"
    assert found.step_ms_mean == pytest.approx(1000 * sum(found.step_seconds[1:]) / 21)
    assert found.step_ms_median == pytest.approx(1000 * sorted(found.step_seconds[1:])[10])


def test_validation_sees_the_weights_themselves(run: Run) -> None:
    """Not the rounded ones, although training rounds them from the first step on; and training goes on rounded."""
    seen: list[tuple[dict[str, Tensor], float]] = []
    tokens = tiny.stream(LENGTH + 1)

    def validate(model: Transformer) -> tuple[float, float]:
        with torch.no_grad():
            loss = float(model(tokens[None, :-1], tokens[None, 1:]))
        seen.append((state_of(model), loss))
        return loss, 1.0

    recipe = replace(
        small(),
        quantizer=technique("quantizer", "row_wise", matrix_bits=4),
        fake_quantization=technique("fake_quantization", "late_qat", threshold=2.0),
    )
    unseen = run(recipe, iterations=4)[0]
    validated = run(recipe, iterations=4, validate=validate, validate_every=1)[0]
    assert same(unseen, validated)
    for state, loss in seen:
        plain = model_of(small())
        plain.load_state_dict(state)
        assert float(plain(tokens[None, :-1], tokens[None, 1:]).detach()) == loss
    assert validated(tokens[None, :-1], tokens[None, 1:]).item() == seen[-1][1], "and what is left is not rounded"


def test_a_batch_that_does_not_fit_is_refused_before_the_first_step(run: Run) -> None:
    with pytest.raises(ValueError, match="batch_tokens"):
        run(batch_tokens=BUDGET.batch_tokens + 1)
