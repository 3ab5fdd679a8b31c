"""A command's mistakes become one message and an exit status; a mistake of ours keeps its traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from platform.errors import RunFailed, UserError, explained, nearest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("recipes/x.yaml: wrong"), 2, "error: recipes/x.yaml: wrong\n"),
        (RunFailed("seed 42 failed"), 1, "failed: seed 42 failed\n"),
    ],
)
def test_a_mistake_ends_the_process(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int, message: str
) -> None:
    @explained()
    def command() -> None:
        print("a result")
        raise error

    with pytest.raises(SystemExit) as end:
        command()
    assert end.value.code == status
    assert capsys.readouterr() == ("a result\n", message)


def test_our_own_mistakes_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), explained():
        print(1 // 0)


def test_a_closed_pipe_is_no_mistake() -> None:
    code = "from platform.errors import explained\nwith explained():\n    print('much\\n' * {})"
    for times in (1, 100_000):
        command = ["bash", "-c", '"$0" -c "$1" | true; echo ${PIPESTATUS[0]}', sys.executable, code.format(times)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_nearest_name() -> None:
    assert nearest("optimiser", ["shape", "optimizer"]) == "; did you mean 'optimizer'?"
    assert nearest("zzz", ["shape", "optimizer"]) == nearest("x", []) == ""
