"""What a job is told and what it leaves: environment and records, there and back."""

import errno
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.assignment import Assignment
from jobs.contract.files import to_data, write_record, write_text
from jobs.contract.records import PRE_EVAL, SCORE_FIRST, ArmResult, Machine, TrunkRecord, read_result, read_trunk
from jobs.contract.shards import file_sha256

ASSIGNMENT = Assignment(
    seed=42,
    data_path=Path("/data/with a space"),
    tokenizer_path=Path("/data/tokenizer.model"),
    output_path=Path("/runs/one"),
    trunk_path=Path("/runs/trunk"),
    arms=("no_ttt", "adamw"),
    max_wallclock_seconds=12.5,
)
TRUNK = TrunkRecord(
    trunk_sha256="a", program_sha256="b", weights_sha256="c", artifact_sha256="d", recipe="r", scale="s", seed=1,
    data_sha256="e", tokenizer_sha256="f", parameters=1, model_bytes=2, steps=3, train_tokens=4, train_seconds=5.5,
    step_ms_mean=6.5, step_ms_median=7.5, phases={"train": 1.25},
    machine=Machine(world_size=2, device="cpu", torch_version="2"),
)  # fmt: skip
RESULT = ArmResult(
    recipe="r", scale="s", arm="no_ttt", adaptation="no_adaptation", protocol=SCORE_FIRST, seed=1, program_sha256="a",
    trunk=TRUNK, data_sha256="c", tokenizer_sha256="d", val_loss_nats=0.1 + 0.2, val_bpb=1 / 3, scored_tokens=10,
    scored_bytes=20, aligned_val_bpb=None, artifact_bytes=30, model_bytes=20, code_bytes=10,
    adapt_seconds=0.0, eval_seconds=6.5, phases={"score": 1e-9}, end_to_end=False,
    machine=Machine(world_size=1, device="cpu", torch_version="2"),
)  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"arms": ()}, {"max_wallclock_seconds": None}, {"max_wallclock_seconds": 0.0}])
def test_an_assignment_survives_the_environment(changes: dict[str, Any]) -> None:
    assignment = replace(ASSIGNMENT, **changes)
    assert Assignment.from_environment(assignment.to_environment()) == assignment


def test_an_empty_environment_means_the_communitys_defaults() -> None:
    found = Assignment.from_environment({})
    assert found.seed == 1337 and found.arms == () and found.max_wallclock_seconds is None
    assert found.data_path == Path("data/datasets/fineweb10B_sp1024")
    assert found.tokenizer_path == Path("data/tokenizers/fineweb_1024_bpe.model")
    assert found.output_path == Path("logs/run") and found.trunk_path == Path("logs/run/trunk")
    assert Assignment.from_environment({"RUN_ID": "x"}).output_path == Path("logs/x")


@pytest.mark.parametrize(
    ("name", "value"),
    [("SEED", "one"), ("SEED", "1.5"), ("MAX_WALLCLOCK_SECONDS", "ten"), ("MAX_WALLCLOCK_SECONDS", "nan")],
)
def test_a_variable_that_is_no_number_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name}='{value}'"):
        Assignment.from_environment({name: value})


@pytest.mark.parametrize(("record", "read"), [(TRUNK, read_trunk), (RESULT, read_result)])
def test_a_record_comes_back_digit_by_digit(tmp_path: Path, record: Any, read: Any) -> None:
    path = tmp_path / "record.json"
    write_record(path, record)
    assert read(path) == record
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"], "nothing half-written stays"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"seed": 1}', "\xff\xfe"])
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("latin-1"))
    for read in (read_result, read_trunk):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read(path)


def test_a_record_of_other_fields_is_refused_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    fields = to_data(RESULT)
    path.write_text(json.dumps({**fields, "bpb": 1.0}))
    with pytest.raises(ValueError, match=r"result.json: not what this program writes: \['bpb'\]"):
        read_result(path)
    del fields["val_bpb"]
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"\['val_bpb'\]"):
        read_result(path)


def test_a_record_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "result.json"))):
        read_result(tmp_path / "result.json")


def test_only_scores_of_tokens_that_were_not_learned_can_be_claimed() -> None:
    assert RESULT.claimable and not replace(RESULT, protocol=PRE_EVAL).claimable


def test_a_file_is_named_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_files_that_are_written_at_the_same_time_are_each_written_whole(tmp_path: Path) -> None:
    """Several writers of one file, and of files that differ in their suffix alone."""

    def write(name: str) -> None:
        for number in range(200):
            write_text(tmp_path / name, f"{number % 10}" * 10_000)

    names = ("report.md", "report.json", "report.md", "report.json")
    with ThreadPoolExecutor(len(names)) as writers:
        for written in [writers.submit(write, name) for name in names]:
            written.result()
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.json"}, "nothing half-written stays"
    assert all(path.read_text() == "9" * 10_000 for path in tmp_path.iterdir())


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write_text(path, "before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "after")
    assert path.read_text() == "before" and [one.name for one in tmp_path.iterdir()] == ["plan.json"]
