"""A run's files as MLflow runs: a parent for the recipe, a child for each seed and arm. A copy that can be made again.

There is one writer at a time, the process that launches, under a file lock; jobs and workers know nothing of MLflow.
A run that is RUNNING though its process is gone is closed. Runs are found by their tags (program, data, seed, arm) and
compared by a hash of their files: recording the same files again changes nothing.
"""

import hashlib
import json
import logging
import os
import shlex
import socket
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from ..errors import UserError
from ..locks import held
from ..paths import ROOT, RUNS, shown
from ..reports.build import Report, build
from ..runs.paths import tracker_artifacts, tracker_database
from ..runs.results import read_run
from . import server
from .tracked import TAG, Child, children, content_of, identity_of, summary_of, time_ms

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as TrackedRun

T = TypeVar("T")
VIEW = ROOT / "dashboards" / "comparison.json"  # columns, order and groups of the comparison
VIEW_RUNS = 100  # MLflow keeps 5,000 characters of a view; with more runs it shows all of the experiment
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100  # what MLflow takes at once
LOG_LIMIT_BYTES = 20_000_000  # a longer log stays where it is
CONTENT, HOST, PID = f"{TAG}content", f"{TAG}host", f"{TAG}pid"
MLFLOW_PARENT, MLFLOW_NOTE = "mlflow.parentRunId", "mlflow.note.content"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Where a run now is in MLflow."""

    uri: str
    runs: Path  # the folder that the run is in
    experiment_id: str
    identity: str  # of the experiment, wherever it is served
    parent_id: str
    child_ids: dict[str, str]  # by name: leaky_cosine/adamw/1337


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How to look at recorded runs: the command that opens the page (None where a server is up), and its address."""

    command: str | None
    link: str


def uri_of(runs: Path) -> str:
    """Where these runs are tracked: ``MLFLOW_TRACKING_URI`` of the environment, else the SQLite file beside them."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{tracker_database(runs.resolve())}"


def record(run_path: Path, uri: str | None = None, *, launching: bool = False) -> Recorded:
    """Bring MLflow to what the files of this run say; recording the same files again changes nothing.

    Args:
        uri: of the tracking server or database; None: ``uri_of`` the folder that the run is in.
        launching: this process is running the seeds that are still open; else an incomplete run counts as KILLED.

    Raises:
        UserError: no run there, or a file in it that cannot be read.
    """
    report = build(read_run(run_path))
    plan, runs = report.run.plan, report.run.path.parent
    uri = uri or uri_of(runs)
    with held(_lock_of(uri)):
        client = _client(uri)
        experiment_id, identity = _experiment(client, runs)
        _close_orphans(client, experiment_id)
        same = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity_of(plan, "arm").items())
        known = _search(client, experiment_id, same)
        parent_id = _parent(client, experiment_id, report)
        wanted = {child.name: child for child in children(report)}
        ids = {name: _child(client, experiment_id, parent_id, child, known) for name, child in wanted.items()}
        _update_parent(client, parent_id, report, sorted(ids.values()), launching=launching)
    return Recorded(
        uri=uri, runs=runs, experiment_id=experiment_id, identity=identity, parent_id=parent_id, child_ids=ids
    )


def comparison(recorded: Sequence[Recorded], port: int | None = None) -> Comparison:
    """How to compare these recorded runs in MLflow: a table with a group for each recipe and arm, its seeds below.

    Args:
        recorded: at least one, all at one address.
        port: where the command will serve a database; None: ``port_for``. Not used for a tracking server.
    """
    first = recorded[0]
    key = _share_view(first, [child for run in recorded for child in run.child_ids.values()])
    page = f"/#/experiments/{first.experiment_id}/runs?viewStateShareKey={key}&workflowType=machine_learning"
    if is_server(first.uri):
        return Comparison(command=None, link=first.uri.rstrip("/") + page)
    port = port_for(first, port)
    where = "" if first.runs == RUNS else f" --runs {shlex.quote(shown(first.runs))}"
    return Comparison(command=f"python -m platform.dashboard{where} --port {port}", link=server.url_of(port) + page)


def port_for(recorded: Recorded, wanted: int | None = None) -> int:
    """The port to serve this database on: one where it is served already, or one that is free.

    Raises:
        UserError: something else is on the port that is wanted.
    """
    port = wanted or server.PORT
    if server.is_free(port) or server.identity_at(port) == recorded.identity:
        return port
    free = server.free_port(port)
    if wanted is not None:
        raise UserError(f"--port {wanted} is in use by something else; {free} is free")
    return free


def is_server(uri: str) -> bool:
    """Whether ``uri`` is the address of a tracking server; else it names a database."""
    return uri.startswith(("http://", "https://"))


def _share_view(recorded: Recorded, run_ids: Sequence[str]) -> str:
    """Leave the view of these runs in MLflow, as its own Share button does; returns the name for the link."""
    state = json.loads(VIEW.read_text())
    listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
    state["searchFilter"] = f"attributes.run_id IN ({listed})" if len(run_ids) <= VIEW_RUNS else ""
    text = json.dumps(state)
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    _client(recorded.uri).set_experiment_tag(recorded.experiment_id, f"mlflow.sharedViewState.{key}", text)
    return key


def _lock_of(uri: str) -> Path:
    """Held by the one process of this machine that writes to ``uri``: beside a database, else in the temp folder."""
    if is_server(uri) or not uri.startswith("sqlite:///"):
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"fairway-{os.getuid()}-{name}.lock"
    return Path(uri.removeprefix("sqlite:///")).with_suffix(".lock")


def _client(uri: str) -> "MlflowClient":
    """A client for ``uri``; a new database gets its tables, without MLflow's chatter and telemetry."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # 7 would wait minutes for a server that is down
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _experiment(client: "MlflowClient", runs: Path) -> tuple[str, str]:
    """Id and identity of our experiment, made where it is missing; without a server its files go beside the runs."""
    experiment = client.get_experiment_by_name(server.EXPERIMENT)
    if experiment is None:
        location = None if is_server(client.tracking_uri) else tracker_artifacts(runs).resolve().as_uri()
        tags = {server.IDENTITY_TAG: uuid4().hex, "mlflow.experimentKind": "custom_model_development"}
        experiment = client.get_experiment(client.create_experiment(server.EXPERIMENT, location, tags))
    if experiment.lifecycle_stage == "deleted":  # in MLflow's bin: out of it again
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id), str(experiment.tags.get(server.IDENTITY_TAG, ""))


