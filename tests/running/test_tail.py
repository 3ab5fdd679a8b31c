"""Why a job's log says that it failed, and how far its events say that it is."""

from pathlib import Path

import pytest

from jobs.contract.events import ArmChange, EpochAdapted, PhaseChange, ScoreSoFar, StepDone, ValidationDone
from platform.running.progress import Progress
from platform.running.tail import end_of, reason_in

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
    ("said", "status", "name", "reason", "cause"),
    [
        (
            "[rank0]: RuntimeError: Connection closed by peer\n[rank1]: ValueError: the loss is nan\n",
            1,
            "",
            "ValueError: the loss is nan",
            "program",
        ),
        (
            "[rank0]: torch.distributed.DistBackendError: ncclRemoteError: A call failed\n"
            "[rank1]: torch.distributed.DistBackendError: NCCL error: unhandled system error\n",
            1,
            "",
            "torch.distributed.DistBackendError: NCCL error: unhandled system error",
            "infrastructure",
        ),
        (
            "[rank0]: RuntimeError: Connection closed by peer\n",
            7,
            "",
            "RuntimeError: Connection closed by peer",
            "program",
        ),
        ("ImportError: no module named x\n", 1, "", "ImportError: no module named x", "program"),
        *(
            (f"[rank1]: {text}\n[rank0]: RuntimeError: Connection closed by peer\n", 1, "", text, "disk")
            for text in (
                "OSError: [Errno 28] No space left on device: '/runs/trunks/a/weights.pt.part'",
                "OSError: [Errno 122] Disk quota exceeded",
                "OSError: [Errno 30] Read-only file system: '/runs/a'",
                "RuntimeError: [enforce fail at x.cc:672] . PytorchStreamWriter failed writing file data/0",
            )
        ),
        (
            "[rank0]: OSError: [Errno 28] No space left on device\n[rank1]: ValueError: a fault of the code\n",
            1,
            "",
            "ValueError: a fault of the code",
            "program",
        ),
        (
            "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
            1,
            "",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "program",
        ),
        (
            "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1758 got signal: 2\n",
            -15,
            "",
            "rank 1 was ended by signal 15",
            "infrastructure",
        ),
        ("step 3\n", -9, " (SIGKILL)", "rank 1 was ended by signal 9 (SIGKILL)", "infrastructure"),
        ("step 3\n", -11, " (SIGSEGV)", "rank 1 was ended by signal 11 (SIGSEGV)", "program"),
        ("step 3\n", 7, "", "rank 1 ended with status 7", "program"),
        (f"{PROGRAM}: no such shard\n", 2, "", "no such shard", "refused"),
        (
            f"{PROGRAM}: a.bin: 17 bytes with the code are 1 above the limit of 16, so it is not scored\n",
            2,
            "",
            "a.bin: 17 bytes with the code are 1 above the limit of 16, so it is not scored",
            "over a limit",
        ),
        (
            f"{PROGRAM}: the training diverged: loss is NaN at step 3\n",
            1,
            "",
            "the training diverged: loss is NaN at step 3",
            "diverged",
        ),
    ],
)
def test_the_reason_is_the_rank_s_that_failed_first_and_whose_fault_it_is(
    tmp_path: Path, said: str, status: int, name: str, reason: str, cause: str
) -> None:
    for place in ("", "/home/a b/.venv/lib/python3.11/site-packages/"):  # a virtual environment behind a link
        log = log_of(tmp_path, said, status, name, place)
        assert reason_in(log, start_of(log), status=1, program=PROGRAM) == (reason, cause)


def test_without_a_word_of_torchrun_its_status_has_to_do(tmp_path: Path) -> None:
    (tmp_path / "job.log").write_text("")
    assert reason_in(tmp_path / "job.log", 0, status=-9, program=PROGRAM) == (
        "torchrun ended with -9",
        "infrastructure",
    )
    assert reason_in(tmp_path / "none", 0, status=1, program=PROGRAM) == ("torchrun ended with 1", "program")


def test_the_end_of_a_log_is_what_the_ranks_said_last(tmp_path: Path) -> None:
    log = log_of(tmp_path, "".join(f"step {number}\n" for number in range(100)))
    assert end_of(log, start_of(log)).splitlines() == [f"step {number}" for number in range(60, 100)]


def test_progress_in_words() -> None:
    progress, said = Progress(), list[str]()
    assert str(progress) == "starting"
    for event in (
        PhaseChange(phase="train", state="start", seconds=0.0),
        StepDone(step=120, train_loss=4.1239, train_ms=31_000.0, step_ms=82.4, lr_scale=1.0),
        PhaseChange(phase="validate", state="start", seconds=1.0),
        ValidationDone(step=120, val_loss_nats=4.0, val_bpb=2.0, train_ms=31_000.0),
        PhaseChange(phase="validate", state="end", seconds=2.0),
        PhaseChange(phase="train", state="end", seconds=3.0),
        ArmChange(arm="sgd", state="start"),
        PhaseChange(phase="adapt", state="start", seconds=0.0),
        EpochAdapted(epoch=2, loss_nats=3.0, seconds=1.0),
        PhaseChange(phase="adapt", state="end", seconds=1.0),
        PhaseChange(phase="score", state="start", seconds=1.0),
        ScoreSoFar(position=12_000, running_bpb=2.34567, seconds=2.0),
        PhaseChange(phase="score", state="end", seconds=3.0),
        ArmChange(arm="sgd", state="end"),
    ):
        progress = progress.after(event)
        said.append(str(progress))
    step = "step 120, loss 4.124, 82 ms a step, 31 s"
    assert said == [
        "train",
        f"train: {step}",
        f"validate: {step}",
        f"validate: {step}",
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


def test_an_end_closes_the_phase_that_it_names_and_those_inside() -> None:
    progress = Progress(phases=("train", "validate"))
    assert progress.after(PhaseChange(phase="train", state="end", seconds=1.0)).phases == ()
    assert progress.after(PhaseChange(phase="pack", state="end", seconds=1.0)).phases == ("train", "validate")
