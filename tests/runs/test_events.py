"""Events there and back: what jobs append to metrics.jsonl and launches to launch.jsonl, whole or cut off."""

from pathlib import Path

import pytest

from jobs.contract.events import (
    ArmChange,
    EpochAdapted,
    Event,
    PhaseChange,
    ScoreSoFar,
    StepDone,
    ValidationDone,
    append,
    to_line,
)
from platform.runs.events import JOB_EVENTS, LAUNCH_EVENTS, Ended, Failed, Reader, from_line, own_seconds, read


def phase(name: str, state: str, seconds: float = 0.0) -> str:
    return f'{{"event": "phase", "phase": "{name}", "state": "{state}", "seconds": {seconds}}}\n'


STEP = StepDone(step=1, train_loss=0.1 + 0.2, train_ms=20.0, step_ms=20.0, lr_scale=1.0)
EVENTS: tuple[Event, ...] = (
    PhaseChange(phase="train", state="start", seconds=0.25),
    STEP,
    ValidationDone(step=1, val_loss_nats=6.5, val_bpb=3.25, train_ms=20.0),
    ArmChange(arm="sgd", state="end"),
    EpochAdapted(epoch=2, loss_nats=1 / 3, seconds=4.0, phase="first"),
    ScoreSoFar(position=1000, running_bpb=1.25, seconds=5.0),
)


def test_every_kind_comes_back_digit_by_digit(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for event in EVENTS:
        append(path, event)
    assert list(Reader(path, JOB_EVENTS).new()) == list(EVENTS)
    assert {type(event) for event in EVENTS} == set(JOB_EVENTS.values()), "each kind is here"
    ended = Ended(time="now", launch="x", seed=7, val_bpb={"no_ttt": 1 / 3})
    failed = Failed(time="now", launch="x", seed=7, phase="score", arm="sgd", reason="boom", arms=("sgd",))
    assert [from_line(to_line(one), LAUNCH_EVENTS) for one in (ended, failed)] == [ended, failed]


def test_a_file_that_a_kill_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(read(path, StepDone)) == []
    arm = to_line(ArmChange(arm="sgd", state="start")).encode()
    path.write_bytes(
        to_line(STEP).encode() + b'[1]\n\xff\xfe{\n{"event": "step", "step": "x"}\n' + arm + b'{"event": "st'
    )
    assert list(read(path, StepDone)) == [STEP]
    reader = Reader(path, JOB_EVENTS)
    assert [type(event) for event in reader.new()] == [StepDone, ArmChange] and reader.passed_over == 3


def test_a_reader_follows_a_growing_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(to_line(STEP))
    whole, coming = Reader(path, JOB_EVENTS), Reader(path, JOB_EVENTS, from_end=True)
    assert (list(whole.new()), list(coming.new())) == ([STEP], [])
    line = to_line(EVENTS[0])
    with path.open("a") as file:
        file.write(line[:20])
    assert list(whole.new()) == list(coming.new()) == [], "half a line is no event yet"
    with path.open("a") as file:
        file.write(line[20:] + to_line(STEP))
    assert list(whole.new()) == list(coming.new()) == [EVENTS[0], STEP]
    path.write_text(line)  # the job was started again
    assert list(whole.new()) == list(coming.new()) == [EVENTS[0]]
    assert list(whole.new()) == []


def test_events_of_a_later_version_lose_what_nobody_knows_yet() -> None:
    assert from_line(to_line(STEP).replace("}", ', "gpu_ms": 3.5}'), JOB_EVENTS) == STEP


def test_the_seconds_of_phases_inside_others_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    changes = (
        *(("setup", 0.0), ("/setup", 0.5), ("train", 0.5), ("warmup", 0.5), ("compile", 1.5), ("/compile", 5.5)),
        *(("/warmup", 6.5), ("validate", 20.0), ("compile", 20.0), ("/compile", 21.0), ("/validate", 22.5)),
        *(("validate", 40.0), ("/validate", 41.5), ("/train", 70.5), ("pack", 70.5), ("/pack", 71.5)),
    )
    lines = [phase(name.strip("/"), "end" if name[0] == "/" else "start", seconds) for name, seconds in changes]
    path.write_text("".join(lines))
    whole = {"pack": 1.0, "setup": 0.5, "train": 70.0, "validate": 4.0, "warmup": 6.0, "compile": 5.0}
    own = own_seconds(whole, path)
    assert own == {"setup": 0.5, "train": 60.0, "warmup": 2.0, "compile": 5.0, "validate": 3.0, "pack": 1.0}
    assert list(own) == ["setup", "train", "warmup", "compile", "validate", "pack"]
    path.write_text("".join(lines * 2))  # the job was started again and appended: the record has the last one
    assert own_seconds(whole, path) == own
    assert own_seconds(whole, tmp_path / "none") == pytest.approx(whole)
