"""Whether the Ray cluster under a launch still lives: Ray itself may say nothing for minutes, or for ever."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

LOOK_SECONDS = 1.0
KNOCK_SECONDS = 5.0  # between two tries to reach a cluster that is not ours, and for each of them
KNOCKS = 4  # that nobody answers, one after the other, until it counts as gone


class Pulse:
    """Looks again and again, in a thread, until the block ends; ``lost`` says what died, once something has."""

    def __init__(self, look: Callable[[], str | None], seconds: float) -> None:
        """``look`` says what died; None while all is well. It is asked every ``seconds``."""
        self.lost: str | None = None
        self.tell: Callable[[str], None] = lambda _: None  # told at once, while others may still wait for an answer
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
            self.tell(f"{self.lost}: what has ended is kept, the rest goes to another start of Ray")


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
