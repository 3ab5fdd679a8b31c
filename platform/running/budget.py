"""``--budget-usd`` and ``--budget-hours``: no trial is started that would make a launch cost more than it may.

What has ended counts as long as it took. What is out counts as it was quoted, or as long as it has run where that is
more; what would begin, as it is quoted. A quote may be wrong: trials that run are never ended for it.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..runs.plan import Failure, Trial
from ..words import HOUR_SECONDS, cost
from .cluster import Node
from .experiment import Experiment
from .observers import Observer
from .quote import Expected, Price, Work, expected


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What all trials of a launch may cost together; None: as much as they do."""

    hours: float | None = None  # of nodes
    usd: float | None = None

    def holds(self, node_seconds: float, usd: float) -> bool:
        within_hours = self.hours is None or node_seconds <= self.hours * HOUR_SECONDS
        return within_hours and (self.usd is None or usd <= self.usd)

    def __str__(self) -> str:
        hours = [] if self.hours is None else [f"{self.hours:g} node-hours"]
        return " and ".join([*hours, *([] if self.usd is None else [f"{self.usd:g} USD"])])


@dataclass(kw_only=True)
class _Out:
    """A trial that was let on."""

    work: Work
    began: float | None = None  # on the monotonic clock; None while it waits for its node

    @property
    def seconds(self) -> float:
        """Of all its nodes, so far."""
        return 0.0 if self.began is None else (time.monotonic() - self.began) * self.work.trial.nodes


class Budget(Observer):
    """Asked before each attempt, and told what becomes of it."""

    def __init__(self, limit: Limit, experiments: Sequence[Experiment]) -> None:
        """
        Raises:
            UserError: dollars are limited, and of an experiment nobody said a price.
        """
        self.limit = limit
        self.why = ""  # the last that was asked for was not allowed
        self._choices = {experiment.draft.run_path: experiment.choices for experiment in experiments}
        self._prices = {experiment.draft.run_path: Price.of(experiment) for experiment in experiments}
        self._over: list[tuple[Trial, float]] = []  # attempts that have ended, with their seconds
        self._out: dict[str, _Out] = {}
        self._expected: dict[Work, Expected] = {}  # until a trial ends, which may tell more
        for experiment in experiments if limit.usd is not None else ():
            price = self._prices[experiment.draft.run_path]
            if price.usd_per_hour is None:
                raise UserError(
                    f"--budget-usd {limit.usd:g}: of {experiment.name} nobody said what an hour of a node costs; say "
                    f"it as {price.where}, such as\n  cluster: {{usd_per_hour: 24}}\n"
                    f"or give --budget-hours, which needs no price"
                )

    def require_one(self, trials: Iterable[Trial]) -> None:
        """Refuse a budget that is too small for the first of ``trials`` that is not done.

        Raises:
            UserError: what that trial is expected to cost, and what it may.
        """
        first = next((trial for trial in trials if not trial.done), None)
        if first is not None and not self.fits_alone(first):
            raise UserError(f"a budget of {self.limit} is too small for the first trial: {self._said(first)}")

    def fits_alone(self, trial: Trial) -> bool:
        """Whether a launch with this budget can begin with ``trial``."""
        seconds = self._known_seconds(Work.of(trial))
        return self.limit.holds(seconds, self._usd(trial, seconds))

    def allows(self, trial: Trial) -> bool:
        """Whether ``trial`` may begin beside what is out. If so it counts as out from now on."""
        self._out.pop(trial.key, None)  # of a cluster that was lost before it began
        work = Work.of(trial)
        out = [(one.work.trial, max(one.seconds, self._known_seconds(one.work))) for one in self._out.values()]
        node_seconds, usd = self._sum([*self._over, *out])
        seconds = self._known_seconds(work)
        if not self.limit.holds(node_seconds + seconds, usd + self._usd(trial, seconds)):
            spent = cost(node_seconds, None if self.limit.usd is None else usd)
            self.why = f"{spent} of {self.limit} are spent; next would be {self._said(trial)}"
            return False
        self._out[trial.key] = _Out(work=work)
        return True

    def _known_seconds(self, work: Work) -> float:
        return self._quoted(work).known_seconds

    def _quoted(self, work: Work) -> Expected:
        if work not in self._expected:
            self._expected[work] = expected(work, self._choices.get(work.trial.run_path))
        return self._expected[work]

    def _sum(self, attempts: Iterable[tuple[Trial, float]]) -> tuple[float, float]:
        """Node-seconds and dollars."""
        both = [(seconds, self._usd(trial, seconds)) for trial, seconds in attempts]
        return sum(seconds for seconds, _ in both), sum(usd for _, usd in both)

    def _usd(self, trial: Trial, seconds: float) -> float:
        """0 where no price is known: dollars are then not limited."""
        price = self._prices.get(trial.run_path)
        return (price.usd(seconds) if price else None) or 0.0

    def _said(self, trial: Trial) -> str:
        quoted = self._quoted(Work.of(trial))
        seconds = quoted.known_seconds
        takes = cost(seconds, None if self.limit.usd is None else self._usd(trial, seconds))
        known = "" if quoted.seconds is not None else ", for its training alone"
        return f"{trial.name}, expected to take {takes}{known} ({quoted.how})"

    # What it is told.

    def started(self, trial: Trial) -> None:
        if (out := self._out.get(trial.key)) is not None:
            out.began = time.monotonic()

    def finished(self, trial: Trial) -> None:
        self._ended(trial)

    def failed(self, trial: Trial, failure: Failure) -> None:
        self._ended(trial)

    def retried(self, trial: Trial, failure: Failure, seconds: float) -> None:
        self._ended(trial)

    def given_up(self, trial: Trial) -> None:
        self._ended(trial)

    def _ended(self, trial: Trial) -> None:
        if (out := self._out.pop(trial.key, None)) is not None:
            self._over.append((trial, out.seconds))
        self._expected.clear()


def at_once(trial: Trial, nodes: Sequence[Node]) -> int:
    """How many trials like this one run at the same time on ``nodes``."""
    wants = [("cpus", trial.cpus), ("gpus", trial.gpus)]
    shares = sum(
        int(min(getattr(node, name) * trial.nodes // asked for name, asked in wants if asked)) for node in nodes
    )
    return shares // trial.nodes
