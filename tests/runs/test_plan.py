"""Seeds, what a plan remembers, and what counts as done."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform.errors import UserError
from platform.runs.paths import RunPaths
from platform.runs.plan import (
    SEEDS,
    Failure,
    Plan,
    read,
    read_failure,
    seeds_from,
    write_failure,
)
from platform.runs.planning import extend, preview

MakeRun = Callable[..., Any]  # of tests/conftest.py


@pytest.fixture
def draft(tmp_path: Path) -> Plan:
    return Plan(
        run_path=tmp_path / "runs" / "some-12345678",
        recipe="some",
        scale="laptop",
        program_sha256="12345678" + "0" * 56,
        trunk_text_sha256="abcdefabcdef" + "0" * 52,
        arms=("no_ttt", "sgd"),
        data_path=tmp_path / "data",
        tokenizer_path=tmp_path / "data" / "tokenizer.model",
        data_sha256="d" * 64,
        tokenizer_sha256="e" * 64,
        processes=2,
        gpus=0,
        cpus=2,
        machine="2xcpu",
    )


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", (1337, 42, 2024)),
        ("5", (1337, 42, 2024, 7, 2025)),
        ("1337,7", (1337, 7)),
        ("1337,", (1337,)),
        ("0, 5", (0, 5)),
    ],
)
def test_seeds_are_a_number_of_the_fixed_list_or_exactly_those_named(text: str, seeds: tuple[int, ...]) -> None:
    assert seeds_from(text) == seeds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("three", "neither a number of seeds"),
        ("0", "1 to 20"),
        ("1337", "write --seeds 1337,"),
        ("-1", "1 to 20"),
        ("", "no seed"),
        (",", "no seed"),
        ("7,42,7", "7 stands there twice"),
        ("7,-1", "-1 is no seed"),
        ("7,4294967296", "4294967296 is no seed"),
        ("1.5,2", "neither"),
    ],
)
def test_other_seeds_are_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(UserError, match=f"--seeds.*{says}"):
        seeds_from(text)


def test_the_fixed_list_is_the_one_that_results_were_made_with() -> None:
    assert SEEDS[:5] == (1337, 42, 2024, 7, 2025)
    assert len(set(SEEDS)) == len(SEEDS) == 20


def test_a_plan_remembers_every_seed_in_the_order_of_planning(draft: Plan) -> None:
    first = extend(draft, (1337, 7))
    assert first.seeds == (1337, 7) and read(draft.run_path) == first
    again = extend(draft, (7, 1337))
    assert again.planned == first.planned, "nothing new, nothing written"
    more = extend(draft, (42, 1337, 2024))
    assert more.seeds == (1337, 7, 42, 2024)
    assert [one.seeds for one in more.planned] == [(1337, 7), (42, 2024)]
    assert more.created == first.created
    assert [trial.seed for trial in more.trials] == [1337, 7, 42, 2024]


def test_a_preview_shows_the_plan_and_writes_nothing(draft: Plan) -> None:
    assert preview(draft, (1337, 42)).seeds == (1337, 42)
    assert not draft.run_path.exists()
    extend(draft, (7,))
    before = draft.paths.plan.read_text()
    assert preview(draft, (1337,)).seeds == (7, 1337)
    assert draft.paths.plan.read_text() == before


def test_many_launches_at_once_lose_no_seed(draft: Plan) -> None:
    program = (
        "import sys; from pathlib import *; from platform.runs.plan import *\n"
        f"from platform.runs.planning import *\nextend({draft!r}, (int(sys.argv[1]),))"
    )
    checkout = Path(__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(seed)], cwd=checkout, env={"PYTHONPATH": str(checkout)})
        for seed in range(8)
    ]
    assert [process.wait() for process in started] == [0] * 8
    assert sorted(read(draft.run_path).seeds) == list(range(8))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("data_sha256", "data"),
        ("tokenizer_sha256", "tokenizer"),
        ("program_sha256", "program"),
        ("machine", "machine"),
    ],
)
def test_a_run_started_on_something_else_is_refused(draft: Plan, change: str, what: str) -> None:
    extend(draft, (1337,))
    other = replace(draft, **{change: "f" * 64})  # type: ignore[arg-type]
    assert preview(other, (42,)).seeds == (42,), "while nothing is measured, nothing is lost by starting over"
    result = RunPaths(draft.run_path).seed(1337).arm("no_ttt").result
    result.parent.mkdir(parents=True)
    result.touch()
    for attempt in (extend, preview):
        with pytest.raises(UserError, match=rf"was started on another {what}(.|\n)*--runs DIR"):
            attempt(other, (42,))
    assert read(draft.run_path).seeds == (1337,)


def test_the_same_data_at_another_place_is_the_same_data(draft: Plan, tmp_path: Path) -> None:
    extend(draft, (1337,))
    moved = extend(replace(draft, data_path=tmp_path / "elsewhere"), (42,))
    assert moved.seeds == (1337, 42) and read(draft.run_path).data_path == tmp_path / "elsewhere"


def test_a_run_folder_can_be_moved(draft: Plan, tmp_path: Path) -> None:
    extend(draft, (1337,))
    draft.run_path.parent.rename(tmp_path / "copied runs")
    (trial,) = read(tmp_path / "copied runs" / "some-12345678").trials
    assert trial.run_path == tmp_path / "copied runs" / "some-12345678"
    assert trial.trunk_path == tmp_path / "copied runs" / "trunks" / "abcdefabcdef-dddddddd-2xcpu" / "seed_1337"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 1, "planned": []}', '{"schema_version": 1, "planned": 3}', "\0"]
)
def test_a_broken_plan_is_one_clear_error(draft: Plan, text: str) -> None:
    draft.run_path.mkdir(parents=True)
    draft.paths.plan.write_text(text)
    with pytest.raises(UserError, match=r"plan.json: (not a Plan|cannot be read).*(\n.*)*(ut a copy of it back)"):
        read(draft.run_path)


def test_a_plan_of_another_schema_or_none_at_all_is_refused(draft: Plan) -> None:
    with pytest.raises(UserError, match="no such file; a run is a folder like"):
        read(draft.run_path)
    extend(draft, (1337,))
    content = json.loads(draft.paths.plan.read_text())
    draft.paths.plan.write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(UserError, match="it is of schema 99, this Fairway reads 1 to 2"):
        read(draft.run_path)


def test_a_trial_is_done_when_every_arm_it_asks_for_has_its_own_result(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1337: 1.25}, "sgd": {}}, seeds=(1337, 42))
    first, second = folder.plan.trials
    assert (first.unscored_arms, second.unscored_arms) == (("sgd",), ("no_ttt", "sgd"))
    assert replace(first, arms=("no_ttt",)).done and not first.done
    folder.result(1337, "sgd", 1.2)
    assert first.done


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 42),
        ("arm", "sgd"),
        ("program_sha256", "0" * 64),
        ("data_sha256", "0" * 64),
        ("tokenizer_sha256", "0" * 64),
    ],
)
def test_a_result_of_something_else_does_not_count(make_run: MakeRun, field: str, value: object) -> None:
    folder = make_run({"no_ttt": {1337: 1.25}})
    (trial,) = folder.plan.trials
    path = trial.paths.arm("no_ttt").result
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    assert trial.flaw("no_ttt") is not None and f"has {field} {value}" in str(trial.flaw("no_ttt"))
    path.write_text(path.read_text()[:-20])
    assert "cannot be read as JSON" in str(trial.flaw("no_ttt"))


def test_a_failure_survives_writing_and_reading(tmp_path: Path) -> None:
    failure = Failure(seed=7, phase="score", arm="sgd", reason="exit 1", log_tail="a\nb", arms=("sgd", "adamw"))
    assert read_failure(tmp_path / "failure.json") is None
    write_failure(tmp_path / "failure.json", failure)
    assert read_failure(tmp_path / "failure.json") == failure
    for text in ("{}", "[]", "", '{"seed": "7"}'):
        (tmp_path / "failure.json").write_text(text)
        with pytest.raises(UserError, match=r"failure\.json: (.|\n)*Remove .*failure\.json"):
            read_failure(tmp_path / "failure.json")


def test_arms_that_were_asked_for_are_remembered(draft: Plan) -> None:
    first = extend(draft, (1337, 42), ("sgd",))
    assert first.asked(1337) == ("sgd",) and first.asked(7) == ()
    again = extend(draft, (42,), ("sgd",))
    assert again.planned == first.planned, "nothing new, nothing written"
    more = extend(draft, (42, 7))
    assert (more.asked(1337), more.asked(42), more.asked(7)) == (("sgd",), ("no_ttt", "sgd"), ("no_ttt", "sgd"))
    assert more.seeds == (1337, 42, 7), "no seed twice"
