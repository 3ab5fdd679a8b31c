"""MLflow in a thread of its own, so that no trial waits for it, and a limit to how long anybody else does.

What is called there says what it waits for. The thread is a daemon: a server that never answers does not keep the
process from ending. After one failure nothing more is tried: the files are there, and MLflow is a copy of them.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ..errors import RunFailed, UserError

T = TypeVar("T")
Waiting = Callable[[str | None], None]  # told what is waited for, perhaps again and again; None: for nothing any more
Call = Callable[[Waiting], T]

# How long a request waits and how often it is tried again, where nobody has set MLflow's own variables. MLflow's 120 s
# and 7 times would hold a launch for a quarter of an hour.
REQUEST_SECONDS, RETRIES = 15, 2
REQUESTS = 4  # that long remain unanswered until nobody waits any more: 60 s
QUIET_SECONDS = 2.0  # of waiting for one thing that are neither told nor counted
POLL_SECONDS = 0.1
NO_MORE = "Nothing more goes to MLflow in this launch; the results are safe in their files."


def unasked(_: str | None) -> None:
    """Where nobody wants to know what is waited for."""


def limit_seconds() -> float:
    """How long MLflow may be waited for without an answer, in one command; sets MLflow's variables where nobody has.

    Raises:
        UserError: MLFLOW_HTTP_REQUEST_TIMEOUT is set, and not to a number.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))
    try:
        return REQUESTS * int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
    except ValueError as error:
        raise UserError(f"MLFLOW_HTTP_REQUEST_TIMEOUT: {error}; whole seconds belong there, such as 15") from None


class Patience:
    """Calls to MLflow, one at a time and in order, until one fails."""

    def __init__(self, note: Callable[[str], None]) -> None:
        """``note`` is told what a person should read. Raises UserError as ``limit_seconds``."""
        self._note = note
        self._limit_seconds = self._left_seconds = limit_seconds()
        self._calls: SimpleQueue[tuple[Call[Any], Future[Any] | None]] = SimpleQueue()
        self._waits: tuple[str, float] | None = None  # for what, and since when
        self._failure: str | None = None
        threading.Thread(target=self._work, name="mlflow", daemon=True).start()

    def later(self, call: Call[object]) -> None:
        """Do this while others go on. A failure is told when it comes, and once more by the next ``now``."""
        self._calls.put((call, None))

    def now(self, call: Call[T]) -> T:
        """Wait for this, and for what has begun before it; what has not begun is dropped.

        Raises:
            RunFailed: it failed, something before it has, or the limit of waiting is reached; says what and why.
            UserError: of the call.
        """
        self.drop()
        if self._failure is not None:
            raise RunFailed(self._failure)
        future, told = Future[T](), None
        self._calls.put((call, future))
        while not wait([future], POLL_SECONDS).done:
            waits = self._waits
            if waits is None or time.monotonic() - waits[1] < QUIET_SECONDS:
                continue
            if waits[0] != told:
                told = waits[0]
                self._note(f"waiting for {told}: {self._left_seconds:.0f} s at most")
            self._left_seconds -= POLL_SECONDS
            if self._left_seconds < 0:
                self._failure = f"waited {self._limit_seconds:.0f} s for {told}, in vain"
                raise RunFailed(self._failure)
        return future.result()

    def drop(self) -> None:
        """Forget what has not begun."""
        with suppress(Empty):
            while True:
                self._calls.get_nowait()

    def _work(self) -> None:
        while True:
            call, future = self._calls.get()
            try:
                if self._failure is not None:
                    raise RunFailed(self._failure)
                result = call(self._waiting)
            except Exception as error:
                broken = not isinstance(error, UserError)  # that one is about the files of a run
                if future is None and broken and self._failure is None:
                    self._note(f"{error}\n{NO_MORE}")
                self._failure = self._failure or (str(error) if broken else None)
                if future is not None:
                    future.set_exception(error)
            else:
                if future is not None:
                    future.set_result(result)

    def _waiting(self, what: str | None) -> None:
        if self._failure is not None:  # nobody waits any more
            raise RunFailed(self._failure)
        if what is None:
            self._waits = None
        elif self._waits is None or self._waits[0] != what:
            self._waits = (what, time.monotonic())
