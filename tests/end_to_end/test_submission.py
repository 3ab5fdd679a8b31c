"""A real run becomes a record folder: it verifies, it holds what ran, and no number in it can be changed unseen."""

import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.contract.assignment import Assignment
from jobs.contract.files import write_record
from jobs.contract.shards import file_sha256
from platform import submit, verify
from platform.ledger import ledger
from platform.program.squeeze import Form, squeeze
from platform.records.record import AGREES, MISMATCH, examine
from platform.running.experiment import Request, prepare
from platform.runs.plan import Failure, Plan, write_failure
from platform.runs.reading import read_result
from platform.submission.folder import SCHEMA
from tests.finished import audited, finish, run_alone, small_data
from tests.nodes import CHECKOUT, node

ROOT = Path(__file__).parents[2]
RECIPE = """
question: "What does learning late gain, in 5 words?"
source: "PR #549, \\"late\\" | a `copy` of it"
base: legal_leaky
scales: {smoke: {techniques: {score_first: {chunk_targets: 1024, learning_rate: 0.05}}}}
"""
SEEDS = (1337, 42, 2024)
ARM = "score_first"
CHANGED = replace(CHECKOUT, diff_sha256="d1" * 32, changed_files=2)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
LATIN = str.maketrans("", "", "*,s`")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """Three seeds scored arm by arm, the same end to end and squeezed, and one seed packed."""
    folder = tmp_path_factory.mktemp("submission")
    data, tokenizer = small_data(folder / "data")
    recipe = folder / "late_2.yaml"
    recipe.write_text(RECIPE)
    given: dict[str, Any] = {"runs": folder / "runs", "data": data, "tokenizer": tokenizer, "make_data": False}
    made = {
        "arms": finish(prepare(recipe, Request(scale="smoke", **given)), SEEDS),
        "alone": finish(prepare(recipe, Request(scale="smoke", **given, end_to_end=ARM, form=Form.SQUEEZED)), SEEDS),
        "packed": finish(prepare(recipe, Request(scale="smoke", **given, end_to_end=ARM, form=Form.PACKED)), SEEDS[:1]),
    }
    machine = replace(node("secret-host"), checkout=CHANGED)
    for trial in made["alone"].trials:
        write_record(trial.trunk.node, machine)
        write_record(trial.paths.arm(ARM).node, machine)
        told = {"time": "2026-04-01T10:00:00", "launch": "one", "seed": trial.seed}
        for event in ("started", "ended"):
            with made["alone"].paths.events.open("a") as file:
                file.write(json.dumps({"event": event, **told, **({"val_bpb": {}} if event == "ended" else {})}) + "\n")
    return made


def submitted(plan: Plan, *options: object) -> Result:
    return CliRunner().invoke(submit.main, [str(plan.run_path), "--arm", ARM, *map(str, options)])


