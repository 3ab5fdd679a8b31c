"""The command as a person types it: what it runs. The tests build on each other's runs, in their order.

Each start of Ray and torchrun costs seconds.
"""

import hashlib
import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from jobs.contract.assignment import WEIGHTS_FILE
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.contract.shards import VAL_SHARDS
from platform import corpus
from platform.paths import ROOT
from platform.running import audit
from platform.running.experiment import Request, prepare
from platform.running.room import LOGS_BYTES, RUN_BYTES, need_of
from platform.running.survey import checkout_of
from platform.runs.plan import read
from platform.runs.reading import read_result
from platform.runs.results import read_run
from tests.finished import audited
from tests.launching import files_of, mlflow_status, plan_of

Launch = Callable[..., subprocess.CompletedProcess[str]]


def audited_already(recipe: Path, runs: Path, **verdicts: str) -> None:
    """Leave an audit of ``recipe`` where a launch looks for one: each takes a dozen seconds."""
    draft = prepare(recipe, Request(scale="laptop", runs=runs)).draft
    draft.run_path.mkdir(parents=True)
    program = audit.audit_program(audit.audited_choices(recipe, "laptop"))
    audited(draft, program_sha256=hashlib.sha256(program.encode()).hexdigest(), **verdicts)


def test_several_recipes_share_a_trunk_and_a_failing_arm_costs_only_itself(folder: Path, launch: Launch) -> None:
    """The audit of one is there already, the other is audited."""
    audited_already(folder / "my recipes" / "tiny.yaml", folder / "my runs", no_ttt=SCORE_FIRST, sgd=PRE_EVAL)
    result = launch("tiny", "broken")
    assert result.returncode == 1, result.stderr
    assert re.findall("audited (.*) in", result.stderr) == ["no_ttt"], "of broken; its other arm fails"
    tiny, broken = plan_of(folder, "tiny"), plan_of(folder, "broken")
    assert tiny.trials[0].done and tiny.trials[0].trunk_path == broken.trials[0].trunk_path
    assert broken.trials[0].unscored_arms == ("bad",)
    scores = {
        name: read_result(plan.trials[0].paths.arm("no_ttt").result)
        for name, plan in (("tiny", tiny), ("broken", broken))
    }
    assert scores["tiny"].trunk_sha256 == scores["broken"].trunk_sha256, "trained once"
    assert scores["tiny"].val_bpb == scores["broken"].val_bpb
    assert "broken/1337: score bad: " in result.stderr and "no.such.layer" in result.stderr
    assert f"log: {broken.trials[0].paths.job_log}" in result.stderr
    assert "tiny, scale laptop" in result.stdout and "broken, scale laptop" in result.stdout, "both tables are printed"
    assert "the same command runs only what is missing" in result.stderr
    report = json.loads(broken.paths.report_json.read_text())
    assert [one["arm"] for one in report["failed"]] == ["bad"]
    trained, scored = read_run(tiny.run_path).nodes[1337], read_run(broken.run_path).scored_on["no_ttt", 1337]
    assert trained.checkout == scored.checkout and trained.hostname == socket.gethostname()
    assert (trained.checkout is None) == (checkout_of(ROOT) is None)
    assert trained.probe and trained.probe == scored.probe and trained.probe.device == "cpu", "probed once"
    assert f"machines: {trained.hostname} (" in result.stdout and "TFLOP/s" in result.stdout
    assert [one["ended"] for one in report["attempts"]["1337"]] == ["failed"]


def test_what_a_launch_asks_for_on_the_disk_is_more_than_it_writes_and_not_much(folder: Path) -> None:
    recipe = folder / "my recipes" / "tiny.yaml"
    experiment = prepare(recipe, Request(scale="laptop", runs=folder / "no runs yet"))
    need = need_of(experiment, experiment.trials((1337,)), set())
    run = plan_of(folder, "tiny")
    written = [path for top in (run.run_path, run.trials[0].trunk_path) for path in top.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in written)
    fixed = RUN_BYTES + (1 + len(experiment.arms)) * LOGS_BYTES
    assert size <= need.bytes <= fixed + 3 * size and len(written) <= need.files
    weights = (run.trials[0].trunk_path / WEIGHTS_FILE).stat().st_size
    assert 4 < weights / read_result(run.trials[0].paths.arm("no_ttt").result).trunk.parameters < 4.6, "names are 10 kB"


