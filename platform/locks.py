"""Files and folders that only one process at a time may hold.

The kernel frees a lock when the last process that has the file open is gone, so none is ever stale.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from .errors import UserError

RETRY_SECONDS = 0.5


@contextmanager
def held(path: Path, waiting: Callable[[str], None] = lambda _: None) -> Iterator[IO[str]]:
    """The file ``path``, open and locked; who holds it is written inside, for people.

    Args:
        waiting: called again and again while somebody else holds it, with what that one wrote.

    Raises:
        UserError: the file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        while not _locked(file.fileno(), path):
            waiting(path.read_text().strip() or "another process")
            time.sleep(RETRY_SECONDS)
        _sign(file)
        yield file


@contextmanager
def held_at_once(path: Path) -> Iterator[str | None]:
    """None, with the file ``path`` locked while the block runs; who holds it, where somebody else does.

    Raises:
        UserError: the file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if not _locked(file.fileno(), path):
            yield path.read_text().strip() or "another process"
            return
        _sign(file)
        yield None


def _sign(file: IO[str]) -> None:
    """Write down whose it is, for people; where a disk is full it is held all the same."""
    owner = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
    with suppress(OSError):
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), owner.encode())


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make ``folder`` and hold it: another process that asks for it waits until this block ends or its process dies.

    Unlike a file that is ``held``, the folder may be renamed or removed by whoever holds it.

    Raises:
        UserError: the file system knows no locks.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # renamed or removed since
            continue
        try:
            while not _locked(handle, folder):
                time.sleep(RETRY_SECONDS)
            # Whoever held it before may have renamed or removed it: then what is locked here is not at its path.
            if _inode(folder) != os.fstat(handle).st_ino:
                continue
            yield
            return
        finally:
            os.close(handle)


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None


def _locked(handle: int, path: Path) -> bool:
    """Lock what ``handle`` has open; False while another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{path}: this file system has no file locks ({error.strerror}); without them two processes could do the "
            f"same work at once. Keep them elsewhere: --runs DIR, or --into DIR of a corpus"
        ) from error
    return True
