"""The database of MLflow is there whole or not at all, whenever the process that makes it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from platform.paths import ROOT
from platform.runs.paths import tracker_database
from platform.tracking import tracker
from tests.conftest import MakeRun

MAKE = """
import sys
from pathlib import Path
from platform.tracking.tracker import record
record(Path(sys.argv[1]))
"""


def test_a_kill_while_the_schema_is_made_leaves_no_half_of_it(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run({"no_ttt": {1337: 1.1}})
    database = tracker_database(folder.path.parent)
    database.unlink(missing_ok=True)
    for _ in range(3):
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        making = subprocess.Popen([sys.executable, "-c", MAKE, str(folder.path)], cwd=ROOT, env=environment)
        while not (begun := list(database.parent.glob(".mlflow.*.part.db"))) and making.poll() is None:
            time.sleep(0.01)
        assert begun, "it is made under another name"
        while begun[0].exists() and begun[0].stat().st_size < 200_000 and making.poll() is None:
            time.sleep(0.001)  # until a part of the schema is there
        os.kill(making.pid, signal.SIGKILL)
        making.wait()
        assert not database.exists()
    assert tracker.record(folder.path).child_ids
    assert database.exists() and not list(database.parent.glob(".mlflow.*"))
