"""What must hold of every record, whatever is in it: no log, no contradiction."""

import json
import re
import string
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from platform.records.claim import claim_of
from platform.records.record import examine
from platform.rules.claims import judge_all
from tests.records.written import narrow_readme, readme, submission, without_ttt
from tests.records.written_logs import THREE

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
        record = examine(folder)
        assert record.mismatches == [] and record.verdict in ("no log", "nothing claimed")
        for judgement in judge_all(claim_of(record)):
            assert judgement.verdict != "pass"
