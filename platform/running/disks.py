"""How full the disks were while a job ran, in numbers."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import room_at

NONE_LEFT_BYTES = 2**20  # below it a disk counts as full: the piece that did not fit has left some


class DiskWatch:
    """Looks at the file systems of some folders, from its making on."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders: dict[int, Path] = {}  # one of each file system
        self._full: dict[Path, int] = {}  # the fewest bytes that were left, where it was too few
        for folder in folders:
            with suppress(OSError):
                self._folders.setdefault(room_at(folder).device, folder)

    def look(self) -> None:
        """Once in a while; a system call or two for each folder."""
        for folder in self._folders.values():
            with suppress(OSError):  # it is gone, or does not tell
                there = room_at(folder)
                if there.bytes < NONE_LEFT_BYTES or there.files == 0:
                    self._full[folder] = min(there.bytes, self._full.get(folder, there.bytes))

    def said(self) -> str:
        """``; the disk of /runs/leaky_cosine-991bb5f2 was full (0.0 MB left): ...``; nothing where all had room."""
        self.look()
        return "".join(
            f"; the disk of {folder} was full ({left / 1e6:,.1f} MB left): make room there, the same command goes on"
            for folder, left in self._full.items()
        )
