"""Open the comparison of recorded runs in MLflow: one command, a link to click, Ctrl-C to end.

    python -m platform.dashboard                 all runs of runs/
    python -m platform.dashboard --runs DIR --port N

Runs that are not in MLflow yet, or that have changed since, are recorded first.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

import click

from .errors import RunFailed, UserError, explained
from .paths import RUNS, shown
from .runs.paths import RunPaths
from .tracking import server, tracker


@click.command(help="Serve MLflow on this machine and print the link to the comparison of all recorded runs.")
@click.option("--runs", type=click.Path(path_type=Path), default=RUNS, show_default="runs/", help="Folder of runs.")
@click.option("--port", type=click.IntRange(1, 65535), help=f"Default: the first free one from {server.PORT} on.")
@explained()
def main(runs: Path, port: int | None) -> None:
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
        with server.serving(Path(uri.removeprefix("sqlite:///")).parent, port):
            print(f"{comparison.link}\n\nCtrl-C ends the server.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("\nended", file=sys.stderr)


def runs_in(folder: Path) -> list[Path]:
    """Every run in this folder, the latest plan last.

    Raises:
        UserError: there is none.
    """
    found = [path for path in folder.glob("*/") if RunPaths(path).plan.is_file()]
    if not found:
        raise UserError(
            f"{shown(folder)}: no run there yet; make one with\n"
            "  python -m platform.launch recipes/leaky_cosine.yaml --seeds 3 --scale laptop"
        )
    return sorted(found, key=lambda path: RunPaths(path).plan.stat().st_mtime)


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


if __name__ == "__main__":
    main()
