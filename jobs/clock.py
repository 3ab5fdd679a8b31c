"""The clock of a training run: how long each optimizer step took, by rank 0, the same on every rank."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch

from jobs.world import World


class Mark(Protocol):
    """A moment in the work of the device."""

    def seconds_until(self, later: Any) -> float:
        """Wait for the mark ``later``; the seconds between the two."""


class StepClock:
    """Times what is between ``begin`` and ``end``; validation and the log are outside.

    On a CPU a step's time is known when the step has ended. A GPU works behind the program, and to wait for it at every
    step leaves it idle while the next one is being prepared. So there a step is timed between two events on the GPU,
    read when the next step has been queued; with several ranks rank 0 tells the others, who read it a step later still.

    Exact: the seconds of every step, ``step_seconds``, and their sum, once ``settle`` has waited for the device: before
    each line of the log, each validation and the end. Not exact, on a GPU: ``elapsed`` in between, which decides the
    rate. Of its steps the last one or two are taken to be as long as the last one that is known.

    Distributed: every rank makes the same calls.
    """

    def __init__(self, world: World, *, now: Callable[[], float] = time.perf_counter, mark: Any = None) -> None:
        """``mark``: makes a ``Mark``; None: host time on a CPU, events on a GPU."""
        on_device = world.device.type == "cuda"
        self._world, self._now = world, now
        self._mark: Callable[[], Mark] = mark or (DeviceMark if on_device else self._host_mark)
        self._measured_behind = 1 if mark or on_device else 0
        self._told_behind = self._measured_behind if world.size > 1 else 0
        self._begun: Mark | None = None
        self._unmeasured: deque[tuple[Mark, Mark]] = deque()
        self._untold: deque[Callable[[], float]] = deque()
        self.step_seconds: list[float] = []
        self.seconds = 0.0  # of the steps in ``step_seconds``

    def begin(self) -> None:
        """A step begins."""
        self._begun = self._mark()

    def end(self) -> None:
        """The step has been given to the device."""
        assert self._begun is not None, "begin() comes before end()"
        self._unmeasured.append((self._begun, self._mark()))
        self._read(self._measured_behind, self._told_behind)

    def settle(self) -> None:
        """Wait until every step that has ended is known."""
        self._read(0, 0)

    @property
    def elapsed(self) -> float:
        """Seconds of all steps that have ended; those not known yet as long as the last one that is."""
        unknown = len(self._unmeasured) + len(self._untold)
        return self.seconds + unknown * (self.step_seconds[-1] if self.step_seconds else 0.0)

    def _read(self, measured_behind: int, told_behind: int) -> None:
        while len(self._unmeasured) > measured_behind:
            begun, ended = self._unmeasured.popleft()
            mine = begun.seconds_until(ended) if self._world.is_main else 0.0
            self._untold.append(self._world.told_by_main(mine))
        while len(self._untold) > told_behind:
            self.step_seconds.append(self._untold.popleft()())
            self.seconds += self.step_seconds[-1]

    def _host_mark(self) -> "HostMark":
        return HostMark(self._now())


class HostMark:
    """A moment of the host's clock: on a CPU the work is done when the call returns."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def seconds_until(self, later: "HostMark") -> float:
        return later.moment - self.moment


class DeviceMark:
    """A moment that the GPU reaches when all that was queued before it is done."""

    def __init__(self) -> None:
        self.event = torch.cuda.Event(enable_timing=True)
        self.event.record()

    def seconds_until(self, later: "DeviceMark") -> float:
        later.event.synchronize()
        return self.event.elapsed_time(later.event) / 1000
