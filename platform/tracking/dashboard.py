"""The comparison of recorded runs, opened in MLflow on this machine."""

import signal
import sys
from pathlib import Path
from types import FrameType

from ..errors import RunFailed, UserError
from ..paths import shown
from ..runs.paths import RunPaths
from . import server, tracker

ALIVE_SECONDS = 1.0  # between looks at the server


def serve(runs: Path, port: int | None) -> None:
    """Record what is not recorded yet, serve MLflow until Ctrl-C or SIGTERM, and print the link.

    Raises:
        UserError: no run there, nothing that can be served, or the port is taken.
        RunFailed: MLflow cannot be written or does not start.
    """
    recorded = _recorded(runs_in(runs))
    uri = recorded[0].uri
    if tracker.is_server(uri):
        print(f"These runs are tracked on {uri}: {tracker.comparison(recorded).link}")
        return
    if not uri.startswith("sqlite:///"):
        raise UserError(f"MLFLOW_TRACKING_URI={uri}: only a SQLite database or a server can be shown; unset it")
    port = tracker.port_for(recorded[0], port)
    comparison = tracker.comparison(recorded, port)
    if not server.is_free(port):
        print(f"Already served: {comparison.link}")
        return
    signal.signal(signal.SIGTERM, _interrupt)
    print(f"Starting MLflow on {server.url_of(port)} ...", file=sys.stderr)
    try:
        with server.serving(Path(uri.removeprefix("sqlite:///")).parent, port) as served:
            print(f"{comparison.link}\n\nCtrl-C ends the server.", flush=True)
            while (ended := served.wait(ALIVE_SECONDS)) is None:
                pass
        raise RunFailed(
            f"the MLflow server ended by itself, with status {ended.status}; the same command starts another"
        )
    except KeyboardInterrupt:
        print("\nended", file=sys.stderr)


def runs_in(folder: Path) -> list[Path]:
    """Every run in this folder, the latest plan last.

    Raises:
        UserError: there is none.
    """
    folders = [path for path in folder.glob("*/") if RunPaths(path).plan.is_file()]
    if not folders:
        raise UserError(
            f"{shown(folder)}: no run there yet; make one with\n"
            "  python -m platform.launch recipes/leaky_cosine.yaml --seeds 3 --scale laptop"
        )
    return sorted(folders, key=lambda path: RunPaths(path).plan.stat().st_mtime)


def _recorded(run_paths: list[Path]) -> list[tracker.Recorded]:
    """Bring MLflow up to date. Raises RunFailed when it cannot be written."""
    try:
        return [tracker.record(path) for path in run_paths]
    except UserError:
        raise
    except Exception as error:  # of MLflow, its database or its server: any kind
        raise RunFailed(f"MLflow at {tracker.uri_of(run_paths[0].parent)} could not be written: {error}") from error


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
