"""Being told to stop: Ctrl-C, a batch system's SIGTERM, a closed terminal."""

import signal
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Around what has to end in good order: the first signal ends the block with KeyboardInterrupt, further ones wait.

    A signal that somebody had us ignore (nohup, a shell's background job) stays ignored.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        """``note`` is told at once which signal came."""
        self.number = signal.SIGINT  # the signal that came
        self._note = note
        self._before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self._heeded = [number for number, handler in self._before.items() if handler is not signal.SIG_IGN]

    def __enter__(self) -> "Stop":
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Put our handlers in place, also after somebody has put others there."""
        for number in self._heeded:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        for heeded in self._heeded:
            signal.signal(heeded, signal.SIG_IGN)  # an impatient second Ctrl-C would cut the end short
        self.number = signal.Signals(number)
        self._note(f"{self.number.name}: ending the jobs, some seconds")
        raise KeyboardInterrupt
