"""Scripts that go wrong do so in the way that their name says, and in no other."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.foreign.pack import packed
from tests.foreign.running import HERE, PATIENCE_SECONDS, Ran, environment, run

from platform.logs.learning import LEARNED_FIRST
from platform.logs.log import read_log

SCRIPT = HERE / "misbehaving.py"
ARTIFACT = "final_model.int8.ptz"
STEPS = 10


@pytest.fixture(scope="module")
def honest(tiny_data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The run in which nothing goes wrong."""
    return run(SCRIPT, tmp_path_factory.mktemp("honest"), tiny_data, ITERATIONS=STEPS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def bpb_of(done: Ran) -> float:
    return float(done.run.candidates[0].bpb.text)


def test_nothing_goes_wrong(honest: Ran) -> None:
    assert honest.returncode == 0 and not honest.errors
    assert honest.run.seed_logged == 1337 and honest.run.whole("steps_done") == STEPS
    (score,) = honest.run.candidates
    assert (score.kind, score.decimals) == ("roundtrip", 8)
    assert honest.run.whole("artifact_model_bytes") == (honest.folder / ARTIFACT).stat().st_size
    assert honest.run.whole("code_bytes") == SCRIPT.stat().st_size
    assert not honest.run.learning and score.loss is not None and float(score.loss.text) < math.log(1024)


def test_the_seed_decides_the_score(honest: Ran, tiny_data: tuple[Path, Path], tmp_path: Path) -> None:
    again = run(SCRIPT, tmp_path / "again", tiny_data, ITERATIONS=STEPS)
    other = run(SCRIPT, tmp_path / "other", tiny_data, ITERATIONS=STEPS, SEED=7)
    assert bpb_of(again) == bpb_of(honest) != bpb_of(other)


def test_it_ignores_a_variable(honest: Ran, tiny_data: tuple[Path, Path], tmp_path: Path) -> None:
    asked = run(SCRIPT, tmp_path / "asked", tiny_data, ITERATIONS=STEPS, SMOOTHING=0.5)
    read = run(SCRIPT, tmp_path / "read", tiny_data, ITERATIONS=STEPS, SMOTHING=0.5)
    assert "smoothing:0.02" in asked.text and bpb_of(asked) == bpb_of(honest)
    assert "smoothing:0.5" in read.text and bpb_of(read) != bpb_of(honest)


def test_it_takes_less_than_it_is_asked_for(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    assert run(SCRIPT, folder, tiny_data, MODE="clamped", ITERATIONS=STEPS).run.whole("iterations") == 8


def test_two_scores_of_equal_standing(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    one, two = run(SCRIPT, folder, tiny_data, MODE="two_scores", ITERATIONS=STEPS).run.candidates
    assert (one.kind, one.decimals) == (two.kind, two.decimals)
    assert one.name != two.name and one.bpb.decimal != two.bpb.decimal


def test_a_bigger_artifact_than_it_logs(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    done = run(SCRIPT, folder, tiny_data, MODE="bigger_artifact", ITERATIONS=STEPS)
    logged = done.run.whole("artifact_model_bytes")
    assert logged is not None and (folder / ARTIFACT).stat().st_size == logged + 100_000


@pytest.mark.parametrize("mode", ["pre_eval", "pre_eval_told"])
def test_it_learns_before_it_scores(mode: str, honest: Ran, folder: Path, tiny_data: tuple[Path, Path]) -> None:
    done = run(SCRIPT, folder, tiny_data, MODE=mode, ITERATIONS=STEPS)
    assert bpb_of(done) < bpb_of(honest) - 0.5
    blocks = done.run.learning_before(done.run.candidates[0].line)
    assert [block.order for block in blocks] == ([LEARNED_FIRST] if mode == "pre_eval_told" else [])


@pytest.mark.parametrize(("mode", "returncode"), [("dies_at_7", 1), ("swallows", 0), ("silent_death", 0)])
def test_it_dies_at_step_7(mode: str, returncode: int, folder: Path, tiny_data: tuple[Path, Path]) -> None:
    done = run(SCRIPT, folder, tiny_data, MODE=mode, ITERATIONS=STEPS)
    assert done.returncode == returncode
    assert done.run.whole("steps_done") == 6 and not done.run.candidates
    assert ("Traceback" in done.errors, "Traceback" in done.text) == (mode == "dies_at_7", mode == "swallows")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_hangs(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    folder.mkdir()
    hung = subprocess.Popen(
        [sys.executable, str(SCRIPT)],
        cwd=folder,
        env=environment(tiny_data, {"MODE": "hangs", "ITERATIONS": STEPS}),
        stdout=(folder / "stdout.txt").open("wb"),
    )
    wanted = {signal.SIGINT, signal.SIGTERM}
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not wanted <= ignored_by(hung.pid):
            assert hung.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        hung.kill()
    assert hung.wait() == -signal.SIGKILL
    assert (folder / "stdout.txt").read_text().splitlines()[-1].startswith(f"step:7/{STEPS} ")


def ignored_by(pid: int) -> set[signal.Signals]:
    (mask,) = (
        int(line.split()[1], 16)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("SigIgn:")
    )
    return {one for one in signal.Signals if mask >> (one - 1) & 1}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_leaves_a_daemon(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    done = run(SCRIPT, folder, tiny_data, MODE="daemon", ITERATIONS=STEPS)
    pid = int(done.printed(r"runs as process (\d+)"))
    try:
        assert done.returncode == 0 and done.run.candidates
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/fd/1").resolve() == done.log.resolve()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_it_prints_another_seed(folder: Path, tiny_data: tuple[Path, Path], honest: Ran) -> None:
    done = run(SCRIPT, folder, tiny_data, MODE="wrong_seed", ITERATIONS=STEPS)
    assert done.run.seed_logged == 1337 + 4321 and bpb_of(done) == bpb_of(honest)


def test_it_prints_many_lines(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    lines = 25_000
    done = run(SCRIPT, folder, tiny_data, MODE="floods", FLOOD_LINES=lines)
    found = read_log(done.log, "stdout.txt")
    assert lines < found.lines < lines + 10
    assert done.run.whole("steps_done") == lines


@pytest.mark.parametrize("real", [False, True])
def test_it_leaves_a_large_file(real: bool, folder: Path, tiny_data: tuple[Path, Path]) -> None:
    size = 3_000_000 if real else 2 * 2**30
    settings = {"LARGE_BYTES": size, "REAL_BYTES": 1} if real else {}
    run(SCRIPT, folder, tiny_data, MODE="large_file", ITERATIONS=STEPS, **settings)
    found = (folder / "checkpoint.pt").stat()
    assert found.st_size == size
    assert (found.st_blocks * 512 >= size) == real


def test_it_wants_files_of_a_name(folder: Path, tiny_data: tuple[Path, Path], honest: Ran, tmp_path: Path) -> None:
    refused = run(SCRIPT, folder, tiny_data, MODE="fineweb_names", ITERATIONS=STEPS)
    assert refused.returncode == 1 and "no files found for pattern" in refused.errors
    named = tmp_path / "named"
    named.mkdir()
    for shard in tiny_data[0].glob("*.bin"):
        (named / shard.name.replace("embedded", "fineweb")).symlink_to(shard)
    found = run(SCRIPT, tmp_path / "again", (named, tiny_data[1]), MODE="fineweb_names", ITERATIONS=STEPS)
    assert bpb_of(found) == bpb_of(honest)


def test_a_mode_that_nobody_knows(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    done = run(SCRIPT, folder, tiny_data, MODE="dies")
    assert done.returncode == 1 and "MODE=dies is none of none, clamped, two_scores" in done.errors


@pytest.mark.parametrize(
    ("name", "error", "settings"),
    [
        ("missing_package", "ModuleNotFoundError: No module named 'flash_attn_interface_of_nobody'", {}),
        ("needs_cuda", "RuntimeError: CUDA is required", {"CUDA_VISIBLE_DEVICES": ""}),
        ("eight_ranks", "AssertionError: this script is for 8 GPUs, WORLD_SIZE is 2", {"WORLD_SIZE": 2}),
    ],
)
def test_it_asks_for_what_is_not_there(
    name: str, error: str, settings: dict[str, object], folder: Path, tiny_data: tuple[Path, Path]
) -> None:
    done = run(HERE / f"{name}.py", folder, tiny_data, **settings)
    assert done.returncode == 1 and done.errors.splitlines()[-1] == error


def test_it_waits_for_eight_ranks(folder: Path, tiny_data: tuple[Path, Path]) -> None:
    done = run(HERE / "eight_ranks.py", folder, tiny_data, processes=2, WAITS=1, PATIENCE_SECONDS=2, SEED=7)
    assert done.returncode == 1
    assert "seed:7" in done.text and "world_size" not in done.text
    assert "DistStoreError" in done.errors or "imed out" in done.errors


def test_packed(honest: Ran, folder: Path, tiny_data: tuple[Path, Path]) -> None:
    """It does the same in fewer bytes, and counts those."""
    folder.mkdir()
    script = folder.parent / "packed.py"
    script.write_text(packed(SCRIPT.read_text()))
    done = run(script, folder, tiny_data, ITERATIONS=STEPS)
    assert done.returncode == 0, done.errors
    assert bpb_of(done) == bpb_of(honest)
    assert done.run.whole("code_bytes") == script.stat().st_size < SCRIPT.stat().st_size
    assert script.read_text().count("\n") == 2 and "b85decode" in script.read_text()
