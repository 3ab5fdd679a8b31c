"""One digit changed anywhere in a clean record is found: in the README, in the submission file, in a log."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from platform.records.numbers import Status
from platform.records.record import Examined, examine
from tests.records.written import of_every_dialect

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Numbers that no log speaks of: the date, the track, the machine, the shape of the model.
BESIDE = re.compile(r'^ *"(?:date|track)".*|^\| Layers.*|8×H100 SXM')
DIALECTS = (
    "baseline",
    "baseline without adaptation",
    "spaced",
    "spaced with a clock",
    "spaced, legal",
    "compact",
    "other",
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return of_every_dialect(tmp_path_factory.mktemp("records"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_clean_record_is_clean(records: dict[str, Path], dialect: str) -> None:
    record = examine(records[dialect])
    assert (record.verdict, record.notes, record.unsupported) == ("agrees", (), [])
    assert len(record.checked) > 30


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["README.md", "submission.json"])
def test_any_printed_number(records: dict[str, Path], dialect: str, name: str) -> None:
    text = (records[dialect] / name).read_text(encoding="utf-8")
    numbers = list(_numbers(text))
    assert len(numbers) > 12
    missed = [found[0] for found in numbers if not _is_found(_mutated(records[dialect], name, text, found))]
    assert missed == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_any_number_of_a_log_that_is_printed_in_full(records: dict[str, Path], dialect: str) -> None:
    name = "train_seed1337.log"
    text = (records[dialect] / name).read_text(encoding="utf-8")
    exact = [one for one in examine(records[dialect]).findings if one.status is Status.EXACT]
    places = {one.log: one.measured for one in exact if one.log.startswith(f"{name}:") and "," not in one.log}
    found = [_in_line(text, int(place.rpartition(":")[2]), measured) for place, measured in places.items()]
    as_printed = [one for one in found if one]  # not what is converted from seconds
    assert len(as_printed) >= 3
    assert [one[0] for one in as_printed if not _is_found(_mutated(records[dialect], name, text, one))] == []


def _in_line(text: str, number: int, value: Decimal | None) -> re.Match[str] | None:
    """Where ``value`` stands in a line of the log."""
    start = sum(len(line) for line in text.splitlines(keepends=True)[: number - 1])
    end = text.index("\n", start)
    numbers = re.compile(r"\d+(?:\.\d+)?").finditer(text, start, end)
    return next((found for found in numbers if Decimal(found[0]) == value), None)


def _numbers(text: str) -> Iterator[re.Match[str]]:
    beside = [range(*found.span()) for found in re.compile(BESIDE.pattern, re.M).finditer(text)]
    return (found for found in NUMBER.finditer(text) if not any(found.start() in span for span in beside))


def _mutated(folder: Path, name: str, text: str, found: re.Match[str]) -> Examined:
    digit = (int(found[0][-1]) + 1) % 10
    try:
        changed = f"{text[: found.end() - 1]}{digit}{text[found.end() :]}"
        (folder / name).write_text(changed, encoding="utf-8")
        return examine(folder)
    finally:
        (folder / name).write_text(text, encoding="utf-8")


def _is_found(record: Examined) -> bool:
    unsupported = [one for one in record.unsupported if not one.figure.loose]
    return record.verdict != "agrees" or bool(unsupported or record.claimed.missing)
