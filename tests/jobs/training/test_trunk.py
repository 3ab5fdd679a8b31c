"""A trunk that is there is used again only where it is the one that this job would train."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from jobs.contract.assignment import ARTIFACT_FILE, LOG_FILE, TRUNK_FILE, WEIGHTS_FILE, Assignment
from jobs.contract.errors import Refused
from jobs.contract.files import write_record
from jobs.contract.records import TrunkRecord
from jobs.contract.shards import file_sha256
from jobs.job import Job, Names
from jobs.train import find_trunk
from tests.jobs.tiny import ALONE, base

NAMES = Names(program_sha256="p", code_bytes=1, data_sha256="d", tokenizer_sha256="t")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job, and the trunk that it would train in its folder."""
    for name in (WEIGHTS_FILE, ARTIFACT_FILE, LOG_FILE):
        (tmp_path / name).write_text(name)
    write_record(
        tmp_path / TRUNK_FILE,
        TrunkRecord(
            trunk_sha256="trunk",
            program_sha256="p",
            weights_sha256=file_sha256(tmp_path / WEIGHTS_FILE),
            artifact_sha256=file_sha256(tmp_path / ARTIFACT_FILE),
            recipe="tiny",
            scale="toy",
            seed=7,
            data_sha256="d",
            tokenizer_sha256="t",
            parameters=1,
            model_bytes=1,
            steps=1,
            train_tokens=1,
            train_seconds=1.0,
            step_ms_mean=1.0,
            step_ms_median=1.0,
            machine=None,
        ),
    )
    assignment = Assignment(
        seed=7,
        data_path=tmp_path,
        tokenizer_path=tmp_path,
        output_path=tmp_path,
        trunk_path=tmp_path,
        arms=(),
        max_wallclock_seconds=None,
    )
    unused = cast(Any, None)
    return Job(
        recipe=base(),
        assignment=assignment,
        world=ALONE,
        names=NAMES,
        stream=unused,
        models=unused,
        packing=unused,
        scoring=unused,
        kernel=unused,
    )


def test_the_trunk_of_this_job_is_found(job: Job) -> None:
    found = find_trunk(job)
    assert found is not None and found.trunk_sha256 == "trunk"
    other_program = replace(job, names=replace(NAMES, program_sha256="q", code_bytes=2))
    assert find_trunk(other_program) == found, "arms may be added to a recipe"


def test_where_none_was_finished_there_is_none(job: Job) -> None:
    (job.assignment.trunk_path / TRUNK_FILE).unlink()
    assert find_trunk(job) is None


def of_seed(job: Job) -> Job:
    return replace(job, assignment=replace(job.assignment, seed=8))


def of_data(job: Job) -> Job:
    return replace(job, names=replace(NAMES, data_sha256="other"))


def of_tokenizer(job: Job) -> Job:
    """With the same shards: their bytes do not tell which tokenizer made them."""
    return replace(job, names=replace(NAMES, tokenizer_sha256="other"))


@pytest.mark.parametrize("other", [of_seed, of_data, of_tokenizer])
def test_the_trunk_of_another_is_refused(job: Job, other: Any) -> None:
    with pytest.raises(Refused, match="of another seed, data set or tokenizer; choose another TRUNK_PATH"):
        find_trunk(other(job))


@pytest.mark.parametrize("name", [WEIGHTS_FILE, ARTIFACT_FILE, LOG_FILE])
def test_a_trunk_that_is_no_longer_whole_is_refused(job: Job, name: str) -> None:
    (job.assignment.trunk_path / name).unlink()
    with pytest.raises(Refused, match=f"{name}: missing or changed since it was written"):
        find_trunk(job)