@pytest.fixture(scope="module")
def folder(runs: dict[str, Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record folder of the squeezed run, in a place without the run."""
    out = tmp_path_factory.mktemp("records") / "track_non_record_16mb" / "2026_legal"
    options = ["--non-record", "--out", out, "--author", "An Author", "--github-id", "author4"]
    options += ["--ablation", runs["arms"].run_path, "--against", runs["arms"].run_path, "--against-arm", "no_ttt"]
    done = submitted(runs["alone"], *options)
    assert done.exit_code == 0, done.output
    assert f"python -m platform.verify {out}" in done.output
    return out


def verified(path: Path) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(verify.main, [str(path), "--json"])
    return done.exit_code, json.loads(done.stdout)[0]


def results(plan: Plan, arm: str = ARM) -> list[Any]:
    return [read_result(plan.paths.seed(seed).arm(arm).result) for seed in plan.seeds]


def rows(readme: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without marks."""
    lines = readme.partition(f"\n{heading}")[2].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|"))
    table = [line for line in lines[start:] if line][: lines[start:].index("")]
    return [[cell.strip().translate(LATIN) for cell in line.strip("|").split("|")] for line in table]


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_it_verifies(folder: Path) -> None:
    status, found = verified(folder)
    assert (status, found["verdict"], found["mismatches"], found["roundings"]) == (0, "agrees", [], [])
    assert found["track"] == "track_non_record_16mb" and found["score"]["seeds"] == sorted(SEEDS, key=str)
    assert found["std_convention"] and {one["ddof"] for one in found["std_convention"]} == {"sample"}
    assert found["checked"] > 60 and any("ledger.json has an entry for" in note for note in found["notes"])
    (check,) = [one for one in found["rules"]["pg-2026-readme"]["checks"] if one["rule"] == "attempts"]
    assert (check["status"], check["figure"]) == ("pass", "each seed was scored at its first attempt")
    assert not [path for path in folder.rglob("*") if path.is_file() and b"secret-host" in path.read_bytes()]


def test_what_ships_is_what_ran(folder: Path, runs: dict[str, Plan]) -> None:
    plan = runs["alone"]
    assert file_sha256(folder / "train_gpt.py") == plan.program_sha256
    assert (folder / "train_gpt.py").read_text() == squeeze((folder / "train_gpt_readable.py").read_text())
    for one in results(plan):
        log = folder / f"train_seed{one.seed}.log"
        assert log.read_bytes() == plan.paths.seed(one.seed).arm(ARM).log.read_bytes()
        assert one.code_bytes == (folder / "train_gpt.py").stat().st_size and one.end_to_end
    assert not [path for path in folder.rglob("*") if path.suffix in (".pt", ".bin", ".pyc")]
    origins = {
        name: one.get("origin") for name, one in json.loads((folder / "ledger.json").read_text())["files"].items()
    }
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == origins.keys() | {"ledger.json", "README.md", "submission.json"}
    assert origins["train_seed42.log"] == f"seed_42/{ARM}/train.log" and "figures/scores.png" in origins


def test_the_submission_file(folder: Path, runs: dict[str, Plan]) -> None:
    found = json.loads((folder / "submission.json").read_text())
    assert list(found) == list(SCHEMA)
    assert all(isinstance(found[name], kind) for name, kind in SCHEMA.items())
    measured = results(runs["alone"])
    scores, losses = [one.val_bpb for one in measured], [one.val_loss_nats for one in measured]
    assert found["val_bpb"] == pytest.approx(statistics.mean(scores), abs=6e-9)
    assert found["val_bpb_std"] == pytest.approx(statistics.stdev(scores), abs=1.1e-8)
    assert found["val_loss"] == pytest.approx(statistics.mean(losses), abs=6e-9)
    assert found["seeds"] == list(SEEDS) == [int(seed) for seed in found["seed_results"]]
    assert found["bytes_total"] == max(one.artifact_bytes for one in measured)
    assert found["bytes_code"] == measured[0].code_bytes
    for one in measured:
        of_seed = found["seed_results"][str(one.seed)]
        assert of_seed["val_bpb"] == pytest.approx(one.val_bpb, abs=6e-9) and of_seed["steps"] == one.trunk.steps == 10
        assert of_seed["train_time_s"] == pytest.approx(one.train_seconds, abs=1e-3)
        assert of_seed["eval_time_s"] == pytest.approx(one.eval_seconds, abs=1e-3)
        assert of_seed["artifact_bytes"] == one.artifact_bytes
    told = {name: found[name] for name in ("author", "github_id", "track", "arm", "end_to_end", "program_sha256")}
    assert told == {
        "author": "An Author",
        "github_id": "author4",
        "track": "non-record-16mb",
        "arm": ARM,
        "end_to_end": True,
        "program_sha256": runs["alone"].program_sha256,
    }
    assert (found["fairway_commit"], found["fairway_diff"]) == (CHANGED.commit, "d1" * 32)
    gain = statistics.mean(one.val_bpb for one in results(runs["arms"], "no_ttt")) - statistics.mean(scores)
    assert found["comparison"]["gain_bpb"] == pytest.approx(gain, abs=2e-8)


def test_the_readme_has_the_tables_that_people_know(folder: Path, runs: dict[str, Plan]) -> None:
    readme = (folder / "README.md").read_text()
    measured, arms = results(runs["alone"]), {arm: results(runs["arms"], arm) for arm in ("no_ttt", ARM)}
    logged = [round(one.val_bpb, 8) for one in measured]  # the page is worked out from the logs, which print so many
    mean, std = statistics.mean(logged), statistics.stdev(logged)
    assert readme.startswith(f"# late_2, {ARM}\n\n**val_bpb: {mean:.5f}** (3-seed mean, std {std:.5f}) | **")
    assert "> **Not a record.**" in readme and "scored from trunks" not in readme

    table = rows(readme, "## Results")
    assert table[0][:3] == ["Seed", "Step", "m/tep"] and "Pot-TTT BPB" in table[0]  # the mark s is taken off
    at = table[0].index("Pot-TTT BPB")
    assert [row[at] for row in table[2:5]] == [f"{one.val_bpb:.8f}" for one in measured]
    assert [row[0] for row in table[2:]] == [*map(str, SEEDS), "Mean", "Std"]
    assert (table[5][at], table[6][at]) == (f"{mean:.8f}", f"{std:.8f}")
    assert [row[-1] for row in table[2:5]] == [str(one.artifact_bytes) for one in measured]

    ablation = rows(readme, "## Ablation")
    deltas = [one.val_bpb - other.val_bpb for one, other in zip(arms[ARM], arms["no_ttt"], strict=True)]
    assert ablation[3][0] == ARM.replace("s", "") and ablation[3][6] == f"{statistics.mean(deltas):+.6f}"
    assert "two-sided p, corrected by Holm" in readme

    assert f"## Comparison with {runs['arms'].run_path.name}, no_ttt" in readme
    assert re.search(r"Gain: [+-]0\.\d{6} BPB, which are [+-]0\.\d{6} nats per token", readme)
    timing = rows(readme, "## Timing Budget")
    assert timing[2][1:] == [f"{max(one.train_seconds for one in measured):.1f}", "600"]
    assert "--scale smoke --seeds 1337,42,2024 --end-to-end score_first --squeeze" in readme
    assert '- `late_2`: PR #549, "late" | a `copy` of it\n- builds on `legal_leaky`: 2026-03-23_Leaky' in readme
    assert "\n\nWhat does learning late gain, in 5 words? Every number" in readme
    assert "| feed_forward | `LeakyReluSquared()` | PR #493 of the field" in readme
    assert "![scores](figures/scores.png)" in readme and (folder / "figures" / "scores.png").stat().st_size > 1000


def test_requirements_are_what_the_program_imports(folder: Path) -> None:
    lines = (folder / "requirements.txt").read_text().splitlines()
    named = {line.partition("==")[0] for line in lines if "==" in line}
    assert {"torch", "numpy", "sentencepiece"} <= named and "ray" not in named
    assert (
        f"torch=={json.loads((folder / 'submission.json').read_text())['pytorch_version'].partition('+')[0]}" in lines
    )


def test_a_stranger_gets_the_same_score_from_the_program_in_it(
    folder: Path, runs: dict[str, Plan], tmp_path: Path
) -> None:
    """Alone, in a clean interpreter, from inside a copy of the folder: same data and seed, same bits."""
    copy = tmp_path / "somebody's folder"
    shutil.copytree(folder, copy)
    plan = runs["alone"]
    assignment = Assignment(
        seed=42,
        data_path=plan.data_path,
        tokenizer_path=plan.tokenizer_path,
        output_path=copy / "mine",
        trunk_path=copy / "mine" / "trunk",
        arms=(),
        max_wallclock_seconds=None,
    )
    run_alone(copy / "train_gpt.py", assignment)
    mine = read_result(copy / "mine" / ARM / "result.json")
    assert f"{mine.val_bpb:.8f}" == f"{results(plan)[1].val_bpb:.8f}"
    assert f'"val_bpb": {mine.val_bpb:.8f},' in (copy / "submission.json").read_text()


def test_the_same_run_gives_the_same_folder(folder: Path, runs: dict[str, Plan], tmp_path: Path) -> None:
    options = ["--non-record", "--out", tmp_path / "again", "--author", "An Author", "--github-id", "author4"]
    options += ["--ablation", runs["arms"].run_path, "--against", runs["arms"].run_path, "--against-arm", "no_ttt"]
    assert submitted(runs["alone"], *options).exit_code == 0
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes(), path


# --- any number changed is found --------------------------------------------------------------------------------------


def test_any_single_number_altered_is_found(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert ledger.check(copy) == []
    missed, altered = [], 0
    for name in ("README.md", "submission.json", "train_seed42.log"):
        text = (copy / name).read_text()
        found = list(NUMBER.finditer(text))
        for match in found[:: 10 if name.endswith(".log") else 1]:  # of a log, the ledger has one hash
            last = match.end() - 1
            changed = text[:last] + str((int(text[last]) + 1) % 10) + text[last + 1 :]
            (copy / name).write_text(changed)
            altered += 1
            if not ledger.check(copy):
                missed.append(f"{name}: {text[match.start() - 30 : match.end() + 10]!r}")
        (copy / name).write_text(text)
    assert not missed and altered > 300
    assert ledger.check(copy) == []


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("README.md", r"val_bpb: (\d\.\d+)"),
        ("README.md", r"nproc_per_node=(\d)"),
        ("README.md", r"PR #(\d+)"),
        ("submission.json", r'"eval_time_s": (\d+\.\d+)'),
        ("submission.json", r'"date": "(\d+)'),
        ("train_seed1337.log", r"step:1/\d+ train_loss:(\d\.\d+)"),
        ("train_seed2024.log", r"legal_ttt_exact val_loss:\d\.\d+ val_bpb:(\d\.\d+)"),
        ("results/seed_42/score_first.json", r'"scored_bytes": (\d+)'),
        ("ablation/seed_42/no_ttt.json", r'"val_bpb": (\d\.\d+)'),
        ("plan.json", r'"processes": (\d)'),
        ("train_gpt.py", r"iterations=(\d+)"),
        ("lineage.json", r"PR #(\d+)"),
        ("requirements.txt", r"torch==(\d)"),
        ("against.json", r'"val_bpb": (\d\.\d+)'),
    ],
)
def test_the_command_finds_it(folder: Path, tmp_path: Path, name: str, pattern: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    text = (copy / name).read_text()
    match = re.search(pattern, text)
    assert match, pattern
    digit = str((int(text[match.end(1) - 1]) + 5) % 10)
    (copy / name).write_text(text[: match.end(1) - 1] + digit + text[match.end(1) :])
    status, found = verified(copy)
    assert status == 1 and found["verdict"] == "mismatch"
    assert any(one["where"].startswith(name) for one in found["mismatches"]), found["mismatches"]


def test_words_may_be_added_to_the_readme_and_numbers_not(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    readme = (copy / "README.md").read_text()
    (copy / "README.md").write_text(readme.replace("## Results", "## Key idea\n\nIt learns late.\n\n## Results"))
    assert examine(copy).verdict == AGREES
    (copy / "README.md").write_text(readme.replace("## Results", "## Key idea\n\nIt gains 0.01.\n\n## Results"))
    examined = examine(copy)
    assert examined.verdict == MISMATCH and "the ledger does not have" in examined.mismatches[0].note


# --- what is refused --------------------------------------------------------------------------------------------------

Edit = Callable[[Plan], object]


def copy_of(plan: Plan, folder: Path) -> Plan:
    shutil.copytree(plan.run_path, folder / plan.run_path.name)
    return replace(plan, run_path=folder / plan.run_path.name)


@pytest.fixture
def copied(runs: dict[str, Plan], tmp_path: Path) -> Plan:
    """A copy of the end-to-end run to be edited."""
    return copy_of(runs["alone"], tmp_path / "runs")


def changed(plan: Plan, seed: int, **fields: object) -> None:
    """Change fields of the result, or of its trunk's record."""
    path = plan.paths.seed(seed).arm(ARM).result
    result = read_result(path)
    of_trunk = {name: fields.pop(name) for name in list(fields) if name not in vars(result)}
    trunk = replace(result.trunk, **of_trunk)  # type: ignore[arg-type]
    write_record(path, replace(result, **{"trunk": trunk, **fields}))  # type: ignore[arg-type]


def log_changed(plan: Plan, old: str, new: str) -> None:
    path = plan.paths.seed(42).arm(ARM).log
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def failed(plan: Plan) -> None:
    plan.paths.seed(42).arm(ARM).result.unlink()
    failure = Failure(seed=42, phase="score", arm=ARM, reason="a crash", log_tail="", arms=(ARM,))
    write_failure(plan.paths.seed(42).failure, failure)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda plan: plan.paths.seed(42).arm(ARM).result.unlink(), "seed 42 was planned and is not scored"),
        (failed, "seed 42 failed in score: a crash"),
        (lambda plan: changed(plan, 42, val_bpb=float("nan")), "seed 42 failed in score: val_bpb is nan"),
        (lambda plan: changed(plan, 42, program_sha256="0" * 64), "is not scored: result.json has program_sha256 000"),
        (lambda plan: changed(plan, 42, artifact_bytes=16_000_001), "artifact bytes: 16,000,001 of 16,000,000 bytes"),
        (lambda plan: changed(plan, 42, train_seconds=600.3), "seed 42: training time: 600.300 of 600 s"),
        (lambda plan: changed(plan, 42, eval_seconds=600.1), "seed 42: evaluation time: 600.100 of 600 s"),
        (lambda plan: changed(plan, 42, protocol="pre_eval"), "a diagnostic: score_first learned from tokens before"),
        (lambda plan: changed(plan, 42, code_bytes=1), "the seeds do not share one number of code bytes"),
        (lambda plan: plan.paths.seed(42).arm(ARM).log.unlink(), "train.log is not there"),
        (
            lambda plan: log_changed(plan, "_exact val_loss:", "_exact val_loss:1"),
            "does not print the score of its result",
        ),
        (lambda plan: log_changed(plan, "\nseed:42\n", "\nseed:43\n"), "train.log says seed 43, its result says 42"),
        (lambda plan: plan.paths.audit.unlink(), "the arm adapts and was not audited: launch it again"),
        (lambda plan: audited(plan, **{ARM: "failed: boom"}), "was not audited (failed: boom): launch it again"),
        (
            lambda plan: audited(plan, **{ARM: "violates score_first"}),
            "the audit says of the arm: violates score_first",
        ),
    ],
)
def test_what_must_not_be_submitted(runs: dict[str, Plan], tmp_path: Path, edit: Edit, reason: str) -> None:
    refused(copy_of(runs["arms"], tmp_path / "runs"), tmp_path, edit, reason)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda plan: changed(plan, 42, end_to_end=False), "is not scored: result.json has end_to_end False"),
        (lambda plan: plan.paths.program.write_text("A = 1\n"), "is not the program that ran: it was edited since"),
        (lambda plan: plan.paths.readable.write_text("A = 1\n"), "train_gpt_readable.py is not what"),
        (lambda plan: plan.paths.program.unlink(), "train_gpt.py is not there"),
    ],
)
def test_what_must_not_be_submitted_of_a_squeezed_program_end_to_end(
    copied: Plan, tmp_path: Path, edit: Edit, reason: str
) -> None:
    refused(copied, tmp_path, edit, reason)