def _search(client: "MlflowClient", experiment_id: str, condition: str) -> "list[TrackedRun]":
    runs, token = [], None
    while True:
        page = client.search_runs([experiment_id], condition, page_token=token)
        runs += list(page)
        if not (token := page.token):
            return runs


def _close_orphans(client: "MlflowClient", experiment_id: str) -> None:
    """End what a process of this machine left RUNNING: one that is gone, or we, in a recording that broke off."""
    condition = f"tags.`{HOST}` = '{socket.gethostname()}' and attributes.status = 'RUNNING'"
    for run in _search(client, experiment_id, condition):
        pid, is_child = int(run.data.tags.get(PID, 0)), MLFLOW_PARENT in run.data.tags
        if not _is_alive(pid) or (is_child and pid == os.getpid()):
            client.set_terminated(run.info.run_id, "KILLED")  # without content, so it will be recorded again


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _parent(client: "MlflowClient", experiment_id: str, report: Report) -> str:
    """The id of the recipe's run, made where it is missing."""
    plan = report.run.plan
    identity = identity_of(plan, "recipe")
    same = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    if known := _search(client, experiment_id, same):
        return str(known[0].info.run_id)
    tags = {**identity, **_writer(), MLFLOW_NOTE: report.question or ""}
    name = f"{plan.recipe} ({plan.scale})"
    return str(client.create_run(experiment_id, time_ms(plan.paths.plan), tags, name).info.run_id)


def _child(
    client: "MlflowClient", experiment_id: str, parent_id: str, child: Child, known: "Sequence[TrackedRun]"
) -> str:
    """The id of the child's run; made, or made again where what is recorded is not what the files say now."""
    from mlflow.entities import Metric, Param

    for run in known:
        if child.identity.items() <= run.data.tags.items():
            if run.data.tags.get(CONTENT) == child.content:
                return str(run.info.run_id)
            if run.data.tags.get(HOST) == socket.gethostname():  # another machine's measurement stays
                client.delete_run(run.info.run_id)  # into MLflow's bin: params and curves cannot be replaced
    tags = {**child.identity, **_writer(), MLFLOW_PARENT: parent_id, MLFLOW_NOTE: child.note}
    run_id = str(client.create_run(experiment_id, child.start_ms, tags, child.name).info.run_id)
    for params in _batches(child.params.items(), PARAMS_A_CALL):
        client.log_batch(run_id, params=[Param(*param) for param in params])
    for points in _batches(child.points, METRICS_A_CALL):
        client.log_batch(run_id, metrics=[Metric(*point) for point in points])
    for path in child.files:
        _log_file(client, run_id, path)
    client.set_tag(run_id, CONTENT, child.content)  # last: everything is there
    client.set_terminated(run_id, child.status, child.end_ms)
    return run_id


def _update_parent(
    client: "MlflowClient", parent_id: str, report: Report, child_ids: Sequence[str], *, launching: bool
) -> None:
    """Summary, files and status of the recipe's run, unless they are as they should be."""
    from mlflow.entities import Metric, RunTag

    plan, run = report.run.plan, client.get_run(parent_id)
    paths = plan.paths
    files = [paths.program, paths.recipe, paths.plan, paths.report_md, paths.report_json, paths.results_csv]
    figures = sorted(paths.figures.glob("*.png"))
    content = content_of(*files, *figures, text=json.dumps(child_ids))
    status = "FAILED" if report.failed else "FINISHED" if report.run.complete else "KILLED"
    if launching and report.open:
        status = "RUNNING"
    if run.data.tags.get(CONTENT) == content and run.info.status == status:
        return
    now_ms = max(time_ms(path) for path in files)
    values = {name: value for name, value in summary_of(report).items() if run.data.metrics.get(name) != value}
    client.log_batch(parent_id, [Metric(name, value, now_ms, 0) for name, value in values.items()])
    for path in files:
        _log_file(client, parent_id, path)
    for path in figures:
        _log_file(client, parent_id, path, paths.figures.name)
    tags = {f"{TAG}recipe": plan.recipe, f"{TAG}scale": plan.scale, f"{TAG}seeds": ", ".join(map(str, plan.seeds))}
    tags |= {**_writer(), CONTENT: content}
    client.log_batch(parent_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if status == "RUNNING":
        client.update_run(parent_id, status)
    else:
        client.set_terminated(parent_id, status, now_ms)


def _writer() -> dict[str, str]:
    return {HOST: socket.gethostname(), PID: str(os.getpid())}


def _log_file(client: "MlflowClient", run_id: str, path: Path, folder: str | None = None) -> None:
    if path.exists() and path.stat().st_size <= LOG_LIMIT_BYTES:
        client.log_artifact(run_id, str(path), folder)


def _batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """``things`` in lists of at most ``size`` (``itertools.batched`` of Python 3.12)."""
    left = iter(things)
    while batch := list(islice(left, size)):
        yield batch
