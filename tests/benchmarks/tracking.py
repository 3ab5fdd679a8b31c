"""MLflow: metrics in batches against one at a time, and what is recorded already against the first time.

``python -m tests.benchmarks.tracking``. Real SQLite databases, real files of runs, MLflow's own client on both sides.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import make_run_in

Make = Callable[..., Any]

STEPS = 2000  # of a training log, with three metrics a step
LOGS, ONE_BY_ONE = 8, 200  # logs that are recorded; values that are logged one at a time, before and after them
SEEDS = 60  # of the run that is recorded twice, with two arms of short logs


def seconds_of(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of a call."""
    wall, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - used


def batches(make: Make, folder: Path) -> None:
    """The curves of whole logs by ``record``, against ``log_metric`` for each of their values."""
    from platform.tracking import tracker

    recorded = tracker.record(make(folder, {"no_ttt": {}}, seeds=(1,), recipe="empty").path)  # the tables, the imports
    client = tracker._client(recorded.address.for_mlflow())
    one = client.create_run(recorded.experiment_id).info.run_id
    run = make(folder, {"no_ttt": dict.fromkeys(range(1, LOGS + 1), 2.3)})
    for seed in range(1, LOGS + 1):
        run.trunk(seed, steps=STEPS)

    def one_by_one(name: str) -> tuple[float, float]:
        def call() -> None:
            for step in range(ONE_BY_ONE):
                client.log_metric(one, name, 1 / (1 + step), step=step)

        return seconds_of(call)

    before = one_by_one("before")
    wall, used = seconds_of(lambda: tracker.record(run.path))
    slow_wall, slow_used = (sum(pair) / (2 * ONE_BY_ONE) for pair in zip(before, one_by_one("after"), strict=True))
    values = 0
    for child in tracker.record(run.path).child_ids.values():
        values += sum(len(client.get_metric_history(child, name)) for name in client.get_run(child).data.metrics)
    print(f"  {LOGS} logs of {STEPS:,} steps, read, thinned to {values:,} values and recorded: {wall:.1f} s")
    print(f"  a value by record {1000 * wall / values:.3f} ms, by log_metric {1000 * slow_wall:.2f} ms")
    print(f"  one at a time / record: {slow_wall * values / wall:.0f}; processor {slow_used * values / used:.0f}")


def again(make: Make, folder: Path) -> None:
    """A run of many seeds for the first time, and with nothing changed."""
    from platform.tracking import tracker

    scores = {arm: {seed: 2.3 + seed / 1e4 for seed in range(1, SEEDS + 1)} for arm in ("no_ttt", "sgd")}
    run = make(folder, scores, recipe="many")
    first, _ = seconds_of(lambda: tracker.record(run.path))
    then = sorted(seconds_of(lambda: tracker.record(run.path))[0] for _ in range(3))[1]
    print(f"  {SEEDS} seeds x 2 arms: first {first:.1f} s, with nothing changed {then:.2f} s: {then / first:.3f} of it")


def main() -> None:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    make = make_run_in.__wrapped__()  # what the fixture of the tests is made of
    with tempfile.TemporaryDirectory() as folder:
        batches(make, Path(folder))
        again(make, Path(folder))


if __name__ == "__main__":
    main()