def refused(plan: Plan, folder: Path, edit: Edit, reason: str) -> None:
    edit(plan)
    done = submitted(plan, "--non-record", "--out", folder / "out")
    assert done.exit_code == 2 and reason in done.output and "Traceback" not in done.output
    assert not (folder / "out").exists() and not list(folder.glob(".out*"))


def test_every_reason_is_told_at_once(copied: Plan, tmp_path: Path) -> None:
    failed(copied)
    changed(copied, 1337, artifact_bytes=17_000_000, eval_seconds=700.0)
    copied.paths.program.write_text("A = 1\n")
    done = submitted(copied, "--out", tmp_path / "out")
    listed = submitted(copied, "--out", tmp_path / "out", "--json")
    assert done.exit_code == listed.exit_code == 2 and len(json.loads(listed.stdout)["reasons"]) == 6
    for reason in (
        "seed 42 failed",
        "17,000,000 of 16,000,000",
        "700.000 of 600",
        "edited since",
        "the challenge's machine",
    ):
        assert reason in done.output
    assert "--non-record" not in done.output, "it would not help"


def test_a_record_needs_the_challenge_s_machine_text_and_one_process(runs: dict[str, Plan], tmp_path: Path) -> None:
    done = submitted(runs["arms"], "--out", tmp_path / "out")
    assert done.exit_code == 2 and "--non-record writes a folder of the other track" in done.output
    for reason in (
        "not end to end: 3 of 3 seeds were scored from a trunk",
        "not on the challenge's machine: 1 processes on cpu x1",
        "not the challenge's validation text",
    ):
        assert reason in done.output


