"""The command as a person types it, in processes of its own: what it refuses, what it runs, how it is stopped.

The recipes are tiny and the jobs real. The tests of the second half build on each other's runs, in their order: each
start of Ray and torchrun costs seconds.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.contract.shards import VAL_SHARDS
from platform import corpus
from platform.paths import ROOT
from platform.processes.supervisor import GUARD_MARKER, MARKER, marked, users_of
from platform.runs.plan import Plan, read
from platform.runs.reading import read_result

TINY = """
question: Does the launch work?
base: naive_baseline
arms:
  no_ttt: no_adaptation
  sgd: {pre_eval: {optimizer: sgd, learning_rate: 0.001, epochs: 1}}
scales:
  laptop:
    shape: {num_layers: 2, model_dim: 64, num_heads: 2, num_kv_heads: 1}
    budget: {iterations: 3, train_seconds: 5, batch_tokens: 1024, warmup_steps: 0}
"""
BROKEN = """
question: What happens to the other arms when one fails?
base: tiny
arms:
  bad: {pre_eval: {optimizer: sgd, learning_rate: 0.001, epochs: 1, learning_rate_groups: {no.such.layer: 2.0}}}
  no_ttt: no_adaptation
"""
LONG = """
question: Does it stop when it is told to?
base: tiny
arms: {no_ttt: no_adaptation}
scales: {laptop: {budget: {iterations: 100000, train_seconds: 600}}}
"""
HOPELESS = """
question: When is a recipe given up?
base: tiny
arms: {no_ttt: no_adaptation}
"""
HEAVY = {"ray", "mlflow", "torch", "pandas", "numpy", "scipy", "matplotlib", "sentencepiece"}
Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipes and runs, both with a space in their names."""
    folder = tmp_path_factory.mktemp("launch")
    recipes = folder / "my recipes"
    recipes.mkdir()
    (recipes / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    for name, text in (("tiny", TINY), ("broken", BROKEN), ("long", LONG), ("hopeless", HOPELESS), ("audited", TINY)):
        (recipes / f"{name}.yaml").write_text(text)
    twins = recipes / "twins"
    twins.mkdir()
    (twins / "naive_baseline.yaml").write_text((ROOT / "recipes" / "naive_baseline.yaml").read_text())
    (twins / "tiny.yaml").write_text(TINY.replace("0.001", "0.002"))
    corpus.embedded()  # made once for all tests of this machine
    return folder


@pytest.fixture(scope="module")
def launch(folder: Path) -> Launch:
    """Runs ``python -m platform.launch`` with recipes by name, at laptop scale unless told otherwise."""

    def run(*recipes: str, **changes: object) -> subprocess.CompletedProcess[str]:
        process = start(folder, *recipes, **changes)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


def start(
    folder: Path,
    *recipes: str,
    seeds: str = "1337,",
    scale: str | None = "laptop",
    options: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    names = [str(folder / "my recipes" / f"{name}.yaml") for name in recipes]
    scales = [] if scale is None else ["--scale", scale]
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "platform.launch", *names, "--seeds", seeds, *scales),
            *("--runs", str(folder / "my runs"), *options),
        ],
        cwd=ROOT,
        env={**inherited, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def plan_of(folder: Path, recipe: str) -> Plan:
    (path,) = (folder / "my runs").glob(f"{recipe}-*")
    return read(path)


def wait_for_training(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the job that ``process`` has just begun to start takes its steps."""
    begun, deadline = time.time(), time.monotonic() + 120
    trunks = folder / "my runs" / "trunks"
    while not any(
        path.stat().st_mtime > begun and '"step"' in path.read_text() for path in trunks.glob("*/*/metrics.jsonl")
    ):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def all_gone(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether, within ``seconds``, no process is left of the launch, and nothing of its own in the temp folder."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        session = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and _session(pid) == process.pid]
        ours = marked(MARKER, f"{process.pid}-") | marked(GUARD_MARKER, f"{process.pid}-")
        if not session and not ours:
            return True
        time.sleep(0.1)
    return False


def _session(pid: Path) -> int:
    try:
        return int((pid / "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return 0


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
    assert result.returncode == 0, result.stderr
    assert "each needs 8 GPUs and 16 CPUs on one node, for 8 processes" in result.stdout
    assert "/no data: no such folder of token shards" in result.stdout


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


# --- real runs, each building on those before


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_launch_leaves_no_process_and_a_plan_to_continue(
    folder: Path, number: signal.Signals, status: int
) -> None:
    process = start(folder, "long")
    wait_for_training(folder, process)
    before = {path for path in Path(tempfile.gettempdir()).glob("fairway-*") if users_of(str(path)) & {process.pid}}
    assert before, "the private folder of its Ray cluster"
    assert mlflow_status(folder, "long") == "RUNNING", "what runs is shown as running"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does with Ctrl-C: to everything in the foreground
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    if number != signal.SIGKILL:
        assert not out
        assert "The same command continues:" in err and "python -m platform.launch" in err
        assert all_gone(process, 0.1), "when the command is over, all is over"
    assert all_gone(process, 30)
    assert not [path for path in before if path.exists()]
    plan = plan_of(folder, "long")
    assert plan.seeds == (1337,) and not plan.trials[0].done
    log = plan.trials[0].paths.job_log.read_text()
    assert log.count("[guard] ended") == log.count("=== seed"), "each time the guard lived to end the job in good order"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_launch_that_is_told_to_end_while_it_audits_takes_the_audit_with_it(folder: Path) -> None:
    process = start(folder, "audited")
    deadline = time.monotonic() + 120
    plans = (folder / "my runs").glob
    while not (auditing := marked(MARKER, f"run/{process.pid}.")) or not any(plans("audited-*/plan.json")):
        assert process.poll() is None and time.monotonic() < deadline, "no audit was seen"
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "The same command continues:" in err, err
    assert auditing and not marked(MARKER, f"run/{process.pid}."), "nothing of the audit is left"


def test_several_recipes_share_a_trunk_and_a_failing_arm_costs_only_itself(folder: Path, launch: Launch) -> None:
    result = launch("tiny", "broken")
    assert result.returncode == 1, result.stderr
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


def test_one_more_seed_runs_exactly_one_more_trial(folder: Path, launch: Launch) -> None:
    before = _files(plan_of(folder, "tiny"))
    result = launch("tiny", seeds="2")
    assert result.returncode == 0, result.stderr
    assert mlflow_status(folder, "tiny") == "FINISHED"
    assert "2 trials, 1 done already" in result.stderr
    plan = plan_of(folder, "tiny")
    assert plan.seeds == (1337, 42) and all(trial.done for trial in plan.trials)
    after = _files(plan)
    assert {path: after[path] for path in before if "seed_1337" in str(path)} == before
    assert "--seeds 3" in result.stdout and "compare:" in result.stdout
    report = json.loads(plan.paths.report_json.read_text())
    assert report["seeds"] == [1337, 42] and report["arms"]["sgd"]["val_bpb"]["n"] == 2
    assert (folder / "my runs" / "mlflow.db").exists()


def test_a_finished_launch_is_not_run_again(folder: Path, launch: Launch) -> None:
    before = _files(plan_of(folder, "tiny"))
    result = launch("tiny", seeds="2")
    assert result.returncode == 0, result.stderr
    assert "all trials are done: nothing to run" in result.stderr
    assert _files(plan_of(folder, "tiny")) == before
    dry = launch("tiny", seeds="3", options=("--dry-run",))
    assert "seed 42         done: no_ttt, sgd" in dry.stdout and "3 trials, 2 done, 1 to run" in dry.stdout


def test_hopeless_seeds_are_not_run_and_the_run_says_so(folder: Path, launch: Launch) -> None:
    result = launch("hopeless", seeds="3", options=("--stop-when-hopeless", "0.5"))
    assert result.returncode == 0, result.stderr
    plan = plan_of(folder, "hopeless")
    assert [trial.done for trial in plan.trials] == [True, False, False]
    assert result.stderr.count("not run: given up") == 2 and "given up after 1 of 3 seeds" in result.stderr
    assert "seeds not run: 42, 2024; given up after 1 of 3 seeds: the chance to beat the given score" in result.stdout
    assert not (plan.trials[1].paths.folder / "job.log").exists()
    again = launch("hopeless", seeds="3", options=("--stop-when-hopeless", "0.5"))
    assert again.returncode == 0 and "starts" not in again.stderr, "it is given up before anything starts"
    dry = launch("hopeless", seeds="3", options=("--stop-when-hopeless", "no such folder", "--dry-run"))
    assert dry.returncode == 2 and "no such folder" in dry.stderr
    assert launch("hopeless", seeds="2").returncode == 0, "without the option its seeds are run"
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
    assert "tiny/7: start: its Ray worker could not run it: " in result.stderr and "seed_7" in result.stderr
    assert "tiny, scale laptop: 3 seeds" in result.stdout, "the report is there"
    assert "compare:" in result.stdout, "and MLflow"
    assert "seed 7, no_ttt: no result, no failure" in result.stdout
    assert "seed 7, sgd" not in result.stdout, "nobody asked for it"
    (plan.run_path / "seed_7").unlink()
    again = launch("tiny", seeds="1337,7", options=("--arms", "no_ttt"))
    assert again.returncode == 0 and "no result" not in again.stdout, again.stderr
    assert mlflow_status(folder, "tiny") == "FINISHED", "of seed 7 one arm was asked for, and that is there"


def test_a_trunk_is_not_reused_on_another_machine(folder: Path, launch: Launch) -> None:
    """The same training, for the machine of one process and for that of two."""
    machine = "machine: {processes: 1, gpus: 0, cpus: 1"
    scales, smoke = folder / "my recipes" / "scales", (ROOT / "recipes" / "scales" / "smoke.yaml").read_text()
    scales.mkdir()
    assert machine in smoke
    (scales / "smoke2.yaml").write_text(smoke.replace(machine, "machine: {processes: 2, gpus: 0, cpus: 2"))
    for scale, size in (("smoke", 1), ("smoke2", 2)):
        result = launch("hopeless", scale=scale)
        assert result.returncode == 0, result.stderr
        (path,) = (one for one in (folder / "my runs").glob("hopeless-*") if read(one).scale == scale)
        (trial,) = read(path).trials
        found = read_result(trial.paths.arm("no_ttt").result)
        assert found.trunk.machine == found.machine and found.machine.world_size == size
        assert f"world size {size} on cpu x{size}" in result.stdout
        assert not found.end_to_end or size, "trained here"
        assert found.trunk.program_sha256 == read(path).program_sha256, "and by this very program"


def mlflow_status(folder: Path, recipe: str) -> str:
    """What MLflow says of the recipe's own run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'my runs' / 'mlflow.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    found = client.search_runs([experiment.experiment_id], f"tags.`fairway.recipe` = '{recipe}'")
    kinds = [run for run in found if run.data.tags.get("fairway.kind") == "recipe"]
    return str(kinds[0].info.status)


def _files(plan: Plan) -> dict[Path, int]:
    """Every file of the plan's trials and when it was written."""
    return {path: path.stat().st_mtime_ns for path in plan.run_path.glob("seed_*/**/*") if path.is_file()}
