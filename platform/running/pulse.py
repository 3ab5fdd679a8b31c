"""Whether the Ray cluster under a launch still lives: Ray itself may say nothing for minutes, or for ever."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from ..errors import EXIT_RUN_FAILED

LOOK_SECONDS = 1.0
KNOCK_SECONDS = 5.0  # between two tries to reach a cluster that is not ours, and for each of them
ESCAPE_SECONDS = 120.0  # for everything that still waits for a cluster that is gone
KNOCKS = 4  # that nobody answers, one after the other, until it counts as gone


class Pulse:
    """Looks again and again, in a thread, until the block ends; ``lost`` says what died, once something has."""

    def __init__(self, look: Callable[[], str | None], seconds: float) -> None:
        """``look`` says what died; None while all is well. It is asked every ``seconds``."""
        self.lost: str | None = None
        self.tell: Callable[[str], None] = lambda _: None  # told at once, while others may still wait for an answer
        self.when_lost: Callable[[], None] = lambda: None
        self._look, self._seconds = look, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pulse", daemon=True)

    @classmethod
    def of_private(cls) -> "Pulse":
        """Of the cluster that this process has started: its processes are here."""
        import ray

        found = ray._private.worker._global_node.all_processes
        ours = [(kind, started.process) for kind in ("raylet", "gcs_server") for started in found[kind]]

        def look() -> str | None:
            return next((f"Ray's {kind} died" for kind, process in ours if process.poll() is not None), None)

        return cls(look, LOOK_SECONDS)

    @classmethod
    def of(cls, address: str) -> "Pulse":
        """Of a cluster somewhere, ``HOST:PORT``."""
        host, _, port = address.rpartition(":")
        missed = 0

        def look() -> str | None:
            nonlocal missed
            try:
                socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
                missed = 0
            except OSError:
                missed += 1
            silent = f"the cluster at {address} has not answered for {missed * KNOCK_SECONDS:.0f} s"
            return silent if missed >= KNOCKS else None

        return cls(look, KNOCK_SECONDS)

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while self.lost is None and not self._over.wait(self._seconds):
            self.lost = self._look()
        if self.lost is not None:
            self.tell(f"{self.lost}: what has ended is kept")
            self.when_lost()


class Escape:
    """Around all that is done with Ray: once armed, it ends the process where the block does not end in time.

    A call to a cluster that is gone may never return, and no signal reaches it. The watcher of the launch ends what is
    left.
    """

    def __init__(self, seconds: float = ESCAPE_SECONDS) -> None:
        self._timer = threading.Timer(seconds, self._out)
        self._timer.daemon = True

    def __enter__(self) -> "Escape":
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def arm(self) -> None:
        self._timer.start()

    def _out(self) -> None:
        print("Ray holds the launch and is gone. What has ended is kept; the same command continues", file=sys.stderr)
        sys.stderr.flush()
        os._exit(EXIT_RUN_FAILED)


class Late(Exception):
    """Raised into a block that took too long."""


@contextlib.contextmanager
def interrupted(seconds: float) -> Iterator[None]:
    """Raises Late in the block where it takes longer; only in the main thread, elsewhere it may take what it takes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise Late(f"not within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
