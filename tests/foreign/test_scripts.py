"""Scripts in the styles of the field: they train for real, and what the readers find in their logs is what they did."""

import functools
import io
import json
import lzma
import math
import runpy
import zlib
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import zstandard
from tests.foreign.pack import packed
from tests.foreign.running import HERE, Ran, run
from torch import Tensor

from jobs.data.byte_counts import ByteCounts
from jobs.data.shards import validation_tokens
from platform.logs.learning import SCORE_FIRST
from platform.records.record import AGREES, examine

VOCABULARY, LENGTH, STEPS, SEED = 1024, 128, 4, 7
# The rate of the baseline would be small from the first of so few steps on.
FEW = {"ITERATIONS": STEPS, "WARMDOWN_ITERS": 2, "VAL_TOKENS": 1024}
Nats = Callable[[Tensor, Tensor], Tensor]


def baseline_nats(script: dict[str, Any], content: bytes) -> Nats:
    model = script["GPT"](script["Hyperparameters"])
    model.load_state_dict(script["dequantize"](torch.load(io.BytesIO(zlib.decompress(content)))))
    return lambda x, y: model(x, y, reduction="sum")


def spaced_nats(script: dict[str, Any], content: bytes) -> Nats:
    model = script["LoopedGPT"](script["Settings"]())
    model.load_state_dict(script["unpack"](content))
    return lambda x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")


def compact_nats(script: dict[str, Any], content: bytes) -> Nats:
    model = script["GPT"]()
    script["unpack"](model, content)
    script["T"].forward = torch.nn.Linear.forward
    return lambda x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")


@dataclass(frozen=True, kw_only=True)
class Style:
    """A script, how its log is read, and how its artifact is."""

    dialect: str
    artifact: str
    label: str  # of the line that counts
    kind: str
    roundtrip: str  # the label under which windows side by side are scored
    decimals: int  # of that score
    unpack: Callable[[bytes], object]  # raises where the artifact is not what the script says
    nats: Callable[[dict[str, Any], bytes], Nats]


STYLES = {
    "baseline_style": Style(
        dialect="baseline",
        artifact="final_model.int8.ptz",
        label="final_int8_zlib_roundtrip_exact",
        kind="roundtrip",
        roundtrip="final_int8_zlib_roundtrip_exact",
        decimals=8,
        unpack=zlib.decompress,
        nats=baseline_nats,
    ),
    "spaced_style": Style(
        dialect="spaced",
        artifact="final_model.int6.ptz",
        label="quantized_sliding_window",
        kind="sliding",
        roundtrip="quantized",
        decimals=8,
        unpack=lambda content: zstandard.ZstdDecompressor().decompress(content),
        nats=spaced_nats,
    ),
    "compact_style": Style(
        dialect="compact",
        artifact="final_model.ternary.ptz",
        label="final_sliding",
        kind="sliding",
        roundtrip="final_ternary_roundtrip",
        decimals=4,
        unpack=lzma.decompress,
        nats=compact_nats,
    ),
}
SCORED_BY_TTT = "legal_ttt_exact"


def script_of(style: str) -> Path:
    return HERE / f"{style}.py"


def here(script: Path, folder: Path, data: tuple[Path, Path], **settings: object) -> Ran:
    """Run a script in this process, which has imported torch once."""
    folder.mkdir(parents=True)
    said, threads = io.StringIO(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said), torch.random.fork_rng():
        patched.chdir(folder)
        for name in ("RANK", "WORLD_SIZE"):
            patched.delenv(name, raising=False)
        for name, value in {"DATA_PATH": data[0], "TOKENIZER_PATH": data[1], "RUN_ID": "x", **settings}.items():
            patched.setenv(name, str(value))
        torch.set_num_threads(1)
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            torch.set_num_threads(threads)
    (folder / "stdout.txt").write_text(said.getvalue())
    return Ran(folder=folder, returncode=0, errors="")


