"""What a launch would do, for ``--dry-run``: trials, what is done, where files will be, what a cluster is asked for."""

from collections.abc import Sequence

from ..errors import UserError
from ..paths import shown
from ..runs import planning
from ..runs.paths import TrunkPaths
from ..runs.plan import Trial, read_failure
from ..words import counted
from . import quote
from .experiment import NOT_MADE_YET, Experiment


def show(
    experiments: Sequence[Experiment], seeds: tuple[int, ...], cluster: str | None, *, force: bool = False
) -> list[str]:
    """Print it on standard output; nothing of a run is written and nothing heavy imported.

    Returns why it cannot run as it is; empty where it can, on a machine that has what each trial needs.
    """
    for experiment in experiments:
        _show_one(experiment, seeds)
    trials = [trial for experiment in experiments for trial in experiment.trials(seeds)]
    todo = [trial for trial in trials if not trial.done]
    needs = sorted({_needs(trial) for trial in todo})
    where = f"the Ray cluster at {cluster}" if cluster else "this machine"
    print(f"{counted(len(trials), 'trial')}, {len(trials) - len(todo)} done, {len(todo)} to run on {where}")
    if said := quote.whole(experiments, seeds):
        print(f"in all, before it starts: {said}")
    for need in needs:
        print(f"each needs {need}")
    missing = list(dict.fromkeys(experiment.missing for experiment in experiments if experiment.missing))
    if NOT_MADE_YET in missing:
        print(f"before it runs: {NOT_MADE_YET}")
    reasons = [reason for reason in missing if reason != NOT_MADE_YET]
    for experiment in experiments if not force else ():
        if (size := experiment.measured_size()) is not None and not size.fits:
            reasons.append(f"{experiment.name} cannot fit, needs --force")
    for reason in reasons:
        print(f"cannot run: {reason}")
    print("dry run: no trial was started, nothing of a run was written")
    return reasons


def _show_one(experiment: Experiment, seeds: tuple[int, ...]) -> None:
    draft = planning.preview(experiment.draft, seeds, experiment.arms)
    if lost := planning.remade(draft.run_path):
        print(lost)
    size = experiment.measured_size()
    print(f"{draft.recipe} at scale {draft.scale}: {experiment.question}")
    print(f"  program  {draft.program_sha256[:12]}, {len(experiment.program.encode()):,} bytes")
    if size is not None:
        print(f"  size     {size.line()}{'' if size.fits else ': cannot fit, needs --force'}")
    for line in experiment.remarks:
        print(f"  scale    at {draft.scale}, {line}")
    print(f"  data     {shown(draft.data_path)}")
    print(f"  run      {shown(draft.run_path)}")
    data_sha256 = draft.data_sha256 or "(data)"
    if draft.script is None:
        place = (draft.run_path.parent, draft.trunk_text_sha256, data_sha256, draft.machine)
        print(f"  trunks   {shown(TrunkPaths.of(*place, 0).folder.parent)}")
    else:
        for arm in experiment.arms:
            said = {**draft.script.environment, **draft.script.arms[arm]}
            print(f"  arm      {arm}: {' '.join(f'{name}={value}' for name, value in said.items()) or 'as it is'}")
    if earlier := [seed for seed in draft.seeds if seed not in seeds]:
        print(f"  planned earlier, not asked for now: {', '.join(map(str, earlier))}")
    for trial in experiment.trials(seeds):
        print(f"  seed {trial.seed:<10} {_state(trial)}")
    for at, line in enumerate(quote.lines(experiment, seeds)):
        print(f"  {'' if at else 'cost':8} {line}")


def _state(trial: Trial) -> str:
    todo = trial.unscored_arms
    if not todo:
        return f"done: {', '.join(trial.arms)}"
    if trial.script is not None:
        trunk = "run"
    else:
        trunk = "score" if trial.trunk.record.exists() and not trial.end_to_end else "train, then score"
    try:
        failure = read_failure(trial.paths.failure)
    except UserError as error:
        return f"{trunk} {', '.join(todo)}  ({error})"
    return f"{trunk} {', '.join(todo)}" + (f"  (failed before: {failure.reason})" if failure else "")


def _needs(trial: Trial) -> str:
    processes = counted(trial.processes, "process", "processes")
    where = "one node" if trial.nodes == 1 else f"{trial.nodes} nodes"
    return f"{counted(trial.gpus, 'GPU')} and {counted(trial.cpus, 'CPU')} on {where}, for {processes}"
