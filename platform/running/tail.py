"""What the end of a job's log says about why it failed."""

import re
import signal
from pathlib import Path
from typing import Final

from ..runs.plan import Cause

TAIL_LINES = 40
INFRASTRUCTURE: Final = "infrastructure"
DISK: Final = "disk"
PROGRAM: Final = "program"
HUNG: Final = "hung"

# Signals that no program sends itself: of a scheduler, a person, or the kernel when memory is short.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OWN_CAUSES: tuple[tuple[str, Cause], ...] = (
    ("above the limit of", "over a limit"),
    ("the training diverged", "diverged"),
)
# What the network, the drivers and the cards say of themselves, in the words of NCCL, gloo, CUDA and the kernel.
_OF_MACHINE = re.compile(
    r"nccl(System|Remote|InProgress)Error|ncclUnhandledCudaError|unhandled (system|cuda) error|NCCL watchdog|"
    r"Connection (reset|closed|refused|timed out)|Broken pipe|Address already in use|EADDRINUSE|No route to host|"
    r"uncorrectable|device (is )?(unavailable|not ready|lost)|CUDA driver|CUDA error: (unknown error|hardware)|"
    r"SignalException: Process \d+ got signal|KeyboardInterrupt|"  # torchrun's, when somebody tells it to end
    r"fallen off the bus|Input/output error|Stale file handle|Cannot allocate memory"
)
_OF_DISK = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system|PytorchStreamWriter failed")

_EXCEPTION = re.compile(
    r"(?:\[rank(?P<rank>\d+)\]:\s?)?(?P<text>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*)"
)
_ROOT_CAUSE = re.compile(  # as torchrun words it at its end
    r"Root Cause.*?\n\s*rank\s*:\s*(?P<rank>\d+)"
    r".*?\n\s*exitcode\s*:\s*(?P<status>-?\d+)\s*\(pid: \d+\)(?P<name>[^\n]*)",
    re.S,
)
_TORCHRUN = re.compile(r"[WE]\d{4} [\d:.]+ \d+ .*torch/distributed/elastic/")


def end_of(log: Path, start: int) -> str:
    """The last lines that a job printed from byte ``start`` of ``log`` on, for a person to read."""
    return "\n".join(_said_by_ranks(_text(log, start))[-TAIL_LINES:])


def reason_in(log: Path, start: int, *, status: int, program: Path) -> tuple[str, Cause]:
    """Why the job whose output begins at byte ``start`` of ``log`` ended with ``status``, in one line; whose fault."""
    text = _text(log, start)
    said = _said_by_ranks(text)
    root = _ROOT_CAUSE.search(text)
    for line in said:
        if line.startswith(f"{program}: "):  # how a program refuses its recipe, data or environment
            own = line.removeprefix(f"{program}: ")
            return own, next((cause for words, cause in _OWN_CAUSES if words in own), "refused")
    found = [match for line in said if (match := _EXCEPTION.match(line))]
    # Where one rank fails, the others lose their connection to it: what all of them say counts.
    cause: Cause = INFRASTRUCTURE if found and all(_OF_MACHINE.search(match["text"]) for match in found) else PROGRAM
    of_rank = [match for match in found if root and match["rank"] == root["rank"]]
    if any(_OF_DISK.search(match["text"]) for match in of_rank or found):
        cause = DISK
    if of_rank:
        return of_rank[-1]["text"], cause
    if root and int(root["status"]) < 0:
        number = -int(root["status"])
        reason = f"rank {root['rank']} was ended by signal {number} {root['name'].strip()}".rstrip()
        return reason, INFRASTRUCTURE if number in _FROM_OUTSIDE else PROGRAM
    if found:
        return found[-1]["text"], PROGRAM if root and cause != DISK else cause
    if root:
        return f"rank {root['rank']} ended with status {root['status']}", PROGRAM
    return f"torchrun ended with {status}", INFRASTRUCTURE if -status in _FROM_OUTSIDE else PROGRAM


def _said_by_ranks(text: str) -> list[str]:
    """The lines of ``text`` up to where torchrun explains its own end at length."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if _TORCHRUN.match(line) and "failed (exitcode" in line:
            lines = lines[:number]
            break
    return [line for line in lines if not _TORCHRUN.match(line)]


def _text(log: Path, start: int) -> str:
    """The log from byte ``start`` on, the last MiB of it at most."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(start, _size(log) - 2**20))
        return file.read().decode(errors="replace")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
