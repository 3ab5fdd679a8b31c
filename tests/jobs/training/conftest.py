"""What the tests of the training loop share: a run of a tiny model, and two processes of gloo."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.log import Log
from jobs.loop import Trained, train
from jobs.model import Transformer
from jobs.recipe import Recipe
from tests.jobs import tiny
from tests.jobs.tiny import ALONE, model_of, small


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    tiny.write_shard(folder / "some_train_000000.bin", tiny.stream(1000).tolist())
    return folder


@pytest.fixture
def run(data_path: Path, tmp_path: Path) -> Callable[..., tuple[Transformer, Trained, list[dict[str, Any]], str]]:
    """Train a tiny model; gives it, what the run cost, its events and its log."""
    runs = 0

    def trained(
        recipe: Recipe | None = None,
        *,
        seed: int = 1337,
        validate: Callable[[Transformer], tuple[float, float]] = lambda model: (1.0, 2.0),
        now: Callable[[], float] = time.perf_counter,
        **budget: Any,
    ) -> tuple[Transformer, Trained, list[dict[str, Any]], str]:
        nonlocal runs
        runs += 1
        recipe = recipe or small()
        recipe = replace(recipe, budget=replace(recipe.budget, **budget))
        model = model_of(recipe, seed=seed)
        log = Log(tmp_path / f"run {runs}", writes=True)
        found = train(recipe, model, data_path, world=ALONE, log=log, validate=lambda: validate(model), now=now)
        events = [json.loads(line) for line in (log.folder / "metrics.jsonl").read_text().splitlines()]
        return model, found, events, (log.folder / "train.log").read_text()

    return trained


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two gloo processes found out in ``two_ranks.py``, by rank."""
    folder = tmp_path_factory.mktemp("two ranks")
    script = Path(__file__).with_name("two_ranks.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*command, str(folder)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in (0, 1)]
