"""What rank 0 writes while it works: a log in the community's baseline dialect, and events for programs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.contract.assignment import LOG_FILE, METRICS_FILE
from jobs.contract.events import Event, PhaseChange, append


class Log:
    """Lines to ``train.log`` and standard output, events to ``metrics.jsonl``; on other ranks it only keeps time."""

    def __init__(self, folder: Path, *, writes: bool, begin_with: str = "") -> None:
        self.folder, self.writes = folder, writes
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
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.perf_counter() - begun
            self.event(PhaseChange(phase=name, state="end", seconds=self.seconds()))
