"""How short of memory a machine was while a job ran, in numbers; Linux alone tells."""

from pathlib import Path

GIB = 2**30


class MemoryWatch:
    """Looks at the whole machine, and at what the kernel had to kill, from its making on."""

    def __init__(self) -> None:
        self._killed_before = _killed()
        self._least_free: int | None = None

    def look(self) -> None:
        """Once in a while, as cheap as reading a line."""
        free = _read("/proc/meminfo").get("MemAvailable")
        if free is not None:
            self._least_free = min(free * 1024, self._least_free or free * 1024)

    def said(self) -> str:
        """``; memory: down to 0.3 of 24.0 GiB, the kernel ended 1 process for want of it``; or nothing."""
        total = _read("/proc/meminfo").get("MemTotal")
        if total is None or self._least_free is None:
            return ""
        said = f"; memory: down to {self._least_free / GIB:.1f} of {total * 1024 / GIB:.1f} GiB free"
        if killed := _killed() - self._killed_before:
            said += f", the kernel ended {killed} process{'es' if killed > 1 else ''} for want of it"
        return said


def _killed() -> int:
    """How many processes the kernel has ended for want of memory since it started."""
    return _read("/proc/vmstat").get("oom_kill", 0)


def _read(path: str) -> dict[str, int]:
    """The numbers in one of the kernel's files of ``name value`` lines; none where it is not there."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    fields = (line.replace(":", "").split() for line in lines)
    return {words[0]: int(words[1]) for words in fields if len(words) > 1 and words[1].isdigit()}
