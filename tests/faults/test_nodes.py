"""Two nodes without a common folder: programs and data go to them, everything that a trial leaves comes home."""

import os
import signal
from pathlib import Path

import pytest

from platform.runs.plan import read_failure
from platform.runs.results import read_run
from tests.faults.gated import Gated
from tests.faults.launched import wait_until
from tests.faults.nodes import can_hide_folders, nodes
from tests.launching import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(not can_hide_folders(), reason="a node with its own view of the disk needs unshare")
SEEDS = (1337, 42, 2024, 7)


def test_four_trials_on_two_nodes_that_share_no_folder(
    short_tmp: Path, tmp_path: Path, tiny_data: tuple[Path, Path]
) -> None:
    """Two at a time, one on each node; then one node is lost in the middle of a trial, which the other one ends."""
    gated = Gated(tmp_path / "a run", *tiny_data)
    hidden = (gated.plan.run_path.parent, tiny_data[0])
    with nodes(short_tmp, 2, cpus=1, hidden=hidden) as found:
        options = ("--cluster", found.address)
        with gated.launch(SEEDS, *options, environment=found.environment) as launched:
            gated.wait_at("score", 1337, launched)
            gated.wait_at("train", 42, launched)
            wait_until("the arm is home", gated.plan.paths.seed(1337).arm("plain").result.exists, launched)
            assert not gated.plan.paths.seed(2024).folder.exists(), "two at a time"
            os.kill(found.raylets[1], signal.SIGKILL)
            gated.open()
            assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
            said = launched.stderr
        assert gated.scores() == gated.expected(SEEDS)
        assert "attempt 2 in" in said
        run = read_run(gated.plan.run_path)
        assert run.complete and not any(read_failure(trial.paths.failure) for trial in gated.plan.trials)
        for seed in SEEDS:
            assert "rank 0 as" in gated.plan.paths.seed(seed).job_log.read_text()
            assert '"score"' in gated.plan.paths.seed(seed).arm("sgd").metrics.read_text()
