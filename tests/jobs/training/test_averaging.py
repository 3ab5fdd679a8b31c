"""Averages of the weights against the sum written out in float64."""

import pytest
import torch
from torch import Tensor, nn

from tests.jobs.tiny import Case, every, technique


class Two(nn.Module):
    """A float32 and a bfloat16 parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.single = nn.Parameter(torch.zeros(3, 4))
        self.narrow = nn.Parameter(torch.zeros(5, dtype=torch.bfloat16))

    def walk(self, step: int) -> None:
        """The weights after ``step``."""
        generator = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(1 + 0.01 * torch.randn(parameter.shape, generator=generator))

    def values(self) -> list[Tensor]:
        return [parameter.detach().double() for parameter in self.parameters()]


def averaged(case: Case, *, steps: int = 40) -> tuple[Two, str, list[list[Tensor]]]:
    """The model with its average applied, the log line, and the weights of every step, the first before any."""
    model = Two()
    model.walk(0)
    history = [model.values()]
    running = case.made().start(model)
    for step in range(1, steps + 1):
        model.walk(step)
        history.append(model.values())
        running.update(step=step, scale=1 - step / steps)
    return model, running.apply(), history


SHORT = {"ema": {"decay": 0.8}, "swa": {"every": 4}}  # knobs that act within 40 steps


@pytest.fixture(params=every("averaging", switched=True), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return Case(found.family, found.name, {**SHORT.get(found.name, {}), **found.knobs})


def test_the_average_is_applied_inside_what_it_averages(case: Case) -> None:
    model, line, history = averaged(case)
    assert "applying" in line
    for place, found in enumerate(model.values()):
        seen = torch.stack([values[place] for values in history])
        assert not torch.equal(found, seen[-1]), "nothing was applied"
        assert bool((found >= seen.amin(0) - 1e-6).all() and (found <= seen.amax(0) + 1e-6).all())


def test_parameters_keep_their_dtypes(case: Case) -> None:
    model, _, _ = averaged(case)
    assert [parameter.dtype for parameter in model.parameters()] == [torch.float32, torch.bfloat16]


def test_constant_weights_are_their_own_average(case: Case) -> None:
    model = Two()
    model.walk(0)
    before = model.values()
    running = case.made().start(model)
    for step in range(1, 41):
        running.update(step=step, scale=1 - step / 40)
    running.apply()
    for found, wanted in zip(model.values(), before, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("every_steps", [1, 3])
def test_ema_written_out(every_steps: int) -> None:
    """e_0 = w_0; e <- d e + (1 - d) w every so many steps, d to their power."""
    model, _, history = averaged(Case("averaging", "ema", {"decay": 0.8, "every": every_steps}))
    decay = 0.8**every_steps
    for place, found in enumerate(model.values()):
        expected = history[0][place]
        for step in range(every_steps, len(history), every_steps):
            expected = decay * expected + (1 - decay) * history[step][place]
        tolerance = 1e-6 if place == 0 else 2**-8  # a bfloat16 parameter can hold no more
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)


def test_ema_without_memory_is_the_last_weights() -> None:
    model, _, history = averaged(Case("averaging", "ema", {"decay": 0.0}))
    for found, last in zip(model.values(), history[-1], strict=True):
        torch.testing.assert_close(found, last, rtol=1e-7, atol=0)


def test_swa_written_out() -> None:
    """The mean of the weights at every fourth step at which the scale is below 0.4: 28, 32, 36 and 40 of 40."""
    model, line, history = averaged(Case("averaging", "swa", {"start_below": 0.4, "every": 4}))
    assert "4 checkpoints" in line
    for place, found in enumerate(model.values()):
        expected = torch.stack([history[step][place] for step in (28, 32, 36, 40)]).mean(0)
        torch.testing.assert_close(found, expected, rtol=1e-6 if place == 0 else 2**-8, atol=0)


def test_swa_that_saw_nothing_says_so_and_leaves_the_weights() -> None:
    model, line, history = averaged(Case("averaging", "swa", {"start_below": 0.4, "every": 100}))
    assert "no checkpoint" in line and "applying" not in line
    for found, last in zip(model.values(), history[-1], strict=True):
        assert torch.equal(found, last)


def test_an_average_of_bfloat16_weights_is_taken_in_float32() -> None:
    """4,096 steps that bfloat16 sums would lose: 256 + 1 is 256 there."""
    model = Two()
    running = technique("averaging", "swa", start_below=2.0, every=1).start(model)
    with torch.no_grad():
        model.narrow.fill_(1.0)
    for step in range(1, 4097):
        running.update(step=step, scale=1.0)
    running.apply()
    assert model.narrow.tolist() == [1.0] * 5
