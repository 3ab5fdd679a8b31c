"""Attempts and machines as a record folder has them: written from a run, read as a claim."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.files import write_record
from platform.records.provenance import PROVENANCE_FILE, attempts_at, provenance
from platform.runs.results import read_run
from tests.nodes import CHECKOUT, node

SCORES = {"no_ttt": {1337: 2.301, 42: 2.305}}


def told(folder: Any, into: Path, *events: tuple[int, str, str | None]) -> dict[str, Any]:
    """The file of a run with these events: seed, kind, cause."""
    about = {"phase": "train", "arm": None, "reason": "secret-host died", "arms": [], "seconds": 1.0, "val_bpb": {}}
    lines = [
        {"event": kind, "time": "2026-04-01T10:00:00", "launch": "one", "seed": seed, **about, "cause": cause}
        for seed, kind, cause in events
    ]
    folder.plan.paths.events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = provenance(read_run(folder.path), "no_ttt")
    (into / PROVENANCE_FILE).write_text(json.dumps(made))
    return made


@pytest.mark.parametrize(
    ("ends", "figure", "blameless"),
    [
        ([], "each seed was scored at its first attempt", True),
        ([("retried", "infrastructure")], "seed 42: attempt 2; attempt 1: infrastructure", True),
        (
            [("retried", "infrastructure"), ("failed", "program")],
            "seed 42: attempt 3; attempt 1: infrastructure; attempt 2: program",
            False,
        ),
        ([("failed", None)], "seed 42: attempt 2; attempt 1: failed", False),
        ([("", None)], "seed 42: attempt 2; attempt 1: interrupted", False),
    ],
)
def test_attempts_come_back_as_a_claim(
    make_run: Callable[..., Any],
    tmp_path: Path,
    ends: list[tuple[str, str | None]],
    figure: str,
    blameless: bool,
) -> None:
    events: list[tuple[int, str, str | None]] = [(1337, "started", None), (1337, "ended", None)]
    for kind, cause in ends:
        events += [(42, "started", None), *([(42, kind, cause)] if kind else [])]
    made = told(make_run(SCORES), tmp_path, *events, (42, "started", None), (42, "ended", None))
    assert len(made["seeds"]["42"]["attempts"]) == len(ends) + 1
    found = attempts_at(tmp_path, [1337, 42])
    assert found and (found.figure, found.blameless, found.source) == (figure, blameless, PROVENANCE_FILE)
    assert attempts_at(tmp_path, [1337, 7]) is None, "it is of other seeds"


def test_what_nothing_tells_is_not_made_up(make_run: Callable[..., Any], tmp_path: Path) -> None:
    made = told(make_run(SCORES), tmp_path)
    assert made["fairway"] == [] and made["seeds"]["42"] == dict.fromkeys(("trained_on", "scored_on", "attempts"))
    assert attempts_at(tmp_path, [1337, 42]) is None
    for text in ("", "[]", '{"seeds": {"42": 7}}', '{"seeds": {"42": {"attempts": [7]}}}', "[" * 100_000):
        (tmp_path / PROVENANCE_FILE).write_text(text)
        assert attempts_at(tmp_path, [42]) is None
    assert attempts_at(tmp_path / "nowhere", [42]) is None


def test_machines_and_code_without_the_names_of_machines(make_run: Callable[..., Any], tmp_path: Path) -> None:
    folder = make_run(SCORES)
    for seed in (1337, 42):
        write_record(folder.plan.trial(seed).trunk.node, node("secret-host"))
    write_record(folder.plan.trial(42).paths.arm("no_ttt").node, node("secret-host", 700))
    made = told(folder, tmp_path, (42, "started", None), (42, "failed", "infrastructure"))
    assert made["fairway"] == [
        {"commit": CHECKOUT.commit, "diff_sha256": None, "changed_files": 0, "new_files": 0},
    ]
    assert made["seeds"]["42"]["scored_on"]["probe"]["matmul_tflops"][0][1] == 700
    assert made["seeds"]["1337"]["trained_on"]["torch"] == "2.13.0" and made["seeds"]["1337"]["scored_on"] is None
    assert "secret-host" not in (tmp_path / PROVENANCE_FILE).read_text()
