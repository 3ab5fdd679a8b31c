"""Attempts at a seed, told from the events of every launch."""

import json
from pathlib import Path

from platform.running.observers import EventFile
from platform.runs.attempts import FAILED, OPEN, SCORED, lost, read_attempts, said
from platform.runs.plan import Failure, Trial

DIED = {"phase": "train", "arm": None, "reason": "its Ray worker died", "arms": ["no_ttt"], "seconds": 10.0}


def events(path: Path, *lines: tuple[str, str, int, dict[str, object]]) -> Path:
    text = [
        json.dumps({"event": kind, "time": f"2026-04-01T10:{at:02}:00", "launch": launch, "seed": seed, **values})
        for at, (kind, launch, seed, values) in enumerate(lines)
    ]
    path.write_text("\n".join(text) + "\n")
    return path


def test_every_attempt_with_its_end(tmp_path: Path) -> None:
    infrastructure = {**DIED, "cause": "infrastructure", "node": "a", "attempt": 1}
    path = events(
        tmp_path / "launch.jsonl",
        ("planned", "one", 42, {"arms": ["no_ttt"]}),
        ("started", "one", 42, {}),
        ("started", "one", 7, {}),
        ("phase", "one", 42, {"arm": None, "phase": "train"}),
        ("retried", "one", 42, infrastructure),
        ("ended", "one", 7, {"val_bpb": {"no_ttt": 2.3}}),
        ("started", "one", 42, {}),  # and somebody pulls the plug
        ("started", "two", 42, {}),
        ("failed", "two", 42, {**DIED, "reason": "ValueError: x"}),  # by a version that did not tell whose fault
        ("started", "two", 2, {}),
        ("gave up", "two", 2, {}),
        ("started", "three", 42, {}),
        ("ended", "three", 42, {"val_bpb": {"no_ttt": 2.3}}),
        ("started", "four", 7, {}),  # another arm of it
    )
    found = read_attempts(path)
    assert {seed: [one.ended for one in tried] for seed, tried in found.items()} == {
        42: [FAILED, OPEN, FAILED, SCORED],
        7: [SCORED, OPEN],
    }
    assert (found[42][0].cause, found[42][0].node, found[42][2].cause) == ("infrastructure", "a", None)
    assert list(lost(found[42])) == [1, 2, 3] and not lost(found[7])
    assert said(found) == [
        "seed 42: attempt 4; attempt 1: its Ray worker died [infrastructure, on a]; attempt 2: it was interrupted; "
        "attempt 3: ValueError: x"
    ]
    assert read_attempts(tmp_path / "none") == {}


def test_two_launches_at_once_are_told_apart(tmp_path: Path) -> None:
    path = events(
        tmp_path / "launch.jsonl",
        ("started", "one", 42, {}),
        ("started", "two", 42, {}),
        ("retried", "one", 42, {**DIED, "cause": "infrastructure"}),
        ("ended", "two", 42, {"val_bpb": {}}),
    )
    assert [(one.launch, one.ended) for one in read_attempts(path)[42]] == [("one", FAILED), ("two", SCORED)]


def test_it_reads_what_a_launch_writes(tmp_path: Path) -> None:
    trial = Trial(
        recipe="r", scale="s", seed=42, arms=(), program_sha256="", run_path=tmp_path, trunk_path=tmp_path,
        data_path=tmp_path, tokenizer_path=tmp_path, data_sha256="", tokenizer_sha256="", processes=1, gpus=0, cpus=1,
    )  # fmt: skip
    failure = Failure(
        seed=42, phase="train", arm=None, reason="a disk", log_tail="", arms=(), cause="infrastructure", node="b"
    )
    launch = EventFile("one")
    launch.started(trial)
    launch.retried(trial, failure, 10.0)
    launch.started(trial)
    launch.finished(trial)
    assert said(read_attempts(tmp_path / "launch.jsonl")) == [
        "seed 42: attempt 2; attempt 1: a disk [infrastructure, on b]"
    ]
