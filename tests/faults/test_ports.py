"""What of a launch listens to the network, at every moment of it: nothing."""

import sys
from pathlib import Path

import pytest

from platform.paths import ROOT
from tests.faults.launched import Launched
from tests.finished import small_data
from tests.launching import PATIENCE_SECONDS, TINY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_no_process_of_a_launch_listens_to_the_network(tmp_path: Path) -> None:
    """torchrun's own store would, and it runs what it is told: seen with a real job, its audit, its ranks, MLflow."""
    data, tokenizer = small_data(tmp_path / "data")
    (tmp_path / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TINY)
    options = ("--scale", "laptop", "--seeds", "1337,", "--runs", str(tmp_path / "runs"))
    with Launched(str(recipe), *options, "--data", str(data), "--tokenizer", str(tokenizer)) as launched:
        seen: set[str] = set()
        open_ports: set[tuple[str, str]] = set()
        while launched.goes_on(PATIENCE_SECONDS):
            seen |= {launched.role(pid) for pid in launched.pids()}
            open_ports |= launched.open_ports()
        assert launched.process.returncode == 0, launched.stderr
        assert {"driver", "audit", "raylet", "gcs", "worker", "guard", "torchrun", "rank"} <= seen
        assert not open_ports
        assert launched.left(60) == []
