"""A run's files as MLflow runs: a parent for the recipe, a child for each seed and arm. A copy that can be made again.

There is one writer at a time, the process that launches, under a file lock; jobs and workers know nothing of MLflow.
A run that is RUNNING though its process is gone is closed. Runs are found by their tags (program, data, seed, arm) and
compared by a hash of their files: recording the same files again changes nothing.
"""

import hashlib
import json
import logging
import os
import re
import shlex
import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from ..errors import RunFailed, UserError, free_at, of_file
from ..locks import held
from ..paths import ROOT, RUNS, shown
from ..reports.build import build
from ..runs.paths import tracker_artifacts
from ..runs.results import Run, read_run
from . import server
from .address import Address
from .origin import tags_of_run
from .patience import Waiting, limit_seconds, unasked
from .tracked import TAG, Child, children, content_of, identity_of, summary_of, time_ms

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as TrackedRun

    Known = dict[tuple[str | None, ...], list[TrackedRun]]

VIEW = ROOT / "dashboards" / "comparison.json"  # columns, order and groups of the comparison
VIEW_RUNS = 100  # MLflow keeps 5,000 characters of a view; with more runs it shows all of the experiment
PARAMS_A_CALL, METRICS_A_CALL = 100, 850  # MLflow takes 1,000 things at once, 100 of them params
LOG_LIMIT_BYTES = 20_000_000  # a longer log stays where it is
REASON_LIMIT = 500  # characters of what MLflow says of a failure
CONTENT, HOST, PID = f"{TAG}content", f"{TAG}host", f"{TAG}pid"
MLFLOW_PARENT, MLFLOW_NOTE = "mlflow.parentRunId", "mlflow.note.content"
LOCKED, SLOW = "database is locked", re.compile("timed out|timeout exception")
NO_ROOM = re.compile("disk is full|readonly database|unable to open database file|disk I/O error")  # SQLite's words
# What SQLite, its migrations and MLflow say of a file that no patience makes usable.
UNUSABLE = re.compile(
    r"not a database|malformed|no such (table|column)|(table|index) \w+ already exists|duplicate column"
    r"|[Cc]an't locate revision|out-of-date database schema"
)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Where a run now is in MLflow."""

    address: Address
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

    def __str__(self) -> str:
        return f"compare:   {self.command or 'open'}\n           {self.link}"


def record(
    run_path: Path, address: Address | None = None, *, launching: bool = False, waiting: Waiting = unasked
) -> Recorded:
    """Bring MLflow to what the files of this run say; recording the same files again changes nothing.

    Args:
        address: of the tracking server or database; None: that of the folder that the run is in.
        launching: this process is running the seeds that are still open; else an incomplete run counts as KILLED.
        waiting: told what it waits for, which may be for ever.

    Raises:
        UserError: no run there, or a file in it that cannot be read.
        RunFailed: MLflow cannot be written; says where, why, and what to do about it.
    """
    run = read_run(run_path)
    runs = run.path.parent
    address = address or Address.of(runs)

    def waits_for(holder: str) -> None:
        waiting(f"{holder}, who writes to MLflow at {address.shown}")

    with _explained(address, runs), held(address.lock, waiting=waits_for):
        waiting(None)
        client = _opened(address, waiting)
        experiment_id, identity = _experiment(client, address, runs)
        _close_orphans(client, experiment_id)
        same = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity_of(run.plan).items())
        known = _by_identity(_search(client, experiment_id, same))
        parent = _parent(client, experiment_id, run, known)
        ids = {child.name: _child(client, experiment_id, parent.info.run_id, child, known) for child in children(run)}
        _update_parent(client, parent, run, sorted(ids.values()), launching=launching)
    return Recorded(
        address=address,
        runs=runs,
        experiment_id=experiment_id,
        identity=identity,
        parent_id=parent.info.run_id,
        child_ids=ids,
    )


def comparison(recorded: Sequence[Recorded], port: int | None = None, *, waiting: Waiting = unasked) -> Comparison:
    """How to compare these recorded runs in MLflow: a table with a group for each recipe and arm, its seeds below.

    Args:
        recorded: at least one, all at one address.
        port: where the command will serve a database; None: ``port_for``. Not used for a tracking server.
        waiting: as in ``record``.

    Raises:
        RunFailed: MLflow cannot be written.
    """
    first = recorded[0]
    with _explained(first.address, first.runs):
        key = _share_view(first, [child for run in recorded for child in run.child_ids.values()], waiting)
    page = f"/#/experiments/{first.experiment_id}/runs?viewStateShareKey={key}&workflowType=machine_learning"
    if first.address.is_server:
        return Comparison(command=None, link=first.address.shown + page)
    port = port_for(first, port)
    command = f"python -m platform.dashboard{_runs_option(first.runs)} --port {port}"
    return Comparison(command=command, link=server.url_of(port) + page)


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


@contextmanager
def _explained(address: Address, runs: Path) -> Iterator[None]:
    """What goes wrong with MLflow, of whatever kind, as a RunFailed in which no password stands."""
    try:
        yield
    except (UserError, RunFailed):
        raise
    except Exception as error:
        text = of_file(error) if isinstance(error, OSError) else str(error)
        lines = text.strip().splitlines() or [type(error).__name__]
        said = f"MLflow at {address.shown} could not be written: {address.hidden(lines[0])[:REASON_LIMIT]}"
        if LOCKED in said:
            said = f"{address.shown} is locked by another program; the same command records once it is free"
        elif address.is_server and SLOW.search(str(error)):
            limit = f"{os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} s (MLFLOW_HTTP_REQUEST_TIMEOUT)"
            said = f"MLflow at {address.shown} did not answer within {limit}, each time"
        elif address.database is not None and NO_ROOM.search(str(error)):
            said += f" ({free_at(address.database)}): make room there, or set MLFLOW_TRACKING_URI to another place"
        elif address.database is not None and UNUSABLE.search(str(error)):
            said += (
                "\nMLflow cannot use that file. It is a copy: this moves it away and makes it again from the results\n"
                f"  python -m platform.track --fresh{_runs_option(runs)}"
            )
        raise RunFailed(said) from None


def _runs_option(runs: Path) -> str:
    return "" if runs == RUNS else f" --runs {shlex.quote(shown(runs))}"


def _share_view(recorded: Recorded, run_ids: Sequence[str], waiting: Waiting) -> str:
    """Leave the view of these runs in MLflow, as its own Share button does; returns the name for the link."""
    state = json.loads(VIEW.read_text())
    listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
    state["searchFilter"] = f"attributes.run_id IN ({listed})" if len(run_ids) <= VIEW_RUNS else ""
    text = json.dumps(state)
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    client = _opened(recorded.address, waiting)
    client.set_experiment_tag(recorded.experiment_id, f"mlflow.sharedViewState.{key}", text)
    return key


def _opened(address: Address, waiting: Waiting) -> "MlflowClient":
    """A client that says whom it waits for; a new database gets its tables.

    Raises:
        sqlite3.Error: the file is no database, is locked, or must not be written. MLflow itself would try for 100 s.
    """
    if address.database is not None and address.database.exists():
        uri = f"{address.database.as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    elif address.database is not None:
        _make_database(address.database)
    return cast("MlflowClient", _Telling(_client(address.for_mlflow()), f"MLflow at {address.shown}", waiting))


def _make_database(path: Path) -> None:
    """Make the database with its schema in another file, which then gets the name: there never is half of one."""
    _quiet()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for begun in path.parent.glob(f".{path.stem}.*.part.db*"):  # by a process that was killed: we have the lock
        begun.unlink()
    part = path.with_name(f".{path.stem}.{os.getpid()}.part.db")
    try:
        store = SqlAlchemyStore(Address.of_database(part).uri, tracker_artifacts(path.parent).as_uri())
        store.engine.dispose()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Telling:
    """An MLflow client, each call of which tells what it waits for, and when it has been answered."""

    def __init__(self, client: "MlflowClient", name: str, waiting: Waiting) -> None:
        self._client, self._name, self._waiting = client, name, waiting

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._client, method)

        def told(*args: Any, **options: Any) -> Any:
            self._waiting(self._name)
            answer = call(*args, **options)
            self._waiting(None)
            return answer

        return told


def _client(uri: str) -> "MlflowClient":
    """A client without MLflow's chatter and telemetry."""
    _quiet()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _quiet() -> None:
    """Before MLflow is imported."""
    limit_seconds()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _experiment(client: "MlflowClient", address: Address, runs: Path) -> tuple[str, str]:
    """Id and identity of our experiment, made where it is missing; without a server its files go beside the runs."""
    experiment = client.get_experiment_by_name(server.EXPERIMENT)
    if experiment is None:
        location = None if address.is_server else tracker_artifacts(runs).resolve().as_uri()
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


