"""Files of a run that are half written, empty, zeros, gone or wrong: each has a remedy, and the same command takes it.

A machine that goes down may leave any of them. What the report says, what the same command does, and where it cannot
help itself which words say what to do, is asserted for each.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.contract.files import write_record
from platform import launch, report
from platform.errors import UserError
from platform.paths import ROOT
from platform.running import audit
from platform.running.experiment import Experiment, Request, prepare
from platform.running.launch import prepared
from platform.runs import audits
from platform.runs import plan as plans
from platform.runs.paths import tracker_database
from platform.runs.planning import extend
from platform.runs.results import read_run
from tests.conftest import RunFolder
from tests.faults.gated import Gated
from tests.launching import PATIENCE_SECONDS, TINY

SEEDS = (1337, 42)
Damage = Callable[[Path], object]
DAMAGE: dict[str, Damage] = {
    "half written": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": Path.unlink,
}


@pytest.fixture
def done(gated: Gated, empty_database: Path) -> Gated:
    """A run whose arms are all scored, with a database that MLflow need not make first."""
    gated.finish(SEEDS)
    tracker_database(gated.plan.run_path.parent).write_bytes(empty_database.read_bytes())
    return gated


def with_value(name: str, value: object) -> Damage:
    """``result.json`` with another value."""
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))


# --- results: what is no score is measured again

RESULTS: dict[str, Damage] = {
    **DAMAGE,
    "text": with_value("val_bpb", "1.25"),
    "null": with_value("val_bpb", None),
    "negative": with_value("val_bpb", -1.0),
    "zero": with_value("val_bpb", 0.0),
    "zero loss": with_value("val_loss_nats", 0.0),
    "minus infinity": with_value("val_bpb", float("-inf")),
    "of another seed": with_value("seed", 7),
}


@pytest.mark.parametrize("damage", RESULTS.values(), ids=RESULTS)
def test_a_result_that_is_none_is_open_and_is_scored_again(gated: Gated, damage: Damage) -> None:
    gated.finish(SEEDS)
    damage(gated.plan.paths.seed(42).arm("sgd").result)
    assert gated.plan.trial(42).unscored_arms == ("sgd",) and gated.plan.trial(1337).done
    shown = CliRunner().invoke(report.main, [str(gated.plan.run_path)])
    assert shown.exit_code == 0 and "seed 42, sgd: no result, no failure (" in shown.stdout, shown.output


def test_the_same_command_scores_what_is_no_score_and_trains_what_is_no_trunk(gated: Gated) -> None:
    gated.finish(SEEDS)
    with_value("val_bpb", -1.0)(gated.plan.paths.seed(1337).arm("sgd").result)
    for arm in ("plain", "sgd"):
        os.truncate(gated.plan.paths.seed(42).arm(arm).result, 10)
    os.truncate(gated.plan.trial(42).trunk.record, 10)
    whole = gated.plan.paths.seed(1337).arm("plain").result
    before = whole.stat().st_mtime_ns
    gated.open()
    with gated.launch(SEEDS) as launched:
        assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
    assert gated.scores() == gated.expected(SEEDS) and whole.stat().st_mtime_ns == before
    assert read_run(gated.plan.run_path).complete and not read_run(gated.plan.run_path).notes


def test_a_score_that_is_not_a_number_says_how_to_get_another(done: Gated) -> None:
    path = done.plan.paths.seed(42).arm("sgd").result
    with_value("val_bpb", float("nan"))(path)
    shown = done.launch_here(SEEDS)
    assert shown.exit_code == 1
    assert "val_bpb is nan in seed_42/sgd/result.json: it diverged; without that file it is scored" in shown.stderr
    path.unlink()
    assert done.plan.trial(42).unscored_arms == ("sgd",)


# --- everything else of a run whose arms are all scored: nothing is lost, so nothing may stand in the way


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_finished_run_does_without_its_spare_files(done: Gated, damage: Damage) -> None:
    run, seed = done.plan.paths, done.plan.paths.seed(42)
    for path in (seed.failure, run.given_up, run.audit, run.recipe):
        path.write_text('{"schema_version": 2, "a": "b"}')
        damage(path)
    damage(done.plan.trial(42).trunk.record)
    if damage is Path.unlink:
        shutil.rmtree(done.plan.trial(1337).trunk_path)
    shown = CliRunner().invoke(report.main, [str(done.plan.run_path)])
    assert shown.exit_code == 0 and "plain" in shown.stdout, shown.stderr
    again = done.launch_here(SEEDS)
    assert again.exit_code == 0 and "nothing to run" in again.stderr, again.stderr
    assert done.scores() == done.expected(SEEDS)
    assert not seed.failure.exists() and not run.given_up.exists(), "what is not true any more is removed"


def test_a_broken_note_of_giving_up_is_judged_again(done: Gated) -> None:
    done.plan.paths.given_up.write_text("{")
    again = done.launch_here(SEEDS, "--stop-when-hopeless", "1.0")
    assert again.exit_code == 0 and not done.plan.paths.given_up.exists(), again.stderr


# --- what a run is: made again from the recipe, or refused in words that say what to do


@pytest.fixture
def from_recipe(tmp_path: Path, tiny_data: tuple[Path, Path]) -> Experiment:
    (tmp_path / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TINY)
    data, tokenizer = tiny_data
    return prepare(recipe, Request(scale="laptop", runs=tmp_path / "runs", data=data, tokenizer=tokenizer))


@pytest.fixture
def finished(from_recipe: Experiment) -> RunFolder:
    """Two seeds of the fixed list and one beside it, all scored."""
    folder = RunFolder(from_recipe.planned((1337, 42, 5000)))
    draft = from_recipe.draft
    same = {"data_sha256": draft.data_sha256, "tokenizer_sha256": draft.tokenizer_sha256}
    for seed in folder.plan.seeds:
        for arm in folder.plan.arms:
            made = folder.trunk_record(seed)
            folder.result(seed, arm, 1.25, trunk=replace(made, **same), **same)
    program = audit.audit_program(audit.audited_choices(from_recipe.path, draft.scale))
    folder.audit()
    found = audits.read(folder.plan.paths.audit)
    assert found is not None
    sha256 = hashlib.sha256(program.encode()).hexdigest()
    write_record(folder.plan.paths.audit, replace(found, program_sha256=sha256))  # or it would be made again
    return folder


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_plan_that_is_lost_is_made_again_with_every_seed_that_was_begun(
    from_recipe: Experiment, finished: RunFolder, damage: Damage
) -> None:
    run = finished.path
    damage(finished.plan.paths.plan)
    for command, words in ((report, [str(run)]), (launch, [str(run), "--runs", str(run.parent)])):
        refused = CliRunner().invoke(command.main, words)
        assert refused.exit_code == 2 and "Launch its recipe again, with the options that it had" in refused.stderr
        assert str(finished.plan.paths.plan) in refused.stderr

    again = prepare(from_recipe.path, request_of(from_recipe))
    notes: list[str] = []
    batch = prepared([again], (1337, 7), note=notes.append)
    made = plans.read(run)
    assert made.seeds == (1337, 42, 5000, 7) and made.machine == "2xcpu"
    assert "made again, with every seed that has a folder: 1337, 42, 5000" in notes[0]
    assert [trial.done for trial in batch.trials] == [True, False]
    assert {seed for by_seed in read_run(run).arms.values() for seed in by_seed} == {1337, 42, 5000}


def test_a_plan_that_is_made_again_is_told_of(from_recipe: Experiment, finished: RunFolder, tmp_path: Path) -> None:
    os.truncate(finished.plan.paths.plan, 40)
    options = ["--scale", "laptop", "--seeds", "1", "--runs", str(finished.path.parent), "--dry-run"]
    data = ["--data", str(finished.plan.data_path), "--tokenizer", str(finished.plan.tokenizer_path)]
    shown = CliRunner().invoke(launch.main, [str(from_recipe.path), *options, *data])
    said = (
        f"{finished.plan.paths.plan} is cut off or empty: made again, with every seed that has a folder: 1337, 42, 5000"
    )
    assert shown.exit_code == 0 and said in shown.stdout and "done: no_ttt, sgd" in shown.stdout, shown.output


def test_a_lost_plan_is_not_made_again_for_other_data(from_recipe: Experiment, finished: RunFolder) -> None:
    finished.plan.paths.plan.unlink()
    with pytest.raises(UserError, match=r"was started on another data"):
        extend(replace(from_recipe.draft, data_sha256="0" * 64), (7,))
    assert not finished.plan.paths.plan.exists()


def test_a_plan_of_a_newer_version_is_never_made_again(from_recipe: Experiment, finished: RunFolder) -> None:
    path = finished.plan.paths.plan
    with_value("schema_version", 99)(path)
    before = path.read_text()
    with pytest.raises(UserError, match="it is of schema 99"):
        prepare(from_recipe.path, request_of(from_recipe))
    with pytest.raises(UserError, match="it is of schema 99"):
        extend(from_recipe.draft, (7,))
    assert path.read_text() == before


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_program_or_a_recipe_that_is_cut_off_is_written_again(
    from_recipe: Experiment, finished: RunFolder, damage: Damage
) -> None:
    paths = finished.plan.paths
    before = (paths.program.read_text(), paths.recipe.read_text())
    damage(paths.program)
    damage(paths.recipe)
    if paths.program.exists():
        assert any("is not the program that ran" in note for note in read_run(finished.path).notes)
        refused = CliRunner().invoke(launch.main, [str(finished.path), "--runs", str(finished.path.parent)])
        assert refused.exit_code == 2 and "launch the recipe, which writes it again" in refused.stderr, refused.stderr
    from_recipe.planned((1337,))
    assert (paths.program.read_text(), paths.recipe.read_text()) == before


def test_a_program_that_was_edited_is_refused_until_it_is_put_back(
    from_recipe: Experiment, finished: RunFolder
) -> None:
    program = finished.plan.paths.program
    before = program.read_text()
    program.write_text(before.replace("1", "2", 1))
    assert any("is not the program that ran" in note for note in read_run(finished.path).notes)
    with pytest.raises(UserError, match=r"was it edited.* remove the file and launch the recipe, which"):
        from_recipe.planned((1337,))
    program.unlink()
    from_recipe.planned((1337,))
    assert program.read_text() == before


def request_of(experiment: Experiment) -> Request:
    draft = experiment.draft
    return Request(scale="laptop", runs=draft.run_path.parent, data=draft.data_path, tokenizer=draft.tokenizer_path)
