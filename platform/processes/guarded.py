"""Programs started under guard: whatever ends our process, SIGKILL included, nothing of them is left.

``run`` sees one to its end within a limit of time, ``started`` keeps one running. Each has a folder of its own for what
it writes to TMPDIR, which is removed with it. The trial, which follows its job by files, has its own use of the guard.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunFailed
from .supervisor import GRACE_SECONDS, MARKER, Guard, Order

POLL_SECONDS = 0.1
PIECE_BYTES = 2**20  # read in one go of what a program says, so that one that never falls silent is still ended in time


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended, and all that it said."""

    status: int  # minus the signal that ended it, as ``subprocess`` has it
    stdout: str
    stderr: str
    timed_out: bool  # it was ended, because its time was over


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    folder: Path | None = None,
    files: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Ended:
    """Run a program to its end, or to the end of its time; none of its processes is left when this returns or raises.

    Args:
        environment: all of it, see ``environment.kept``; TMPDIR is set to a folder of its own.
        seconds: it may take; then it is ended.
        folder: where it runs; None: in its own folder.
        files: texts by name, put into its own folder before it starts.
        tell: called with every line of its standard error as it comes; where this raises, the program is ended.
        grace_seconds: between SIGTERM and SIGKILL, where it has to be ended.

    Raises:
        RunFailed: it cannot be started, or was neither left to its end nor out of time: somebody ended its guard.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:  # without a name: they cannot be left
        said = _Lines(stderr.fileno(), tell or (lambda _: None))
        with _guarded(
            command,
            environment=environment,
            log=Path(os.devnull),
            folder=folder,
            files=files or {},
            outputs=(stdout.fileno(), stderr.fileno()),
            grace_seconds=grace_seconds,
        ) as guard:
            deadline = time.monotonic() + seconds
            while (report := guard.wait(POLL_SECONDS)) is None and time.monotonic() < deadline:
                said.pass_on()
            timed_out = report is None
            report = report or guard.stop()
        said.pass_on_all()
        if report.stopped_by and not timed_out:
            raise RunFailed(f"{' '.join(command)}: {report.stopped_by}")
        stdout.seek(0)
        stderr.seek(0)
        return Ended(
            status=report.status,
            stdout=stdout.read().decode(errors="replace"),
            stderr=stderr.read().decode(errors="replace"),
            timed_out=timed_out and report.stopped_by is not None,  # it may have ended just then
        )


@contextmanager
def started(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[Guard]:
    """A program that runs while the block does; none of its processes is left behind the block, nor behind our process.

    Args:
        environment: all of it, see ``environment.kept``; TMPDIR is set to a folder of its own.
        log: what it says is appended here.
        folder: where it runs.
        grace_seconds: between SIGTERM and SIGKILL.
    """
    with _guarded(
        command, environment=environment, log=log, folder=folder, files={}, outputs=None, grace_seconds=grace_seconds
    ) as guard:
        yield guard


@contextmanager
def _guarded(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: Path | None,
    files: Mapping[str, str],
    outputs: tuple[int, int] | None,
    grace_seconds: float,
) -> Iterator[Guard]:
    scratch = Path(tempfile.mkdtemp(prefix="fairway-run-"))
    try:
        for name, text in files.items():
            (scratch / name).write_text(text, encoding="utf-8")
        stdout, stderr = outputs or (None, None)
        guard = Guard(
            Order(
                command=list(command),
                environment={**environment, "TMPDIR": str(scratch), MARKER: f"run/{os.getpid()}.{os.urandom(8).hex()}"},
                folder=str((folder or scratch).resolve()),  # the guard's own is /
                log=str(log),
                scratch=str(scratch),  # the guard removes it, who is there when we are not
                stdout=stdout,
                stderr=stderr,
                grace_seconds=grace_seconds,
            )
        )
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    try:
        yield guard
    finally:
        guard.stop()


class _Lines:
    """The lines of a file that is being written."""

    def __init__(self, file: int, tell: Callable[[str], None]) -> None:
        self._file, self._tell = file, tell
        self._position, self._rest = 0, b""

    def pass_on(self) -> bool:
        """Tell the next complete lines; False where nothing was written."""
        piece = os.pread(self._file, PIECE_BYTES, self._position)  # the writer's own place in the file stays
        self._position += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._tell(line.decode(errors="replace"))
        return bool(piece)

    def pass_on_all(self) -> None:
        """Tell what is left, the last line even where it is not complete."""
        while self.pass_on():
            pass
        if self._rest:
            self._tell(self._rest.decode(errors="replace"))
