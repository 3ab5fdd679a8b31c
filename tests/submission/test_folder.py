"""Whether the program of a written folder starts, as far as looking for its data."""

import sys
from pathlib import Path

import pytest

from platform.submission import folder
from platform.submission.files import PROGRAM_FILE

ASKS = "import os, sys\nprint('train_gpt.py:', os.environ['DATA_PATH'], 'is no folder', file=sys.stderr)\nsys.exit(2)\n"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (ASKS, None),
        ("import no_such_module\n", "exit status 1: ModuleNotFoundError: No module named 'no_such_module'"),
        (f"import helper\n{ASKS}", "exit status 1: ModuleNotFoundError: No module named 'helper'"),
        (ASKS.replace("DATA_PATH", "HOST_SETTING"), "exit status 1: "),
        ("import sys\nsys.exit(2)\n", "exit status 2: no word"),
        ("print('no data, and no matter')\n", "exit status 0: no word"),
    ],
)
def test_it_starts_or_says_why_not(
    program: str, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing of this machine's environment, and nothing that lies beside it."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HOST_SETTING", "no_data_on_purpose")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / PROGRAM_FILE).write_text(program)
    found = folder._does_not_start(tmp_path)
    assert found is None if reason is None else found and reason in found, found
    assert {path.name for path in tmp_path.iterdir()} == {"helper.py", PROGRAM_FILE}


@pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc")
def test_a_program_that_never_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "START_SECONDS", 1.0)
    (tmp_path / PROGRAM_FILE).write_text("import time\ntime.sleep(600)\n")
    assert folder._does_not_start(tmp_path) == f"{PROGRAM_FILE} did not ask for its data within 1 s"