def _by_identity(runs: "Sequence[TrackedRun]") -> "Known":
    """Runs by the tags that ``identity_of`` gives."""
    known: Known = {}
    for run in runs:
        known.setdefault(_key(run.data.tags), []).append(run)
    return known


def _key(tags: Mapping[str, str]) -> tuple[str | None, ...]:
    return tuple(tags.get(TAG + name) for name in ("kind", "seed", "arm"))


def _parent(client: "MlflowClient", experiment_id: str, run: Run, known: "Known") -> "TrackedRun":
    """The recipe's run, made where it is missing."""
    plan = run.plan
    identity = identity_of(plan, kind="recipe")
    if there := known.get(_key(identity)):
        return there[0]
    tags = {**identity, **_writer(), MLFLOW_NOTE: build(run).question or ""}
    return client.create_run(experiment_id, time_ms(plan.paths.plan), tags, f"{plan.recipe} ({plan.scale})")


def _child(client: "MlflowClient", experiment_id: str, parent_id: str, child: Child, known: "Known") -> str:
    """The id of the child's run; made, or made again where what is recorded is not what the files say now."""
    from mlflow.entities import Metric, Param, RunTag

    for run in known.get(_key(child.identity), ()):
        if run.data.tags.get(CONTENT) == child.content:
            if run.info.status != child.status:  # a recording that broke off just before its end
                client.set_terminated(run.info.run_id, child.status, child.end_ms)
            return str(run.info.run_id)
        if run.data.tags.get(HOST) == socket.gethostname():  # another machine's measurement stays
            client.delete_run(run.info.run_id)  # into MLflow's bin: params and curves cannot be replaced
    tags = {**child.identity, **child.origin, **_writer(), MLFLOW_PARENT: parent_id, MLFLOW_NOTE: child.note}
    run_id = str(client.create_run(experiment_id, child.start_ms, tags, child.name).info.run_id)
    for path in child.files:
        _log_file(client, run_id, path)
    params = [Param(*param) for param in child.params().items()]
    points = [Metric(*point) for point in child.points()]
    if len(params) > PARAMS_A_CALL or len(points) > METRICS_A_CALL:
        client.log_batch(run_id, points[:-METRICS_A_CALL], params)
        params, points = [], points[-METRICS_A_CALL:]
    client.log_batch(run_id, points, params, [RunTag(CONTENT, child.content)])  # the tag is last: everything is there
    client.set_terminated(run_id, child.status, child.end_ms)
    return run_id


