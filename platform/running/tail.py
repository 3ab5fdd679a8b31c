"""What the end of a job's log says about why it failed."""

import re
from pathlib import Path

TAIL_LINES = 40

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


def reason_in(log: Path, start: int, *, status: int, program: Path) -> str:
    """Why the job whose output begins at byte ``start`` of ``log`` ended with ``status``, in one line."""
    text = _text(log, start)
    said = _said_by_ranks(text)
    cause = _ROOT_CAUSE.search(text)
    for line in said:
        if line.startswith(f"{program}: "):  # how a program refuses its recipe, data or environment
            return line.removeprefix(f"{program}: ")
    found = [match for line in said if (match := _EXCEPTION.match(line))]
    if cause and (of_rank := [match for match in found if match["rank"] == cause["rank"]]):
        return of_rank[-1]["text"]
    if cause and int(cause["status"]) < 0:
        hint = "; the machine may be out of memory" if cause["status"] == "-9" else ""
        return f"rank {cause['rank']} was ended by signal {-int(cause['status'])} {cause['name'].strip()}{hint}"
    if found:
        return found[-1]["text"]
    return f"rank {cause['rank']} ended with status {cause['status']}" if cause else f"torchrun ended with {status}"


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
