"""What a launch costs beside its jobs: against a plain pool of processes and bare Tune; and of a thousand trials.

``python -m tests.benchmarks.launching``. Jobs are real torchruns of a program that sleeps for a second.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from platform.runs.plan import Plan, Trial
from platform.runs.planning import extend
from tests.conftest import make_run_in
from tests.faults.gated import Gated
from tests.finished import small_data

JOBS, SLOTS = 30, 2
RECORDED, PLANNED = 1_000, (2_500, 5_000, 10_000)
READS = """
import sys, time
from pathlib import Path
from platform.reports.build import build
from platform.runs import plan
from platform.runs.results import read_run
path, said = Path(sys.argv[1]), []
for what, call in (
    ("plan", lambda: plan.read(path)),
    ("what is done", lambda: [trial.done for trial in plan.read(path).trials]),
    ("report", lambda: build(read_run(path))),
):
    begun = time.perf_counter()
    call()
    said.append(f"{what} {time.perf_counter() - begun:.2f} s")
assert not {"ray", "mlflow", "torch"} & sys.modules.keys()
print(", ".join(said))
"""


def launches(folder: Path) -> None:
    """The same jobs by a pool, by Tune with and without reuse of actors, and by a launch; from the first start on."""
    from platform.running.cluster import connected
    from platform.running.feed import Feed
    from platform.running.observers import Observer
    from platform.running.tuning import run_trials

    gated = Gated(folder / "run", *small_data(folder / "data"))
    gated.open()
    slow = gated.plan.paths.program.read_text().replace('gate("start")', 'gate("start"); time.sleep(1)')
    gated.plan.paths.program.write_text(slow)
    sha256 = plans_sha256(gated.plan.paths.program)

    def trials(first: int) -> list[Trial]:
        found = [replace(gated.plan, program_sha256=sha256, processes=1).trial(first + at) for at in range(JOBS)]
        return [replace(trial, arms=("plain",)) for trial in found]

    def alone(trial: Trial) -> None:
        from platform.running.trial import run

        run(trial, lambda _: None)

    def by_pool() -> float:
        begun = time.perf_counter()
        with ThreadPoolExecutor(SLOTS) as pool:
            list(pool.map(alone, trials(10_000)))
        return time.perf_counter() - begun

    class Clock(Observer):
        def __init__(self) -> None:
            self.first = 0.0

        def started(self, trial: Trial) -> None:
            self.first = self.first or time.perf_counter()

    with connected(None, cpus=SLOTS, launch="benchmark") as cluster:

        def by_launch() -> float:
            feed, clock = Feed(trials(20_000)), Clock()
            feed.close()
            run_trials(feed, cluster, clock)
            return time.perf_counter() - clock.first

        def by_tune(first: int, *, reuse: bool) -> float:
            from ray import tune

            tuner = tune.Tuner(
                tune.with_resources(lambda config: alone(config["trial"]), tune.PlacementGroupFactory([{"CPU": 1}])),
                param_space={"trial": tune.grid_search(trials(first))},
                tune_config=tune.TuneConfig(reuse_actors=reuse),
                run_config=tune.RunConfig(name=cluster.new_name(), storage_path=str(cluster.scratch), verbose=0),
            )
            begun = time.perf_counter()
            tuner.fit()
            return time.perf_counter() - begun

        floor = by_pool()
        ours = by_launch()
        fresh, reused = by_tune(30_000, reuse=False), by_tune(40_000, reuse=True)
        floor = (floor + by_pool_again(by_pool, gated)) / 2
    print(f"  {JOBS} jobs of a second on {SLOTS} slots: a pool of processes {floor:.1f} s")
    for name, seconds in (("a launch", ours), ("bare Tune", fresh), ("bare Tune, actors reused", reused)):
        print(f"  {name} / pool: {seconds / floor:.2f}")


def by_pool_again(by_pool: Callable[[], float], gated: Gated) -> float:
    """The floor once more, behind the others: a machine that slowed down slowed both."""
    for result in gated.plan.run_path.glob("seed_1*/*/result.json"):
        result.unlink()
    return by_pool()


def plans_sha256(path: Path) -> str:
    from jobs.contract.shards import file_sha256

    return file_sha256(path)


def recorded(make: Callable[..., Any], folder: Path) -> None:
    """What a command reads before it does anything, of a run with many results."""
    scores = {arm: {seed: 2.3 + seed / 1e6 for seed in range(1, RECORDED // 2 + 1)} for arm in ("no_ttt", "sgd")}
    run = make(folder, scores, recipe="many")
    said = subprocess.run([sys.executable, "-c", READS, str(run.path)], capture_output=True, text=True, check=True)
    print(f"  {RECORDED:,} recorded scores: {said.stdout.strip()}, without Ray, MLflow and torch")


def planned(make: Callable[..., Any], folder: Path) -> None:
    """Trials planned, handed out and ended, without what they would run."""
    from platform.running.feed import Feed

    for count in PLANNED:
        run = make(folder, {"no_ttt": {}}, seeds=(0,), recipe=f"planned{count}")
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plan: Plan = extend(replace(run.plan, planned=()), tuple(range(count)))
        feed = Feed(plan.trials)
        feed.close()
        while (attempt := feed.next()) is not None:
            feed.over(attempt.trial)
        seconds, grown = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        each = f"{1e6 * seconds / count:.0f} us and {grown / count:.2f} KiB each"
        print(f"  {count:,} trials planned and handed out: {each}")


def main() -> None:
    make = make_run_in.__wrapped__()  # what the fixture of the tests is made of
    with tempfile.TemporaryDirectory() as name:
        planned(make, Path(name))
        recorded(make, Path(name))
        launches(Path(name))


if __name__ == "__main__":
    main()
