"""The command as a person types it, in processes of its own: what it refuses, and how it is stopped."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform import corpus
from platform.paths import ROOT
from platform.processes.supervisor import MARKER, marked, users_of
from tests.launching import PATIENCE_SECONDS, all_gone, mlflow_status, plan_of, start, wait_for_training

HEAVY = {"ray", "mlflow", "torch", "pandas", "numpy", "scipy", "matplotlib", "sentencepiece"}
Launch = Callable[..., subprocess.CompletedProcess[str]]
ONE_CARD = ("--scale", "one_gpu_quick")


# --- what is refused, and what a dry run says: nothing is started


def test_help_and_dry_run_import_nothing_heavy(folder: Path) -> None:
    recipe = folder / "my recipes" / "tiny.yaml"
    for arguments in (["--help"], [str(recipe), "--scale", "laptop", "--dry-run"]):
        program = (
            "import runpy, sys\n"
            f"sys.argv = ['launch', *{arguments!r}]\n"
            "try: runpy.run_module('platform.launch', run_name='__main__')\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            f"heavy = {HEAVY!r} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        result = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr


def test_a_dry_run_prints_the_plan_and_writes_nothing(folder: Path, launch: Launch) -> None:
    result = launch("tiny", "broken", seeds="2", options=("--dry-run", "--arms", "no_ttt"))
    assert result.returncode == 0, result.stderr
    for line in (
        "tiny at scale laptop: Does the launch work?",
        "seed 1337       train, then score no_ttt",
        "4 trials, 0 done, 4 to run on this machine",
        "each needs 0 GPUs and 2 CPUs on one node, for 2 processes",
        "dry run: no trial was started, nothing of a run was written",
    ):
        assert line in result.stdout
    assert not (folder / "my runs").exists()


def test_a_dry_run_at_full_scale_tells_what_is_missing_here(launch: Launch) -> None:
    result = launch("naive_baseline", scale=None, options=("--dry-run", "--data", "/no data", "--tokenizer", "/none"))
    assert result.returncode == 2, result.stderr
    assert "each needs 8 GPUs and 16 CPUs on one node, for 8 processes" in result.stdout
    assert "cannot run: the corpus cannot be read:\n  /no data: no such folder of token shards" in result.stdout


@pytest.mark.parametrize(
    ("recipes", "options", "says"),
    [
        (("tiny", "tiny"), (), "are the same run; name it once"),
        (("tiny",), ("--arms", "no_ttt,sdg"), "did you mean 'sgd'?"),
        (("tiny",), ("--seeds", "7,7"), "7 stands there twice"),
        (("tiny",), ("--data", "/tmp"), "--data and --tokenizer belong together"),
        (("tiny",), ("--data", "/no data", "--tokenizer", "/none"), "/no data: no such folder of token shards"),
        (("tiny",), ("--scale", "labtop"), "no scale 'labtop'"),
        (("missing",), (), "missing.yaml"),
        (("tiny",), ("--sedes", "3"), "No such option"),
        (("tiny",), ("--cluster", "127.0.0.1:1"), "nothing answers there"),
        ((), (), "Missing argument"),
    ],
)
def test_a_mistake_is_one_clear_message_and_exit_2(
    launch: Launch, recipes: tuple[str, ...], options: tuple[str, ...], says: str
) -> None:
    result = launch(*recipes, options=options)
    assert result.returncode == 2, result.stderr
    assert says in result.stderr and "Traceback" not in result.stderr
    assert not result.stdout


def test_missing_gpus_are_refused_with_the_way_out(launch: Launch, folder: Path) -> None:
    found = corpus.embedded()
    data = ("--data", str(found.data_path), "--tokenizer", str(found.tokenizer_path))
    result = launch("naive_baseline", scale=None, options=data, environment={"CUDA_VISIBLE_DEVICES": ""})
    assert result.returncode == 2
    assert (
        "naive_baseline at scale eight_h100 needs 8 GPUs and 16 CPUs on one node; this machine has 0 GPUs"
        in result.stderr
    )
    assert "--scale laptop" in result.stderr
    assert not (folder / "my runs").exists(), "nothing is planned that cannot run"


def test_a_launch_for_one_card_is_planned_anywhere_and_started_on_a_card_alone(launch: Launch, folder: Path) -> None:
    recipe, no_card = folder / "my recipes" / "tiny.yaml", {"CUDA_VISIBLE_DEVICES": ""}
    full = launch(ROOT / "recipes" / "leaky_cosine.yaml", seeds="2", options=(*ONE_CARD, "--dry-run"))
    assert full.returncode == 0, full.stderr
    for line in (
        "size     26,993,756 parameters",
        "seed 1337       train, then score no_ttt, sgd, adamw_30, adamw_50, score_first",
        "2 trials, 0 done, 2 to run on this machine",
        "each needs 1 GPU and 4 CPUs on one node, for 1 process",
    ):
        assert line in full.stdout
    result = launch(recipe, options=ONE_CARD, environment=no_card)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "tiny at scale one_gpu_quick needs 1 GPU and 4 CPUs on one node; this machine has 0 GPUs" in result.stderr
    assert "--scale laptop" in result.stderr and not (folder / "my runs").exists()


# --- how it is stopped


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.soak),  # goes the way of SIGTERM
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_stopped_launch_leaves_no_process_and_a_plan_to_continue(
    folder: Path, stand_in_run: Callable[..., Path], number: signal.Signals, status: int
) -> None:
    process = start(folder, stand_in_run("endless in train"))
    wait_for_training(folder, process)
    before = {path for path in Path(tempfile.gettempdir()).glob("fairway-*") if users_of(str(path)) & {process.pid}}
    assert before, "the private folder of its Ray cluster"
    assert mlflow_status(folder, "test") == "RUNNING", "what runs is shown as running"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does with Ctrl-C: to everything in the foreground
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == status, err
    if number != signal.SIGKILL:
        assert not out
        assert "The same command continues:" in err and "python -m platform.launch" in err
        assert all_gone(process, 0.1), "when the command is over, all is over"
        assert not [path for path in before if path.exists()]
    assert all_gone(process, PATIENCE_SECONDS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while [path for path in before if path.exists()]:  # whoever removes it is the last to go
        assert time.monotonic() < deadline
        time.sleep(0.1)
    plan = plan_of(folder, "test")
    assert plan.seeds == (1337,) and not plan.trials[0].done
    log = plan.trials[0].paths.job_log.read_text()
    assert log.count("[guard] ended") == log.count("=== seed"), "each time the guard lived to end the job in good order"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_launch_that_is_told_to_end_while_it_audits_takes_the_audit_with_it(folder: Path) -> None:
    process = start(folder, "audited")
    deadline = time.monotonic() + PATIENCE_SECONDS
    plans = (folder / "my runs").glob
    while not (auditing := marked(MARKER, f"run/{process.pid}.")) or not any(plans("audited-*/plan.json")):
        assert process.poll() is None and time.monotonic() < deadline, "no audit was seen"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 143 and "The same command continues:" in err, err
    assert auditing and not marked(MARKER, f"run/{process.pid}."), "nothing of the audit is left"
