"""Files that survive: written so that a reader sees all of them or nothing.

A record is a frozen dataclass, a file is its JSON, with ``schema_version`` in front. A job reads back only what its own
program wrote; whoever reads files of any version is ``platform/runs/reading.py``.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 2  # of every record; what changed: 2, a result holds its trunk's record and both say their machine


def to_data(record: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """What ``from_data`` reads, without the fields ``but``."""
    content = {name: value for name, value in asdict(record).items() if name not in but}
    return {"schema_version": SCHEMA_VERSION, **content}


def write_record(path: Path, record: Any, but: tuple[str, ...] = ()) -> None:
    """Write ``record`` as JSON, without the fields ``but``; all of it or nothing."""
    write_text(path, json.dumps(to_data(record, but), indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write ``text``, all of it or nothing, whoever else writes the same file at the same time."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, all of it or nothing; on the disk before anybody sees it.

    Raises:
        OSError: the disk is full or the folder is not there; nothing is left behind then.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
