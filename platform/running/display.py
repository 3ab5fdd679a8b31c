"""The terminal while trials run: a calm table where there is a person, plain lines where there is a file.

All of it goes to standard error; standard output is for results.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..runs.plan import Failure, Trial
from .observers import Observer
from .progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Table

LINE_SECONDS = 15.0  # between plain lines of one trial in one phase
REFRESH_PER_SECOND = 2


@dataclass
class _Told:
    """What was last said of a trial in plain lines."""

    phase: tuple[str | None, tuple[str, ...]] | None = None
    at: float = -LINE_SECONDS


class Terminal(Observer):
    """Shows what happens."""

    def __init__(self) -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        self._table = _table(console) if console.is_terminal else None
        self._tasks: dict[str, int] = {}
        self._told: dict[str, _Told] = {}

    def planned(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._told[trial.key] = _Told()
            if self._table is not None:
                self._table.start()
                self._tasks[trial.key] = self._table.add_task(
                    "", start=False, name=trial.name, status="waits for its turn", style="dim"
                )

    def started(self, trial: Trial) -> None:
        if self._table is not None:
            self._table.start_task(self._tasks[trial.key])  # type: ignore[arg-type]
        self._say(trial, "starts")
        self._told[trial.key].phase = (None, ())

    def advanced(self, trial: Trial, progress: Progress) -> None:
        told, phase = self._told[trial.key], (progress.arm, progress.phases)
        if self._table is not None or phase != told.phase or time.monotonic() - told.at > LINE_SECONDS:
            self._say(trial, str(progress))
        told.phase = phase

    def finished(self, trial: Trial) -> None:
        scores = ", ".join(f"{arm} {bpb:.4f}" for arm, bpb in trial.scores().items())
        self._end(trial, f"done: {scores} bpb", "green")

    def failed(self, trial: Trial, failure: Failure) -> None:
        self._end(trial, f"failed: {failure.where}: {failure.said}", "red")

    def retried(self, trial: Trial, failure: Failure, seconds: float) -> None:
        again = f"attempt {failure.attempt + 1} in {seconds:.0f} s"
        self._say(trial, f"failed, by no fault of its own: {failure.where}: {failure.said}; {again}", "yellow")

    def given_up(self, trial: Trial) -> None:
        self._end(trial, "not run: given up", "yellow")

    def over_budget(self, trial: Trial, why: str) -> None:
        self._end(trial, "not run: budget", "yellow")

    def closed(self) -> None:
        if self._table is not None:
            self._table.stop()

    def _end(self, trial: Trial, text: str, style: str) -> None:
        self._say(trial, text, style)
        if self._table is not None:
            self._table.stop_task(self._tasks[trial.key])  # type: ignore[arg-type]

    def _say(self, trial: Trial, text: str, style: str = "") -> None:
        if self._table is not None:
            self._table.update(self._tasks[trial.key], status=text, style=style)  # type: ignore[arg-type]
            return
        self._told[trial.key].at = time.monotonic()
        print(f"{time.strftime('%H:%M:%S')} {trial.name}  {text}", file=sys.stderr, flush=True)


def _table(console: object) -> "Table":
    from rich.progress import Progress as Table
    from rich.progress import ProgressColumn, Task, TimeElapsedColumn
    from rich.text import Text

    class Field(ProgressColumn):
        """A text of ours, shown as it is: no markup."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def render(self, task: Task) -> Text:
            return Text(task.fields[self._name], style=task.fields["style"] if self._name == "status" else "")

    return Table(
        Field("name"),
        TimeElapsedColumn(),
        Field("status"),
        console=console,  # type: ignore[arg-type]
        refresh_per_second=REFRESH_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
    )
