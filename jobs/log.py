"""What rank 0 writes while it works: a log in the community's baseline dialect, and events for programs."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jobs.contract.assignment import LOG_FILE, METRICS_FILE
from jobs.contract.events import Event, PhaseChange, append

COMPILE = "compile"  # a phase inside of others: what torch.compile takes, whenever that is


class Log:
    """Lines to ``train.log`` and standard output, events to ``metrics.jsonl``; on other ranks it only keeps time."""

    def __init__(self, folder: Path, *, writes: bool, begin_with: str = "", compiles: bool = False) -> None:
        """``compiles``: whether something in its phases may; what that takes is then a phase of its own."""
        self.folder, self.writes, self._watches = folder, writes, compiles
        self.phases: dict[str, float] = {}
        self.started = time.perf_counter()
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / LOG_FILE).write_text(begin_with)
            (folder / METRICS_FILE).write_text("")

    def line(self, text: str) -> None:
        """One line of the log."""
        if self.writes:
            with (self.folder / LOG_FILE).open("a") as file:
                file.write(f"{text}\n")
            print(text, flush=True)

    def event(self, event: Event) -> None:
        """One line of metrics.jsonl, written whole."""
        if self.writes:
            append(self.folder / METRICS_FILE, event)

    def seconds(self) -> float:
        """Wall seconds since this log was opened."""
        return time.perf_counter() - self.started

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside, under ``name``; a name used again adds up."""
        begun = time.perf_counter()
        self.event(PhaseChange(phase=name, state="start", seconds=self.seconds()))
        try:
            with self._compilations():
                yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.perf_counter() - begun
            self.event(PhaseChange(phase=name, state="end", seconds=self.seconds()))

    @contextmanager
    def _compilations(self) -> Iterator[None]:
        """Inside, and inside of phases within, whatever torch compiles is in the phase COMPILE."""
        if not self._watches:
            yield
            return
        from torch._dynamo.callback import callback_handler

        self._watches, open_phase = False, ExitStack()
        begin = callback_handler.register_start_callback(lambda _: open_phase.enter_context(self.phase(COMPILE)))
        end = callback_handler.register_end_callback(lambda _: open_phase.close())
        try:
            yield
        finally:
            callback_handler.remove_start_callback(begin)
            callback_handler.remove_end_callback(end)
            self._watches = True
