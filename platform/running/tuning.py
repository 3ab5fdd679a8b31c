"""Trials on Ray Tune: each one bundle with all GPUs and CPUs of its job, so on one node, with a slot of its own."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ..runs.plan import Failure, Trial, read_given_up, write_failure
from .cluster import Cluster
from .progress import Progress
from .trial import JobFailed, run


class Observer(Protocol):
    """Who looks on; called in the driver, one call at a time, while other trials go on."""

    def started(self, trial: Trial) -> None: ...

    def advanced(self, trial: Trial, progress: Progress) -> None: ...

    def finished(self, trial: Trial) -> None: ...

    def failed(self, trial: Trial, failure: Failure) -> None: ...

    def given_up(self, trial: Trial) -> None: ...


def run_trials(trials: Sequence[Trial], cluster: Cluster, observer: Observer) -> None:
    """Run ``trials``, as many at once as fit; what became of each is in its files and told to ``observer``."""
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it warns of is what we told it not to do
    heard: dict[str, Progress | None] = {}  # the latest of each trial; None once it said itself that it has no result
    tuner = tune.Tuner(
        tune.with_resources(_trainable, lambda config: _bundle(config["trial"])),
        param_space={"trial": tune.grid_search(list(trials)), "launch": cluster.launch},
        tune_config=tune.TuneConfig(trial_dirname_creator=str, reuse_actors=True),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(cluster.scratch),
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[_callback(observer, heard)],
            verbose=0,
        ),
    )
    for result in tuner.fit():
        trial = (result.config or {})["trial"]
        latest = heard.get(trial.name, Progress())
        if result.error and latest:
            observer.failed(trial, _failure_of_worker(trial, latest, str(result.error)))


def _trainable(config: dict[str, Any]) -> None:
    """In the Ray worker."""
    from ray import tune

    if read_given_up(config["trial"].run_path):  # decided while this one waited for its turn
        tune.report({"given_up": True})
        return
    try:
        run(config["trial"], lambda progress: tune.report({"progress": asdict(progress)}), launch=config["launch"])
    except JobFailed as error:
        tune.report(
            {"failure": asdict(error.failure)}
        )  # of an exception, Tune's callbacks learn only that there was one
        raise


def _bundle(trial: Trial) -> Any:
    from ray import tune

    return tune.PlacementGroupFactory([{"CPU": trial.cpus, "GPU": trial.gpus}])


def _callback(observer: Observer, heard: dict[str, Progress | None]) -> Any:
    from ray.tune import Callback

    class Watch(Callback):
        """Tune's events in our words."""

        def __init__(self, observer: Observer, heard: dict[str, Progress | None]) -> None:
            self.observer, self.heard = observer, heard

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles it with its own state, which nobody reads: a launch continues from our files

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.observer.started(trial.config["trial"])

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            ours = trial.config["trial"]
            if "failure" in result:
                self.heard[ours.name] = None
                self.observer.failed(ours, Failure(**result["failure"]))
            elif "given_up" in result:
                self.heard[ours.name] = None
                self.observer.given_up(ours)
            else:
                self.heard[ours.name] = latest = Progress(**result["progress"])
                self.observer.advanced(ours, latest)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ours = trial.config["trial"]
            if self.heard.get(ours.name, Progress()) is not None:
                self.observer.finished(ours)

    return Watch(observer, heard)


def _failure_of_worker(trial: Trial, latest: Progress, error: str) -> Failure:
    """Write down that the worker died before it could; ``error`` is Ray's text."""
    phase = "score" if latest.arm else "train" if latest.phases else "start"
    last = next((line.strip() for line in reversed(error.splitlines()) if line.strip()), "no reason given")
    failure = Failure(
        seed=trial.seed,
        phase=phase,
        arm=latest.arm,
        reason=f"its Ray worker died: {last}",
        log_tail=error,
        arms=trial.unscored_arms,
    )
    trial.paths.folder.mkdir(parents=True, exist_ok=True)
    write_failure(trial.paths.failure, failure)
    return failure