def test_one_more_seed_runs_exactly_one_more_trial(folder: Path, launch: Launch) -> None:
    before = files_of(plan_of(folder, "tiny"))
    result = launch("tiny", seeds="2")
    assert result.returncode == 0, result.stderr
    assert mlflow_status(folder, "tiny") == "FINISHED"
    assert "2 trials, 1 done already" in result.stderr
    plan = plan_of(folder, "tiny")
    assert plan.seeds == (1337, 42) and all(trial.done for trial in plan.trials)
    after = files_of(plan)
    assert {path: after[path] for path in before if "seed_1337" in str(path)} == before
    assert "--seeds 3" in result.stdout and "compare:" in result.stdout
    report = json.loads(plan.paths.report_json.read_text())
    assert report["seeds"] == [1337, 42] and report["arms"]["sgd"]["val_bpb"]["n"] == 2
    assert (folder / "my runs" / "mlflow.db").exists()


def test_a_finished_launch_is_not_run_again(folder: Path, launch: Launch) -> None:
    before = files_of(plan_of(folder, "tiny"))
    result = launch("tiny", seeds="2")
    assert result.returncode == 0, result.stderr
    assert "all trials are done: nothing to run" in result.stderr
    assert files_of(plan_of(folder, "tiny")) == before
    dry = launch("tiny", seeds="3", options=("--dry-run",))
    assert "seed 42         done: no_ttt, sgd" in dry.stdout and "3 trials, 2 done, 1 to run" in dry.stdout


def test_hopeless_seeds_are_not_run_and_the_run_says_so(stand_in_run: Callable[..., Path], launch: Launch) -> None:
    run = stand_in_run()
    result = launch(run, seeds="3", options=("--stop-when-hopeless", "0.5"))
    assert result.returncode == 0, result.stderr
    plan = read(run)
    assert [trial.done for trial in plan.trials] == [True, False, False]
    assert result.stderr.count("not run: given up") == 2 and "given up after 1 of 3 seeds" in result.stderr
    assert "seeds not run: 42, 2024; given up after 1 of 3 seeds: the chance to beat the given score" in result.stdout
    assert not (plan.trials[1].paths.folder / "job.log").exists()
    again = launch(run, seeds="3", options=("--stop-when-hopeless", "0.5"))
    assert again.returncode == 0 and "starts" not in again.stderr, "it is given up before anything starts"
    dry = launch(run, seeds="3", options=("--stop-when-hopeless", "no such folder", "--dry-run"))
    assert dry.returncode == 2 and "no such folder" in dry.stderr
    assert launch(run, seeds="2").returncode == 0, "without the option its seeds are run"
    assert [trial.done for trial in plan.trials] == [True, True, False] and not plan.paths.given_up.exists()


def test_other_data_than_the_run_was_started_on_is_refused(folder: Path, launch: Launch) -> None:
    found, other = corpus.embedded(), folder / "other data"
    other.mkdir()
    for path in found.data_path.glob("*.bin"):
        (other / path.name).write_bytes(path.read_bytes())
    shard = sorted(other.glob(VAL_SHARDS))[0]
    shard.write_bytes(shard.read_bytes()[:-2] + b"\1\0")
    result = launch("tiny", options=("--data", str(other), "--tokenizer", str(found.tokenizer_path)))
    assert result.returncode == 2 and "was started on another data" in result.stderr
    assert plan_of(folder, "tiny").seeds == (1337, 42)


def test_an_edited_program_is_refused(folder: Path, launch: Launch) -> None:
    program = plan_of(folder, "tiny").paths.program
    text = program.read_text()
    program.write_text(text + "# faster\n")
    try:
        result = launch("tiny")
    finally:
        program.write_text(text)
    assert result.returncode == 2 and "was it edited?" in result.stderr


def test_a_folder_that_cannot_be_written_costs_its_trial_and_nothing_else(folder: Path, launch: Launch) -> None:
    """A file lies where the folder of a seed belongs, one of a record is broken; and the wanted arms are one of two."""
    plan = plan_of(folder, "tiny")
    (plan.run_path / "seed_7").touch()
    plan.paths.given_up.write_text("{")
    result = launch("tiny", seeds="1337,7", options=("--arms", "no_ttt", "--stop-when-hopeless", "9"))
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "tiny/7: start: " in result.stderr and "seed_7: File exists" in result.stderr
    assert "tiny, scale laptop: 3 seeds" in result.stdout, "the report is there"
    assert "compare:" in result.stdout, "and MLflow"
    assert "seed 7, no_ttt: no result, no failure" in result.stdout
    assert "seed 7, sgd" not in result.stdout, "nobody asked for it"
