"""What a person, or a file, sees while trials run."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from platform.running.display import Terminal
from platform.running.progress import Progress
from platform.runs.plan import Failure, Trial

MakeRun = Callable[..., Any]  # of tests/conftest.py


@pytest.fixture
def trials(make_run: MakeRun) -> tuple[Trial, ...]:
    """Two trials, the first with its results."""
    return tuple(make_run({"no_ttt": {1337: 1.25}, "sgd": {1337: 1.2}}, seeds=(1337, 42)).plan.trials)


def watch(display: Terminal, trials: tuple[Trial, ...]) -> None:
    first, second = trials
    display.planned(trials)
    training = Progress(phases=("train",), step=1, train_loss=6.5, train_ms=20.0, step_ms=20.0)
    display.started(first)
    display.advanced(first, Progress())
    for step in range(1, 50):
        display.advanced(first, replace(training, step=step))
    display.advanced(first, Progress(arm="sgd", phases=("score",)))
    display.finished(first)
    display.started(second)
    failure = Failure(seed=42, phase="score", arm="sgd", reason="it broke", log_tail="", arms=("sgd",))
    display.failed(second, failure)
    display.closed()


def test_a_file_gets_a_line_for_each_phase_and_not_for_each_step(
    trials: tuple[Trial, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    watch(Terminal(), trials)
    out, err = capsys.readouterr()
    assert not out, "standard output is for results"
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in err.splitlines()] == [
        "leaky_cosine/1337  starts",
        "leaky_cosine/1337  train: step 1, loss 6.500, 20 ms a step, 0 s",
        "leaky_cosine/1337  sgd: score",
        "leaky_cosine/1337  done: no_ttt 1.2500, sgd 1.2000 bpb",
        "leaky_cosine/42  starts",
        "leaky_cosine/42  failed: score sgd: it broke",
    ]


def test_a_terminal_gets_one_table_with_a_row_for_each_trial(
    trials: tuple[Trial, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    watch(Terminal(), trials)
    out, err = capsys.readouterr()
    assert not out
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", err).replace("\r", "")
    last = r"leaky_cosine/1337 +0:00:00 +done: no_ttt 1\.2500, sgd 1\.2000 bpb *\n"
    assert re.search(last + r"leaky_cosine/42 +0:00:00 +failed: score sgd: it broke\s*$", shown)
