"""What a node is and what runs on it, asked in the worker for each attempt at a trial; how fast it is, see ``probing``.

What cannot be asked is None in the record. Nothing here fails a trial.
"""

import csv
import hashlib
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..paths import ROOT
from ..runs.node import Card, Checkout, Node
from .cluster import cores
from .probing import Probing, probe_program

ASK_SECONDS = 20.0
CARD_NUMBERS = {  # of a Card, by what nvidia-smi calls them
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "max_sm_mhz": "clocks.max.sm",
    "max_memory_mhz": "clocks.max.mem",
    "power_limit_watts": "power.limit",
}


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the driver of a launch tells every worker of what is to be recorded."""

    launch: str
    checkout: Checkout | None
    program: str  # of the probe

    @staticmethod
    def of_launch(launch: str) -> "Survey":
        """Of the code that this process sends to its workers."""
        return Survey(launch=launch, checkout=checkout_of(ROOT), program=probe_program())

    def of_this_node(self, *, with_cards: bool, visible: str | None = None) -> Node:
        """This machine as it is now; the arguments are those of ``Probing``."""
        probing = Probing(launch=self.launch, program=self.program, with_cards=with_cards, visible=visible)
        probe = probing.probe()  # first: it wakes the cards, and their clocks
        cards, driver, cuda, unknown = _cards()
        return Node(
            hostname=socket.gethostname(),
            cpu=_cpu(),
            cores=cores(),
            memory_bytes=_memory_bytes(),
            cards=cards,
            driver=driver,
            cuda=cuda,
            python=".".join(map(str, sys.version_info[:3])),
            torch=_version("torch"),
            ray=_version("ray"),
            checkout=self.checkout,
            probe=probe,
            unknown=unknown,
        )


def checkout_of(root: Path) -> Checkout | None:
    """The commit of the checkout in ``root`` and what differs from it; None where it is not one of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> bytes:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=ASK_SECONDS).stdout

    try:
        if Path(os.fsdecode(git("rev-parse", "--show-toplevel")).rstrip("\n")).resolve() != root.resolve():
            return None  # a copy inside somebody else's repository
        commit, diff = git("rev-parse", "HEAD").decode().strip(), git("diff", "--no-ext-diff", "HEAD")
        status = git("status", "--porcelain", "--untracked-files=all").splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    new = sum(line.startswith(b"??") for line in status)
    return Checkout(
        commit=commit,
        diff_sha256=hashlib.sha256(diff).hexdigest() if diff else None,
        changed_files=len(status) - new,
        new_files=new,
    )


def _cards() -> tuple[tuple[Card, ...], str | None, str | None, str]:
    """The cards of this machine, their driver, the newest CUDA that it takes, and why they are not known."""
    names = ("name", "driver_version", *CARD_NUMBERS.values())
    try:
        listed = _asked("nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits")
        page = _asked("nvidia-smi")
    except FileNotFoundError:
        return (), None, None, ""
    except (OSError, subprocess.SubprocessError) as error:
        said = " ".join((getattr(error, "stdout", None) or str(error)).split())
        return (), None, None, f"nvidia-smi: {said}"
    rows = [row for row in csv.reader(listed.splitlines(), skipinitialspace=True) if len(row) == len(names)]
    cards = tuple(
        Card(name=row[0].strip(), **dict(zip(CARD_NUMBERS, map(_number, row[2:]), strict=True))) for row in rows
    )
    driver = next((row[1].strip() for row in rows if not row[1].startswith("[")), None)
    cuda = re.search(r"CUDA[\w ]*Version\s*:\s*(\d[\d.]*)", page)
    return cards, driver, cuda[1] if cuda else None, ""


def _asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=True).stdout


def _number(cell: str) -> float | None:
    """None where nvidia-smi says ``[N/A]``, ``[Not Supported]`` or the like."""
    try:
        return float(cell)
    except ValueError:
        return None


def _cpu() -> str:
    """The processor's name."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else os.uname().machine


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
