"""How a command says what went wrong: exit status 0 done, 1 failed, 2 a wrong recipe or command, 130 Ctrl-C."""

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

EXIT_RUN_FAILED = 1
EXIT_STOPPED = 130  # by Ctrl-C, as shells have it
EXIT_WRONG_INPUT = 2  # click and argparse use the same number for a wrong command
NO_ROOM = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "the quota is used up, whatever else is free: remove something of yours there",
    errno.EROFS: "make it writable",
}


class UserError(Exception):
    """Something that the user wrote is wrong; the message says where, what was found, what is possible, what to do."""


class RunFailed(Exception):
    """What was asked for was right, and it failed; the message says what failed and where its log is."""


@contextmanager
def explained(on_disk: str = "what was done before is kept") -> Iterator[None]:
    """Around a command: its mistakes end the process with their message and exit status, without a traceback.

    Works as a decorator too: ``@explained()``. ``on_disk`` is added where a file cannot be read or written.
    """
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        _leave(f"error: {error}", EXIT_WRONG_INPUT)
    except RunFailed as error:
        _leave(f"failed: {error}", EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        _leave("stopped", EXIT_STOPPED)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of a pipe, `| head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        _leave(f"failed: {of_file(error)}; {on_disk}", EXIT_RUN_FAILED)


@contextmanager
def refusing(elsewhere: str = "") -> Iterator[None]:
    """Around what comes before anything runs: a file that cannot be read or written is a refusal.

    Args:
        elsewhere: what else can be done than to make room: "keep the results elsewhere: --runs DIR".

    Raises:
        UserError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(of_file(error, elsewhere)) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError inside that names no file, as that of a write to a full disk, names ``path``."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def of_file(error: OSError, elsewhere: str = "") -> str:
    """Which file, what is wrong, and what to do; where the disk is the reason, also what is free on it.

    Args:
        elsewhere: what else can be done.
    """
    # A file under a temporary name is known by the name that it was to get.
    path = re.sub(r"\.([^/]+)\.\d+\.[0-9a-f]{8}\.part$", r"\1", os.fsdecode(error.filename)) if error.filename else ""
    said = f"{path + ': ' if path else ''}{error.strerror or error}"
    do = NO_ROOM.get(error.errno or 0, "")
    if do and path:
        said += f" ({free_at(Path(path))})"
        if not elsewhere and _is_temporary(Path(path)):
            elsewhere = "set TMPDIR to a folder elsewhere"
    return "; ".join(filter(None, [said, ", or ".join(filter(None, [do, elsewhere]))]))


def free_at(path: Path) -> str:
    """``12.3 MB and 4,000 files free``: what the file system of ``path``, there or not yet, still takes of us."""
    found = room_at(path)
    files = "" if found.files is None else f" and {found.files:,} files"
    return f"{found.bytes / 1e6:,.1f} MB{files} free"


class Room(NamedTuple):
    """What a file system still takes."""

    bytes: int
    files: int | None  # None: it does not count them
    device: int  # names the file system


def room_at(path: Path) -> Room:
    """What the file system of ``path``, there or not yet, still takes of us. Raises OSError where it does not tell."""
    while not path.exists() and path != path.parent:
        path = path.parent
    found = os.statvfs(path)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None, path.stat().st_dev)


def nearest(wrong: str, possible: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the most similar of ``possible``; empty where nothing is similar."""
    from difflib import get_close_matches  # only when something is wrong

    close = get_close_matches(wrong, list(possible), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _is_temporary(path: Path) -> bool:
    """Whether this is the folder for temporary files, or something of ours in it."""
    from tempfile import gettempdir

    folder = Path(os.environ.get("TMPDIR") or gettempdir())
    return path == folder or (path.is_relative_to(folder) and path.relative_to(folder).parts[0].startswith("fairway-"))


def _leave(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
