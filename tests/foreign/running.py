"""Runs a script as a launch would, in a folder of its own, and reads what it printed as ``verify`` would."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platform.logs.log import read_log
from platform.logs.runs import LogRun

HERE = Path(__file__).parent
PATIENCE_SECONDS = 1200  # no test depends on a quiet machine


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a script did."""

    folder: Path  # it worked there
    returncode: int
    errors: str  # its standard error; its standard output is in ``log``

    @property
    def log(self) -> Path:
        return self.folder / "stdout.txt"

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def run(self) -> LogRun:
        """What the readers of logs find in its standard output."""
        found = read_log(self.log, "stdout.txt").used
        assert found is not None, self.text + self.errors
        return found

    def printed(self, pattern: str) -> str:
        """The last group that the pattern finds in its standard output."""
        found = re.findall(pattern, self.text, re.M)
        assert found, f"no {pattern} in {self.text}"
        return str(found[-1])


def environment(data: tuple[Path, Path], settings: Mapping[str, object]) -> dict[str, str]:
    """Variables of a run: where shards and tokenizer lie, and ``settings``; of this process only what programs need."""
    of_here = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    places = {"DATA_PATH": str(data[0]), "TOKENIZER_PATH": str(data[1]), "OMP_NUM_THREADS": "1"}
    return {**of_here, **places, **{name: str(value) for name, value in settings.items()}}


def run(
    script: Path, folder: Path, data: tuple[Path, Path], *, processes: int | None = None, **settings: object
) -> Ran:
    """Run a script to its end, under torchrun where ``processes`` says of how many."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(script)]
    if processes is not None:
        torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
        command = [sys.executable, *torchrun, str(script)]
    with (folder / "stdout.txt").open("wb") as out, (folder / "stderr.txt").open("wb") as errors:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(data, settings),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            timeout=PATIENCE_SECONDS,
        )
    return Ran(folder=folder, returncode=done.returncode, errors=(folder / "stderr.txt").read_text())
