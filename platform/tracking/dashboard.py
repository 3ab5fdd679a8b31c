"""The comparison of recorded runs, opened in MLflow on this machine."""

import signal
import sys
from pathlib import Path
from types import FrameType

from ..errors import RunFailed, UserError
from . import recording, server, tracker
from .patience import Patience

ALIVE_SECONDS = 1.0  # between looks at the server


def serve(runs: Path, port: int | None) -> None:
    """Record what is not recorded yet, serve MLflow until Ctrl-C or SIGTERM, and print the link.

    Raises:
        UserError: no run there, nothing that can be served, or the port is taken.
        RunFailed: MLflow cannot be written or does not start.
    """
    patience = Patience(lambda text: print(text, file=sys.stderr, flush=True))
    recorded = [recording.record(path, patience) for path in recording.runs_in(runs)]
    address = recorded[0].address
    if address.is_server:
        print(f"These runs are tracked on {address.shown}: {recording.compare(recorded, patience).link}")
        return
    if address.database is None:
        raise UserError(f"MLflow at {address.shown}: only a SQLite database or a server can be shown")
    port = tracker.port_for(recorded[0], port)
    comparison = recording.compare(recorded, patience, port)
    if not server.is_free(port):
        print(f"Already served: {comparison.link}")
        return
    signal.signal(signal.SIGTERM, _interrupt)
    print(f"Starting MLflow on {server.url_of(port)} ...", file=sys.stderr)
    try:
        with server.serving(address.database, port) as served:
            print(f"{comparison.link}\n\nCtrl-C ends the server.", flush=True)
            while (ended := served.wait(ALIVE_SECONDS)) is None:
                pass
        raise RunFailed(
            f"the MLflow server ended by itself, with status {ended.status}; the same command starts another"
        )
    except KeyboardInterrupt:
        print("\nended", file=sys.stderr)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
