"""Who looks on at a launch: terminal, event file, MLflow, what gives up; side by side, none leaning on another."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jobs.contract.events import Event, append

from ..errors import UserError, naming, of_file
from ..paths import shown
from ..runs.events import Ended, Failed, GaveUp, OverBudget, PhaseReached, Planned, Retried, Started, Stopped
from ..runs.paths import RunPaths
from ..runs.plan import Failure, Trial
from ..runs.spending import ENDS
from ..tracking.patience import Patience
from .progress import Progress

Note = Callable[[str], None]


class Observer:
    """What can be looked at. Called in the driver, one call at a time, while other trials go on; nothing may block."""

    def planned(self, trials: Sequence[Trial]) -> None:
        """These are going to run, some of them perhaps after others."""

    def started(self, trial: Trial) -> None: ...

    def advanced(self, trial: Trial, progress: Progress) -> None: ...

    def finished(self, trial: Trial) -> None:
        """Every arm that was asked for has its result."""

    def failed(self, trial: Trial, failure: Failure) -> None: ...

    def retried(self, trial: Trial, failure: Failure, seconds: float) -> None:
        """It failed by no fault of its own and will be tried again, after so many seconds."""

    def given_up(self, trial: Trial) -> None:
        """It was not run: no arm could win any more."""

    def over_budget(self, trial: Trial, why: str) -> None:
        """It was not run, or not again: the launch would cost more than it may."""

    def closed(self) -> None:
        """Nothing more comes, however the launch ended."""


class Observers(Observer):
    """Several observers as one. One that raises is told of and left out from then on: the trials are worth more."""

    def __init__(self, observers: Sequence[Observer], note: Note) -> None:
        self._observers, self._note = list(observers), note

    def _each(self, call: Callable[[Observer], None]) -> None:
        for observer in list(self._observers):
            try:
                call(observer)
            except Exception as error:
                self._observers.remove(observer)
                said = of_file(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                self._note(f"{type(observer).__name__} looks on no more: {said}")

    def planned(self, trials: Sequence[Trial]) -> None:
        self._each(lambda observer: observer.planned(trials))

    def started(self, trial: Trial) -> None:
        self._each(lambda observer: observer.started(trial))

    def advanced(self, trial: Trial, progress: Progress) -> None:
        self._each(lambda observer: observer.advanced(trial, progress))

    def finished(self, trial: Trial) -> None:
        self._each(lambda observer: observer.finished(trial))

    def failed(self, trial: Trial, failure: Failure) -> None:
        self._each(lambda observer: observer.failed(trial, failure))

    def retried(self, trial: Trial, failure: Failure, seconds: float) -> None:
        self._each(lambda observer: observer.retried(trial, failure, seconds))

    def given_up(self, trial: Trial) -> None:
        self._each(lambda observer: observer.given_up(trial))

    def over_budget(self, trial: Trial, why: str) -> None:
        self._each(lambda observer: observer.over_budget(trial, why))

    def closed(self) -> None:
        self._each(lambda observer: observer.closed())


class EventFile(Observer):
    """Writes ``launch.jsonl`` into the folder of each run: the history of all its launches."""

    def __init__(self, launch: str, prices: Mapping[Path, float | None] | None = None) -> None:
        """``launch`` names this one; ``prices``: USD of a node-hour, by the path of each run that has one."""
        self._launch, self._prices = launch, prices or {}
        self._running: dict[str, Trial] = {}
        self._phases: dict[str, tuple[str | None, str]] = {}

    def planned(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._write(trial, Planned, arms=trial.unscored_arms)

    def started(self, trial: Trial) -> None:
        self._running[trial.key] = trial
        self._write(trial, Started, usd_per_hour=self._prices.get(trial.run_path), nodes=trial.nodes)

    def advanced(self, trial: Trial, progress: Progress) -> None:
        if progress.phases and self._phases.get(trial.key) != (now := (progress.arm, progress.phases[-1])):
            self._phases[trial.key] = now
            self._write(trial, PhaseReached, arm=progress.arm, phase=progress.phases[-1])

    def finished(self, trial: Trial) -> None:
        self._write(trial, Ended, val_bpb=trial.scores())

    def failed(self, trial: Trial, failure: Failure) -> None:
        self._write(trial, Failed, **_told(failure))

    def retried(self, trial: Trial, failure: Failure, seconds: float) -> None:
        self._write(trial, Retried, **_told(failure), seconds=seconds)

    def given_up(self, trial: Trial) -> None:
        self._write(trial, GaveUp)

    def over_budget(self, trial: Trial, why: str) -> None:
        self._write(trial, OverBudget, reason=why)

    def closed(self) -> None:
        for trial in list(self._running.values()):
            self._write(trial, Stopped)

    def _write(self, trial: Trial, kind: type[Event], **values: object) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        event = kind(**{"time": now, "launch": self._launch, "seed": trial.seed, **values})
        path = RunPaths(trial.run_path).events
        with naming(path):
            append(path, event)
        if kind in ENDS:
            self._running.pop(trial.key, None)


def _told(failure: Failure) -> dict[str, object]:
    return {name: getattr(failure, name) for name in ("phase", "arm", "reason", "arms", "cause", "node", "attempt")}


class Recorder(Observer):
    """Copies what happens to MLflow: in one thread, so that there is one writer and no trial waits for it."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience

    def planned(self, trials: Sequence[Trial]) -> None:
        for run_path in dict.fromkeys(trial.run_path for trial in trials):
            self._record(run_path)

    def finished(self, trial: Trial) -> None:
        self._record(trial.run_path)

    def failed(self, trial: Trial, failure: Failure) -> None:
        self._record(trial.run_path)

    def given_up(self, trial: Trial) -> None:
        self._record(trial.run_path)

    def over_budget(self, trial: Trial, why: str) -> None:
        self._record(trial.run_path)

    def closed(self) -> None:
        """What has not been begun is left to the end of the launch."""
        self._patience.drop()

    def _record(self, run_path: Path) -> None:
        from ..tracking import tracker

        self._patience.later(lambda waiting: tracker.record(run_path, launching=True, waiting=waiting))


class Judge(Observer):
    """Decides after each trial whether the seeds of its run that are left are worth running."""

    def __init__(self, bar: str, note: Note) -> None:
        """``bar``: what has to be beaten, a score or a folder with some.

        Raises:
            UserError: it is neither.
        """
        from . import giving_up

        self._bar, self._note = giving_up.bar_of(bar), note
        self._told: set[Path] = set()

    def planned(self, trials: Sequence[Trial]) -> None:
        for run_path in dict.fromkeys(trial.run_path for trial in trials):
            self._judge(run_path)

    def finished(self, trial: Trial) -> None:
        self._judge(trial.run_path)

    def failed(self, trial: Trial, failure: Failure) -> None:
        self._judge(trial.run_path)

    def _judge(self, run_path: Path) -> None:
        from . import giving_up

        try:
            found = giving_up.judge(run_path, self._bar)
        except (UserError, ValueError) as error:  # the trials are worth more than the verdict on them
            self._note(f"{shown(run_path)}: not judged: {error}")
            return
        if found and run_path not in self._told:
            self._told.add(run_path)
            self._note(f"{shown(run_path)}: {found}")
