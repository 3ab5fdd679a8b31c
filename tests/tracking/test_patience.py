"""MLflow's thread: nobody waits for it beyond the limit, it keeps no process, and after a failure nothing is tried."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from platform.errors import RunFailed, UserError
from platform.paths import ROOT
from platform.tracking import patience as module
from platform.tracking.patience import Patience, Waiting

FOREVER = threading.Event()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def patience(notes: list[str], monkeypatch: pytest.MonkeyPatch) -> Patience:
    """One whose limit is a second."""
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(module, "REQUESTS", 1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    return Patience(notes.append)


def waits_for(what: str) -> Callable[[Waiting], None]:
    def call(waiting: Waiting) -> None:
        waiting(what)
        FOREVER.wait()

    return call


def fails(_: Waiting) -> None:
    raise RunFailed("MLflow is gone")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_calls_come_back_in_order_and_with_their_results(patience: Patience, notes: list[str]) -> None:
    done: list[int] = []
    begun = threading.Event()
    patience.later(lambda _: done.append(1) or begun.wait())  # type: ignore[func-returns-value]
    wait_until(lambda: done)
    patience.later(lambda _: done.append(2))  # not begun: the next one comes instead
    threading.Timer(0.3, begun.set).start()
    assert patience.now(lambda _: (done.append(3), "result")[1]) == "result"
    assert (done, notes) == ([1, 3], [])


def test_what_does_not_answer_is_waited_for_within_a_limit(patience: Patience, notes: list[str]) -> None:
    with pytest.raises(RunFailed, match="waited 1 s for the server, in vain"):
        patience.now(waits_for("the server"))
    assert notes == ["waiting for the server: 1 s at most"]
    with pytest.raises(RunFailed, match="the server, in vain"):  # at once: the thread is still there
        patience.now(lambda _: None)


def test_work_of_its_own_is_not_waiting(patience: Patience, notes: list[str]) -> None:
    def works(waiting: Waiting) -> str:
        waiting("the server")
        waiting(None)
        time.sleep(2.5)
        return "done"

    assert patience.now(works) == "done" and notes == []


def test_the_limit_is_one_for_all_calls(patience: Patience, notes: list[str]) -> None:
    def slow(waiting: Waiting) -> None:
        waiting("the server")
        time.sleep(0.7)
        waiting(None)

    with pytest.raises(RunFailed, match="in vain"):
        for _ in range(20):
            patience.now(slow)


def test_after_a_failure_nothing_more_is_tried(patience: Patience, notes: list[str]) -> None:
    tried: list[str] = []
    patience.later(fails)
    wait_until(lambda: notes)
    assert notes == [f"MLflow is gone\n{module.NO_MORE}"]
    patience.later(lambda _: tried.append("later"))
    time.sleep(0.3)
    with pytest.raises(RunFailed, match="MLflow is gone"):
        patience.now(lambda _: tried.append("now"))
    assert tried == [] and len(notes) == 1


def test_one_that_is_given_up_ends_with_its_next_call(patience: Patience) -> None:
    go_on, went_on = threading.Event(), []

    def call(waiting: Waiting) -> None:
        waiting("the server")
        go_on.wait()
        waiting(None)
        went_on.append(True)

    with pytest.raises(RunFailed):
        patience.now(call)
    go_on.set()
    time.sleep(0.3)
    assert went_on == []


def test_a_run_that_cannot_be_read_is_no_failure_of_mlflow(patience: Patience, notes: list[str]) -> None:
    def unreadable(_: Waiting) -> None:
        raise UserError("no plan there")

    patience.later(unreadable)
    with pytest.raises(UserError, match="no plan there"):
        patience.now(unreadable)
    assert patience.now(lambda _: 1) == 1 and notes == []


def test_the_limits_are_those_of_mlflow_where_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    assert module.limit_seconds() == 60
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

    assert (MLFLOW_HTTP_REQUEST_TIMEOUT.get(), MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()) == (15, 2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "100")
    assert module.limit_seconds() == 400
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon")
    with pytest.raises(UserError, match="MLFLOW_HTTP_REQUEST_TIMEOUT"):
        Patience(print)


def test_a_thread_that_never_ends_does_not_keep_the_process() -> None:
    code = "import time; from platform.tracking.patience import Patience; "
    code += "Patience(print).later(lambda _: time.sleep(10_000)); time.sleep(0.5)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=600, check=False).returncode == 0
