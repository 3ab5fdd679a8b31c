"""The terminal while trials run: a calm table where there is a person, plain lines where there is a file.

All of it goes to standard error; standard output is for results.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from jobs.contract.records import read_result

from ..runs.plan import Failure, Trial
from .progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

LINE_SECONDS = 15.0  # between plain lines of one trial in one phase
REFRESH_PER_SECOND = 2


@dataclass
class _Row:
    text: str = "waits for its turn"
    style: str = "dim"
    begun: float | None = None
    ended: float | None = None
    phase: tuple[str | None, tuple[str, ...]] | None = None
    told: float = field(default=-LINE_SECONDS)

    def clock(self) -> str:
        if self.begun is None:
            return ""
        seconds = int((self.ended or time.monotonic()) - self.begun)
        return f"{seconds // 60}:{seconds % 60:02}"


class Display:
    """Shows what ``tuning.run_trials`` tells its observer; a context manager around it."""

    def __init__(self, trials: Sequence[Trial], ended: Callable[[Trial], None]) -> None:
        """``ended`` is called with each trial that finished or failed."""
        from rich.console import Console
        from rich.live import Live

        self._ended = ended
        self._rows = {trial.name: _Row() for trial in trials}
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._table,
                console=self._console,
                refresh_per_second=REFRESH_PER_SECOND,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def started(self, trial: Trial) -> None:
        row = self._rows[trial.name]
        row.begun, row.style, row.phase = time.monotonic(), "", (None, ())
        self._say(trial, "starts")

    def advanced(self, trial: Trial, progress: Progress) -> None:
        row = self._rows[trial.name]
        phase = (progress.arm, progress.phases)
        row.text = str(progress)
        if phase != row.phase or time.monotonic() - row.told > LINE_SECONDS:
            self._say(trial, row.text)
        row.phase = phase

    def finished(self, trial: Trial) -> None:
        scores = {arm: read_result(trial.paths.arm(arm).result).val_bpb for arm in trial.arms}
        self._end(trial, "done: " + ", ".join(f"{arm} {bpb:.4f}" for arm, bpb in scores.items()) + " bpb", "green")

    def failed(self, trial: Trial, failure: Failure) -> None:
        where = f"{failure.phase} {failure.arm}" if failure.arm else failure.phase
        self._end(trial, f"failed: {where}: {failure.reason}", "red")

    def given_up(self, trial: Trial) -> None:
        self._end(trial, "not run: given up", "yellow")

    def _end(self, trial: Trial, text: str, style: str) -> None:
        row = self._rows[trial.name]
        row.text, row.style, row.ended = text, style, time.monotonic()
        self._say(trial, text)
        self._ended(trial)

    def _say(self, trial: Trial, text: str) -> None:
        row = self._rows[trial.name]
        row.text = text
        if not self._live:
            row.told = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {trial.name}  {text}", file=sys.stderr, flush=True)

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column()
        for name, row in self._rows.items():
            grid.add_row(Text(name), Text(row.clock()), Text(row.text, style=row.style))
        return grid
