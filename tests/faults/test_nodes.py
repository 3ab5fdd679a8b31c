"""Two nodes without a common folder: programs and data go to them, everything that a trial leaves comes home."""

import os
import signal
from pathlib import Path

import pytest

from platform.paths import ROOT
from platform.runs.attempts import lost
from platform.runs.plan import read_failure
from platform.runs.results import read_run
from tests.faults.gated import Gated
from tests.faults.launched import Launched, wait_until
from tests.faults.nodes import Nodes, can_hide_folders, nodes
from tests.launching import PATIENCE_SECONDS, TINY

pytestmark = pytest.mark.skipif(not can_hide_folders(), reason="a node with its own view of the disk needs unshare")
SEEDS = (1337, 42, 2024, 7)


def test_four_trials_on_two_nodes_that_share_no_folder(
    short_tmp: Path, tmp_path: Path, tiny_data: tuple[Path, Path]
) -> None:
    """Two at a time, one on each node; then one node is lost in the middle of a trial, which the other one ends."""
    gated = Gated(tmp_path / "a run", *tiny_data)
    hidden = (gated.plan.run_path.parent, tiny_data[0])
    with nodes(short_tmp, 2, cpus=1, hidden=hidden) as found:
        options = ("--cluster", found.address)
        with gated.launch(SEEDS, *options, environment=found.environment) as launched:
            gated.wait_at("score", 1337, launched)
            gated.wait_at("train", 42, launched)
            wait_until("the arm is home", gated.plan.paths.seed(1337).arm("plain").result.exists, launched)
            assert not gated.plan.paths.seed(2024).folder.exists(), "two at a time"
            os.kill(found.raylets[1], signal.SIGKILL)
            wait_until("it is tried again", lambda: "attempt 2 in" in launched.stderr, launched)
            gated.open()
            assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
        assert gated.scores() == gated.expected(SEEDS)
        run = read_run(gated.plan.run_path)
        assert run.complete and not any(read_failure(trial.paths.failure) for trial in gated.plan.trials)
        assert set(run.nodes) == set(SEEDS) and len(run.scored_on) == 2 * len(SEEDS), "sent home with the rest"
        assert {one.cause for tried in run.attempts.values() for one in lost(tried).values()} == {"infrastructure"}
        for seed in SEEDS:
            assert "rank 0 as" in gated.plan.paths.seed(seed).job_log.read_text()
            assert '"score"' in gated.plan.paths.seed(seed).arm("sgd").metrics.read_text()


@pytest.mark.soak
def test_a_script_on_a_node_that_shares_no_folder(
    short_tmp: Path, tmp_path: Path, tiny_data: tuple[Path, Path]
) -> None:
    """It finds its own file, what it needs beside it and the data; what it leaves comes home, and no data with it."""
    (tmp_path / "helper.py").write_text("BPB = 3.5\n")
    (tmp_path / "theirs.py").write_text(
        "import os\nfrom pathlib import Path\nfrom helper import BPB\nseed = int(os.environ['SEED'])\n"
        "if os.environ['RANK'] == '0':\n    shards = len(list(Path(os.environ['DATA_PATH']).glob('fineweb_*.bin')))\n"
        "    print(f'seed:{seed}\\nstep:1/1 train_loss:5.0 train_time:9ms step_avg:9.00ms')\n"
        "    Path('final_model.int8.ptz').write_bytes(b'x' * shards)\n"
        "    print(f'final_int8_zlib_roundtrip_exact val_loss:6.0 val_bpb:{BPB:.8f}')\n"
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("question: Does it come home?\nscript: theirs.py\nfiles: [helper.py]\n")
    where = ("--data", str(tiny_data[0]), "--tokenizer", str(tiny_data[1]), "--runs", str(tmp_path / "runs"))
    with nodes(short_tmp, 1, cpus=2, hidden=[tmp_path, tiny_data[0]]) as found:
        words = (str(recipe), "--scale", "laptop", "--seeds", "1337,", "--cluster", found.address, *where)
        with Launched(*words, environment=found.environment) as launched:
            assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
    (run_path,) = (tmp_path / "runs").glob("mine-*")
    run = read_run(run_path)
    (result,) = run.results
    assert result.val_bpb == 3.5 and result.model_bytes == len(list(tiny_data[0].glob("*.bin")))
    work = run.plan.paths.seed(1337).arm("plain").work
    assert {path.name for path in work.rglob("*") if path.is_file()} == {
        "theirs.py",
        "helper.py",
        "final_model.int8.ptz",
    }


def launch_of(recipe: Path, machine: str, data: tuple[Path, Path], found: Nodes, seeds: str) -> Launched:
    """A launch of the tiny recipe with a machine of its own, on these nodes; ``runs`` lies beside the recipe."""
    (recipe.parent / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    recipe.write_text(TINY.replace("    shape:", f"    machine: {machine}\n    shape:").replace("1024", "4096"))
    where = ("--data", str(data[0]), "--tokenizer", str(data[1]), "--runs", str(recipe.parent / "runs"))
    options = ("--scale", "laptop", "--seeds", seeds, "--cluster", found.address)
    return Launched(str(recipe), *options, *where, environment=found.environment)


def test_one_job_on_two_nodes(short_tmp: Path, tmp_path: Path, tiny_data: tuple[Path, Path]) -> None:
    """A rank on each, which train one model together, through the folders that both see."""
    with nodes(short_tmp, 2, cpus=1) as found:
        machine = "{processes: 2, gpus: 0, cpus: 2, nodes: 2}"
        with launch_of(tmp_path / "tiny.yaml", machine, tiny_data, found, "1337,") as launched:
            assert launched.ended(PATIENCE_SECONDS) == 0, launched.stderr
        (run_path,) = (tmp_path / "runs").glob("tiny-*")
        run = read_run(run_path)
        assert run.complete and run.trunks[1337].machine is not None and run.trunks[1337].machine.world_size == 2
        assert run.plan.machine == "2xcpu-on-2"
        logs = [run.plan.paths.seed(1337).folder / name for name in ("job.log", "job.node1.log")]
        assert all("--nnodes 2 --node-rank" in log.read_text() for log in logs)


@pytest.mark.soak
def test_eight_stand_in_gpus_on_each_of_two_nodes(
    short_tmp: Path, tmp_path: Path, tiny_data: tuple[Path, Path]
) -> None:
    """Four trials of eight gloo ranks: two at a time, each on one node, all four as one after the other would be."""
    with nodes(short_tmp, 2, cpus=8, gpus=8, hidden=[tmp_path, tiny_data[0]]) as found:
        machine = "{processes: 8, gpus: 8, cpus: 8}"
        with launch_of(tmp_path / "tiny.yaml", machine, tiny_data, found, "4") as launched:
            most = 0
            while launched.goes_on(2 * PATIENCE_SECONDS):
                running = {seed for seed in SEEDS if launched.of("torchrun", f"tiny/{seed}.")}
                most = max(most, len(running))
            assert launched.process.returncode == 0, launched.stderr
        (run_path,) = (tmp_path / "runs").glob("tiny-*")
        run = read_run(run_path)
        assert run.complete and run.plan.seeds == SEEDS
        assert {trunk.machine.world_size for trunk in run.trunks.values() if trunk.machine} == {8}
        assert len({result.val_bpb for result in run.results if result.arm == "no_ttt"}) == 4
