"""Runs of a stand-in program that waits at each phase until it is let on, so that a fault hits the phase it is for.

torchrun, guard, worker, Ray and everything of the launch are real; only the two ranks do nothing but leave the files
that a real job leaves, the same numbers for the same seed whatever happened to them.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from jobs.contract.files import write_record, write_text
from jobs.contract.records import SCORE_FIRST, ArmResult, Machine, TrunkRecord
from jobs.contract.shards import data_sha256, file_sha256
from platform import launch
from platform.paths import ROOT
from platform.program.inline import inline
from platform.runs.paths import RunPaths
from platform.runs.plan import NOT_STORED, Plan
from platform.runs.planning import extend
from platform.runs.reading import read_result
from tests.faults.launched import Launched, wait_until

ARMS = ("plain", "sgd")
PHASES = ("start", "train", "pack", "score", "result", "end")  # at which it waits; ``score`` and ``result`` of sgd
PROGRAM = '''
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from jobs.contract.assignment import METRICS_FILE, RESULT_FILE, TRUNK_FILE, Assignment
from jobs.contract.files import write_record
from jobs.contract.records import SCORE_FIRST, ArmResult, Machine, TrunkRecord, read_trunk
from jobs.contract.shards import data_sha256, file_sha256

GATES = Path({gates!r})


def event(folder, **values):
    if rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / METRICS_FILE).open("a") as file:
            file.write(json.dumps(values) + "\\n")


def gate(phase):
    """Say that this rank is there, and wait until the phase is open."""
    (GATES / f"{{told.seed}}.{{phase}}.{{rank}}").touch()
    while not any((GATES / name).exists() for name in ("open", f"{{told.seed}}.open", f"{{told.seed}}.{{phase}}.open")):
        time.sleep(0.01)


def together(place):
    Path(os.environ["TMPDIR"], f"{{place}}.{{rank}}").touch()
    while not all(Path(os.environ["TMPDIR"], f"{{place}}.{{one}}").exists() for one in range(2)):
        time.sleep(0.01)


rank = int(os.environ["RANK"])
told = Assignment.from_environment(dict(os.environ))
here = Path(sys.argv[0])
print("rank", rank, "as", os.getpid(), flush=True)
gate("start")
common = dict(
    recipe="gated", scale="laptop", seed=told.seed, program_sha256=file_sha256(here), model_bytes=1,
    data_sha256=data_sha256(told.data_path), tokenizer_sha256=file_sha256(told.tokenizer_path),
    machine=Machine(world_size=2, device="cpu", torch_version="none"),
)
trained = dict(parameters=1, steps=2, train_seconds=1.0, step_ms_mean=1.0, step_ms_median=1.0)
if not (told.trunk_path / TRUNK_FILE).exists():
    event(told.trunk_path, event="phase", phase="train", state="start", seconds=0.0)
    event(told.trunk_path, event="step", step=1, train_loss=6.25, train_ms=6.0, step_ms=6.0, lr_scale=1.0)
    gate("train")
    event(told.trunk_path, event="phase", phase="train", state="end", seconds=0.1)
    event(told.trunk_path, event="phase", phase="pack", state="start", seconds=0.0)
    gate("pack")
    event(told.trunk_path, event="phase", phase="pack", state="end", seconds=0.1)
    together("packed")
    if rank == 0:
        write_record(told.trunk_path / TRUNK_FILE, TrunkRecord(
            trunk_sha256=hashlib.sha256(str(told.seed).encode()).hexdigest(), weights_sha256="w", artifact_sha256="a",
            train_tokens=1, **common, **trained,
        ))
    together("trunk")
trunk = read_trunk(told.trunk_path / TRUNK_FILE)
for arm in told.arms:
    event(told.output_path / arm, event="arm", arm=arm, state="start")
    event(told.output_path / arm, event="phase", phase="score", state="start", seconds=0.0)
    if arm == "sgd":
        gate("score")
        gate("result")
    together(arm)
    if rank == 0:
        bpb = 1.25 + told.seed / 1e6 - (arm == "sgd") / 100
        write_record(told.output_path / arm / RESULT_FILE, ArmResult(
            arm=arm, adaptation="no_adaptation", protocol=SCORE_FIRST, trunk=trunk,
            val_loss_nats=1.5, val_bpb=bpb, scored_tokens=1, scored_bytes=1, aligned_val_bpb=None, artifact_bytes=2,
            code_bytes=1, adapt_seconds=0.0, eval_seconds=0.0, end_to_end=False, **common,
        ))
    event(told.output_path / arm, event="arm", arm=arm, state="end")
    together(f"end of {{arm}}")
gate("end")
'''


class Gated:
    """A run that goes on with ``python -m platform.launch RUN_DIR``, and the gates of its jobs."""

    def __init__(self, folder: Path, data: Path, tokenizer: Path, runs: Path | None = None) -> None:
        """``runs``: where its results are; None: in ``folder``, with the gates."""
        self.gates = folder / "gates"
        self.gates.mkdir(parents=True)
        text = inline(PROGRAM.format(gates=str(self.gates)), ROOT)
        program = folder / "program.py"
        program.write_text(text)
        paths = RunPaths.of(runs or folder / "runs", "gated", file_sha256(program))
        paths.folder.mkdir(parents=True)
        write_text(paths.program, text)
        self.plan = Plan(
            run_path=paths.folder,
            recipe="gated",
            scale="laptop",
            program_sha256=file_sha256(program),
            trunk_text_sha256="7" * 64,
            arms=ARMS,
            data_path=data,
            tokenizer_path=tokenizer,
            data_sha256=data_sha256(data),
            tokenizer_sha256=file_sha256(tokenizer),
            processes=2,
            gpus=0,
            cpus=1,
            machine="2xcpu",
        )
        write_record(paths.plan, self.plan, but=NOT_STORED)

    def launch(self, seeds: Sequence[int], *options: str, environment: dict[str, str] | None = None) -> Launched:
        named = ",".join(map(str, seeds)) + ","
        run = self.plan.run_path
        return Launched(str(run), "--seeds", named, "--runs", str(run.parent), *options, environment=environment)

    def launch_here(self, seeds: Sequence[int], *options: str) -> Result:
        """The same command in this process: for what ends before anything starts, and what is done already."""
        named, run = ",".join(map(str, seeds)) + ",", self.plan.run_path
        return CliRunner().invoke(launch.main, [str(run), "--seeds", named, "--runs", str(run.parent), *options])

    def finish(self, seeds: Sequence[int]) -> None:
        """Leave what the jobs of these seeds leave, in the same numbers."""
        extend(self.plan, tuple(seeds))
        common: dict[str, Any] = {
            "recipe": "gated",
            "scale": "laptop",
            "program_sha256": self.plan.program_sha256,
            "data_sha256": self.plan.data_sha256,
            "tokenizer_sha256": self.plan.tokenizer_sha256,
            "model_bytes": 1,
            "machine": Machine(world_size=2, device="cpu", torch_version="none"),
        }
        for seed in seeds:
            trial = self.plan.trial(seed)
            trunk = TrunkRecord(
                trunk_sha256=hashlib.sha256(str(seed).encode()).hexdigest(),
                weights_sha256="w",
                artifact_sha256="a",
                seed=seed,
                parameters=1,
                steps=2,
                train_tokens=1,
                train_seconds=1.0,
                step_ms_mean=1.0,
                step_ms_median=1.0,
                **common,
            )
            trial.trunk_path.mkdir(parents=True, exist_ok=True)
            write_record(trial.trunk.record, trunk)
            for arm in ARMS:
                paths = trial.paths.arm(arm)
                paths.folder.mkdir(parents=True, exist_ok=True)
                result = ArmResult(
                    arm=arm,
                    adaptation="no_adaptation",
                    protocol=SCORE_FIRST,
                    seed=seed,
                    trunk=trunk,
                    val_loss_nats=1.5,
                    val_bpb=self.expected([seed])[f"{seed}/{arm}"],
                    scored_tokens=1,
                    scored_bytes=1,
                    aligned_val_bpb=None,
                    artifact_bytes=2,
                    code_bytes=1,
                    adapt_seconds=0.0,
                    eval_seconds=0.0,
                    end_to_end=False,
                    **common,
                )
                write_record(paths.result, result)

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