def _update_parent(
    client: "MlflowClient", parent: "TrackedRun", run: Run, child_ids: Sequence[str], *, launching: bool
) -> None:
    """Summary, files and status of the recipe's run, unless they are as they should be."""
    from mlflow.entities import Metric, RunTag

    plan, parent_id = run.plan, parent.info.run_id
    paths = plan.paths
    files = [paths.program, paths.recipe, paths.plan, paths.report_md, paths.report_json, paths.results_csv]
    figures = sorted(paths.figures.glob("*.png"))
    content = content_of(*files, *figures, text=json.dumps(child_ids))
    status = "FAILED" if run.failures else "FINISHED" if run.complete else "KILLED"
    if launching and run.open:
        status = "RUNNING"
    if parent.data.tags.get(CONTENT) == content and parent.info.status == status:
        return
    now_ms = max(time_ms(path) for path in files)
    summary = summary_of(build(run))
    values = {name: value for name, value in summary.items() if parent.data.metrics.get(name) != value}
    client.log_batch(parent_id, [Metric(name, value, now_ms, 0) for name, value in values.items()])
    for path in files:
        _log_file(client, parent_id, path)
    for path in figures:
        _log_file(client, parent_id, path, paths.figures.name)
    tags = {f"{TAG}recipe": plan.recipe, f"{TAG}scale": plan.scale, f"{TAG}seeds": ", ".join(map(str, plan.seeds))}
    tags |= {TAG + name: value for name, value in tags_of_run(run).items()}
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
