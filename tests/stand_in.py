"""A program for torchrun that leaves what a real one leaves, in no time, and breaks where it is told to."""

import hashlib
from pathlib import Path

from jobs.contract.shards import data_sha256, file_sha256
from platform.paths import ROOT
from platform.program.inline import inline
from platform.runs.paths import RunPaths
from platform.runs.plan import Plan

# Inlined with the contract, as every program is. Rank 0 writes. What stand-in programs have in common:
PRELUDE = '''
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from jobs.contract.assignment import METRICS_FILE, RESULT_FILE, TRUNK_FILE, Assignment
from jobs.contract.files import write_record
from jobs.contract.records import SCORE_FIRST, ArmResult, Machine, TrunkRecord, read_trunk
from jobs.contract.shards import data_sha256, file_sha256

rank = int(os.environ["RANK"])
told = Assignment.from_environment(dict(os.environ))
here = Path(sys.argv[0])


def event(folder, **values):
    if rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / METRICS_FILE).open("a") as file:
            file.write(json.dumps(values) + "\\n")


def together(place):
    """A barrier, so that what happens to one rank stops the other where it is."""
    Path(os.environ["TMPDIR"], f"{{place}}.{{rank}}").touch()
    while not all(Path(os.environ["TMPDIR"], f"{{place}}.{{one}}").exists() for one in range(2)):
        time.sleep(0.01)


def common(seed):
    return dict(
        recipe=here.parent.name.partition("-")[0], scale="laptop", seed=seed, model_bytes=1,
        program_sha256=file_sha256(here),
        data_sha256=data_sha256(told.data_path), tokenizer_sha256=file_sha256(told.tokenizer_path),
        machine=Machine(world_size=2, device="cpu", torch_version="none"),
    )


def leave_trunk(sha256):
    if rank == 0:
        write_record(told.trunk_path / TRUNK_FILE, TrunkRecord(
            trunk_sha256=sha256, weights_sha256="w", artifact_sha256="a", train_tokens=1, parameters=1, steps=2,
            train_seconds=1.0, step_ms_mean=1.0, step_ms_median=1.0, **common(told.seed),
        ))


def leave_result(arm, val_bpb, seed=told.seed):
    if rank == 0:
        trunk = read_trunk(told.trunk_path / TRUNK_FILE)
        write_record(told.output_path / arm / RESULT_FILE, ArmResult(
            arm=arm, adaptation="no_adaptation", protocol=SCORE_FIRST, trunk=trunk,
            val_loss_nats=1.5, val_bpb=val_bpb, scored_tokens=1, scored_bytes=1, aligned_val_bpb=None,
            artifact_bytes=2, code_bytes=1, adapt_seconds=0.0, eval_seconds=0.0, end_to_end=False, **common(seed),
        ))


'''

# FAULT says what goes wrong, and where.
PROGRAM = (
    PRELUDE
    + """FAULT = {fault!r}
ARMS = ("plain", "sgd", "adamw")


def fault(place):
    if f"raise in {{place}}" in FAULT.split("; ") and rank == 1:
        raise ArithmeticError(f"the loss of {{place}} is not a number")
    if f"segfault in {{place}}" in FAULT.split("; ") and rank == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if FAULT == f"slow in {{place}}":
        time.sleep(3)
    if FAULT == f"endless in {{place}}":
        time.sleep(600)
    if FAULT == f"hang in {{place}}":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)


print("rank", rank, "of", os.environ["WORLD_SIZE"], "as", os.getpid(), flush=True)
if FAULT == "refuse":
    print(f"{{here}}: the shards are not those of this tokenizer", file=sys.stderr)
    sys.exit(2)
fault("start")
if not (told.trunk_path / TRUNK_FILE).exists():
    event(told.trunk_path, event="phase", phase="train", state="start", seconds=0.0)
    event(told.trunk_path, event="step", step=2, train_loss=6.25, train_ms=12.0, step_ms=6.0, lr_scale=1.0)
    fault("train")
    together("train")
    event(told.trunk_path, event="phase", phase="train", state="end", seconds=0.1)
    leave_trunk(os.urandom(8).hex())
    together("trunk")
for arm in told.arms or ARMS:
    event(told.output_path / arm, event="arm", arm=arm, state="start")
    fault(arm)
    together(arm)
    if FAULT != f"no result of {{arm}}":
        leave_result(arm, 1.25, seed=told.seed + (FAULT == f"wrong seed in {{arm}}"))
    event(told.output_path / arm, event="arm", arm=arm, state="end")
    together(f"end of {{arm}}")
fault("teardown")
"""
)


def planned(
    runs: Path,
    data_path: Path,
    tokenizer_path: Path,
    *,
    text: str = PROGRAM.format(fault="none"),
    recipe: str = "test",
    arms: tuple[str, ...] = ("plain", "sgd", "adamw"),
    cpus: int = 2,
) -> Plan:
    """The plan, without seeds, of a run in ``runs`` whose program stands in for a real one; the program lies there."""
    text = inline(text, ROOT)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    paths = RunPaths.of(runs, recipe, sha256)
    paths.folder.mkdir(parents=True, exist_ok=True)
    paths.program.write_text(text)
    return Plan(
        run_path=paths.folder,
        recipe=recipe,
        scale="laptop",
        program_sha256=sha256,
        trunk_text_sha256="7" * 64,
        arms=arms,
        data_path=data_path,
        tokenizer_path=tokenizer_path,
        data_sha256=data_sha256(data_path),
        tokenizer_sha256=file_sha256(tokenizer_path),
        processes=2,
        gpus=0,
        cpus=cpus,
        machine="2xcpu",
    )
