"""Somebody's own script, launched like ours: what it finds, what is read of it, what becomes of one that misbehaves.

torchrun and the guard are real; the script says what a training would, so that a test takes seconds.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.contract.records import UNTOLD
from platform import launch, report
from platform.errors import UserError
from platform.running.experiment import Request, prepare
from platform.running.trial import JobFailed, Patience, run
from platform.runs.events import JOB_EVENTS, Reader
from platform.runs.plan import Trial
from platform.runs.reading import read_result
from platform.runs.results import read_run

SCRIPT = """
import json, os, subprocess, sys, time

rank, seed, mode = int(os.environ["RANK"]), int(os.environ.get("SEED", "1337")), os.environ.get("MODE", "")
steps, gain = int(os.environ.get("ITERATIONS", "12")), float(os.environ.get("GAIN", "0"))
if rank == 0:
    with open("found.json", "w") as file:
        json.dump({"environment": dict(os.environ), "data": os.listdir("data/datasets"), "here": os.listdir(".")}, file)
    print(f"seed:{seed + (mode == 'seed')}")
    if mode == "iterations":
        steps = 24
    print(f"iterations: {steps}")
    for step in range(1, steps + 1):
        if mode == "dies" and step == 7:
            raise RuntimeError("no more of this")
        if mode == "hangs" and step == 7:
            time.sleep(600)
        print(f"step:{step}/{steps} train_loss:{6 - step / steps:.4f} train_time:{step * 10}ms step_avg:10.00ms")
    if mode == "many lines":
        for line in range(1_000_000):
            print("chunk", line)
    if mode == "daemon":
        subprocess.Popen(["sleep", "611"], start_new_session=True)
    if mode == "swallows":
        print("Traceback (most recent call last):")
        print("RuntimeError: CUDA out of memory")
        sys.exit(0)
    print(f"step:{steps}/{steps} val_loss:5.1000 val_bpb:3.0100 train_time:{steps * 10}ms step_avg:10.00ms")
    model, code = b"x" * (900 if mode == "bigger" else 800), len(open(__file__, "rb").read())
    with open("final_model.int8.ptz", "wb") as file:
        file.write(model)
    if mode == "leaves":
        with open("checkpoint.pt", "wb") as file:
            file.truncate(2 * 10**9)
    print("Serialized model int8+zlib: 800 bytes")
    print(f"Code size: {code} bytes")
    print(f"Total submission size int8+zlib: {800 + code} bytes")
    bpb = 3 + seed / 1e6 - gain
    if mode == "two":
        print(f"legal_ttt_exact val_loss:{1.7 * bpb:.8f} val_bpb:{bpb:.8f}")
        print(f"other_ttt_exact val_loss:{1.7 * bpb:.8f} val_bpb:{bpb - 0.25:.8f}")
    else:
        print(f"final_int8_zlib_roundtrip val_loss:{1.7 * bpb:.4f} val_bpb:{bpb:.4f} eval_time:250ms")
        print(f"final_int8_zlib_roundtrip_exact val_loss:{1.7 * bpb:.8f} val_bpb:{bpb:.8f}")
