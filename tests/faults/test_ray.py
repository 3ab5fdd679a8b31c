"""Ray's own processes die under a launch: it goes on with a new cluster, and loses nothing that was finished."""

import os
import signal

import pytest

from platform.runs.results import read_run
from tests.faults.gated import Gated
from tests.faults.launched import wait_until
from tests.launching import PATIENCE_SECONDS

SEEDS = (1337, 42, 2024)


@pytest.mark.parametrize("process", ["raylet", "gcs"])
def test_a_launch_outlives_its_private_cluster(gated: Gated, process: str) -> None:
    """While one trial trains, another has scored one arm, and a third waits."""
    with gated.launch(SEEDS) as launched:
        gated.wait_at("score", 1337, launched)
        gated.wait_at("train", 42, launched)
        (pid,) = launched.of(process)
        os.kill(pid, signal.SIGKILL)
        wait_until("both are tried again", lambda: launched.stderr.count("attempt 2 in") == 2, launched)
        gated.open()
        status = launched.ended(PATIENCE_SECONDS)
        said = launched.stderr
        assert status == 0, said
        assert gated.scores() == gated.expected(SEEDS)
        assert f"Ray's {process}" in said
        assert not read_run(gated.plan.run_path).failures
        assert "compare:" in launched.stdout
        assert launched.left(60) == []
