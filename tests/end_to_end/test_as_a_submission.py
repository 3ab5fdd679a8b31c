"""``--end-to-end ARM``: a program with that arm alone, a trunk of its own, and the very numbers of the other way."""

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.contract.shards import file_sha256
from platform.errors import UserError
from platform.program.squeeze import Form
from platform.reports import files, tables, text_table
from platform.reports.build import build
from platform.running.experiment import Experiment, Request, prepare
from platform.runs.plan import Plan
from platform.runs.reading import read_result, read_trunk
from platform.runs.results import read_run
from tests.finished import finish, small_data

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "legal_leaky.yaml"
SEED = 1337

Prepare = Callable[..., Experiment]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    folder = tmp_path_factory.mktemp("end_to_end")
    data, tokenizer = small_data(folder / "data")

    def make(recipe: Path = RECIPE, **options: object) -> Experiment:
        given = {"runs": folder / "runs", "data": data, "tokenizer": tokenizer, "make_data": False}
        return prepare(recipe, Request(scale="smoke", **(given | options)))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def both(prepared: Prepare) -> tuple[Plan, Plan]:
    """One seed trained once and scored arm by arm; and one end to end, squeezed too."""
    shared = finish(prepared(), (SEED,))
    alone = finish(prepared(end_to_end="score_first", form=Form.SQUEEZED), (SEED,))
    return shared, alone


def test_both_ways_agree_bit_for_bit(both: tuple[Plan, Plan]) -> None:
    shared, alone = (one.trial(SEED).paths.arm("score_first") for one in both)
    ours, theirs = read_result(alone.result), read_result(shared.result)
    assert (ours.end_to_end, theirs.end_to_end) == (True, False)
    for name in ("trunk_sha256", "val_loss_nats", "val_bpb", "scored_tokens", "scored_bytes", "model_bytes"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.program_sha256 != theirs.program_sha256 and ours.code_bytes < theirs.code_bytes


def test_it_has_a_run_and_a_trunk_of_its_own(both: tuple[Plan, Plan]) -> None:
    shared, alone = both
    assert alone.arms == ("score_first",) and shared.arms == ("no_ttt", "score_first")
    assert alone.end_to_end and not shared.end_to_end
    assert alone.run_path != shared.run_path
    trunks = [one.trial(SEED).trunk_path for one in both]
    assert trunks[0] != trunks[1]
    programs = [read_trunk(one.trial(SEED).trunk.record).program_sha256 for one in both]
    assert programs == [shared.program_sha256, alone.program_sha256]
    assert file_sha256(alone.paths.program) == alone.program_sha256
    assert alone.paths.readable.read_text() not in (alone.paths.program.read_text(), shared.paths.program.read_text())
    assert not shared.paths.readable.exists()


def test_the_report_says_which_kind_each_number_is(both: tuple[Plan, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    for plan, kind in zip(both, ("from a trunk", "end to end"), strict=True):
        built = build(read_run(plan.run_path))
        rows = [line for line in tables.to_markdown(built).splitlines() if line.startswith("| score_first | 1 of 1")]
        assert len(rows) == 1 and f"| {kind} |" in rows[0]
        tables.show(built)
        assert kind in capsys.readouterr().out
        table = csv.DictReader(files.to_csv(built.run).splitlines())
        assert {row["end_to_end"] for row in table} == {str(kind == "end to end")}


def test_a_part_of_the_seeds_is_counted(both: tuple[Plan, Plan]) -> None:
    arm = build(read_run(both[1].run_path)).arms[0]
    mixed = replace(arm, seeds={**arm.seeds, 42: replace(arm.seeds[SEED], end_to_end=False)})
    assert tables._kind(mixed) == "1 of 2 end to end" and tables._kind(replace(arm, seeds={})) == text_table.NOTHING


def test_a_result_from_a_found_trunk_is_not_accepted(both: tuple[Plan, Plan], prepared: Prepare) -> None:
    result = both[1].trial(SEED).paths.arm("score_first").result
    kept = result.read_text()
    result.write_text(kept.replace('"end_to_end": true', '"end_to_end": false'))
    flaw = both[1].trial(SEED).flaw("score_first")
    assert flaw == "result.json has end_to_end False, this trial is True"
    assert prepared(end_to_end="score_first", form=Form.SQUEEZED).trials((SEED,))[0].unscored_arms == ("score_first",)
    result.write_text(kept)
    assert both[1].trial(SEED).done


def test_what_began_end_to_end_goes_on_so(prepared: Prepare, tmp_path: Path) -> None:
    """A recipe with one arm has one program whichever way it runs."""
    recipe = ROOT / "recipes" / "naive_baseline.yaml"
    first = prepared(recipe, runs=tmp_path, end_to_end="no_ttt")
    first.planned((SEED,))
    again = prepared(recipe, runs=tmp_path)
    assert again.draft == first.draft and again.draft.end_to_end
    assert prepared(recipe, runs=tmp_path / "other").draft.trunk_text_sha256 != first.draft.trunk_text_sha256


def test_the_form_of_the_program_is_part_of_the_trunk_s_name(prepared: Prepare) -> None:
    names = {form: prepared(form=form).draft for form in Form}
    assert len({one.trunk_text_sha256 for one in names.values()}) == len({one.run_path for one in names.values()}) == 3
    assert names[Form.READABLE] == prepared().draft


@pytest.mark.skipif(sys.platform != "linux", reason="the supervisor looks for processes in /proc")
def test_mistakes(prepared: Prepare) -> None:
    with pytest.raises(UserError, match=r"no arm 'score_frist'; possible: .*did you mean 'score_first'"):
        prepared(end_to_end="score_frist")
    line = [sys.executable, "-m", "platform.launch", str(RECIPE), "--scale", "smoke", "--dry-run"]
    options = ["--arms", "no_ttt", "--end-to-end", "score_first"]
    done = subprocess.run([*line, *options], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 2 and "--arms and --end-to-end exclude each other" in done.stderr


def test_the_preview_trains_for_an_arm_that_is_not_done(
    both: tuple[Plan, Plan], prepared: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    from platform.running import preview

    result = both[1].trial(SEED).paths.arm("score_first").result
    result.rename(result.with_suffix(".away"))
    state = preview._state(prepared(end_to_end="score_first", form=Form.SQUEEZED).trials((SEED,))[0])
    result.with_suffix(".away").rename(result)
    assert state == "train, then score score_first"
    assert build(read_run(both[1].run_path)).run.complete
