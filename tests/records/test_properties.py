"""What must hold of every record: no log, no contradiction; bytes of the text; numbers in prose; the file beside."""

import json
import re
import string
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.records.claim import claim_of
from platform.records.record import examine
from platform.rules.claims import CANNOT_TELL, FAIL, PASS, judge_all
from tests.records.written import narrow_readme, readme, record, submission, without_ttt
from tests.records.written_logs import SP1024, THREE, baseline_log

READMES = (readme(THREE), narrow_readme(without_ttt()), narrow_readme(without_ttt(), 8))
NUMBER = re.compile(r"\d")


@st.composite
def with_other_digits(draw: st.DrawFn, text: str) -> str:
    """``text`` with some of its digits replaced."""
    places = [match.start() for match in NUMBER.finditer(text)]
    changed = list(text)
    for place in draw(st.lists(st.sampled_from(places), max_size=12)):
        changed[place] = draw(st.sampled_from(string.digits))
    return "".join(changed)


UNREADABLE = ("", "hello\n", "\x00\x01" * 50, "Traceback (most recent call last):\n  MemoryError\n")


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_without_a_readable_log_nothing_is_contradicted(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "README.md").write_text(data.draw(with_other_digits(data.draw(st.sampled_from(READMES)))))
        text = data.draw(with_other_digits(submission(THREE)))
        try:
            json.loads(text)
        except ValueError:  # a zero in front of a number
            text = submission(THREE)
        (folder / "submission.json").write_text(text)
        for log in data.draw(st.lists(st.sampled_from(("train_seed42.log", "console.txt", "run.out")), unique=True)):
            (folder / log).write_text(data.draw(st.sampled_from(UNREADABLE)))
        found = examine(folder)
        assert found.mismatches == [] and found.verdict in ("no log", "nothing claimed")
        for judgement in judge_all(claim_of(found)):
            assert judgement.verdict != "pass"


def _bytes_rule(folder: Path, factor: float) -> tuple[str, str]:
    """What the rule on the validation text says of a score whose divisor is ``factor`` times the text's bytes."""
    n = replace(without_ttt()[0], ratio=SP1024 * factor)
    record(folder, (n,), README__md=narrow_readme((n,)))
    checks = judge_all(claim_of(examine(folder)), only=("pg-2026-readme",))[0].checks
    check = next(check for check in checks if check.rule == "the whole validation text")
    return check.status, check.figure


def test_bytes_that_are_counted_twice_fail_and_a_part_of_the_text_cannot_be_told(tmp_path: Path) -> None:
    assert _bytes_rule(tmp_path / "whole", 1.0)[0] == PASS
    twice, part = _bytes_rule(tmp_path / "twice", 1.15), _bytes_rule(tmp_path / "part", 0.2)
    assert (
        twice[0] == FAIL and "the text of these tokens (sp1024) has 151,080,363: bytes were counted twice" in twice[1]
    )
    assert part[0] == CANNOT_TELL and "another text, a part of it" in part[1]


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("The average is 1.1\n", "agrees"),
        ("The average is 1.3\n", "mismatch"),
        ("The mean of the three seeds is 1.1218\n", "agrees"),
        ("The mean of the three seeds is 1.1228\n", "mismatch"),
        ("- Mean val_bpb: 1.12184 (std 0.00075)\n", "agrees"),  # the sample's
        ("- Mean val_bpb: 1.12184 (std 0.00062)\n", "agrees"),  # the population's
        ("- Mean val_bpb: 1.12184 (std 0.00175)\n", "mismatch"),  # neither
    ],
)
def test_numbers_in_prose_and_stds_of_no_convention(tmp_path: Path, said: str, verdict: str) -> None:
    record(tmp_path, without_ttt(), README__md=said)
    assert examine(tmp_path).verdict == verdict


def test_code_bytes_against_the_file_in_the_folder(tmp_path: Path) -> None:
    """Where no log prints the size of the code, the program beside it has one."""
    n = without_ttt()[0]
    log = "".join(line + "\n" for line in baseline_log(n, dump=False).splitlines() if "Code size" not in line)
    log = "".join(line + "\n" for line in log.splitlines() if "Total submission" not in line)
    (tmp_path / "train.log").write_text(log)
    (tmp_path / "train_gpt.py").write_text("x = 1\n" * 1000)
    for size, verdict in ((6000, "agrees"), (9000, "mismatch")):
        (tmp_path / "submission.json").write_text(json.dumps({"val_bpb": n.score, "bytes_code": size}))
        assert examine(tmp_path).verdict == verdict


@pytest.mark.parametrize(
    "said", ['{"val_bpb": "TBD"}', '{"val_bpb": NaN}', "bpb: [1.1927, 1.1935, 1.1921]\np-value < 1.195: 0.4\n"]
)
def test_what_cannot_be_read_or_worked_out_contradicts_nothing_without_a_log(tmp_path: Path, said: str) -> None:
    (tmp_path / ("submission.json" if said.startswith("{") else "README.md")).write_text(said)
    found = examine(tmp_path)
    assert found.mismatches == [] and found.findings
