"""Trials on Ray Tune: each one bundle with all GPUs and CPUs of its job, so on one node, with a slot of its own."""

import logging
import queue
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..runs.plan import Failure, Trial, read_given_up, write_failure
from ..runs.reading import from_data
from .cluster import Cluster
from .observers import Observer
from .progress import Progress
from .trial import JobFailed, run


class Feed:
    """The trials that are to run, in order; more may be added, from any thread, until it is closed."""

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        self._waiting: queue.Queue[Trial] = queue.Queue()
        self._closed = False
        self.add(trials)

    def add(self, trials: Iterable[Trial]) -> None:
        assert not self._closed, "closed before"
        for trial in trials:
            self._waiting.put(trial)

    def close(self) -> None:
        """No more come: whoever runs them ends when the last has ended."""
        self._closed = True

    @property
    def exhausted(self) -> bool:
        return self._closed and self._waiting.empty()

    def next(self) -> Trial | None:
        """The next one; None where there is none now."""
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None


def run_trials(feed: Feed, cluster: Cluster, observer: Observer) -> None:
    """Run the trials of ``feed``, as many at once as fit, until it is exhausted and the last has ended.

    What became of each is in its files and told to ``observer`` when it happens.
    """
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it warns of is what we told it not to do
    tune.Tuner(
        tune.with_resources(_trainable, lambda config: _bundle(config["trial"])),
        tune_config=tune.TuneConfig(
            search_alg=_search(feed, cluster.launch), num_samples=-1, trial_dirname_creator=str, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=cluster.new_name(),
            storage_path=str(cluster.scratch),
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[_callback(observer)],
            verbose=0,
        ),
    ).fit()


def _trainable(config: dict[str, Any]) -> None:
    """In the Ray worker."""
    from ray import tune

    if read_given_up(config["trial"].run_path):  # decided while this one waited for its turn
        tune.report({"given_up": True})
        return
    try:
        run(config["trial"], lambda progress: tune.report({"progress": asdict(progress)}), launch=config["launch"])
    except JobFailed as error:
        # Of an exception, Tune's callbacks learn only that there was one.
        tune.report({"failure": asdict(error.failure)})
        raise


def _bundle(trial: Trial) -> Any:
    from ray import tune

    return tune.PlacementGroupFactory([{"CPU": trial.cpus, "GPU": trial.gpus}])


def _search(feed: Feed, launch: str) -> Any:
    from ray.tune.search import Searcher

    class Source(Searcher):
        """Hands Tune what ``feed`` has, whenever it asks for more."""

        def suggest(self, trial_id: str) -> Any:
            if (trial := feed.next()) is not None:
                return {"trial": trial, "launch": launch}
            return Searcher.FINISHED if feed.exhausted else None

        def on_trial_complete(self, *_: Any, **__: Any) -> None: ...

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return Searcher, ()  # Tune keeps its state in files, which nobody reads: a launch continues from ours

        def __deepcopy__(self, _: Any) -> "Source":
            return self

    return Source(metric=None, mode=None)


def _callback(observer: Observer) -> Any:
    from ray.tune import Callback

    class Watch(Callback):
        """Tune's events in our words."""

        def __init__(self) -> None:
            self.heard: dict[str, Progress | None] = {}  # the latest of each; None once it told itself how it ended

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return Callback, ()  # as above

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            observer.started(trial.config["trial"])

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            ours = trial.config["trial"]
            if "failure" in result:
                self.heard[ours.key] = None
                observer.failed(ours, from_data(Failure, result["failure"]))
            elif "given_up" in result:
                self.heard[ours.key] = None
                observer.given_up(ours)
            else:
                self.heard[ours.key] = latest = Progress(**result["progress"])
                observer.advanced(ours, latest)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ours = trial.config["trial"]
            if self.heard.get(ours.key, Progress()) is not None:
                observer.finished(ours)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ours = trial.config["trial"]
            latest = self.heard.get(ours.key, Progress())
            if latest is None:
                return
            if ours.done:  # it died between its last result and its end: nothing is lost
                observer.finished(ours)
            else:
                observer.failed(ours, _failure_of_worker(ours, latest, _error(trial)))

    return Watch()


def _error(trial: Any) -> str:
    """What Tune wrote down of the error; not there yet where it could not be written."""
    try:
        return Path(trial.error_file).read_text(errors="replace")
    except (OSError, TypeError):
        return ""


def _failure_of_worker(trial: Trial, latest: Progress, error: str) -> Failure:
    """What the worker could not write down itself; ``error`` is Ray's text. Written, where it can be."""
    phase = "score" if latest.arm else "train" if latest.phases else "start"
    failure = Failure(
        seed=trial.seed, phase=phase, arm=latest.arm, reason=_reason(error), log_tail=error, arms=trial.unscored_arms
    )
    try:
        trial.paths.folder.mkdir(parents=True, exist_ok=True)
        write_failure(trial.paths.failure, failure)
    except OSError:  # a full disk, a file where the folder belongs: it is told, and the report says that it is open
        pass
    return failure


def _reason(error: str) -> str:
    """Why, in one line: of an exception its own words; of a worker that is gone, how it went."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines or "ActorDiedError" in error or "worker process has died" in error:
        how = re.search(r"Worker exit type: (\w+)", error)
        return f"its Ray worker died{f' ({how[1]})' if how else ''}; its node's kernel log says whether memory ran out"
    return f"its Ray worker could not run it: {lines[-1]}"