def test_a_record(copied: Plan, tmp_path: Path) -> None:
    """The real run, its results edited to say what those of the challenge's machine would say."""
    for seed in SEEDS:
        result = read_result(copied.paths.seed(seed).arm(ARM).result)
        machine = replace(result.machine, device="8x NVIDIA H100 80GB HBM3", world_size=8)
        changed(copied, seed, trunk=replace(result.trunk, machine=machine), machine=machine, scored_bytes=151_080_363)
    changed(copied, 42, train_seconds=600.2)  # a step late, within the tolerance
    out = tmp_path / "track_10min_16mb" / "mine"
    done = submitted(copied, "--out", out, "--name", "Late learning, 10 steps")
    assert done.exit_code == 0, done.output
    readme, found = (out / "README.md").read_text(), json.loads((out / "submission.json").read_text())
    assert readme.startswith("# Late learning, 10 steps\n") and "Not a record" not in readme
    assert "8x NVIDIA H100 80GB HBM3" in readme and "## Ablation" not in readme and "Comparison" not in readme
    assert "The audit of the evaluator finds the arm to be `score_first` (`audit.json`)" in readme
    assert (found["track"], found["name"], found["comparison"]) == ("10min_16mb", "Late learning, 10 steps", None)
    assert verified(out)[0] == 0


