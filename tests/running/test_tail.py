"""What a job has written since one last looked, and why its log says that it failed."""

import json
from pathlib import Path

import pytest

from platform.running.progress import Progress
from platform.running.tail import Events, end_of, reason_in

PROGRAM = Path("/runs/some run/train_gpt.py")
TORCHRUN = """W1120 05:57:09.729000 12524 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 12528
E1120 05:57:09.745000 12524 {place}torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) rank 1
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train_gpt.py FAILED
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 12528)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  time      : 2026-11-20_05:57:09
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : {status} (pid: 12529) {name}
============================================================
"""


def log_of(folder: Path, said: str, status: int = 1, name: str = "", place: str = "") -> Path:
    log = folder / "job.log"
    log.write_text(
        "of an earlier attempt\nOSError: the disk is full\n"
        + said
        + TORCHRUN.format(status=status, name=name, place=place)
    )
    return log


def start_of(log: Path) -> int:
    return len("of an earlier attempt\nOSError: the disk is full\n")


@pytest.mark.parametrize(
    ("said", "status", "name", "reason"),
    [
        (
            "[rank0]: RuntimeError: Connection closed by peer\n[rank1]: ValueError: the loss is nan\n",
            1,
            "",
            "ValueError: the loss is nan",
        ),
        ("ImportError: no module named x\n", 1, "", "ImportError: no module named x"),
        (
            "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
            1,
            "",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        ),
        ("step 3\n", -9, " (SIGKILL)", "rank 1 was ended by signal 9 (SIGKILL); the machine may be out of memory"),
        ("step 3\n", 7, "", "rank 1 ended with status 7"),
        (f"{PROGRAM}: no such shard\n", 2, "", "no such shard"),
    ],
)
def test_the_reason_is_the_rank_s_that_failed_first(
    tmp_path: Path, said: str, status: int, name: str, reason: str
) -> None:
    for place in ("", "/home/a b/.venv/lib/python3.11/site-packages/"):  # a virtual environment behind a link
        log = log_of(tmp_path, said, status, name, place)
        assert reason_in(log, start_of(log), status=1, program=PROGRAM) == reason


def test_without_a_word_of_torchrun_its_status_has_to_do(tmp_path: Path) -> None:
    (tmp_path / "job.log").write_text("")
    assert reason_in(tmp_path / "job.log", 0, status=-9, program=PROGRAM) == "torchrun ended with -9"
    assert reason_in(tmp_path / "none", 0, status=1, program=PROGRAM) == "torchrun ended with 1"


def test_the_end_of_a_log_is_what_the_ranks_said_last(tmp_path: Path) -> None:
    log = log_of(tmp_path, "".join(f"step {number}\n" for number in range(100)))
    assert end_of(log, start_of(log)).splitlines() == [f"step {number}" for number in range(60, 100)]


def test_events_come_once_each_and_only_as_whole_lines(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text('{"event": "step", "step": 1}\n')
    events = Events([old, new])
    assert not list(events.new()), "what was there before is not news"
    new.write_text('{"event": "step", "step": 2}\n{"event": "st')
    assert [event["step"] for event in events.new()] == [2]
    with new.open("a") as file:
        file.write('ep", "step": 3}\nnot json\n[]\n\n{"event": "step", "step": 4}\n')
    assert [event["step"] for event in events.new()] == [3, 4]
    assert not list(events.new())
    old.write_text('{"event": "x"}\n')
    assert [event["event"] for event in events.new()] == ["x"], "a shorter file has been started again"


def test_progress_in_words() -> None:
    progress, said = Progress(), list[str]()
    assert str(progress) == "starting"
    for event in (
        {"event": "phase", "phase": "train", "state": "start"},
        {"event": "step", "step": 120, "train_loss": 4.1239, "train_ms": 31_000.0, "step_ms": 82.4},
        {"event": "phase", "phase": "validate", "state": "start"},
        {"event": "phase", "phase": "validate", "state": "end"},
        {"event": "something new", "value": 1},
        {"event": "phase", "phase": "train", "state": "end"},
        {"event": "arm", "arm": "sgd", "state": "start"},
        {"event": "phase", "phase": "adapt", "state": "start"},
        {"event": "adapt", "epoch": 2},
        {"event": "phase", "phase": "adapt", "state": "end"},
        {"event": "phase", "phase": "score", "state": "start"},
        {"event": "score", "position": 12_000, "running_bpb": 2.34567},
        {"event": "phase", "phase": "score", "state": "end"},
        {"event": "arm", "arm": "sgd", "state": "end"},
    ):
        progress = progress.after(json.loads(json.dumps(event)))
        said.append(str(progress))
    step = "step 120, loss 4.124, 82 ms a step, 31 s"
    assert said == [
        "train",
        f"train: {step}",
        f"validate: {step}",
        f"train: {step}",
        f"train: {step}",
        f"trained: {step}",
        "sgd",
        "sgd: adapt",
        "sgd: adapt: epoch 2",
        "sgd",
        "sgd: score",
        "sgd: score: 12,000 tokens, 2.3457 bpb",
        "sgd",
        "sgd: scored",
    ]
    assert str(Progress(waiting="a is being run by b")) == "waiting: a is being run by b"
