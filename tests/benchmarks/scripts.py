"""What it costs to follow a script: processor seconds for the lines of its log, and seconds until its first line."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from platform.running import script_job
from platform.running.experiment import Request, prepare
from platform.running.part import Patience
from platform.scripts.output import Output

from .measure import ratio
from .recipes import embedded_corpus

LINES = 1_000_000
LOOKS = 100  # while it prints them
STARTS = 3
FIRST = """
import os, time
if os.environ["RANK"] == "0":
    print("here", os.environ.get("SEED"), time.time(), flush=True)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        follow(Path(name) / "of steps", lambda step: f"step:{step}/{LINES} train_loss:3.2100 train_time:{step}ms\n")
        follow(Path(name) / "of chatter", lambda step: f"rank 0: chunk {step} of {LINES} is done, nothing to see\n")
        start(Path(name))


def follow(folder: Path, line: Callable[[int], str]) -> None:
    """Print processor seconds for a log of LINES lines that grows while it is looked at."""
    folder.mkdir()
    log, part = folder / "train.log", LINES // LOOKS
    log.touch()
    output = Output(log, folder / "metrics.jsonl")
    seconds = 0.0
    for look in range(LOOKS):
        with log.open("a") as file:
            file.writelines(line(look * part + at) for at in range(part))
        begun = time.process_time()
        output.look()
        seconds += time.process_time() - begun
    size = log.stat().st_size
    lines = f"{LINES:,} lines {folder.name}, {size / 1e6:.0f} MB"
    print(f"  {lines}: {seconds:.2f} s of one core in {LOOKS} looks", flush=True)


def start(folder: Path) -> None:
    """Print seconds from the start of a trial's job to its script's first line, against torchrun alone."""
    script = folder / "first.py"
    script.write_text(FIRST)
    corpus = embedded_corpus()
    request = Request(scale="laptop", runs=folder / "runs", data=corpus.data_path, tokenizer=corpus.tokenizer_path)
    ours, alone = [], []
    for seed in range(STARTS):
        trial = prepare(script, request).planned((seed,)).trial(seed)
        begun = time.time()
        guard, _ = script_job.started(trial, "plain", marker="bench", patience=Patience())
        while guard.wait(0.1) is None:
            pass
        ours.append(float(trial.paths.arm("plain").log.read_text().split()[-1]) - begun)
        begun = time.time()
        torchrun = (
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(trial.processes),
            str(script),
        )
        done = subprocess.run([sys.executable, *torchrun, str(script)], capture_output=True, text=True, check=True)
        alone.append(float(done.stdout.split()[-1]) - begun)
    print(f"  first line of a script under its guard / under torchrun alone: {ratio(ours, alone)}", flush=True)


if __name__ == "__main__":
    main()
