"""Files that only one process at a time may hold.

The kernel frees a lock when the last process that has the file open is gone, so none is ever stale.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ..errors import UserError

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
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting(path.read_text().strip() or "another process")
                time.sleep(RETRY_SECONDS)
            except OSError as error:
                raise UserError(
                    f"{path}: this file system has no file locks ({error.strerror}); without them two launches could "
                    f"run the same trial. Keep the results elsewhere: --runs DIR"
                ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        file.flush()
        yield file
