"""Real runs in seconds: programs trained and scored on the CPU, on the first tokens of the embedded corpus."""

import io
import os
import runpy
import struct
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from jobs.contract.assignment import Assignment
from jobs.contract.files import write_record
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.contract.shards import SHARD_HEADER_INTS, TRAIN_SHARDS, VAL_SHARDS
from platform import corpus
from platform.corpus import Corpus
from platform.running.experiment import Experiment
from platform.runs.audits import ArmAudit, Audit
from platform.runs.plan import Plan

TRAIN_TOKENS, VAL_TOKENS = 40_000, 2_000
HEADER_BYTES = 4 * SHARD_HEADER_INTS


def small_data(folder: Path) -> tuple[Path, Path]:
    """A data folder with the beginning of the embedded corpus, and its tokenizer."""
    whole: Corpus = corpus.embedded()
    folder.mkdir(parents=True)
    for pattern, tokens in ((TRAIN_SHARDS, TRAIN_TOKENS), (VAL_SHARDS, VAL_TOKENS)):
        source = sorted(whole.data_path.glob(pattern))[0]
        content = bytearray(source.read_bytes()[: HEADER_BYTES + 2 * tokens])
        struct.pack_into("<i", content, 8, tokens)
        (folder / source.name).write_bytes(content)
    return folder, whole.tokenizer_path


def run_alone(program: Path, assignment: Assignment) -> str:
    """Run a program with its assignment in a clean interpreter of its own, in its folder; what it printed."""
    command = [sys.executable, "-I", str(program)]
    environment = {**assignment.to_environment(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=program.parent, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_here(program: Path, assignment: Assignment) -> str:
    """Run a program with its assignment in this process, which has imported torch once; what it printed."""
    import torch

    threads, before, said = torch.get_num_threads(), dict(os.environ), io.StringIO()
    torch.set_num_threads(1)
    os.environ.update(assignment.to_environment())
    try:
        with redirect_stdout(said):
            runpy.run_path(str(program), run_name="__main__")
    finally:
        os.environ.clear()
        os.environ.update(before)
        torch.set_num_threads(threads)
    return said.getvalue()


def finish(experiment: Experiment, seeds: tuple[int, ...]) -> Plan:
    """Plan ``seeds`` and leave what their jobs leave."""
    plan = experiment.planned(seeds)
    for trial in experiment.trials(seeds):
        trial.paths.folder.mkdir(exist_ok=True)
        assignment = Assignment(
            seed=trial.seed,
            data_path=trial.data_path,
            tokenizer_path=trial.tokenizer_path,
            output_path=trial.paths.folder,
            trunk_path=trial.trunk_path,
            arms=trial.arms,
            max_wallclock_seconds=None,
        )
        run_here(plan.paths.program, assignment)
    audited(plan, **{arm: experiment.choices.arms[arm].technique.name for arm in plan.arms})
    return plan


def audited(plan: Plan, *, program_sha256: str = "", **verdicts: str) -> None:
    """Leave an audit with these verdicts of arms; a technique's name counts as what it declares.

    A launch takes it for its own where ``program_sha256`` is that of the program that it would audit.
    """
    known = {"no_adaptation": SCORE_FIRST, "document_lora": SCORE_FIRST, "two_phase": PRE_EVAL}
    arms = {}
    for arm, said in verdicts.items():
        verdict = known.get(said, said)
        declared = verdict if verdict in (SCORE_FIRST, PRE_EVAL) else SCORE_FIRST
        arms[arm] = ArmAudit(verdict=verdict, declared=declared, agrees=verdict == declared, detectors={})
    made = Audit(program_sha256=program_sha256, recipe=plan.recipe, scale=plan.scale, sizes={}, seconds=1.0, arms=arms)
    write_record(plan.paths.audit, made)
