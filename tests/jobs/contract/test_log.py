"""What rank 0 writes while it works, and what the other ranks do not."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.events import ArmChange, EpochAdapted
from jobs.log import Log


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_go_to_the_file_and_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path / "a folder", writes=True, begin_with="seed:1\n")
    log.line("step:1/2 train_loss:6.9310")
    log.event(EpochAdapted(epoch=1, loss_nats=0.1 + 0.2, seconds=1.0))
    assert (tmp_path / "a folder" / "train.log").read_text() == "seed:1\nstep:1/2 train_loss:6.9310\n"
    assert capsys.readouterr().out == "step:1/2 train_loss:6.9310\n"
    assert events(tmp_path / "a folder") == [
        {"event": "adapt", "epoch": 1, "loss_nats": 0.30000000000000004, "seconds": 1.0, "phase": None}
    ]


def test_a_new_log_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        log = Log(tmp_path, writes=True)
        log.line("once")
        log.event(ArmChange(arm="sgd", state="start"))
    assert (tmp_path / "train.log").read_text() == "once\n" and len(events(tmp_path)) == 1


def test_other_ranks_only_keep_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path / "a folder", writes=False)
    with log.phase("train"):
        log.line("unheard")
        log.event(ArmChange(arm="sgd", state="start"))
        time.sleep(0.01)
    assert not (tmp_path / "a folder").exists() and capsys.readouterr().out == ""
    assert log.phases["train"] >= 0.01


def test_phases_of_one_name_add_up_and_end_whatever_happens(tmp_path: Path) -> None:
    log = Log(tmp_path, writes=True)
    for _ in range(2):
        with log.phase("load"):
            time.sleep(0.01)
    with pytest.raises(RuntimeError), log.phase("score"):
        raise RuntimeError
    assert log.phases["load"] >= 0.02 and set(log.phases) == {"load", "score"}
    assert log.seconds() >= sum(log.phases.values())
    told = [(one["phase"], one["state"]) for one in events(tmp_path)]
    assert told == [("load", "start"), ("load", "end")] * 2 + [("score", "start"), ("score", "end")]
    seconds = [one["seconds"] for one in events(tmp_path)]
    assert seconds == sorted(seconds)