"""
RECIPE = """
question: What does more gain?
script: theirs.py
files: [lib/helper.py]
env: {ITERATIONS: 12, MODE: "%s"}
arms: {plain: {}, more: {GAIN: 0.05}}
"""
Make = Callable[..., Trial]


@pytest.fixture
def make(tmp_path: Path, tiny_data: tuple[Path, Path]) -> Make:
    def made(mode: str = "", arms: tuple[str, ...] = ("plain",), more: str = "") -> Trial:
        folder = tmp_path / "people"
        (folder / "lib").mkdir(parents=True, exist_ok=True)
        (folder / "theirs.py").write_text(SCRIPT)
        (folder / "lib" / "helper.py").write_text("HELP = 1\n")
        (folder / "mine.yaml").write_text(RECIPE % mode + more)
        data, tokenizer = tiny_data
        request = Request(scale="laptop", runs=tmp_path / "runs", data=data, tokenizer=tokenizer)
        return prepare(folder / "mine.yaml", request).planned((1337,)).trial(1337, arms)

    return made


def silent(_: object) -> None: ...


def failure_of(trial: Trial, patience: Patience | None = None) -> str:
    with pytest.raises(JobFailed) as caught:
        run(trial, silent, patience=patience)
    return caught.value.failure.said


def test_each_arm_is_run_and_read(make: Make) -> None:
    trial = make(arms=("plain", "more"))
    run(trial, silent)
    results = {arm: read_result(trial.paths.arm(arm).result) for arm in trial.arms}
    assert [result.val_bpb for result in results.values()] == [3.001337, 2.951337]
    plain = results["plain"]
    size = len(SCRIPT.encode())
    assert (plain.model_bytes, plain.code_bytes, plain.artifact_bytes) == (800, size, 800 + size)
    assert (plain.trunk.steps, plain.trunk.train_seconds, plain.trunk.step_ms_mean) == (12, 0.12, 10.0)
    assert (plain.eval_seconds, plain.scored_bytes, plain.protocol, plain.claimable) == (0.25, None, UNTOLD, False)
    assert plain.trunk_sha256 != results["more"].trunk_sha256, "each is a training of its own"
    log = trial.paths.arm("plain").log.read_text().splitlines()
    for name, said in (
        ("val_bpb", "val_bpb:3.00133700"),
        ("steps", "step:12/12"),
        ("artifact_bytes", "Total submission"),
    ):
        assert said in log[int(plain.lines[name].split(":")[1]) - 1], name
    events = list(Reader(trial.paths.arm("plain").metrics, JOB_EVENTS).new())
    assert {"StepDone", "ValidationDone", "PhaseChange"} == {type(event).__name__ for event in events}
    assert set(plain.phases) == {"start", "train", "evaluate"}


def test_the_script_finds_a_clean_room(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("MAX_WALLCLOCK_SECONDS", "1")
    trial = make()
    run(trial, silent)
    found = json.loads((trial.paths.arm("plain").work / "found.json").read_text())
    environment = found["environment"]
    assert environment["SEED"] == "1337" and environment["ITERATIONS"] == "12" and environment["WORLD_SIZE"] == "2"
    assert environment["DATA_PATH"].endswith("/data/datasets/fineweb10B_sp1024")
    assert Path(environment["TOKENIZER_PATH"]).resolve() == trial.tokenizer_path
    shards = sorted(Path(environment["DATA_PATH"]).iterdir())
    assert [shard.resolve().parent for shard in shards] == [trial.data_path] * len(shards)
    assert {shard.name.split("_")[1] for shard in shards} == {"train", "val"}
    assert all(shard.name.startswith("fineweb_") for shard in shards), "the names that most scripts read, and each once"
    assert not {"WANDB_API_KEY", "MAX_WALLCLOCK_SECONDS", "RANKS_FILE", "PYTHONSAFEPATH", "OUTPUT_PATH"} & set(
        environment
    )
    assert set(found["here"]) == {"theirs.py", "lib", "data", "found.json"}
    assert (trial.paths.arm("plain").work / "theirs.py").read_text() == SCRIPT, "unchanged"


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("dies", "RuntimeError: no more of this"),
        ("swallows", "no line of train.log gives a score; its last line: RuntimeError: CUDA out of memory"),
        ("seed", "train.log:1 says seed 1338, it was told SEED=1337"),
        ("iterations", "ITERATIONS: asked for 12, and the script prints 24 (line 2: iterations: 24)"),
        ("two", "several lines could be the score: 'other_ttt_exact' 2.75133700"),
    ],
)
def test_a_script_without_a_score_to_take_is_a_failure_with_its_reason(make: Make, mode: str, said: str) -> None:
    trial = make(mode)
    assert said in failure_of(trial)
    assert trial.unscored_arms == ("plain",) and trial.paths.arm("plain").log.exists()


def test_what_is_ambiguous_is_read_again_once_the_recipe_says_which(make: Make) -> None:
    failure_of(make("two"))
    begun = (make("two").paths.arm("plain").work / "found.json").stat().st_mtime_ns
    assert "read again; without" in failure_of(make("two")), "nothing is run twice for nothing"
    trial = make("two", more="score: legal_ttt_exact\n")
    run(trial, silent)
    assert read_result(trial.paths.arm("plain").result).val_bpb == 3.001337
    assert (trial.paths.arm("plain").work / "found.json").stat().st_mtime_ns == begun, "it was not run again"


def test_more_bytes_than_it_says_are_counted_and_noted(make: Make) -> None:
    trial = make("bigger")
    run(trial, silent)
    result = read_result(trial.paths.arm("plain").result)
    assert result.model_bytes == 900 and result.artifact_bytes == 900 + len(SCRIPT.encode())
    assert any("it says 800 bytes of model, final_model.int8.ptz has 900" in note for note in result.notes)


def test_a_script_that_says_nothing_any_more_is_ended(make: Make) -> None:
    said = failure_of(make("hangs"), Patience(stall_seconds=4, grace_seconds=0.5))
    assert "it printed nothing for 4 s: ended as hung" in said


def test_nothing_of_a_script_outlives_it(make: Make) -> None:
    run(make("daemon"), silent)
    alive = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    commands = [(entry / "cmdline").read_bytes() for entry in alive if (entry / "cmdline").exists()]
    assert b"sleep\x00611\x00" not in commands


def test_a_million_lines_make_few_events_and_large_files_go(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = make("many lines")
    run(trial, silent)
    assert trial.paths.arm("plain").metrics.read_text().count("\n") < 40
    trial = make("leaves")
    run(trial, silent)
    work = trial.paths.arm("plain").work
    assert not (work / "checkpoint.pt").exists() and (work / "final_model.int8.ptz").exists()
    notes = read_result(trial.paths.arm("plain").result).notes
    assert "removed when it had ended: checkpoint.pt, 2,000,000,000 bytes" in notes


def test_a_recipe_of_a_script_that_cannot_be_is_told_before_anything_runs(make: Make) -> None:
    for more, said in (
        ("scoer: x\n", "no such entry of a recipe with a script"),
        ("requirements: [no_such_package_here]\n", "needs what is not installed here: no_such_package_here"),
        ("files: [nowhere.py]\n", "given twice"),
        ("seed_env: ITERATIONS\n", "ITERATIONS is set by the launch itself"),
    ):
        with pytest.raises(UserError, match=said):
            make(more=more)


def test_a_shim_stands_in_front_of_what_it_imports(tmp_path: Path, tiny_data: tuple[Path, Path]) -> None:
    """And the result says so."""
    (tmp_path / "stand_ins").mkdir()
    (tmp_path / "stand_ins" / "no_such_kernel.py").write_text("HERE = 1\n")
    (tmp_path / "theirs.py").write_text(f"import no_such_kernel\n{SCRIPT}")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("question: Does it run?\nscript: theirs.py\nshim: [stand_ins/no_such_kernel.py]\n")
    data, tokenizer = tiny_data
    request = Request(scale="laptop", runs=tmp_path / "runs", data=data, tokenizer=tokenizer)
    trial = prepare(recipe, request).planned((7,)).trial(7)
    run(trial, silent)
    result = read_result(trial.paths.arm("plain").result)
    assert "in front of its imports stood stand_ins/no_such_kernel.py" in result.notes


def test_what_a_script_never_reads_stops_the_launch_before_it_starts(
    tmp_path: Path, tiny_data: tuple[Path, Path]
) -> None:
    script = tmp_path / "theirs.py"
    script.write_text('import os\nimport no_such_package_here\nlr = float(os.environ.get("MATRIX_LR", "0.04"))\n')
    data = {"data": tiny_data[0], "tokenizer": tiny_data[1]}
    request = Request(scale="laptop", runs=tmp_path / "runs", settings={"MATRX_LR": "0.1"}, **data)
    with pytest.raises(UserError, match="needs what is not installed here: no_such_package_here"):
        prepare(script, request)
    script.write_text('import os\nlr = float(os.environ.get("MATRIX_LR", "0.04"))\n')
    with pytest.raises(UserError) as caught:
        prepare(script, request)
    said = str(caught.value)
    assert "MATRX_LR: the script never reads it; did you mean 'MATRIX_LR'?" in said
    assert "SEED: the script never reads it" in said and "--allow-ignored" in said
    allowed = prepare(script, replace(request, allow_ignored=True))
    assert len(allowed.remarks) == 2 and allowed.draft.script and allowed.draft.script.allow_ignored
    assert not (tmp_path / "runs").exists()


def test_a_whole_launch_of_a_script(tmp_path: Path, tiny_data: tuple[Path, Path], make: Make) -> None:
    make()
    recipe = tmp_path / "people" / "mine.yaml"
    data = ["--data", str(tiny_data[0]), "--tokenizer", str(tiny_data[1]), "--runs", str(tmp_path / "all runs")]
    words = [str(recipe), "--seeds", "2", "--scale", "laptop", *data, "--set", "ITERATIONS=15"]
    dry = CliRunner().invoke(launch.main, [*words, "--dry-run"])
    assert dry.exit_code == 0 and "arm      more: ITERATIONS=15 MODE= GAIN=0.05" in dry.stdout, dry.output
    done = CliRunner().invoke(launch.main, words)
    assert done.exit_code == 0, done.output
    (run_path,) = (tmp_path / "all runs").glob("mine-*")
    found = read_run(run_path)
    assert found.complete and len(list(found.results)) == 4 and found.trunks[1337].steps == 15
    assert set(found.nodes) == set(found.plan.seeds) and not (run_path.parent / "trunks").exists()
    compared = found.compare("more", "plain")
    assert compared is not None and compared.test == "paired t" and compared.gain == pytest.approx(0.05)
    told = CliRunner().invoke(report.main, [str(run_path)])
    assert "whether it learns from a token before it is scored is untold" in " ".join(told.stdout.split())
    assert "one training, scored twice" not in (run_path / "report.md").read_text()
    again = CliRunner().invoke(launch.main, words)
    assert "nothing to run" in again.stderr