def test_one_seed_packed(runs: dict[str, Plan], tmp_path: Path) -> None:
    done = submitted(runs["packed"], "--non-record", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["folder"] == str(tmp_path / "out") and told["numbers"] > 80 and told["reasons"] == []
    readme, found = (
        (tmp_path / "out" / "README.md").read_text(),
        json.loads((tmp_path / "out" / "submission.json").read_text()),
    )
    assert "(one seed)" in readme and "**Mean**" not in readme and " --packed\n" in readme
    assert found["val_bpb_std"] is None and found["bytes_code"] < 40_000
    assert "| feed_forward | `LeakyReluSquared()` |" in readme


def test_mistakes(runs: dict[str, Plan], folder: Path, tmp_path: Path) -> None:
    plan = runs["arms"]
    other = [sys.executable, "-m", "platform.submit", str(plan.run_path), "--arm", "score_frist", "--non-record"]
    done = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 2 and "did you mean 'score_first'?" in done.stderr and "Traceback" not in done.stderr
    for options, told in (
        (["--out", folder], "is there already"),
        (["--against", tmp_path], "there is neither a run nor a record"),
        (["--against", tmp_path / "nowhere"], "no such folder"),
        (["--against", runs["arms"].run_path, "--against-arm", "sgd"], "--against-arm says which"),
        (["--ablation", tmp_path], "no such file"),
        (["--name", "two\nlines"], "cannot be printed on one line"),
    ):
        done_here = submitted(plan, "--non-record", "--out", tmp_path / "out", *options)
        assert done_here.exit_code == 2 and told in done_here.output, done_here.output
    assert not (tmp_path / "out").exists()


def test_scores_of_another_text_are_not_compared(runs: dict[str, Plan], copied: Plan, tmp_path: Path) -> None:
    for seed in SEEDS:
        changed(copied, seed, scored_bytes=151_080_363)
    done = submitted(runs["alone"], "--non-record", "--out", tmp_path / "out", "--against", copied.run_path)
    assert done.exit_code == 2 and "its scores are of another text, 151,080,363 bytes" in done.output


def test_an_arm_of_a_shared_trunk_against_a_record_folder(runs: dict[str, Plan], folder: Path, tmp_path: Path) -> None:
    done = submitted(runs["arms"], "--non-record", "--out", tmp_path / "out", "--against", folder)
    assert done.exit_code == 0, done.output
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "it was scored from trunks that were trained before" in readme and "## Ablation" in readme
    assert verified(tmp_path / "out")[0] == 0
    against = json.loads((tmp_path / "out" / "against.json").read_text())
    assert against["name"] == folder.name and len(against["scores"]) == 3
    first = against["scores"][0]
    assert first["file"] == "train_seed1337.log" and first["sha256"] == file_sha256(folder / first["file"])
    line = (folder / first["file"]).read_text().splitlines()[first["line"] - 1]
    assert f"val_bpb:{first['val_bpb']:.8f}" in line
    gain = json.loads((tmp_path / "out" / "submission.json").read_text())["comparison"]["gain_bpb"]
    assert gain == 0.0, "the same scores, bit for bit"
