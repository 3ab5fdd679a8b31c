"""Folders for temporary files that processes which are gone have left.

Each guard removes its own. Where it is killed together with its starter, or the machine goes down, one stays.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

from .supervisor import LINUX, marked, users_of

PREFIXES = ("fairway-job-", "fairway-run-", "fairway-audit-")  # a trial's, a program's; the last is of an older version
OLD_SECONDS = 86_400.0


def remove_old() -> None:
    """Remove folders of this user that are older than a day and that no process uses. Linux alone tells who does."""
    for folder in Path(tempfile.gettempdir()).iterdir() if LINUX else ():
        if folder.name.startswith(PREFIXES) and _is_old(folder) and not _is_used(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_old(folder: Path) -> bool:
    """Whether it is a folder of ours that was last changed more than a day ago."""
    try:
        found = folder.lstat()
    except OSError:  # gone since
        return False
    ours = found.st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()
    return ours and time.time() - found.st_mtime > OLD_SECONDS


def _is_used(folder: Path) -> bool:
    """Whether a process has a file in it open, or was started with it as its folder for temporary files."""
    return bool(users_of(str(folder)) or marked("TMPDIR", str(folder)))