@pytest.fixture(scope="module")
def launched(tiny_data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Ran]:
    """Of a style and a number of processes, a run of a few steps under torchrun with seed 7; each is run once."""

    @functools.cache
    def launched(style: str, processes: int) -> Ran:
        folder = tmp_path_factory.mktemp(f"{style} {processes}")
        return run(script_of(style), folder, tiny_data, processes=processes, SEED=SEED, RUN_ID="x", **FEW)

    return launched


@pytest.fixture(scope="module")
def seeded(tiny_data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Ran]:
    """Of a style and a seed, a run of a few steps in this process; each is run once."""

    @functools.cache
    def seeded(style: str, seed: int) -> Ran:
        folder = tmp_path_factory.mktemp(f"{style} seed {seed}") / "run"
        return here(script_of(style), folder, tiny_data, SEED=seed, **FEW)

    return seeded


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[1, 2])
def ran(style: str, request: pytest.FixtureRequest, launched: Callable[[str, int], Ran]) -> tuple[int, Ran]:
    """The number of processes, and a run under torchrun with as many."""
    return request.param, launched(style, request.param)


def test_the_readers_find_what_it_did(style: str, ran: tuple[int, Ran], tiny_data: tuple[Path, Path]) -> None:
    (processes, done), expected = ran, STYLES[style]
    assert done.returncode == 0, done.errors
    found = done.run
    assert found.dialect == expected.dialect
    assert (found.seed_logged, found.whole("iterations"), found.whole("steps_done")) == (SEED, STEPS, STEPS)
    assert int(done.printed(r"\b(?:world_size|ws): ?(\d+)")) == processes
    train_ms, step_ms = found.number_of("train_time_ms"), found.number_of("step_avg_ms")
    assert train_ms is not None and step_ms is not None and train_ms > 0
    assert abs(float(train_ms) - STEPS * float(step_ms)) <= 0.5 + STEPS * 0.05 + 1e-9  # both are rounded

    score = found.candidates[0]
    assert (score.label, score.kind, score.decimals) == (expected.label, expected.kind, 8)
    assert (score.loss is not None and found.eval_ms(score) is not None) or style == "baseline_style"
    assert not found.learning and not found.switches
    tokens = validation_tokens(tiny_data[0])
    end = (len(tokens) - 1) // LENGTH * LENGTH
    text_bytes = ByteCounts.of_tokenizer(tiny_data[1], VOCABULARY).of_targets(tokens[: end + 1]).sum().item()
    assert score.loss is not None
    in_bpb = float(score.loss.text) / math.log(2) * end / text_bytes
    assert float(score.bpb.text) == pytest.approx(in_bpb, abs=2e-8)  # both are printed with eight decimals


def test_its_bytes_are_those_of_its_files(style: str, ran: tuple[int, Ran]) -> None:
    _, done = ran
    artifact = done.folder / STYLES[style].artifact
    assert done.run.whole("code_bytes") == script_of(style).stat().st_size
    assert done.run.whole("artifact_total_bytes") == artifact.stat().st_size + script_of(style).stat().st_size
    if style != "compact_style":  # which prints what its parts take, and the total
        assert done.run.whole("artifact_model_bytes") == artifact.stat().st_size
    assert STYLES[style].unpack(artifact.read_bytes())


def test_its_score_is_that_of_the_artifact(style: str, ran: tuple[int, Ran], tiny_data: tuple[Path, Path]) -> None:
    """Held against one window after the other, summed in float64."""
    _, done = ran
    expected = STYLES[style]
    script = runpy.run_path(str(script_of(style)), run_name="foreign")
    nats = expected.nats(script, (done.folder / expected.artifact).read_bytes())
    tokens = validation_tokens(tiny_data[0])
    windows = (len(tokens) - 1) // LENGTH
    with torch.no_grad():
        total = math.fsum(
            nats(tokens[at : at + LENGTH][None], tokens[at + 1 : at + LENGTH + 1][None]).item()
            for at in range(0, windows * LENGTH, LENGTH)
        )
    (score,) = (one for one in done.run.evaluations if one.label == expected.roundtrip)
    assert score.loss is not None and score.decimals == expected.decimals
    # Float32 sums over windows of another number; the printed decimals.
    tolerance = max(2e-6, 0.51 * 10**-expected.decimals)
    assert float(score.loss.text) == pytest.approx(total / windows / LENGTH, abs=tolerance)


