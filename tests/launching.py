"""Real launches: ``python -m platform.launch`` in a process of its own, on tiny recipes with real jobs."""

import os
import subprocess
import sys
import time
from pathlib import Path

from platform.paths import ROOT
from platform.processes.supervisor import GUARD_MARKER, MARKER, marked
from platform.runs.plan import Plan, read

PATIENCE_SECONDS = 1200  # with anything that is started: no test depends on a quiet machine

TINY = """
question: Does the launch work?
base: naive_baseline
arms:
  no_ttt: no_adaptation
  sgd: {pre_eval: {optimizer: sgd, learning_rate: 0.001, epochs: 1}}
scales:
  laptop:
    shape: {num_layers: 2, model_dim: 64, num_heads: 2, num_kv_heads: 1}
    budget: {iterations: 3, train_seconds: 5, batch_tokens: 1024, warmup_steps: 0}
"""
BROKEN = """
question: What happens to the other arms when one fails?
base: tiny
arms:
  no_ttt: no_adaptation
  bad: {pre_eval: {optimizer: sgd, learning_rate: 0.001, epochs: 1, learning_rate_groups: {no.such.layer: 2.0}}}
"""


def start(
    folder: Path,
    *recipes: str | Path,
    seeds: str = "1337,",
    scale: str | None = "laptop",
    options: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a launch of recipes, by name, or of runs, by path; those have their scale."""
    names = [str(one if isinstance(one, Path) else folder / "my recipes" / f"{one}.yaml") for one in recipes]
    scales = [] if scale is None or any(isinstance(one, Path) for one in recipes) else ["--scale", scale]
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "platform.launch", *names, "--seeds", seeds, *scales),
            *("--runs", str(folder / "my runs"), *options),
        ],
        cwd=ROOT,
        env={**inherited, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def plan_of(folder: Path, recipe: str) -> Plan:
    (path,) = (folder / "my runs").glob(f"{recipe}-*")
    return read(path)


def wait_for_training(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the job that ``process`` has just begun to start takes its steps."""
    begun, deadline = time.time(), time.monotonic() + PATIENCE_SECONDS
    trunks = folder / "my runs" / "trunks"
    while not any(
        path.stat().st_mtime > begun and '"step"' in path.read_text() for path in trunks.glob("*/*/metrics.jsonl")
    ):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def all_gone(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether, within ``seconds``, no process is left of the launch, and nothing of its own in the temp folder."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        session = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and _session(pid) == process.pid]
        ours = marked(MARKER, f"{process.pid}-") | marked(GUARD_MARKER, f"{process.pid}-")
        if not session and not ours:
            return True
        time.sleep(0.1)
    return False


def _session(pid: Path) -> int:
    try:
        return int((pid / "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return 0


def mlflow_status(folder: Path, recipe: str) -> str:
    """What MLflow says of the recipe's own run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'my runs' / 'mlflow.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    found = client.search_runs([experiment.experiment_id], f"tags.`fairway.recipe` = '{recipe}'")
    kinds = [run for run in found if run.data.tags.get("fairway.kind") == "recipe"]
    return str(kinds[0].info.status)


def files_of(plan: Plan) -> dict[Path, int]:
    """Every file of the plan's trials and when it was written."""
    return {path: path.stat().st_mtime_ns for path in plan.run_path.glob("seed_*/**/*") if path.is_file()}
