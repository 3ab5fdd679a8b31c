"""Trials on Ray Tune: each one bundle with all GPUs and CPUs of its job, so on one node, with a slot of its own."""

import logging
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import RunFailed
from ..runs.plan import Failure, read_given_up
from ..runs.reading import from_data
from .away import brought, is_away
from .cluster import Cluster
from .failures import not_begun, of_worker
from .feed import Attempt, Feed
from .observers import Observer
from .progress import Progress
from .survey import Survey
from .trial import JobFailed, hostname, run


def run_trials(feed: Feed, cluster: Cluster, observer: Observer) -> None:
    """Run the trials of ``feed``, as many at once as fit, until it is exhausted.

    What became of each is in its files and told to ``observer`` when it happens.

    Raises:
        ClusterLost: the cluster is gone; ``feed`` still has what was not over.
    """
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it warns of is what we told it not to do
    tuner = tune.Tuner(
        tune.with_resources(_trainable, _bundle),
        tune_config=tune.TuneConfig(
            search_alg=_search(feed, cluster), num_samples=-1, trial_dirname_creator=str, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=cluster.new_name(),
            storage_path=str(cluster.scratch),
            failure_config=tune.FailureConfig(max_failures=0),  # which of them are tried again is decided in a Launch
            callbacks=[_callback(feed, cluster, observer)],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except Exception:
        cluster.require_there()  # the reason of whatever error
        raise
    cluster.require_there()


def _trainable(config: dict[str, Any]) -> None:
    """In the Ray worker."""
    import ray
    from ray import tune

    attempt: Attempt = config["attempt"]
    tune.report({"node": (hostname(), ray.get_runtime_context().get_node_id())})
    if read_given_up(attempt.trial.run_path):  # decided while this one waited for its turn
        tune.report({"given_up": True})
        return

    def report(progress: Progress) -> None:
        tune.report({"progress": asdict(progress)})

    trial, launch = attempt.trial, config["launch"]
    try:
        node = config["survey"].of_this_node(with_cards=trial.gpus > 0, visible=_cards_of_node())
        away = trial.nodes == 1 and is_away(trial)
        with brought(trial, launch, report) if away else nullcontext(trial) as here:
            run(here, report, launch=launch, attempt=attempt.number, node=node)
    except JobFailed as error:
        # Of an exception, Tune's callbacks learn only that there was one.
        tune.report({"failure": asdict(error.failure)})
        raise
    except RunFailed as error:
        tune.report({"failure": asdict(not_begun(attempt, str(error), hostname()))})
        raise


def _cards_of_node() -> str | None:
    """The cards that Ray hands out on this node, of which a trial has some, as CUDA_VISIBLE_DEVICES has them."""
    offered = None
    with suppress(ImportError, AttributeError):  # of Ray's own; another version may have them elsewhere
        from ray._private.worker import global_worker

        offered = global_worker.original_visible_accelerator_ids.get("GPU")
    return None if offered is None else ",".join(map(str, offered))


def _bundle(config: dict[str, Any]) -> Any:
    """All of a job's GPUs and CPUs, on one node; on a certain one, where an earlier attempt failed on others.

    Of a job that spans nodes a bundle for each, no two on one.
    """
    from ray import tune

    trial, node = config["attempt"].trial, config["node"]
    if trial.nodes > 1:
        share = {"CPU": trial.cpus // trial.nodes, "GPU": trial.gpus // trial.nodes}
        return tune.PlacementGroupFactory([share] * trial.nodes, strategy="STRICT_SPREAD")
    wanted = {node.resource: 0.001} if node else {}
    return tune.PlacementGroupFactory([{"CPU": trial.cpus, "GPU": trial.gpus, **wanted}])


def _search(feed: Feed, cluster: Cluster) -> Any:
    from ray.tune.search import Searcher

    survey = Survey.of_launch(cluster.launch)

    class Source(Searcher):
        """Hands Tune what ``feed`` has, whenever it asks for more."""

        def suggest(self, trial_id: str) -> Any:
            if (attempt := feed.next()) is not None:
                other = cluster.other_node(attempt.trial, attempt.avoid) if attempt.avoid else None
                return {"attempt": attempt, "launch": cluster.launch, "node": other, "survey": survey}
            return Searcher.FINISHED if feed.exhausted else None

        def on_trial_complete(self, *_: Any, **__: Any) -> None: ...

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return Searcher, ()  # Tune keeps its state in files, which nobody reads: a launch continues from ours

        def __deepcopy__(self, _: Any) -> "Source":
            return self

    return Source(metric=None, mode=None)


def _callback(feed: Feed, cluster: Cluster, observer: Observer) -> Any:
    from ray.tune import Callback

    class Watch(Callback):
        """Tune's events in our words."""

        def __init__(self) -> None:
            self.heard: dict[str, Progress | None] = {}  # the latest of each; None once it told itself how it ended

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return Callback, ()  # as above

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            cluster.require_there()

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ours = trial.config["attempt"].trial
            self.heard[ours.key] = Progress()
            observer.started(ours)

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            ours = trial.config["attempt"].trial
            if "node" in result:
                feed.placed(ours, *result["node"])
            elif "failure" in result:
                self.heard[ours.key] = None
                observer.failed(ours, from_data(Failure, result["failure"]))
            elif "given_up" in result:
                self.heard[ours.key] = None
                observer.given_up(ours)
            else:
                self.heard[ours.key] = latest = Progress(**result["progress"])
                observer.advanced(ours, latest)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ours = trial.config["attempt"].trial
            if self.heard.get(ours.key, Progress()) is not None:
                observer.finished(ours)
            feed.over(ours)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            attempt = trial.config["attempt"]
            ours, latest = attempt.trial, self.heard.get(attempt.trial.key, Progress())
            if latest is not None:
                if ours.done:  # it died between its last result and its end: nothing is lost
                    observer.finished(ours)
                else:
                    observer.failed(ours, of_worker(attempt, latest, _error(trial), feed.node_of(ours)[0]))
            feed.over(ours)

    return Watch()


def _error(trial: Any) -> str:
    """What Tune wrote down of the error; not there yet where it could not be written."""
    try:
        return Path(trial.error_file).read_text(errors="replace")
    except (OSError, TypeError):
        return ""