def test_its_log_file_says_what_it_printed(style: str, ran: tuple[int, Ran]) -> None:
    _, done = ran
    (log,) = (done.folder / "logs").rglob("x.txt")
    assert done.run.candidates[0].bpb.text in log.read_text()


def test_two_processes_train_one_model(style: str, launched: Callable[[str, int], Ran]) -> None:
    """Both numbers of processes take the same text in each step, but for the tokens between the baseline's spans."""
    losses = [float(launched(style, processes).printed(r"val_loss: ?(\d+\.\d{4})\b")) for processes in (1, 2)]
    assert losses[0] == pytest.approx(losses[1], abs=0.003 if style == "baseline_style" else 0.0006)


def test_the_seed_decides_the_score(
    style: str, launched: Callable[[str, int], Ran], seeded: Callable[[str, int], Ran]
) -> None:
    scores = {seed: seeded(style, seed).run.candidates[0].bpb.text for seed in (SEED, SEED + 1)}
    assert launched(style, 1).run.candidates[0].bpb.text == scores[SEED]
    assert scores[SEED + 1] != scores[SEED]


def test_packed_it_does_the_same(
    style: str, seeded: Callable[[str, int], Ran], tiny_data: tuple[Path, Path], tmp_path: Path
) -> None:
    script = tmp_path / "train_gpt.py"
    script.write_text(packed(script_of(style).read_text()))
    done = here(script, tmp_path / "run", tiny_data, SEED=SEED, **FEW)
    assert done.run.candidates[0].bpb == seeded(style, SEED).run.candidates[0].bpb
    assert done.run.whole("code_bytes") == script.stat().st_size < script_of(style).stat().st_size


def test_a_record_of_it_agrees_with_its_logs(style: str, seeded: Callable[[str, int], Ran], tmp_path: Path) -> None:
    record, by_seed = tmp_path / "record", {}
    record.mkdir()
    for seed in (7, 8, 9):
        done = seeded(style, seed)
        (record / f"train_seed{seed}.log").write_text(done.text)
        by_seed[seed] = (float(done.run.candidates[0].bpb.text), done.run.whole("artifact_total_bytes"))
    mean = round(math.fsum(bpb for bpb, _ in by_seed.values()) / len(by_seed), 8)
    rows = [f"| {seed} | {STEPS} | {bpb:.8f} | {total:,} bytes |" for seed, (bpb, total) in by_seed.items()]
    table = ["| Seed | Steps | BPB | Artifact |", "|-|-|-|-|", *rows, f"| **Mean** | | **{mean:.8f}** | |"]
    (record / "README.md").write_text(f"**val_bpb: {mean:.8f}** (3-seed mean)\n\n" + "\n".join(table) + "\n")
    seeds = {str(seed): {"val_bpb": bpb, "artifact_bytes": total} for seed, (bpb, total) in by_seed.items()}
    (record / "submission.json").write_text(json.dumps({"name": style, "val_bpb": mean, "seed_results": seeds}))
    judged = examine(record)
    assert judged.verdict == AGREES, judged.findings
    assert judged.score.seeds == (7, 8, 9) and judged.score.bpb == tuple(bpb for bpb, _ in by_seed.values())

    (record / "README.md").write_text((record / "README.md").read_text().replace(f"{mean:.8f}", f"{mean - 0.01:.8f}"))
    assert examine(record).verdict != AGREES


