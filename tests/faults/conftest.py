"""A gated run."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.gated import Gated

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]  # processes are known by /proc


@pytest.fixture
def gated(tmp_path: Path, tiny_data: tuple[Path, Path]) -> Gated:
    return Gated(tmp_path / "a run", *tiny_data)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder with a short name, as Ray's sockets want it."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as name:
        yield Path(name)
