"""A launch as a function: experiments and seeds in, what became of each trial out.

    outcome = launch(experiments, seeds, connect=lambda cpus: connected(None, cpus=cpus, launch=name), observers=[...])

What runs is written down first (plan.json), what is done already is not run again, what was interrupted continues.
Before the first trial every arm is audited. Whoever looks on is an observer; ``Launch`` is the same with trials that
are added while others run.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import UserError, refusing
from ..paths import shown
from ..runs import plan, planning
from ..runs.audits import FAILED, UNAUDITED, Audit
from ..runs.plan import Failure, Trial
from ..words import counted
from . import audit, home
from .budget import Budget, at_once
from .cluster import Cluster, ClusterLost, Node, require_node
from .experiment import Experiment
from .failures import of_cluster
from .feed import Attempt, Feed
from .observers import Note, Observer, Observers
from .progress import Progress
from .tuning import run_trials

RETRIES = 2  # of a trial, and of the cluster itself
BACKOFF_SECONDS = 10.0  # before the first; twice as long before each further one
State = Literal["done", "failed", "given up", "not run: budget", "not run"]


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """What became of one trial."""

    trial: Trial
    state: State
    failure: Failure | None  # of this launch; None where it has not failed in it
    ran: bool  # in this launch; otherwise it was done before, or never begun


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a launch."""

    trials: tuple[TrialOutcome, ...]
    audits: tuple[Audit, ...]
    held_back: tuple[Trial, ...] = ()  # that the budget does not allow to run, or to run again

    @property
    def unaudited(self) -> tuple[str, ...]:
        """Of each arm whose audit came to no end: which, and why."""
        return tuple(
            f"{found.recipe}: {found.said(arm)}"
            for found in self.audits
            for arm in found.unaudited
            if found.arms[arm].verdict.startswith(f"{FAILED}:")
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Trials that are planned and audited: what ``Launch.run`` takes."""

    trials: tuple[Trial, ...]
    audits: tuple[Audit, ...]

    @property
    def todo(self) -> list[Trial]:
        """Those without all their results, in an order in which those that share a trunk are not side by side."""
        return trunks_apart([trial for trial in self.trials if not trial.done])


Connect = Callable[[int], AbstractContextManager[Cluster]]


def launch(
    experiments: Sequence[Experiment],
    seeds: tuple[int, ...],
    *,
    connect: Connect,
    observers: Sequence[Observer] = (),
    force: bool = False,
    kernel: str | None = None,
    retries: int = RETRIES,
    budget: Budget | None = None,
    note: Note = lambda _: None,
) -> Outcome:
    """Plan, audit and run every experiment with every seed.

    Args:
        connect: from the CPUs of the largest job to the cluster to run on; not called where nothing is to run.
        observers: told of everything that happens.
        force: train even what cannot fit the limit of bytes.
        kernel: of attention, for every job; None: each job takes the fastest that works where it runs.
        retries: of a trial that the infrastructure has lost.
        budget: what all of it may cost.
        note: told what a person should read; lines without an end.

    Raises:
        UserError: something cannot run as it is; nothing was started.
        RunFailed: an arm is not what its program declares, or the cluster does not start.
    """
    batch = prepared(experiments, seeds, force=force, kernel=kernel, note=note)
    running = Launch(observers, retries=retries, budget=budget, note=note)
    running.add(batch)
    running.close()
    return running.run(connect)


@refusing("keep the results elsewhere: --runs DIR")
def prepared(
    experiments: Sequence[Experiment],
    seeds: tuple[int, ...],
    *,
    note: Note,
    force: bool = False,
    kernel: str | None = None,
) -> Batch:
    """Write down what will run, and audit it.

    Raises:
        UserError: a run cannot go on with what is asked for.
        RunFailed: an arm is not what its program declares.
    """
    for experiment in experiments:  # all of them, before the first is written
        planning.preview(experiment.draft, seeds, experiment.arms)
    for experiment in experiments:
        if lost := planning.remade(experiment.draft.run_path):
            note(lost)
    planned = {experiment.draft.run_path: experiment.planned(seeds) for experiment in experiments}
    trials = tuple(
        replace(
            planned[experiment.draft.run_path].trial(seed, experiment.arms),
            force=force,
            kernel=kernel,
            places=experiment.places,
        )
        for seed in seeds
        for experiment in experiments
    )
    for trial in trials:
        plan.clear_failure(planned[trial.run_path].trial(trial.seed))
    for run_path in planned:
        plan.clear_given_up(run_path)
        done = [trial.done for trial in trials if trial.run_path == run_path]
        note(f"{shown(run_path)}: {counted(len(done), 'trial')}, {sum(done)} done already")
    return Batch(trials=trials, audits=tuple(_audited(experiment, note) for experiment in experiments))


def _audited(experiment: Experiment, note: Note) -> Audit:
    found = audit.of_experiment(experiment)
    audit.require_agreement(found)
    for arm in found.unaudited:
        note(f"{experiment.name}: {found.said(arm)}")
        if found.arms[arm].verdict.startswith(f"{UNAUDITED}:") and experiment.choices is not None:
            note("How it is made small can be said in the recipe, under scales: {smoke: ...}")
    return found


class Launch(Observer):
    """Trials of one cluster; ``add`` may be called, from observers and other threads too, until ``close`` is."""

    def __init__(
        self, observers: Sequence[Observer], *, retries: int = RETRIES, budget: Budget | None = None, note: Note
    ) -> None:
        self._retries, self._budget, self._note = retries, budget, note
        self._feed = Feed(may_begin=self._may_begin)
        self._nodes: tuple[Node, ...] = ()  # of the cluster that it runs on
        self._batches: list[Batch] = []
        self._observers = Observers([*observers, *([budget] if budget else [])], note)
        self._failures: dict[str, Failure] = {}
        self._ran: set[str] = set()
        self._running: dict[str, Progress] = {}  # how far each is
        self._avoid: dict[str, tuple[str, ...]] = {}  # the nodes that have lost it
        self._cpus = 1

    def add(self, batch: Batch) -> None:
        """Run what is to be run of ``batch``, as soon as there is room."""
        self._batches.append(batch)
        todo = batch.todo
        self._cpus = max([self._cpus, *(trial.cpus for trial in todo)])
        if todo:
            self._observers.planned(todo)
        for trial in todo:
            if _is_given_up(trial):
                self._observers.given_up(trial)
            else:
                self._feed.add([trial])

    def close(self) -> None:
        """No more is added: ``run`` ends with the last trial."""
        self._feed.close()

    def run(self, connect: Connect) -> Outcome:
        """Run what was added and what will be; returns when it is closed and the last trial has ended.

        Raises:
            UserError: no node of the cluster can hold a trial.
            RunFailed: the cluster does not start.
        """
        try:
            losses = 0
            while not self._feed.exhausted:
                private = True
                try:
                    # Ray prints what it has to say to the place that is for results.
                    with redirect_stdout(sys.stderr), connect(self._cpus) as cluster:
                        private = cluster.is_private
                        cluster.pulse.tell, self._nodes = self._note, cluster.nodes
                        require_node([trial for batch in self._batches for trial in batch.todo], cluster.nodes)
                        served = self._home(cluster)
                        run_trials(self._feed, cluster, self)
                        del served
                except ClusterLost as error:
                    losses += 1
                    goes_on = private and losses <= self._retries
                    self._lost(str(error), goes_on=goes_on)
                    if not goes_on:
                        break
            for attempt in self._feed.held_back:
                self._observers.over_budget(attempt.trial, self._budget.why if self._budget else "")
        finally:
            self._observers.closed()
        return self.outcome()

    def _home(self, cluster: Cluster) -> object:
        """What serves the files of this launch to nodes that do not see them, as long as it is kept."""
        if cluster.is_private:
            return None
        trials = [trial for batch in self._batches for trial in batch.todo]
        read = {path for trial in trials for path in (trial.data_path, trial.tokenizer_path)}
        return home.started(cluster.launch, {trial.run_path.parent for trial in trials}, read)

    def _may_begin(self, trial: Trial, out: int) -> bool:
        """With a budget, what may begin is decided when it can begin, and no earlier: then most is known."""
        if self._budget is None:
            return True
        return (not out or out < at_once(trial, self._nodes)) and self._budget.allows(trial)

    def _lost(self, why: str, *, goes_on: bool) -> None:
        """The cluster is gone: what has all its results has ended, what ran has failed, what waited waits again."""
        for attempt in self._feed.taken_back():
            trial = attempt.trial
            latest = self._running.get(trial.key)
            if latest is None:
                if goes_on:
                    self._feed.again(attempt, seconds=0)
            elif trial.done:
                self.finished(trial)
            else:
                failure = of_cluster(attempt, latest, why, self._feed.node_of(trial)[0])
                self.failed(trial, failure if goes_on else replace(failure, blameless=()))

    def outcome(self) -> Outcome:
        """What became of everything that was added, as far as it is known now."""
        return Outcome(
            trials=tuple(self._outcome_of(trial) for batch in self._batches for trial in batch.trials),
            audits=tuple(found for batch in self._batches for found in batch.audits),
            held_back=tuple(attempt.trial for attempt in self._feed.held_back),
        )

    def _outcome_of(self, trial: Trial) -> TrialOutcome:
        failure = None if trial.done else self._failures.get(trial.key)
        return TrialOutcome(
            trial=trial, state=self._state_of(trial, failure), failure=failure, ran=trial.key in self._ran
        )

    def _state_of(self, trial: Trial, failure: Failure | None) -> State:
        if trial.done:
            return "done"
        if failure:
            return "failed"
        if _is_given_up(trial):
            return "given up"
        held_back = any(attempt.trial.key == trial.key for attempt in self._feed.held_back)
        return "not run: budget" if held_back else "not run"

    # What ``run_trials`` tells; it goes on to the observers.

    def started(self, trial: Trial) -> None:
        self._ran.add(trial.key)
        self._running[trial.key] = Progress()
        self._observers.started(trial)

    def advanced(self, trial: Trial, progress: Progress) -> None:
        self._running[trial.key] = progress
        self._observers.advanced(trial, progress)

    def finished(self, trial: Trial) -> None:
        self._running.pop(trial.key, None)
        self._observers.finished(trial)

    def failed(self, trial: Trial, failure: Failure) -> None:
        self._running.pop(trial.key, None)
        self._failures[trial.key] = failure
        number = self._feed.number_of(trial)
        if not failure.blameless or number > self._retries:
            self._observers.failed(trial, failure)
            return
        _, node_id = self._feed.node_of(trial)
        self._avoid[trial.key] = (*self._avoid.get(trial.key, ()), *([node_id] if node_id else []))
        seconds = BACKOFF_SECONDS * 2 ** (number - 1)
        self._observers.retried(trial, failure, seconds)
        again = replace(trial, arms=failure.blameless)
        self._feed.again(Attempt(trial=again, number=number + 1, avoid=self._avoid[trial.key]), seconds=seconds)

    def given_up(self, trial: Trial) -> None:
        self._running.pop(trial.key, None)
        self._observers.given_up(trial)


def _is_given_up(trial: Trial) -> bool:
    try:
        return plan.read_given_up(trial.run_path) is not None
    except UserError:
        return False


def trunks_apart(trials: Sequence[Trial]) -> list[Trial]:
    """``trials`` in an order in which those that share a trunk are not side by side: the second would only wait."""
    seen: dict[Path, int] = {}
    rounds = []
    for trial in trials:
        rounds.append(seen.get(trial.trunk_path, 0))
        seen[trial.trunk_path] = rounds[-1] + 1
    return [trial for _, trial in sorted(zip(rounds, trials, strict=True), key=lambda pair: pair[0])]
