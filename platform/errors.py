"""How a command says what went wrong: exit status 0 done, 1 failed, 2 a wrong recipe or command, 130 Ctrl-C."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

EXIT_RUN_FAILED = 1
EXIT_STOPPED = 130  # by Ctrl-C, as shells have it
EXIT_WRONG_INPUT = 2  # click and argparse use the same number for a wrong command


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
        _leave(f"failed: {_of_file(error)}; {on_disk}", EXIT_RUN_FAILED)


def nearest(wrong: str, possible: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the most similar of ``possible``; empty where nothing is similar."""
    from difflib import get_close_matches  # only when something is wrong

    close = get_close_matches(wrong, list(possible), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _of_file(error: OSError) -> str:
    """Which file, and what is wrong with it."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _leave(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
