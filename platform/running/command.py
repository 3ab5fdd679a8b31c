"""What ``platform.launch`` does around a launch: from its options to experiments, and from the outcome to reports."""

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import EXIT_WRONG_INPUT, RunFailed, UserError, of_file, refusing
from ..paths import shown
from ..processes import scratch
from ..program import size
from ..program.squeeze import Form
from ..reports import build, files, tables
from ..reports.build import Report
from ..runs import plan
from ..runs.plan import RECORD_PROCESSES
from ..runs.results import read_run
from ..scripts.recipe import settings_from
from ..tracking.address import Address
from ..tracking.patience import Patience
from ..words import counted
from . import cluster, preview, quote, room
from .budget import Budget, Limit
from .display import Terminal
from .experiment import Experiment, Request, prepare
from .launch import Outcome, launch
from .observers import EventFile, Judge, Observer, Recorder
from .stop import Stop

BUDGETS = ("--budget-hours", "--budget-usd")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command, as they were typed."""

    recipes: tuple[Path, ...]
    seeds: str
    scale: str | None
    arms: str
    end_to_end: str | None
    squeeze: bool
    packed: bool
    runs: Path
    data: Path | None
    tokenizer: Path | None
    cluster: str | None
    stop_when_hopeless: str | None
    budget_hours: float | None
    budget_usd: float | None
    max_retries: int
    force: bool
    kernel: str | None
    settings: tuple[str, ...]
    allow_ignored: bool
    dry_run: bool

    @staticmethod
    def plain(**options: Any) -> "Asked":
        """These options, and nothing else asked for."""
        nothing: dict[str, Any] = {"recipes": (), "seeds": "", "arms": "", "end_to_end": None, "squeeze": False}
        nothing |= {"packed": False, "stop_when_hopeless": None, "budget_hours": None, "budget_usd": None}
        return Asked(**{**nothing, "force": False, "kernel": None, **options})

    def of(self, recipe: Path, seeds: str) -> "Asked":
        """The same of this recipe and these seeds."""
        return replace(self, recipes=(recipe,), seeds=seeds)

    @property
    def limit(self) -> Limit | None:
        """What it may cost, where that is limited."""
        if self.budget_hours is None and self.budget_usd is None:
            return None
        return Limit(hours=self.budget_hours, usd=self.budget_usd)

    @property
    def request(self) -> Request:
        """How its experiments are made. Raises UserError where options exclude each other."""
        arms = tuple(name.strip() for name in self.arms.split(",") if name.strip())
        if arms and self.end_to_end:
            raise UserError("--arms and --end-to-end exclude each other: an end-to-end run has one arm")
        return Request(
            scale=self.scale,
            arms=arms,
            runs=self.runs,
            data=self.data,
            tokenizer=self.tokenizer,
            make_data=not self.dry_run,
            form=Form.PACKED if self.packed else Form.SQUEEZED if self.squeeze else Form.READABLE,
            end_to_end=self.end_to_end,
            settings=settings_from(self.settings),
            allow_ignored=self.allow_ignored,
        )


def run(asked: Asked) -> None:
    """Do what was asked, and print what came of it.

    Raises:
        UserError: something in the command or a recipe is wrong; nothing was started.
        RunFailed: some trial, audit or record failed; everything that is done is kept and reported.
    """
    stop = Stop(note=_note)
    try:
        with stop:
            _run(asked, stop)
    except KeyboardInterrupt:
        _note("stopped. What is done is kept, nothing is left running. The same command continues:")
        _note(f"  {_command()}")
        sys.exit(128 + stop.number)


def _run(asked: Asked, stop: Stop) -> None:
    seeds, name = plan.seeds_from(asked.seeds), f"{os.getpid()}-{os.urandom(6).hex()}"
    judge = None if asked.stop_when_hopeless is None else Judge(asked.stop_when_hopeless, _note)
    with refusing():
        experiments = [prepare(path, asked.request) for path in asked.recipes]
    _refuse_twice(experiments)
    budget = None if asked.limit is None else Budget(asked.limit, experiments)
    trials = [trial for experiment in experiments for trial in experiment.trials(seeds)]
    if asked.dry_run:
        reasons = preview.show(experiments, seeds, asked.cluster, force=asked.force)
        if budget is not None:
            budget.require_one(trials)
        if reasons:
            sys.exit(EXIT_WRONG_INPUT)
        return
    with refusing():
        _preflight(experiments, seeds, asked)
        scratch.remove_old()
    if budget is not None:
        budget.require_one(trials)
    for experiment in experiments:
        for line in experiment.remarks:
            _note(f"{experiment.name}: at scale {experiment.draft.scale}, {line}")
        for line in quote.lines(experiment, seeds):
            _note(f"{experiment.name}: cost {line}")
        if judge is None:  # whatever an earlier launch gave up: now every seed is wanted
            plan.write_given_up(experiment.draft.run_path, None)
    Address.of(asked.runs)  # raises where what the environment names cannot be read
    patience = Patience(_note)
    prices = {experiment.draft.run_path: quote.Price.of(experiment).usd_per_hour for experiment in experiments}
    observers: list[Observer] = [*([judge] if judge else []), EventFile(name, prices), Recorder(patience), Terminal()]
    begun = time.monotonic()
    outcome = launch(
        experiments,
        seeds,
        connect=lambda cpus: _connected(asked.cluster, cpus, name, stop),
        observers=observers,
        force=asked.force,
        kernel=asked.kernel,
        retries=asked.max_retries,
        budget=budget,
        note=_note,
    )
    _tell(outcome, time.monotonic() - begun)
    reports, unwritten = _report([experiment.draft.run_path for experiment in experiments])
    failures = [
        *_failures(outcome, reports),
        *(f"  audit: {line}" for line in outcome.unaudited),
        *unwritten,
        *_record(reports, patience),
    ]
    if budget is not None and outcome.held_back:
        failures.append(f"  not run: budget: {', '.join(trial.name for trial in outcome.held_back)}; {budget.why}")
        if not budget.fits_alone(outcome.held_back[0]):
            again = "What is done is kept; the same budget is too small for what is next. Without it, all of it is run:"
            raise RunFailed("\n".join(["", *failures, again, f"  {_command(without=BUDGETS)}"]))
    if failures:
        again = "What is done is kept; the same command runs only what is missing:"
        raise RunFailed("\n".join(["", *failures, again, f"  {_command()}"]))
    _say_what_next(reports, seeds)


def _refuse_twice(experiments: Sequence[Experiment]) -> None:
    seen: dict[Path, Experiment] = {}
    for experiment in experiments:
        if other := seen.get(experiment.draft.run_path):
            raise UserError(f"{shown(experiment.path)} and {shown(other.path)} are the same run; name it once")
        seen[experiment.draft.run_path] = experiment


def _preflight(experiments: Sequence[Experiment], seeds: tuple[int, ...], asked: Asked) -> None:
    """Refuse, in seconds and before anything is written, what cannot run.

    Raises:
        UserError: data, GPUs or the cluster are missing, or the artifact cannot fit; says what to do.
    """
    for experiment in experiments:
        if experiment.missing:
            raise UserError(experiment.missing)
    todo = [trial for experiment in experiments for trial in experiment.trials(seeds) if not trial.done]
    if not todo:
        return
    if asked.cluster is not None:
        cluster.require_closed(asked.cluster)
    else:
        here = cluster.this_machine()
        # Our own cluster hands out as many CPUs as a job wants; its GPUs are those of the machine.
        cpus = max(here.cpus, *(trial.cpus for trial in todo))
        cluster.require_node(todo, [replace(here, cpus=cpus)])
    for experiment in experiments if not asked.force else ():
        if experiment.choices is not None and (measured := experiment.measured_size()):
            size.require_fit(experiment.choices, measured)
    room.require(experiments, todo)


@contextmanager
def _connected(address: str | None, cpus: int, name: str, stop: Stop) -> Iterator[cluster.Cluster]:
    """The cluster at ``address``, or one of our own."""
    with cluster.connected(address, cpus=cpus, launch=name) as found:
        stop.listen()  # again: Ray has put its own handlers in the place of ours
        yield found


def _tell(outcome: Outcome, seconds: float) -> None:
    ran = sum(trial.ran for trial in outcome.trials)
    if ran:
        _note(f"{counted(ran, 'trial')} in {int(seconds) // 60}:{int(seconds) % 60:02} min")
    elif all(trial.state == "done" for trial in outcome.trials):
        _note("all trials are done: nothing to run")


def _report(run_paths: Sequence[Path]) -> tuple[list[Report], list[str]]:
    """Write and print the report of each run; a line for each that cannot be written and is printed all the same."""
    reports, unwritten = [], []
    for run_path in run_paths:
        try:
            reports.append(files.write(run_path))
        except OSError as error:
            unwritten.append(f"  the report of {shown(run_path)} was not written: {of_file(error)}")
            reports.append(build.build(read_run(run_path)))
    for report in reports:
        tables.show(report)
    if len(reports) > 1:
        try:
            tables.show_comparison([report.run for report in reports])
        except UserError as error:
            _note(str(error))
    return reports, unwritten


def _record(reports: Sequence[Report], patience: Patience) -> Iterator[str]:
    """Bring MLflow to what the files say, and print how to open it; what went wrong with that, if anything did."""
    from ..tracking import recording

    run_paths = [report.run.path for report in reports]
    try:
        print(recording.compare([recording.record(path, patience) for path in run_paths], patience))
    except (UserError, RunFailed) as error:
        again = shlex.join(["python", "-m", "platform.track", *map(shown, run_paths)])
        yield f"  {error}\n  The results are safe in their files; this records them:"
        yield f"  {again}"


def _failures(outcome: Outcome, reports: Sequence[Report]) -> Iterator[str]:
    """A paragraph for each trial that is not done, or of which a score is not a number."""
    for ended in outcome.trials:
        trial = ended.trial
        run = next(report.run for report in reports if report.run.path == trial.run_path)
        failed = [
            failure for failure in run.failures if failure.seed == trial.seed and set(failure.arms) & set(trial.arms)
        ]
        if not failed and ended.failure:
            failed = [ended.failure]  # that could not be written down
        for failure in failed:
            yield f"  {trial.name}: {failure.where}: {failure.said}\n    log: {shown(trial.paths.job_log)}"
        if not failed and ended.state == "not run" and not ended.ran:
            yield f"  {trial.name}: it was not begun"
        elif not failed and ended.state == "not run":
            yield f"  {trial.name}: it was not run to its end, and left no word why: {shown(trial.paths.folder)}"


def _say_what_next(reports: Sequence[Report], seeds: tuple[int, ...]) -> None:
    """The last lines."""
    for report in reports:
        where, found = shlex.quote(shown(report.run.path)), report.run.plan
        print(f"report:    python -m platform.report {where}")
        if found.end_to_end and found.script is None:  # of a script nobody knows yet whether it is legal
            track = "" if found.gpus == RECORD_PROCESSES else " --non-record"
            print(f"submit:    python -m platform.submit {where} --arm {found.arms[0]}{track}")
    if left := [seed for seed in plan.SEEDS if seed not in seeds]:
        in_order = seeds == plan.SEEDS[: len(seeds)]
        more = str(len(seeds) + 1) if in_order else ",".join(map(str, (*seeds, left[0])))
        print(f"more:      {_command('--seeds', more, without=['--seeds'])}")


def _command(*more: str, without: Sequence[str] = ()) -> str:
    """This very command, ``without`` options of these names and their values, and with ``more`` words."""
    words = sys.argv[1:]
    for option in without:
        for at, word in enumerate(words):
            if word == option or word.startswith(f"{option}="):
                del words[at : at + (2 if word == option else 1)]
                break
    words += more
    program = Path(sys.argv[0])
    command = program.stem if program.parent.name == "platform" else "launch"
    return shlex.join(["python", "-m", f"platform.{command}", *words])


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
