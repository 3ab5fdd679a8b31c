"""The command: open the comparison of recorded runs in MLflow; a link to click, Ctrl-C to end.

    python -m platform.dashboard                 all runs of runs/
    python -m platform.dashboard --runs DIR --port N

Runs that are not in MLflow yet, or that have changed since, are recorded first.
"""

from pathlib import Path

import click

from .errors import explained
from .paths import RUNS
from .tracking import dashboard, server


@click.command(help="Serve MLflow on this machine and print the link to the comparison of all recorded runs.")
@click.option("--runs", type=click.Path(path_type=Path), default=RUNS, show_default="runs", help="Folder of runs.")
@click.option("--port", type=click.IntRange(1, 65535), help=f"Default: the first free one from {server.PORT} on.")
@explained()
def main(runs: Path, port: int | None) -> None:
    dashboard.serve(runs, port)


if __name__ == "__main__":
    main()
