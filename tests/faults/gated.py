"""Runs of a stand-in program that waits at each phase until it is let on, so that a fault hits the phase it is for.

torchrun, guard, worker, Ray and everything of the launch are real; only the two ranks do nothing but leave the files
that a real job leaves, the same numbers for the same seed whatever happened to them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner, Result

from jobs.contract.assignment import Assignment
from jobs.contract.files import write_record
from platform import launch
from platform.runs.plan import NOT_STORED
from platform.runs.planning import extend
from platform.runs.reading import read_result
from tests.faults.launched import Launched, wait_until
from tests.stand_in import PRELUDE, planned

ARMS = ("plain", "sgd")
PHASES = ("start", "train", "pack", "score", "result", "end")  # at which it waits; ``score`` and ``result`` of sgd
PROGRAM = (
    PRELUDE
    + '''GATES = Path({gates!r})


def gate(phase):
    """Say that this rank is there, and wait until the phase is open."""
    (GATES / f"{{told.seed}}.{{phase}}.{{rank}}").touch()
    while not any((GATES / name).exists() for name in ("open", f"{{told.seed}}.open", f"{{told.seed}}.{{phase}}.open")):
        time.sleep(0.01)


print("rank", rank, "as", os.getpid(), flush=True)
gate("start")
if not (told.trunk_path / TRUNK_FILE).exists():
    event(told.trunk_path, event="phase", phase="train", state="start", seconds=0.0)
    event(told.trunk_path, event="step", step=1, train_loss=6.25, train_ms=6.0, step_ms=6.0, lr_scale=1.0)
    gate("train")
    event(told.trunk_path, event="phase", phase="train", state="end", seconds=0.1)
    event(told.trunk_path, event="phase", phase="pack", state="start", seconds=0.0)
    gate("pack")
    event(told.trunk_path, event="phase", phase="pack", state="end", seconds=0.1)
    together("packed")
    leave_trunk(hashlib.sha256(str(told.seed).encode()).hexdigest())
    together("trunk")
for arm in told.arms:
    event(told.output_path / arm, event="arm", arm=arm, state="start")
    event(told.output_path / arm, event="phase", phase="score", state="start", seconds=0.0)
    if arm == "sgd":
        gate("score")
        gate("result")
    together(arm)
    leave_result(arm, 1.25 + told.seed / 1e6 - (arm == "sgd") / 100)
    event(told.output_path / arm, event="arm", arm=arm, state="end")
    together(f"end of {{arm}}")
gate("end")
'''
)


class Gated:
    """A run that goes on with ``python -m platform.launch RUN_DIR``, and the gates of its jobs."""

    def __init__(self, folder: Path, data: Path, tokenizer: Path, runs: Path | None = None) -> None:
        """``runs``: where its results are; None: in ``folder``, with the gates."""
        self.gates = folder / "gates"
        self.gates.mkdir(parents=True)
        text = PROGRAM.format(gates=str(self.gates))
        where = (runs or folder / "runs", data, tokenizer)
        self.plan = planned(*where, text=text, recipe="gated", arms=ARMS, cpus=1)
        write_record(self.plan.paths.plan, self.plan, but=NOT_STORED)

    def launch(self, seeds: Sequence[int], *options: str, environment: dict[str, str] | None = None) -> Launched:
        named = ",".join(map(str, seeds)) + ","
        run = self.plan.run_path
        return Launched(str(run), "--seeds", named, "--runs", str(run.parent), *options, environment=environment)

    def launch_here(self, seeds: Sequence[int], *options: str) -> Result:
        """The same command in this process: for what ends before anything starts, and what is done already."""
        named, run = ",".join(map(str, seeds)) + ",", self.plan.run_path
        return CliRunner().invoke(launch.main, [str(run), "--seeds", named, "--runs", str(run.parent), *options])

    def finish(self, seeds: Sequence[int]) -> None:
        """Leave what the jobs of these seeds leave: both ranks of each run, without torchrun and Ray."""
        extend(self.plan, tuple(seeds))
        self.open()
        for seed in seeds:
            trial = self.plan.trial(seed)
            told = Assignment(
                seed=seed,
                data_path=trial.data_path,
                tokenizer_path=trial.tokenizer_path,
                output_path=trial.paths.folder,
                trunk_path=trial.trunk_path,
                arms=ARMS,
                max_wallclock_seconds=None,
            )
            with tempfile.TemporaryDirectory() as scratch:
                given = {**os.environ, **told.to_environment(), "TMPDIR": scratch}
                command = [sys.executable, "-P", str(self.plan.paths.program)]
                ranks = [subprocess.Popen(command, env={**given, "RANK": str(rank)}) for rank in range(2)]
                assert [rank.wait() for rank in ranks] == [0, 0]
            for mark in self.gates.glob(f"{seed}.*"):
                mark.unlink()
        (self.gates / "open").unlink()

    def is_at(self, phase: str, seed: int) -> bool:
        """Whether both ranks of this seed wait at the gate of ``phase``, now or before."""
        return all((self.gates / f"{seed}.{phase}.{rank}").exists() for rank in range(2))

    def wait_at(self, phase: str, seed: int, launched: Launched, seconds: float = 300) -> None:
        """Open the gates before ``phase`` and wait until both ranks of this seed are there."""
        for before in PHASES[: PHASES.index(phase)]:
            (self.gates / f"{seed}.{before}.open").touch()
        deadline = time.monotonic() + seconds
        while not self.is_at(phase, seed):
            assert launched.goes_on(2 * seconds), f"it ended before {phase} of {seed}:\n{launched.stderr[-3000:]}"
            assert time.monotonic() < deadline, f"{seed} did not come to {phase}:\n{launched.stderr[-3000:]}"

    def wait_failed(self, seed: int, launched: Launched, seconds: float = 300) -> None:
        """Wait until this seed stands as failed."""
        wait_until(f"{seed} fails", lambda: self.plan.paths.seed(seed).failure.exists(), launched, seconds)

    def open(self) -> None:
        """Let everything go on to its end."""
        (self.gates / "open").touch()

    def scores(self) -> dict[str, float]:
        """What is scored, by seed and arm."""
        found = {}
        for path in sorted(self.plan.run_path.glob("seed_*/*/result.json")):
            result = read_result(path)
            found[f"{result.seed}/{result.arm}"] = result.val_bpb
        return found

    @staticmethod
    def expected(seeds: Sequence[int]) -> dict[str, float]:
        return {f"{seed}/{arm}": 1.25 + seed / 1e6 - (arm == "sgd") / 100 for seed in seeds for arm in ARMS}
