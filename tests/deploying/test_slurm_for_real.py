"""The script for several nodes with real Ray, a real launch and real jobs; srun and scontrol alone are stood in for."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.deploying import slurm
from platform.deploying.deployment import Deployment
from platform.paths import ROOT
from platform.processes.supervisor import GUARD_MARKER, MARKER, marked
from tests.launching import PATIENCE_SECONDS, TINY, plan_of

SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
small=(--num-cpus=2 --object-store-memory=104857600 --node-ip-address=127.0.0.1)
case "$*" in *--head*) exec "$@" "${small[@]}" --temp-dir="$RAY_FOLDER" ;; esac
unset RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER # Ray would refuse a second node
exec "$1" -c "$SECOND_NODE" "${@:4}" "${small[@]}"
"""
SECOND_NODE = """
from ray._private import services
services.resolve_ip_for_localhost = lambda host: host  # Ray would look for the head at this machine's other addresses
from ray.scripts.scripts import main
main()
"""
OURS = "FAIRWAY_TEST_OF_SLURM"

LONG = """
question: Does it stop when it is told to?
base: tiny
arms: {no_ttt: no_adaptation}
scales: {laptop: {budget: {iterations: 100000, train_seconds: 600}}}
"""


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="finds what is left in /proc")
def test_two_nodes_run_a_trial_each_and_a_signal_ends_all(
    make: Callable[..., Deployment], programs: Callable[..., dict[str, str]], tmp_path: Path, short_folder: Path
) -> None:
    """Two nodes of two CPUs, and trials that need two: they run side by side, so both nodes are there."""
    folder, recipes = tmp_path / "my fairway", tmp_path / "my recipes"
    environment = programs(
        {"python": f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'}, folder / ".venv" / "bin"
    )
    for name in ("platform", "jobs", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    recipes.mkdir()
    (recipes / "tiny.yaml").write_text(TINY)
    (recipes / "long.yaml").write_text(LONG)
    environment = programs({"srun": SRUN, "scontrol": "#!/bin/sh\necho 127.0.0.1\necho other\n"}) | {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "2",
        "RAY_FOLDER": str(short_folder),
        "SECOND_NODE": SECOND_NODE,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on loopback alone
        OURS: tmp_path.name,
    }
    launch = (str(recipes / "long.yaml"), "--scale", "laptop", "--seeds", "1337,7", "--runs", str(tmp_path / "my runs"))
    script = tmp_path / "slurm.sbatch"
    script.write_text(slurm.sbatch(make(launch=launch, nodes=2, machine={"processes": 2, "gpus": 0, "cpus": 2})))
    log = tmp_path / "slurm.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", str(script)], env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(list(tmp_path.glob("my runs/trunks/*/*/metrics.jsonl"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        token = tmp_path / f".fairway-token-{os.getpid()}"
        assert token.stat().st_mode & 0o777 == 0o600
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM, log.read_text()
        assert not token.exists() and "The same command continues" in log.read_text()
        plan = plan_of(tmp_path, "long")
        assert plan.seeds == (1337, 7)
        assert not [pid for pid in marked(MARKER, "") if pid in marked(OURS, tmp_path.name)]
        assert not [pid for pid in marked(GUARD_MARKER, "") if pid in marked(OURS, tmp_path.name)]
    finally:
        while left := marked(OURS, tmp_path.name):  # as Slurm ends what is left of a job
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        process.wait(PATIENCE_SECONDS)
