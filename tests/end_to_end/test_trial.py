"""One trial with a real torchrun: a program that leaves what a real one leaves, and breaks where it is told to."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from jobs.contract.assignment import METRICS_FILE, Assignment
from platform.processes.supervisor import GUARD_MARKER, MARKER, marked
from platform.running.environment import FileMeeting, job_environment
from platform.running.progress import Progress
from platform.running.trial import JobFailed, Patience
from platform.running.trial import run as run_trial
from platform.runs.node import read_node
from platform.runs.paths import RunPaths
from platform.runs.plan import Trial, read_failure
from platform.runs.reading import read_result, read_trunk
from tests.nodes import node

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


SCRATCH = Path("/scratch")
MEETING = FileMeeting(scratch=SCRATCH)
LAUNCH = f"tests-{os.getpid()}"  # other tests of trials may run on this machine
run = partial(run_trial, launch=LAUNCH)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert not marked(MARKER, LAUNCH) and not marked(GUARD_MARKER, LAUNCH)


def silent(_: Progress) -> None:
    pass


def attempts(trial: Trial) -> list[str]:
    """The arms that each torchrun of the trial was asked for."""
    lines = trial.paths.job_log.read_text().splitlines()
    return [line.partition("arms ")[2].partition(", program")[0] for line in lines if line.startswith("=== seed")]


def trunk_sha256(trial: Trial) -> str:
    return read_trunk(trial.trunk.record).trunk_sha256


def test_a_trial_trains_once_scores_every_arm_and_reports_on_the_way(make_trial: Callable[..., Trial]) -> None:
    trial, seen = make_trial(), list[Progress]()
    run(trial, seen.append)
    assert trial.done and not trial.paths.failure.exists()
    assert attempts(trial) == ["plain, sgd, adamw"], "one torchrun for trunk and arms"
    assert (seen[0], seen[-1].arm) == (Progress(), "adamw")
    log = trial.paths.job_log.read_text()
    assert "rank 0 of 2" in log and "rank 1 of 2" in log

    run(trial, silent)
    assert len(attempts(trial)) == 1, "a finished trial is not run again"


def test_arms_asked_for_later_are_scored_from_the_same_trunk(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial()
    run(replace(trial, arms=("sgd",)), silent)
    trained = trunk_sha256(trial)
    assert trial.unscored_arms == ("plain", "adamw")
    run(trial, silent)
    assert trial.done and attempts(trial) == ["sgd", "plain, adamw"]
    assert trunk_sha256(trial) == trained


def test_what_was_measured_where_is_written_beside_it(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial()
    run(replace(trial, arms=("sgd",)), silent, node=node("a"))
    run(replace(trial, arms=("sgd", "plain")), silent, node=node("b"))
    run(trial, silent)
    assert trial.done
    paths = (trial.trunk.node, *(trial.paths.arm(arm).node for arm in trial.arms))
    told = [found and found.hostname for found in map(read_node, paths)]
    assert told == ["a", "b", "a", None], "the trunk, plain, sgd, adamw"
    trial.trunk.record.unlink()
    trial.paths.arm("sgd").result.unlink()
    run(replace(trial, arms=("sgd",)), silent)
    assert not trial.trunk.node.exists() and not trial.paths.arm("sgd").node.exists(), "trained again by who knows"


def test_a_crash_in_one_arm_costs_that_arm_alone(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial("raise in sgd")
    with pytest.raises(JobFailed, match=r"test/1337: score sgd: ArithmeticError: the loss of sgd is not a number"):
        run(trial, silent)
    assert trial.unscored_arms == ("sgd",)
    assert attempts(trial) == ["plain, sgd, adamw", "adamw"]
    failure = read_failure(trial.paths.failure)
    assert failure is not None
    assert (failure.seed, failure.phase, failure.arm, failure.arms) == (1337, "score", "sgd", ("sgd",))
    assert "Traceback" in failure.log_tail and "ChildFailedError" not in failure.log_tail
    # Another arm, asked for alone and there already, says nothing about this one.
    run(replace(trial, arms=("plain",)), silent)
    assert trial.paths.failure.exists()
    # The failed arm is tried again when it is asked for again.
    with pytest.raises(JobFailed):
        run(trial, silent)
    assert attempts(trial)[2:] == ["sgd"]


def test_each_attempt_is_judged_by_what_it_said_itself(make_trial: Callable[..., Trial]) -> None:
    """Two arms fail, each in a torchrun of its own and each in its own way; the log holds both."""
    trial = make_trial("raise in plain; segfault in adamw")
    with pytest.raises(JobFailed, match=r"score plain: ArithmeticError: .*; also score adamw: rank 1 was"):
        run(trial, silent)
    assert attempts(trial) == ["plain, sgd, adamw", "sgd, adamw"] and trial.unscored_arms == ("plain", "adamw")
    failure = read_failure(trial.paths.failure)
    assert failure is not None and failure.reason == "ArithmeticError: the loss of plain is not a number"
    assert failure.also == ("score adamw: rank 1 was ended by signal 11 (SIGSEGV)",)
    assert failure.arms == ("plain", "adamw")


def test_a_failed_trunk_fails_every_arm(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial("segfault in train")
    with pytest.raises(JobFailed, match=r"train: rank 1 was ended by signal 11 \(SIGSEGV\)"):
        run(trial, silent)
    assert attempts(trial) == ["plain, sgd, adamw"]
    failure = read_failure(trial.paths.failure)
    assert failure is not None and failure.arm is None and failure.arms == trial.arms


def test_what_the_program_refuses_is_said_in_its_own_words(make_trial: Callable[..., Trial]) -> None:
    with pytest.raises(JobFailed, match=r"start: the shards are not those of this tokenizer"):
        run(make_trial("refuse"), silent)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no result of adamw", "no result.json"),
        ("wrong seed in adamw", "result.json has seed 1338, this trial is 1337"),
    ],
)
def test_a_good_exit_without_an_acceptable_result_is_a_failure(
    make_trial: Callable[..., Trial], fault: str, reason: str
) -> None:
    trial = make_trial(fault)
    with pytest.raises(JobFailed, match=reason):
        run(trial, silent)
    assert trial.unscored_arms == ("adamw",)


def test_results_of_a_job_that_ended_badly_are_not_all_taken(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial("raise in teardown")
    with pytest.raises(JobFailed, match="teardown adamw"):
        run(trial, silent)
    assert trial.unscored_arms == ("adamw",)
    assert trial.paths.arm("adamw").rejected.exists()


def test_a_job_that_says_nothing_any_more_is_ended_though_it_ignores_sigterm(make_trial: Callable[..., Trial]) -> None:
    trial = replace(make_trial("hang in plain"), arms=("plain",))
    with pytest.raises(JobFailed, match=r"score plain: neither log nor metrics for 6 s: ended as hung"):
        run(trial, silent, patience=Patience(stall_seconds=6, grace_seconds=0.5))


def test_leftovers_of_an_interrupted_attempt_are_cleared(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial()
    for folder in (trial.trunk_path, trial.paths.arm("sgd").folder):
        folder.mkdir(parents=True)
        (folder / METRICS_FILE).write_text('{"event": "step", "step": 99')
    run(trial, silent)
    assert '"step": 99' not in trial.trunk.metrics.read_text() + trial.paths.arm("sgd").metrics.read_text()


def test_two_launches_run_a_trial_once(make_trial: Callable[..., Trial]) -> None:
    trial, seen = make_trial(), list[Progress]()
    other = threading.Thread(target=run, args=(trial, silent))
    other.start()
    while not trial.paths.job_log.exists():
        time.sleep(0.01)
    run(trial, seen.append)
    other.join()
    assert len(attempts(trial)) == 1 and trial.done
    assert seen and seen[0].waiting and f"process {os.getpid()} on " in seen[0].waiting


def test_two_recipes_of_one_trunk_train_it_once(make_trial: Callable[..., Trial]) -> None:
    first, second, seen = make_trial("slow in train"), make_trial(), list[Progress]()
    assert first.trunk_path == second.trunk_path and first.run_path != second.run_path
    other = threading.Thread(target=run, args=(first, silent))
    other.start()
    while not first.trunk.metrics.exists():
        time.sleep(0.01)
    run(second, seen.append)
    other.join()
    assert seen[0].waiting and seen[0].waiting.startswith(f"the trunk of {second.name} is being run by process")
    results = [read_result(one.paths.arm("plain").result) for one in (first, second)]
    assert results[0].trunk_sha256 == results[1].trunk_sha256


def test_a_trial_whose_follower_raises_leaves_nothing_running(make_trial: Callable[..., Trial]) -> None:
    def stop(progress: Progress) -> None:
        if progress.phases:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_trial("hang in train"), stop, patience=Patience(grace_seconds=0.5))


def test_a_killed_worker_leaves_nothing_running_and_no_stale_lock(
    make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    trial = make_trial("hang in train")
    worker = (
        "from pathlib import *; from platform.runs.plan import *; from platform.running.trial import *\n"
        f"run({trial!r}, lambda progress: None, launch={LAUNCH!r}, patience=Patience(grace_seconds=0.5))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", worker], env=environment)
    while not trial.trunk.metrics.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 600
    while marked(MARKER, LAUNCH) or marked(GUARD_MARKER, LAUNCH):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run(make_trial(), silent)


def test_a_node_without_the_files_or_with_an_edited_program_refuses(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial()
    RunPaths(trial.run_path).program.write_text("print('edited')")
    with pytest.raises(JobFailed, match="was changed after it was planned"):
        run(trial, silent)
    with pytest.raises(JobFailed, match=r"does not see /nowhere; .* file system that each of them"):
        run(replace(make_trial(), data_path=Path("/nowhere")), silent)


def test_the_environment_of_a_job_holds_its_assignment_and_nothing_of_ours(make_trial: Callable[..., Trial]) -> None:
    inherited = {
        "PATH": "/bin",
        "NCCL_DEBUG": "WARN",
        "MAX_WALLCLOCK_SECONDS": "1",
        "PYTHONPATH": "/checkout",
        "MLFLOW_RUN_ID": "x",
        "RAY_AUTH_TOKEN": "x",
        "HF_TOKEN": "x",
        "RANK": "3",
        "FORCE": "1",
        "PET_NNODES": "2",
    }
    trial = replace(make_trial(), cpus=16, processes=8)
    found = job_environment(trial, ("sgd",), scratch=SCRATCH, meeting=MEETING, inherited=inherited)
    kept = {name: found[name] for name in inherited if name in found}
    assert kept == {"PATH": "/bin", "NCCL_DEBUG": "WARN"}
    told = Assignment.from_environment(found)
    assert (told.seed, told.arms, told.max_wallclock_seconds, told.force) == (1337, ("sgd",), None, False)
    forced = job_environment(replace(trial, force=True), (), scratch=SCRATCH, meeting=MEETING, inherited={})
    assert Assignment.from_environment(forced).force
    assert (told.output_path, told.trunk_path) == (trial.paths.folder, trial.trunk_path)
    assert found["OMP_NUM_THREADS"] == "2" and found["PYTHONUNBUFFERED"] == "1"
    assert found["CUDA_VISIBLE_DEVICES"] == "", "a job that asks for no GPU sees none"
    visible = {"CUDA_VISIBLE_DEVICES": "4,5"}
    on_gpus = job_environment(replace(trial, gpus=2), (), scratch=SCRATCH, meeting=MEETING, inherited=visible)
    assert on_gpus["CUDA_VISIBLE_DEVICES"] == "4,5", "those that Ray gave it"


def test_every_attempt_trains_anew(make_trial: Callable[..., Trial]) -> None:
    trial = replace(make_trial(), arms=("plain",), end_to_end=True)  # its program never says end to end
    trained = []
    for _ in range(2):
        with pytest.raises(JobFailed, match="end_to_end False, this trial is True"):
            run(trial, lambda _: None)
        trained.append(read_trunk(trial.trunk.record).trunk_sha256)
    assert trained[0] != trained[1]
