"""Reading what a job has appended to its metrics.jsonl, whole or cut off."""

from pathlib import Path

import pytest

from platform.runs.metrics import events, own_seconds


def phase(name: str, state: str) -> str:
    return f'{{"event": "phase", "phase": "{name}", "state": "{state}", "seconds": 0}}\n'


def test_events_of_a_file_that_a_kill_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(events(path, "step")) == []
    path.write_bytes(b'{"event": "step", "step": 1}\n[1]\n\xff\xfe{\n{"event": "arm"}\n{"event": "step", "st')
    assert list(events(path, "step")) == [{"event": "step", "step": 1}]
    assert [one["event"] for one in events(path, "step", "arm")] == ["step", "arm"]


def test_the_seconds_of_phases_inside_others_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    steps = ("setup", "train", "warmup", "/warmup", "validate", "/validate", "validate", "/validate", "/train", "pack")
    lines = [
        phase(one.strip("/"), "end" if one[0] == "/" else "start") for one in ("setup", "/setup", *steps[1:], "/pack")
    ]
    path.write_text("".join(lines))
    whole = {"pack": 1.0, "setup": 0.5, "train": 70.0, "validate": 4.0, "warmup": 6.0}
    own = own_seconds(whole, path)
    assert own == {"setup": 0.5, "train": 60.0, "warmup": 6.0, "validate": 4.0, "pack": 1.0}
    assert list(own) == ["setup", "train", "warmup", "validate", "pack"]
    path.write_text("".join(lines * 2))  # the job was started again and appended: the record has the last one
    assert own_seconds(whole, path) == own
    assert own_seconds(whole, tmp_path / "none") == pytest.approx(whole)
