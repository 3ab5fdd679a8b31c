"""The attempts that a launch has yet to make, and those that are out."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..runs.plan import Trial


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a trial."""

    trial: Trial
    number: int = 1  # of this launch
    avoid: tuple[str, ...] = ()  # ids of nodes on which it failed before


class Feed:
    """Attempts in order; more may be added, from any thread, until it is closed and the last one is over."""

    def __init__(
        self, trials: Iterable[Trial] = (), *, may_begin: Callable[[Trial, int], bool] = lambda trial, out: True
    ) -> None:
        """``may_begin``: whether one may, beside so many that are out; what may not waits until one of those is over,
        and where none is, everything that waits is held back."""
        self.held_back: list[Attempt] = []  # that will not be made
        self._may_begin = may_begin
        self._lock = threading.Lock()
        self._waiting: list[tuple[float, Attempt]] = []  # from when on, on the monotonic clock
        self._out: dict[str, Attempt] = {}  # by the trial's key, as below
        self._nodes: dict[str, tuple[str, str]] = {}
        self._numbers: dict[str, int] = {}
        self._closed = False
        self.add(trials)

    def add(self, trials: Iterable[Trial]) -> None:
        """First attempts."""
        assert not self._closed, "closed before"
        with self._lock:
            self._waiting += [(0.0, Attempt(trial=trial)) for trial in trials]

    def again(self, attempt: Attempt, *, seconds: float) -> None:
        """One more attempt at a trial that is out, not before so many ``seconds``; it counts as over then."""
        with self._lock:
            self._waiting.append((time.monotonic() + seconds, attempt))

    def close(self) -> None:
        """No more trials come: whoever runs them ends when the last is over."""
        self._closed = True

    @property
    def exhausted(self) -> bool:
        with self._lock:
            return self._closed and not self._waiting and not self._out

    def next(self) -> Attempt | None:
        """The next one whose time has come and that may begin; None where there is none now."""
        with self._lock:
            now = time.monotonic()
            for place, (ready, attempt) in enumerate(self._waiting):
                if ready <= now and attempt.trial.key not in self._out:
                    if not self._may_begin(attempt.trial, len(self._out)):
                        self._hold_back()
                        return None
                    del self._waiting[place]
                    self._out[attempt.trial.key] = attempt
                    self._numbers[attempt.trial.key] = attempt.number
                    self._nodes.pop(attempt.trial.key, None)
                    return attempt
        return None

    def _hold_back(self) -> None:
        if not self._out:
            self.held_back += [attempt for _, attempt in self._waiting]
            self._waiting.clear()

    def placed(self, trial: Trial, name: str, node_id: str) -> None:
        """The attempt at this trial that is out runs on this node."""
        self._nodes[trial.key] = (name, node_id)

    def node_of(self, trial: Trial) -> tuple[str, str]:
        """Name and id of the node that ran this trial last; empty where none has said so."""
        return self._nodes.get(trial.key, ("", ""))

    def number_of(self, trial: Trial) -> int:
        """Which attempt at this trial is out, or was; 0 before the first."""
        return self._numbers.get(trial.key, 0)

    def over(self, trial: Trial) -> None:
        """The attempt at this trial that was out has ended, however it did."""
        with self._lock:
            self._out.pop(trial.key, None)

    def taken_back(self) -> list[Attempt]:
        """Who ran them is gone: all that were out are out no more."""
        with self._lock:
            attempts = list(self._out.values())
            self._out.clear()
        return attempts
