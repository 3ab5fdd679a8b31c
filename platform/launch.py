"""The command: recipes and seeds to reports.

    python -m platform.launch recipes/leaky_cosine.yaml --seeds 3 --scale laptop

What runs is written down first (plan.json), what is done already is not run again, and what was interrupted continues
with the same command. Before the first trial every arm is audited, and one that is not what its program declares ends
the launch. Progress goes to standard error, results to standard output. Exit status: 0 every trial asked for is done, 1
some failed, 2 something in the command or a recipe is wrong, 130 stopped with Ctrl-C.
"""

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import click

from .errors import RunFailed, UserError, explained
from .paths import RUNS, shown
from .program import size
from .program.squeeze import Form
from .reports import files, tables
from .reports.build import Report
from .running import audit, preview
from .running.experiment import Experiment, prepare
from .running.stop import Stop
from .runs import plan
from .runs.audits import Audit
from .runs.plan import RECORD_PROCESSES, Plan, Trial


@click.command(help="Train and score each recipe with each seed, then report. Continues where it was stopped.")
@click.argument("recipes", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--seeds", default="3", show_default=True, help="How many of the fixed list, or exactly these: 1337,7")
@click.option("--scale", help="The machine to run on: a file of recipes/scales/.  [default: eight_h100]")
@click.option("--arms", default="", help="Score only these arms of the recipe: no_ttt,sgd  [default: all]")
@click.option("--end-to-end", metavar="ARM", help="The program with this arm alone, trained for it: as a submission.")
@click.option("--squeeze", is_flag=True, help="Run the program squeezed: it does the same in fewer bytes and lines.")
@click.option("--packed", is_flag=True, help="Run it squeezed and packed into one that unpacks itself.")
@click.option("--runs", type=click.Path(path_type=Path), default=RUNS, help="Folder of all results.  [default: runs]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of token shards, instead of the scale's.")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="The tokenizer that made them.")
@click.option("--cluster", envvar="RAY_ADDRESS", metavar="ADDRESS", help="HOST:PORT of a Ray cluster, or auto.")
@click.option(
    "--stop-when-hopeless",
    metavar="SCORE",
    help="Run no more seeds of a recipe once none of its arms can beat this: bits per byte, or a record's folder.",
)
@click.option("--force", is_flag=True, help="Train even what cannot fit the limit of 16,000,000 bytes.")
@click.option("--dry-run", is_flag=True, help="Print what would run, where and on what; start nothing.")
@explained()
def main(
    recipes: tuple[Path, ...],
    seeds: str,
    scale: str | None,
    arms: str,
    end_to_end: str | None,
    squeeze: bool,
    packed: bool,
    runs: Path,
    data: Path | None,
    tokenizer: Path | None,
    cluster: str | None,
    stop_when_hopeless: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    wanted = plan.seeds_from(seeds)
    chosen = tuple(name.strip() for name in arms.split(",") if name.strip())
    if chosen and end_to_end:
        raise UserError("--arms and --end-to-end exclude each other: an end-to-end run has one arm")
    judge = _judge(stop_when_hopeless)
    experiments = [
        prepare(
            path,
            scale,
            arms=chosen,
            runs=runs,
            data=data,
            tokenizer=tokenizer,
            make_data=not dry_run,
            form=Form.PACKED if packed else Form.SQUEEZED if squeeze else Form.READABLE,
            end_to_end=end_to_end,
        )
        for path in recipes
    ]
    _refuse_twice(experiments)
    if dry_run:
        preview.show(experiments, wanted, cluster)
        return
    trials = [replace(trial, force=force) for seed in wanted for one in experiments for trial in one.trials((seed,))]
    todo = _trunks_apart([trial for trial in trials if not trial.done])
    _preflight(experiments, todo, cluster, force=force)
    for experiment in experiments:  # all of them, before the first is written
        plan.preview(experiment.draft, wanted)
    plans = [one.planned(wanted) for one in experiments]
    for one in plans:
        done = sum(trial.done for trial in trials if trial.run_path == one.run_path)
        _note(f"{shown(one.run_path)}: {_counted(len(wanted), 'trial')}, {done} done already")
        judge(one.run_path)
    for choices in (one.choices for one in experiments):
        for line in choices.overruled:
            _note(f"{choices.name}: at scale {choices.scale}, {line}")
    stop = Stop(note=_note)
    try:
        audits = [found for one in experiments if (found := _audited(one))]
        if not todo:
            _note("all trials are done: nothing to run")
        _run([trial for trial in todo if not plan.read_given_up(trial.run_path)], cluster, stop, judge)
        reports = _report(plans)
        failures = [*_failures(trials, reports), *_unaudited(audits), *_record(plans)]
    except KeyboardInterrupt:
        _note("stopped. What is done is kept, nothing is left running. The same command continues:")
        _note(f"  {_command()}")
        sys.exit(128 + stop.number)
    if failures:
        again = "What is done is kept; the same command runs only what is missing:"
        raise RunFailed("\n".join(["", *failures, again, f"  {_command()}"]))
    _say_what_next(reports, wanted)


def _preflight(experiments: Sequence[Experiment], todo: Sequence[Trial], address: str | None, *, force: bool) -> None:
    """Refuse, in seconds and before anything is written, what cannot run.

    Raises:
        UserError: data, GPUs or the cluster are missing, or the artifact cannot fit; says what to do.
    """
    from .running import cluster

    for missing in (one.missing for one in experiments if one.missing):
        raise UserError(missing)
    if not todo:
        return
    if address is not None:
        cluster.require_closed(address)
    else:
        here = cluster.this_machine()
        # Our own cluster hands out as many CPUs as a job wants; its GPUs are those of the machine.
        cpus = max(here.cpus, *(trial.cpus for trial in todo))
        cluster.require_node(todo, [replace(here, cpus=cpus)])
    for one in experiments if not force else ():
        size.require_fit(one.choices, one.size)


def _audited(experiment: Experiment) -> Audit | None:
    """The audit of what is to run; None, and a word why, where the recipe cannot be made small enough to be audited.

    Raises:
        RunFailed: an arm is not what its program declares.
    """
    choices = experiment.choices
    try:
        found = audit.of_run(choices.path, choices.scale, experiment.arms, experiment.draft.run_path)
    except (UserError, RunFailed) as error:
        _note(f"{choices.name}: not audited: {error}")
        _note("How it is made small can be said in the recipe, under scales: {smoke: ...}")
        return None
    audit.require_agreement(found)
    return found


def _unaudited(audits: Sequence[Audit]) -> Iterator[str]:
    return (f"  audit: {found.said(arm)}" for found in audits for arm in found.unaudited)


def _judge(bar: str | None) -> Callable[[Path], None]:
    """What decides of a run whether its seeds that are left are worth running; without a bar they are.

    Raises:
        UserError: ``bar`` is no score and no folder with one.
    """
    if bar is None:
        return lambda run_path: plan.write_given_up(run_path, None)
    from .running import giving_up

    to_beat = giving_up.bar_of(bar)

    def judge(run_path: Path) -> None:
        try:
            before = plan.read_given_up(run_path)
            if (now := giving_up.judge(run_path, to_beat)) and not before:
                _note(f"{shown(run_path)}: {now}")
        except UserError as error:  # the trials are worth more than the verdict on them
            _note(f"{shown(run_path)}: not judged: {error}")

    return judge


def _run(todo: Sequence[Trial], address: str | None, stop: Stop, judge: Callable[[Path], None]) -> None:
    """Run the trials; each that ends is judged and recorded while the others go on."""
    if not todo:
        return
    from .running import cluster, tuning
    from .running.display import Display

    begun = time.monotonic()
    launch = f"{os.getpid()}-{os.urandom(6).hex()}"

    def ended(trial: Trial) -> None:
        judge(trial.run_path)
        recorder.record(trial)

    with (
        redirect_stdout(sys.stderr),  # Ray prints what it has to say to the place that is for results
        stop,
        _Recorder() as recorder,
        Display(todo, ended=ended) as display,
    ):
        cpus = max(trial.cpus for trial in todo)
        with cluster.connected(address, cpus=cpus, launch=launch) as connected:
            stop.listen()  # again: Ray has put its own handlers in the place of ours
            if address is not None:
                cluster.require_node(todo, connected.nodes)
            tuning.run_trials(todo, connected, display)
            recorder.wait()
    _note(f"{_counted(len(todo), 'trial')} in {_minutes(time.monotonic() - begun)}")


class _Recorder:
    """Copies what has ended to MLflow: in one thread, so that there is one writer and no trial waits for it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def wait(self) -> None:
        """Until all that ended is recorded."""
        self._thread.shutdown(wait=True)

    def record(self, trial: Trial) -> None:
        from .tracking import tracker

        # What goes wrong here goes wrong, and is told, once more when all is recorded at the end.
        self._thread.submit(tracker.record, trial.run_path)


def _report(plans: Sequence[Plan]) -> list[Report]:
    """Write and print the report of each run."""
    reports = [files.write(one.run_path) for one in plans]
    for one in reports:
        tables.show(one)
    if len(reports) > 1:
        try:
            tables.show_comparison([one.run for one in reports])
        except UserError as error:
            _note(str(error))
    return reports


def _record(plans: Sequence[Plan]) -> Iterator[str]:
    """Bring MLflow to what the files say, and print how to open it; what went wrong with that, if anything did."""
    from .tracking import tracker

    try:
        found = tracker.comparison([tracker.record(one.run_path) for one in plans])
        print(f"compare:   {found.command or 'open'}\n           {found.link}")
    except Exception as error:  # of MLflow, its database or its server: any kind
        yield f"  MLflow could not be written, the results are safe in their files: {error}"


def _failures(trials: Sequence[Trial], reports: Sequence[Report]) -> Iterator[str]:
    """A paragraph for each trial that is not done, or of which a score is not a number."""
    for trial in trials:
        run = next(one.run for one in reports if one.run.path == trial.run_path)
        failed = [one for one in run.failures if one.seed == trial.seed and set(one.arms) & set(trial.arms)]
        for failure in failed:
            where = f"{failure.phase} {failure.arm}" if failure.arm else failure.phase
            yield f"  {trial.name}: {where}: {failure.reason}\n    log: {shown(trial.paths.job_log)}"
        if not failed and not trial.done and not run.given_up:
            yield f"  {trial.name}: it was not run to its end, and left no word why: {shown(trial.paths.folder)}"


def _say_what_next(reports: Sequence[Report], seeds: tuple[int, ...]) -> None:
    """The last lines."""
    for one in reports:
        where = shlex.quote(shown(one.run.path))
        print(f"report:    python -m platform.report {where}")
        if one.run.plan.end_to_end:
            track = "" if one.run.plan.gpus == RECORD_PROCESSES else " --non-record"
            print(f"submit:    python -m platform.submit {where} --arm {one.run.plan.arms[0]}{track}")
    if left := [seed for seed in plan.SEEDS if seed not in seeds]:
        counted = seeds == plan.SEEDS[: len(seeds)]
        more = str(len(seeds) + 1) if counted else ",".join(map(str, (*seeds, left[0])))
        print(f"more:      {_command(seeds=more)}")


def _refuse_twice(experiments: Sequence[Experiment]) -> None:
    seen: dict[str, Experiment] = {}
    for one in experiments:
        if other := seen.get(one.choices.name):
            both = f"{shown(one.choices.path)} and {shown(other.choices.path)}"
            if one.draft.run_path == other.draft.run_path:
                raise UserError(f"{both} are the same run; name it once")
            raise UserError(f"{both} have the same name; give one another, or launch them one after the other")
        seen[one.choices.name] = one


def _trunks_apart(trials: Sequence[Trial]) -> list[Trial]:
    """``trials`` in an order in which those that share a trunk are not side by side: the second would only wait."""
    seen: dict[Path, int] = {}
    rounds = []
    for trial in trials:
        rounds.append(seen.get(trial.trunk_path, 0))
        seen[trial.trunk_path] = rounds[-1] + 1
    return [trial for _, trial in sorted(zip(rounds, trials, strict=True), key=lambda pair: pair[0])]


def _command(seeds: str | None = None) -> str:
    """This very command, or the one for other seeds."""
    words = sys.argv[1:]
    if seeds is not None:
        for at, word in enumerate(words):
            if word == "--seeds" or word.startswith("--seeds="):
                del words[at : at + (2 if word == "--seeds" else 1)]
                break
        words += ["--seeds", seeds]
    return shlex.join(["python", "-m", "platform.launch", *words])


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"


if __name__ == "__main__":
    main()
