"""A recipe's one-file program, run as trials run it: alone in an empty folder, and by two processes under torchrun."""

import json
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.artifact import unpack
from jobs.contract.assignment import Assignment
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.contract.shards import file_sha256
from platform.logs.log import read_log
from platform.program.inline import inline
from platform.program.recipe import entry_program, load, program
from platform.runs.reading import read_result, read_trunk
from tests import recipes
from tests.benchmarks.recipes import recipe_object
from tests.jobs.tiny import ENGLISH, ROOT, TEXT_VOCABULARY, TEXTS, tokenized, train_tokenizer, write_shard

# leaky_cosine has most techniques of the field in it; four steps of it at the smallest scale take seconds.
RECIPE = f"""
question: Does the program run?
base: leaky_cosine
shape: {{vocab_size: {TEXT_VOCABULARY}}}
evaluation: {{sliding: {{stride: 16}}}}
arms:
  no_ttt: no_adaptation
  sgd: {{pre_eval: {{optimizer: sgd, learning_rate: 0.01, epochs: 1}}}}
  packed_again: {{pre_eval: {{before_quantization: true, epochs: 1, learning_rate: 0.01}}}}
  legal: {{score_first: {{chunk_targets: 256, learning_rate: 0.05}}}}
scales:
  smoke:
    budget: {{iterations: 4, batch_tokens: 256, sequence_length: 64, max_micro_batch_tokens: 128, validate_every: 2}}
    techniques: {{score_first: {{chunk_targets: 256}}, sliding: {{stride: 16}}}}
"""
TORCHRUN = ["-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ARMS = ("no_ttt", "sgd", "packed_again", "legal")
PRE_EVAL_ARMS = ("sgd", "packed_again")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    data_path: Path
    tokenizer_path: Path
    val_text_bytes: int
    val_targets: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """A job that has run: its folder, and what it said."""

    folder: Path
    stdout: str
    stderr: str

    def result(self, arm: str) -> Any:
        return read_result(self.folder / "output of the job" / arm / "result.json")

    @property
    def trunk(self) -> Any:
        return read_trunk(self.folder / "trunk" / "trunk.json")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("a corpus")
    tokenizer = train_tokenizer(folder, ENGLISH, vocabulary=TEXT_VOCABULARY)
    validation = tokenized(tokenizer, TEXTS)
    write_shard(folder / "text_train_000000.bin", tokenized(tokenizer, TEXTS[::-1]))
    write_shard(folder / "text_val_000000.bin", validation)
    return Corpus(
        data_path=folder,
        tokenizer_path=tokenizer,
        val_text_bytes=sum(len(text.encode()) for text in TEXTS),
        val_targets=len(validation) - 1,
    )


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The recipe's entry program and its one-file program."""
    path = tmp_path_factory.mktemp("recipes") / "proof.yaml"
    path.write_text(RECIPE)
    choices = load(path, "smoke")
    return {"entry": entry_program(choices), "program": program(choices)}


def assignment(folder: Path, corpus: Corpus, **changes: Any) -> Assignment:
    """Paths relative to the job's folder, which has a space in its name, like those of its output."""
    told = Assignment(
        seed=1337,
        data_path=corpus.data_path,
        tokenizer_path=corpus.tokenizer_path,
        output_path=Path("output of the job"),
        trunk_path=Path("trunk"),
        arms=(),
        max_wallclock_seconds=None,
    )
    return replace(told, **changes)


def environment(told: Assignment) -> dict[str, str]:
    """What the job is told, and nothing else of ours: no PYTHONPATH, no checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, **told.to_environment(), "OMP_NUM_THREADS": "1"}


def started(folder: Path, command: list[str], told: Assignment) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(told),
        capture_output=True,
        text=True,
        timeout=900,
    )


def ran(folder: Path, command: list[str], told: Assignment) -> Done:
    done = started(folder, command, told)
    assert done.returncode == 0, done.stderr[-3000:]
    return Done(folder=folder, stdout=done.stdout, stderr=done.stderr)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str], corpus: Corpus) -> Done:
    """The one-file program, alone in an empty folder with a space in its name, with safe path on."""
    folder = tmp_path_factory.mktemp("an empty folder")
    (folder / "train_gpt.py").write_text(texts["program"])
    return ran(folder, ["-P", "train_gpt.py"], assignment(folder, corpus))


@pytest.fixture(scope="module")
def under_torchrun(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str], corpus: Corpus) -> Done:
    folder = tmp_path_factory.mktemp("two processes")
    (folder / "train_gpt.py").write_text(texts["program"])
    return ran(folder, [*TORCHRUN, "train_gpt.py"], assignment(folder, corpus))


# One run


def test_the_program_leaves_what_the_contract_says(first: Done) -> None:
    files = {str(path.relative_to(first.folder)) for path in first.folder.rglob("*") if path.is_file()}
    trunk = {f"trunk/{name}" for name in ("trunk.json", "weights.pt", "artifact.bin", "train.log", "metrics.jsonl")}
    arms = {f"output of the job/{arm}/{name}" for arm in ARMS for name in ("result.json", "train.log", "metrics.jsonl")}
    assert files == {"train_gpt.py", *trunk, *arms, "output of the job/packed_again/artifact.bin"}


@pytest.mark.parametrize("run", ["first", "under_torchrun"])
def test_what_is_counted_is_what_ran_and_ships(run: str, request: pytest.FixtureRequest, corpus: Corpus) -> None:
    done: Done = request.getfixturevalue(run)
    code_bytes = (done.folder / "train_gpt.py").stat().st_size
    for arm in ARMS:
        result = done.result(arm)
        own = done.folder / "output of the job" / arm / "artifact.bin"
        artifact = own if arm == "packed_again" else done.folder / "trunk" / "artifact.bin"
        assert result.code_bytes == code_bytes
        assert result.model_bytes == artifact.stat().st_size
        assert result.artifact_bytes == code_bytes + artifact.stat().st_size
        assert result.program_sha256 == file_sha256(done.folder / "train_gpt.py")
        assert result.scored_bytes == corpus.val_text_bytes
        assert result.scored_tokens == corpus.val_targets
        assert result.val_bpb == pytest.approx(
            result.val_loss_nats * corpus.val_targets / math.log(2) / corpus.val_text_bytes, rel=1e-12
        )
        assert result.trunk.steps == 4 and result.seed == 1337
        assert result.machine.world_size == (2 if run == "under_torchrun" else 1)
        assert result.trunk.parameters == sum(one.values.numel() for one in unpack(artifact))


def test_all_arms_name_the_trunk_that_is_there(first: Done) -> None:
    trunk = first.trunk
    assert all(first.result(arm).trunk == trunk for arm in ARMS)
    assert trunk.artifact_sha256 == file_sha256(first.folder / "trunk" / "artifact.bin")
    assert trunk.weights_sha256 == file_sha256(first.folder / "trunk" / "weights.pt")
    assert trunk.train_tokens == 4 * 256


def test_arms_differ_where_they_should(first: Done) -> None:
    assert len({first.result(arm).val_loss_nats for arm in ARMS}) == len(ARMS)
    for arm in ARMS:
        result = first.result(arm)
        assert result.protocol == (PRE_EVAL if arm in PRE_EVAL_ARMS else SCORE_FIRST)
        assert result.claimable == (arm not in PRE_EVAL_ARMS)
        assert (result.adapt_seconds > 0) == (arm in PRE_EVAL_ARMS)
        assert (result.aligned_val_bpb is None) == (arm == "legal"), "there is no second pass of a learner"
        assert result.eval_seconds == pytest.approx(
            sum(seconds for phase, seconds in result.phases.items() if phase != "diagnose")
        )
        assert not result.end_to_end


def test_the_log_says_what_the_results_say(first: Done) -> None:
    """In the community's dialect, with eight digits; under a label that nobody takes for a score where it is none."""
    labels = {"no_ttt": "final_int6_sliding_window", "legal": "legal_ttt"}
    for arm in ARMS:
        result = first.result(arm)
        log = (first.folder / "output of the job" / arm / "train.log").read_text()
        label = labels.get(arm, "diagnostic_pre_eval_sliding_window")
        assert f"\n{label}_exact val_loss:{result.val_loss_nats:.8f} val_bpb:{result.val_bpb:.8f}\n" in log
        assert f"\n{label} val_loss:{result.val_loss_nats:.4f} val_bpb:{result.val_bpb:.4f} eval_time:" in log
        assert f"\nCode size: {result.code_bytes} bytes\n" in log
        assert f"\nSerialized model int6+zstd: {result.model_bytes} bytes\n" in log
        assert f"\nTotal submission size int6+zstd: {result.artifact_bytes} bytes\n" in log
        assert log.startswith((first.folder / "trunk" / "train.log").read_text()), "the log of the whole run"
        assert bool(re.search("^final_", log, re.M)) == (arm == "no_ttt"), "no other line looks like a score"
    log = (first.folder / "trunk" / "train.log").read_text()
    for line in (
        "seed:1337", f"model_params:{first.trunk.parameters}", "world_size:1 grad_accum_steps:2", "warmup_step:1/1",
        "train_batch_tokens:256 train_seq_len:64 iterations:4 warmup_steps:1 max_wallclock_seconds:600.000",
        "ema:applying EMA weights",
    ):  # fmt: skip
        assert f"\n{line}\n" in log
    assert re.search(r"\nstep:4/4 train_loss:\d\.\d{4} train_time:\d+ms step_avg:\d+\.\d\dms\n", log)
    assert re.search(r"\nstep:2/4 val_loss:\d\.\d{4} val_bpb:\d\.\d{4} train_time:\d+ms step_avg:\d+\.\d\dms\n", log)


def test_the_reader_of_other_peoples_logs_reads_ours(first: Done) -> None:
    result = first.result("no_ttt")
    path = first.folder / "output of the job" / "no_ttt" / "train.log"
    run = read_log(path, "train.log").used
    assert run is not None and run.seed_logged == 1337
    assert f"{result.val_bpb:.8f}" in {one.bpb.text for one in run.evaluations if one.bpb}


def test_events_are_whole_lines_in_order(first: Done) -> None:
    def events(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    trained = events(first.folder / "trunk" / "metrics.jsonl")
    assert [one["step"] for one in trained if one["event"] == "step"] == [1, 2, 3, 4]
    assert [one["step"] for one in trained if one["event"] == "validation"] == [0, 2, 4]
    assert trained[0] == {"event": "phase", "phase": "setup", "state": "start", "seconds": trained[0]["seconds"]}
    for arm in ARMS:
        scored = events(first.folder / "output of the job" / arm / "metrics.jsonl")
        assert scored[0] == {"event": "arm", "arm": arm, "state": "start"}
        assert scored[-1] == {"event": "arm", "arm": arm, "state": "end"}
        last = [one for one in scored if one["event"] == "score"][-1]
        assert last["position"] == first.result(arm).scored_tokens
        assert last["running_bpb"] == pytest.approx(first.result(arm).val_bpb, rel=1e-12)


def test_the_score_is_that_of_the_artifact_read_back(first: Done, texts: dict[str, str], corpus: Corpus) -> None:
    """Another artifact in the place of this one, and another score: nothing is kept from training."""
    with the_program(first.folder / "train_gpt.py") as job:
        recipe = job.recipe
        model = job.names["build_model"](recipe, seed=1, device=torch.device("cpu"))
        job.names["load_into"](model, job.names["unpack"](first.folder / "trunk" / "artifact.bin"))
        tokens = job.names["validation_tokens"](corpus.data_path)
        windows = recipe.evaluation.windows(len(tokens) - 1, 64, [])
        counts = job.names["ByteCounts"].of_tokenizer(corpus.tokenizer_path, TEXT_VOCABULARY)
        scores = job.names["score_stream"](
            model, tokens, counts.of_targets(tokens), windows, world=job.names["World"](), batch_tokens=128
        )
    assert scores.loss_nats == pytest.approx(first.result("no_ttt").val_loss_nats, rel=1e-6)


# The same again


def values(done: Done) -> dict[str, Any]:
    """What must not depend on when or where a job ran."""
    trunk = done.trunk
    scores = {
        arm: (done.result(arm).val_loss_nats, done.result(arm).val_bpb, done.result(arm).model_bytes) for arm in ARMS
    }
    return {**scores, "artifact": trunk.artifact_sha256, "weights": trunk.weights_sha256, "trunk": trunk.trunk_sha256}


def test_two_processes_agree(under_torchrun: Done, first: Done) -> None:
    """On each other, on the kind of result, and nearly on a model that has seen other batches of the same text."""
    assert under_torchrun.trunk.machine.world_size == 2
    for arm in ARMS:
        log = (under_torchrun.folder / "output of the job" / arm / "train.log").read_text()
        assert "after scoring, equal on all ranks" in log
        assert under_torchrun.result(arm).val_loss_nats == pytest.approx(first.result(arm).val_loss_nats, rel=0.05)
    assert under_torchrun.stdout.count("\nseed:1337\n") == 1, "rank 0 speaks for all"


# Started again: in this process, by the text of the one file


@dataclass(frozen=True, kw_only=True)
class Program:
    """The names of a program that was imported from its one file, and its recipe."""

    names: dict[str, Any]
    recipe: Any
    path: Path

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None: ...


def the_program(path: Path) -> Program:
    names = runpy.run_path(str(path), run_name="imported")
    return Program(names=names["main"].__globals__, recipe=names["RECIPE"], path=path)


@pytest.fixture
def again(
    tmp_path: Path, first: Done, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Start the program again in a copy of the first job's folder; its exit status, output and errors."""
    shutil.copytree(first.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    one_file = the_program(tmp_path / "train_gpt.py")

    def start(
        recipe: Any = None, limits: dict[str, Any] | None = None, program: Program = one_file, **told: Any
    ) -> tuple[int, str, str]:
        variables = assignment(tmp_path, corpus, **told).to_environment()
        for name in ("RANK", "WORLD_SIZE", "FORCE", "MAX_WALLCLOCK_SECONDS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        for name, value in (limits or {}).items():
            monkeypatch.setitem(program.names, name, value)
        status = 0
        try:
            program.names["main"](recipe or program.recipe, str(program.path))
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    start.recipe = one_file.recipe  # type: ignore[attr-defined]
    return start


def written(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_again_is_the_same_bit_by_bit(again: Any, tmp_path: Path, first: Done) -> None:
    assert again(trunk_path=Path("new/trunk"), output_path=Path("new/output of the job"))[0] == 0
    assert values(Done(folder=tmp_path / "new", stdout="", stderr="")) == values(first)


def test_the_checkout_gives_what_the_one_file_gives(again: Any, tmp_path: Path, first: Done, texts: Any) -> None:
    """The entry program with jobs/ beside it: other files, the same numbers to the last bit."""
    (tmp_path / "entry.py").write_text(texts["entry"])
    entry = the_program(tmp_path / "entry.py")
    assert entry.names["__name__"] == "jobs.train"
    assert again(program=entry, trunk_path=Path("new/trunk"), output_path=Path("new/output of the job"))[0] == 0
    assert values(Done(folder=tmp_path / "new", stdout="", stderr="")) == values(first)


def test_a_second_start_trains_and_scores_nothing(again: Any, tmp_path: Path) -> None:
    before = written(tmp_path)
    assert again() == (0, "", "")
    assert written(tmp_path) == before


def test_an_arm_without_a_result_is_scored_and_no_other(again: Any, tmp_path: Path, first: Done) -> None:
    (tmp_path / "output of the job" / "legal" / "result.json").unlink()
    before = written(tmp_path)
    status, out, _ = again()
    assert status == 0 and "arm:legal" in out and "arm:sgd" not in out and "warmup_step" not in out
    changed = {name for name, when in written(tmp_path).items() if before.get(name) != when}
    assert changed == {f"output of the job/legal/{name}" for name in ("result.json", "train.log", "metrics.jsonl")}
    scored = read_result(tmp_path / "output of the job" / "legal" / "result.json")
    assert scored.val_loss_nats == first.result("legal").val_loss_nats


def test_only_the_arms_that_are_asked_for_are_scored(again: Any, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "output of the job")
    assert again(arms=("sgd",))[0] == 0
    assert [path.name for path in (tmp_path / "output of the job").iterdir()] == ["sgd"]


def test_a_trunk_that_was_not_finished_is_trained_again_to_the_same(again: Any, tmp_path: Path, first: Done) -> None:
    (tmp_path / "trunk" / "trunk.json").unlink()
    (tmp_path / "trunk" / "artifact.bin").write_bytes(b"half of it")
    before = written(tmp_path / "output of the job")
    status, out, _ = again()
    assert status == 0 and "step:4/4 train_loss" in out
    assert read_trunk(tmp_path / "trunk" / "trunk.json").trunk_sha256 == first.trunk.trunk_sha256
    assert written(tmp_path / "output of the job") == before, "the results of that trunk are still right"


def test_results_of_another_program_or_trunk_are_scored_again(again: Any, tmp_path: Path) -> None:
    path = tmp_path / "output of the job" / "no_ttt" / "result.json"
    for of in ("program", "trunk"):
        content = json.loads(path.read_text())
        (content if of == "program" else content["trunk"])[f"{of}_sha256"] = "0" * 64
        path.write_text(json.dumps(content))
        assert "arm:no_ttt" in again(arms=("no_ttt",))[1]
        assert read_result(path).val_bpb > 0


def test_without_training_the_score_is_that_of_chance(again: Any, tmp_path: Path) -> None:
    status, out, _ = again(
        trunk_path=Path("untrained"), output_path=Path("out"), arms=("no_ttt",), max_wallclock_seconds=0.0
    )
    assert status == 0 and "stopping_early: wallclock_cap" in out
    result = read_result(tmp_path / "out" / "no_ttt" / "result.json")
    assert result.trunk.steps == 0 and abs(result.val_loss_nats - math.log(TEXT_VOCABULARY)) < 0.02


def test_a_recipe_of_one_arm_is_end_to_end(again: Any, tmp_path: Path) -> None:
    recipe = again.recipe
    alone = replace(recipe, arms={"no_ttt": recipe.arms["no_ttt"]})
    assert again(alone, trunk_path=Path("other"), output_path=Path("out"))[0] == 0
    assert read_result(tmp_path / "out" / "no_ttt" / "result.json").end_to_end


# Mistakes: one message, exit status 2


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def other_data(folder: Path, corpus: Corpus, **changes: Any) -> dict[str, Any]:
    """The corpus with one shard replaced."""
    shutil.copytree(corpus.data_path, folder / "other data")
    for name, tokens in changes.items():
        write_shard(folder / "other data" / f"text_{name}_000000.bin", tokens)
    return {"data_path": folder / "other data", "trunk_path": Path("new"), "output_path": Path("new out")}


def short_shard(folder: Path, corpus: Corpus) -> dict[str, Any]:
    told = other_data(folder, corpus)
    path = told["data_path"] / "text_train_000000.bin"
    path.write_bytes(path.read_bytes()[:-1])
    return told


def file_of(folder: Path, content: bytes) -> Path:
    path = folder / "a file"
    path.write_bytes(content)
    return path


Mistake = Callable[[Path, Corpus], dict[str, Any] | None]  # spoils a file, or gives what else the job is told
TRUNK, OUTPUT = Path("trunk"), Path("output of the job")
MISTAKES: dict[str, tuple[Mistake, str]] = {
    "unknown arm": (
        lambda folder, corpus: {"arms": ("no_ttt", "adam")},
        r"no arm adam.*it has no_ttt, sgd, packed_again, legal",
    ),
    "no data": (lambda folder, corpus: {"data_path": folder / "nowhere"}, r"nowhere: no \*_train_\*\.bin shard"),
    "no tokenizer": (lambda folder, corpus: {"tokenizer_path": folder / "none.model"}, r"none\.model: no such tokeniz"),
    "a tokenizer that is none": (
        lambda folder, corpus: {"tokenizer_path": file_of(folder, b"\x00\x01\x02" * 99)},
        r"a file: not a SentencePiece model",
    ),
    "a shard short by one byte": (short_shard, r"text_train_000000\.bin: the header counts \d+ tokens"),
    "one token to score": (lambda folder, corpus: other_data(folder, corpus, val=[1]), r"hold one token"),
    "validation of another tokenizer": (
        lambda folder, corpus: other_data(folder, corpus, val=[1, 9000]),
        r"validation token 9000 is beyond the vocabulary of 330",
    ),
    "training text of another tokenizer": (
        lambda folder, corpus: other_data(folder, corpus, train=[1, 9000, 7]),
        r"training token 9000 is beyond the vocabulary of 330",
    ),
    "weights changed": (lambda folder, _: spoil(folder / TRUNK / "weights.pt"), r"weights\.pt: missing or changed"),
    "artifact changed": (
        lambda folder, _: spoil(folder / TRUNK / "artifact.bin"),
        r"artifact\.bin: missing or changed",
    ),
    "artifact missing": (
        lambda folder, _: (folder / TRUNK / "artifact.bin").unlink(),
        r"artifact\.bin: missing or cha",
    ),
    "log missing": (lambda folder, _: (folder / TRUNK / "train.log").unlink(), r"train\.log: missing or changed"),
    "trunk record cut off": (
        lambda folder, corpus: os.truncate(folder / TRUNK / "trunk.json", 100),
        r"trunk\.json: cannot be read: ",
    ),
    "result cut off": (
        lambda folder, corpus: os.truncate(folder / OUTPUT / "sgd" / "result.json", 100),
        r"result\.json: cannot be read: ",
    ),
    "trunk of another seed": (lambda folder, corpus: {"seed": 42}, r"trunk there is of another seed"),
    "trunk of other data": (
        lambda folder, corpus: {**other_data(folder, corpus, val=[1, 70, 71]), "trunk_path": TRUNK},
        r"of another seed, data set or tokenizer",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_message(again: Any, tmp_path: Path, corpus: Corpus, mistake: str) -> None:
    make, message = MISTAKES[mistake]
    told = make(tmp_path, corpus)
    before = written(tmp_path)
    status, out, err = again(**(told if isinstance(told, dict) else {}))
    assert status == 2 and out == ""
    assert re.search(message, err) and err.count("\n") == 1 and "Traceback" not in err
    assert err.startswith(f"{tmp_path / 'train_gpt.py'}: ")
    assert written(tmp_path) == before, "refused before anything is written"


def test_a_program_that_is_started_wrongly_says_so_and_ends_with_2(first: Done, corpus: Corpus) -> None:
    done = started(first.folder, ["-P", "train_gpt.py"], assignment(first.folder, corpus, arms=("typo",)))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("train_gpt.py: ARMS: no arm typo") == done.stderr.count("\n") == 1


def test_of_two_processes_at_least_one_says_what_is_wrong(first: Done, corpus: Corpus) -> None:
    """torchrun ends the other when one has ended, and adds lines of its own; its status is 1, whatever theirs was."""
    told = assignment(first.folder, corpus, tokenizer_path=Path("none.model"))
    done = started(first.folder, [*TORCHRUN, "train_gpt.py"], told)
    assert done.returncode == 1 and done.stdout == ""
    said = re.findall(r"train_gpt\.py: (rank 1: )?none\.model: no such tokenizer", done.stderr)
    assert said and len(said) == len(set(said)), done.stderr
    assert re.search(r"exitcode\s*: 2 ", done.stderr)


@pytest.mark.parametrize(
    "line",
    ["    total = torch.zeros((), device=world.device)\n", "        normed = rms_norm(x_BTD)\n"],
    ids=["the loop", "a technique"],
)
def test_a_fault_of_the_code_shows_its_file_and_line(
    tmp_path: Path, texts: dict[str, str], corpus: Corpus, line: str
) -> None:
    """A ValueError as torch, numpy or the author of a technique may raise it is nobody's wrong recipe."""
    before, _, after = texts["program"].partition(line)
    assert after and line not in after
    indent = " " * (len(line) - len(line.lstrip()))
    (tmp_path / "train_gpt.py").write_text(f"{before}{indent}int('x')\n{line}{after}")
    done = started(tmp_path, ["-P", "train_gpt.py"], assignment(tmp_path, corpus))
    assert done.returncode == 1
    assert f'train_gpt.py", line {before.count(chr(10)) + 1}, in ' in done.stderr
    assert done.stderr.rstrip().endswith("ValueError: invalid literal for int() with base 10: 'x'")
    assert "\ntrain_gpt.py: " not in f"\n{done.stderr}", "no refusal"


def test_a_diverged_run_packs_nothing(again: Any, tmp_path: Path) -> None:
    recipe = again.recipe
    wild = replace(recipe, optimizer=replace(recipe.optimizer, table_learning_rate=1e38))
    status, _, err = again(wild, trunk_path=Path("wild"), output_path=Path("wild out"))
    assert status == 1 and err.count("\n") == 1 and "Traceback" not in err
    assert err.startswith(f"{tmp_path / 'train_gpt.py'}: the training diverged")
    assert not (tmp_path / "wild" / "artifact.bin").exists() and not (tmp_path / "wild" / "trunk.json").exists()


def test_an_artifact_above_the_limit_is_not_scored_unless_that_is_forced(again: Any, tmp_path: Path) -> None:
    told = {"arms": ("no_ttt",), "trunk_path": Path("large"), "output_path": Path("out")}
    limits = {"ARTIFACT_LIMIT_BYTES": 10_000}
    status, out, err = again(limits=limits, **told)
    assert status == 2 and "above the limit of 10000" in err and "where the bytes went" in out
    assert not (tmp_path / "out" / "no_ttt" / "result.json").exists()
    assert again(limits=limits, force=True, **told)[0] == 0
    assert read_result(tmp_path / "out" / "no_ttt" / "result.json").artifact_bytes > 10_000


# Every recipe

IMPORT_ALL = """
import pathlib, runpy, sys
for path in sorted(pathlib.Path().glob("*.py")):
    names = runpy.run_path(str(path), run_name="imported")
    assert names["RECIPE"].arms and callable(names["main"]), path
    print(path.stem)
assert not [name for name in sys.modules if name.split(".")[0] in ("jobs", "yaml", "ray", "mlflow", "pandas")]
assert not hasattr(sys.modules.get("platform"), "__path__"), "the standard module"
"""


SCALES = sorted(path.stem for path in (ROOT / "recipes" / "scales").glob("*.yaml"))


@pytest.mark.parametrize("scale", SCALES)
def test_every_recipe_at_every_scale_is_one(scale: str) -> None:
    for name in recipes.NAMES:
        assert recipe_object(name, scale).arms


def test_every_recipe_imports_alone_and_some_at_every_scale(tmp_path: Path) -> None:
    names = []
    for name in recipes.NAMES:
        for scale in SCALES if name in recipes.few_of_every_technique() else ["laptop"]:
            names.append(f"{name}-{scale}")
            text = inline(entry_program(load(ROOT / "recipes" / f"{name}.yaml", scale)), ROOT)
            (tmp_path / f"{names[-1]}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL], cwd=tmp_path, capture_output=True, text=True, timeout=900,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == sorted(names) and len(names) >= 2