@pytest.fixture(scope="module", params=[1, 2])
def adapted(
    request: pytest.FixtureRequest, tiny_data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    """The baseline with test-time training, by one process and by two."""
    folder = tmp_path_factory.mktemp(f"ttt {request.param}")
    settings = {"ITERATIONS": STEPS, "SEED": 7, "TTT_ENABLED": 1, "TTT_CHUNK_TOKENS": 512}
    return run(script_of("baseline_style"), folder, tiny_data, processes=request.param, **settings)


def test_test_time_training_is_read_as_legal(adapted: Ran) -> None:
    assert adapted.returncode == 0, adapted.errors
    score = adapted.run.candidates[0]
    assert (score.label, score.kind, score.decimals) == (SCORED_BY_TTT, "ttt", 8)
    assert adapted.run.eval_ms(score) is not None
    assert {block.order for block in adapted.run.learning} == {SCORE_FIRST}
    assert score.bpb.decimal < adapted.run.of_kind("roundtrip")[0].bpb.decimal, "it learned nothing"


def test_its_test_time_training_is_legal(tiny_data: tuple[Path, Path], tmp_path: Path) -> None:
    """A chunk is scored as by weights that have seen those before it, whatever stands behind them, and nothing else."""
    other = tmp_path / "other data"
    other.mkdir()
    for shard in tiny_data[0].glob("*.bin"):
        content = bytearray(shard.read_bytes())
        if "_val_" in shard.name:
            third = 1024 + 2 * (1024 + 1)  # the byte at which the targets of the third chunk begin
            content[third:] = content[1024:][: len(content) - third]
        (other / shard.name).write_bytes(content)

    def chunks(name: str, data: Path, **settings: object) -> list[str]:
        few = {**FEW, "TTT_ENABLED": 1, "TTT_CHUNK_TOKENS": 512, **settings}
        done = here(script_of("baseline_style"), tmp_path / name, (data, tiny_data[1]), **few)
        return [line.partition(" time=")[0] for line in done.text.splitlines() if "ttt_chunk" in line]

    first = chunks("first", tiny_data[0])
    changed = chunks("changed", other)
    assert changed[:2] == first[:2] and changed[2] != first[2]
    still = chunks("still", tiny_data[0], TTT_LR=0)
    assert still[0] == first[0] and still[1] != first[1]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_speedrun_has_a_loss_alone(processes: int, launched: Callable[[str, int], Ran]) -> None:
    done = launched("speedrun_style", processes)
    assert done.returncode == 0, done.errors
    found = done.run
    assert found.last_loss is not None and found.last_loss.text == done.printed(r"val_loss:(\S+)")
    assert not found.candidates and found.seed_logged is None and "artifact_total_bytes" not in found.facts
    assert (found.whole("steps_done"), found.whole("iterations")) == (STEPS, STEPS)
    train_ms, step_ms = found.number_of("train_time_ms"), found.number_of("step_avg_ms")
    assert train_ms is not None and step_ms is not None
    assert abs(float(train_ms) - STEPS * float(step_ms)) <= 0.5 + STEPS * 0.005 + 1e-9  # both are rounded
    assert {path.name for path in done.folder.iterdir()} == {"logs", "stdout.txt", "stderr.txt"}


def test_two_processes_run_one_speedrun(launched: Callable[[str, int], Ran]) -> None:
    losses = [float(launched("speedrun_style", processes).printed(r"val_loss:(\S+)")) for processes in (1, 2)]
    assert losses[0] == pytest.approx(losses[1], abs=5e-4) and losses[0] < math.log(VOCABULARY) - 0.1


def test_the_seed_of_a_speedrun_decides_its_loss(
    launched: Callable[[str, int], Ran], seeded: Callable[[str, int], Ran]
) -> None:
    losses = {seed: seeded("speedrun_style", seed).printed(r"val_loss:(\S+)") for seed in (SEED, SEED + 1)}
    assert launched("speedrun_style", 1).printed(r"val_loss:(\S+)") == losses[SEED] != losses[SEED + 1]


def test_no_script_knows_this_project() -> None:
    for script in HERE.glob("*.py"):
        if script.name not in ("conftest.py", "running.py") and not script.name.startswith("test_"):
            text = script.read_text()
            assert not any(f"{word} {room}" in text for word in ("import", "from") for room in ("jobs", "tests"))
            assert "from platform" not in text and "import platform" not in text
