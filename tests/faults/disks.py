"""Real disks that are full, read-only or out of files: small file systems in memory. Linux, and root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BLOCK_BYTES = 4096


class Disk:
    """A file system in memory of its own, whose room changes while others use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resized(self, **options: object) -> None:
        """``size=...``, ``nr_inodes=...``."""
        self._mount("-o", "remount," + ",".join(f"{name}={value}" for name, value in options.items()))

    def fill(self) -> None:
        """Leave room for nothing."""
        found = os.statvfs(self.folder)
        self.resized(size=max(1, found.f_blocks - found.f_bfree) * BLOCK_BYTES)  # 0 is no limit

    def use_up_files(self) -> None:
        """Leave room for bytes, and for no further file."""
        found = os.statvfs(self.folder)
        self.resized(nr_inodes=found.f_files - found.f_ffree)

    def make_room(self) -> None:
        self.resized(size="1g", nr_inodes=100_000)

    def make_read_only(self) -> None:
        self._mount("-o", "remount,ro")

    def make_writable(self) -> None:
        self._mount("-o", "remount,rw")

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words, str(self.folder)], check=True, capture_output=True)


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A disk with room at ``folder``; the test is skipped where nobody may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1g,nr_inodes=100000", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"mount cannot be run: {error}")
    if done.returncode:
        pytest.skip(f"mount is not permitted: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
