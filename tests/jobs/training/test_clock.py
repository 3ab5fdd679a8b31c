"""The clock of a training run: exact on a CPU; on a device that works behind, exact once it has been waited for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from jobs import loop
from jobs.clock import StepClock
from tests.jobs.tiny import ALONE, small, technique
from tests.jobs.training.test_loop import same

STEP = 0.25  # seconds, which floats hold exactly


def ticking() -> Callable[[], float]:
    """A clock that goes on by STEP each time it is read: once as a step begins and once as it ends."""
    moment = 0.0

    def now() -> float:
        nonlocal moment
        moment += STEP
        return moment

    return now


@dataclass
class Device:
    """A device that works behind: its marks are moments of its own work, and it knows which ones were waited for."""

    seconds: list[float]  # of each step, the last one again and again
    marks: int = 0
    moment: float = 0.0
    waited: list[int] = field(default_factory=list)

    def mark(self) -> "Moment":
        if self.marks % 2:
            self.moment += self.seconds[min(self.marks // 2, len(self.seconds) - 1)]
        else:
            self.moment += 100.0  # what is between two steps does not count
        self.marks += 1
        return Moment(self, self.marks // 2, self.moment)


@dataclass
class Moment:
    device: Device
    step: int  # that has ended, from 1
    moment: float

    def seconds_until(self, later: "Moment") -> float:
        self.device.waited.append(later.step)
        return later.moment - self.moment


def test_on_a_cpu_a_step_is_known_as_it_ends() -> None:
    clock = StepClock(ALONE, now=ticking())
    for number in range(1, 4):
        clock.begin()
        clock.end()
        assert clock.elapsed == clock.seconds == number * STEP and clock.step_seconds == [STEP] * number


def test_a_device_is_not_waited_for_before_the_next_step_is_queued() -> None:
    device = Device([1.0, 2.0, 4.0])
    clock = StepClock(ALONE, mark=device.mark)
    known = []
    for _ in range(3):
        clock.begin()
        clock.end()
        known.append((list(device.waited), clock.elapsed))
    assert known == [([], 0.0), ([1], 2.0), ([1, 2], 5.0)], "the last step counts as long as the one before it"
    clock.settle()
    assert device.waited == [1, 2, 3] and clock.step_seconds == [1.0, 2.0, 4.0]
    assert clock.elapsed == clock.seconds == 7.0
    clock.settle()
    assert clock.seconds == 7.0


def test_a_run_on_a_device_ends_by_what_the_clock_really_says(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a slow step the estimate is too long, and the run goes on: at 14 steps it says 20, and it was 16.5."""
    device = Device([1.0] * 12 + [4.0, 0.5])
    monkeypatch.setattr(loop, "StepClock", lambda world, now: StepClock(world, mark=device.mark))
    _, found, events, log = run(iterations=1000, train_seconds=18.0, log_every=1000)
    assert found.steps == 17 and found.train_seconds == 18.0
    assert found.step_seconds == [1.0] * 12 + [4.0] + [0.5] * 4
    assert "stopping_early: wallclock_cap train_time:18000ms step:17/1000" in log
    assert [event["step_ms"] for event in events if event["event"] == "step"] == [1000.0] * 10


def test_a_run_on_a_device_is_not_waited_for_between_lines_of_the_log(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, waits = Device([1.0]), []
    monkeypatch.setattr(loop, "StepClock", lambda world, now: StepClock(world, mark=device.mark))
    honest = loop.take_step

    def watched(*given: Any, step: int, **options: Any) -> Any:
        waits.append((step, max(device.waited, default=0)))
        return honest(*given, step=step, **options)

    monkeypatch.setattr(loop, "take_step", watched)
    model, found, _, _ = run(iterations=18, train_seconds=600.0, log_every=15)
    behind = {step: step - waited for step, waited in waits}  # steps that are queued and not waited for
    assert all(behind[step] == (0 if step <= 10 or step == 15 else 1) for step in behind), behind
    assert found.train_seconds == 18.0
    monkeypatch.undo()
    assert same(model, run(iterations=18)[0])


def test_time_that_the_quantizer_keeps_back_ends_the_run_earlier(run: Any) -> None:
    """Of a budget of 3 seconds and a reserve of 1, the optimizer has 2."""
    recipe = replace(small(), quantizer=technique("quantizer", "adaptive_bits", reserve_seconds=1.0))
    _, found, _, log = run(recipe, iterations=1000, train_seconds=3.0, now=ticking())
    assert found.train_seconds == 2.0 and found.steps == 2.0 / STEP
    assert "stopping_early: wallclock_cap train_time:2000ms step:8/1000" in log
    assert run(small(), iterations=1000, train_seconds=3.0, now=ticking())[1].train_seconds == 3.0
