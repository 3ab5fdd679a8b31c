"""A private Ray cluster and trials on it; one cluster for the whole file, since each costs seconds."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.processes.supervisor import GUARD_MARKER, MARKER, marked, open_files, users_of
from platform.running.cluster import Cluster, Node, connected, require_closed, require_node, this_machine
from platform.running.feed import Feed
from platform.running.observers import Observer
from platform.running.progress import Progress
from platform.running.tuning import run_trials
from platform.runs.plan import Failure, Trial, read_failure

LAUNCH = f"cluster-{os.getpid()}"


@dataclass
class Seen(Observer):
    """Keeps what it is told, and when."""

    at: dict[str, float] = field(default_factory=dict)  # of the end of each

    said: dict[str, list[str]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def started(self, trial: Trial) -> None:
        self.said.setdefault(trial.name, []).append("started")

    def advanced(self, trial: Trial, progress: Progress) -> None:
        self.said[trial.name].append(str(progress))

    def finished(self, trial: Trial) -> None:
        self.said[trial.name].append("finished")
        self.at[trial.name] = time.monotonic()

    def failed(self, trial: Trial, failure: Failure) -> None:
        self.said[trial.name].append("failed")
        self.at[trial.name] = time.monotonic()
        self.failures[trial.name] = failure


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(None, cpus=6, launch=LAUNCH) as found:
        yield found
    folder = found.scratch.parent
    assert "RAY_AUTH_MODE" not in os.environ, "Ray's settings were ours for the time of the cluster"
    assert not folder.exists()
    if sys.platform == "linux":
        assert not users_of(str(folder)) - {os.getpid()}
        assert not marked(MARKER, LAUNCH) and not marked(GUARD_MARKER, LAUNCH)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net/tcp")
def test_our_cluster_listens_on_loopback_only_and_wants_a_token_that_only_we_can_read(cluster: Cluster) -> None:
    folder = cluster.scratch.parent
    ours = {name for pid in users_of(str(folder)) for name in open_files(pid)}
    listening = {
        fields[1].rpartition(":")[0]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if (fields := line.split())[3] == "0A" and f"socket:[{fields[9]}]" in ours
    }
    # 127.0.0.1, and the same as an address of IPv6, as the kernel writes them
    assert listening and listening <= {"0100007F", "0000000000000000FFFF00000100007F"}
    token = folder / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64
    assert os.environ["RAY_AUTH_MODE"] == "token"
    result = subprocess.run(
        [sys.executable, "-c", f"import ray; ray.init(address={_address()!r})"],
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_NUM_REDIS_GET_RETRIES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1 and "Authentication token is missing or incorrect" in result.stderr


def test_trials_run_side_by_side_and_each_ends_as_its_files_say(
    cluster: Cluster, make_trial: Callable[..., Trial]
) -> None:
    """One that ends well, one with a failing arm, and one whose Ray worker is killed."""
    good, bad, killed = make_trial(), make_trial("raise in sgd", 7), make_trial("hang in plain", 42)
    bad = replace(bad, arms=("sgd",))
    seen = Seen()

    def kill() -> None:
        while not any("plain" in one for one in seen.said.get(killed.name, [])):
            time.sleep(0.02)
        owner = killed.paths.lock.read_text().split()[1]
        os.kill(int(owner), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    feed = Feed([good, bad, killed])
    feed.close()
    run_trials(feed, cluster, seen)
    killer.join()
    assert good.done and seen.said[good.name][0] == "started" and seen.said[good.name][-1] == "finished"
    assert any("scored" in one or "plain" in one for one in seen.said[good.name]), "progress came through Tune"
    assert "ArithmeticError: the loss of sgd is not a number" in seen.failures[bad.name].reason
    assert seen.failures[bad.name] == read_failure(bad.paths.failure)
    assert "its Ray worker died" in seen.failures[killed.name].reason
    assert (seen.failures[killed.name].phase, seen.failures[killed.name].arm) == ("score", "plain")
    assert seen.failures[killed.name] == read_failure(killed.paths.failure)
    deadline = time.monotonic() + 600
    while marked(MARKER, LAUNCH) or marked(GUARD_MARKER, LAUNCH):
        assert time.monotonic() < deadline, "the job of the killed worker lives on"
        time.sleep(0.05)


def test_a_dead_worker_is_told_at_once_and_trials_are_added_while_others_run(
    cluster: Cluster, make_trial: Callable[..., Trial]
) -> None:
    """A long trial; beside it one whose worker is killed; and one that is added when that is told."""
    long, killed, added = make_trial("slow in plain"), make_trial("hang in plain", 42), make_trial(seed=2024)
    feed = Feed([long, killed])

    class Adding(Seen):
        def advanced(self, trial: Trial, progress: Progress) -> None:
            super().advanced(trial, progress)
            if trial.seed == killed.seed and "plain" in str(progress) and not self.failures:
                os.kill(int(killed.paths.lock.read_text().split()[1]), signal.SIGKILL)

        def failed(self, trial: Trial, failure: Failure) -> None:
            super().failed(trial, failure)
            feed.add([added])
            feed.close()

    seen = Adding()
    patience = threading.Timer(120, feed.close)  # where the end of the killed one is never told
    patience.start()
    run_trials(feed, cluster, seen)
    patience.cancel()
    assert "its Ray worker died" in seen.failures[killed.name].reason
    assert long.done and added.done and seen.said[added.name][-1] == "finished"
    assert seen.at[killed.name] < seen.at[added.name], "told before the last one had even begun"


def test_what_a_worker_cannot_begin_is_a_failure_and_the_others_go_on(
    cluster: Cluster, make_trial: Callable[..., Trial]
) -> None:
    """A file lies where the folder of the trial belongs."""
    blocked, good = replace(make_trial(seed=7), arms=("plain",)), replace(make_trial(), arms=("plain",))
    blocked.paths.folder.touch()
    seen, feed = Seen(), Feed([blocked, good])
    feed.close()
    run_trials(feed, cluster, seen)
    assert good.done and seen.said[good.name][-1] == "finished"
    reason = seen.failures[blocked.name].reason
    assert str(blocked.paths.folder) in reason and "File exists" in reason


def test_a_result_that_is_there_when_the_worker_dies_is_not_lost(
    cluster: Cluster, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial("slow in teardown")
    seen, feed = Seen(), Feed([trial])
    feed.close()

    def kill() -> None:
        while not trial.done:
            time.sleep(0.02)
        os.kill(int(trial.paths.lock.read_text().split()[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run_trials(feed, cluster, seen)
    killer.join()
    assert seen.said[trial.name][-1] == "finished" and not seen.failures
    assert read_failure(trial.paths.failure) is None


def test_a_launch_can_use_a_cluster_by_its_address(cluster: Cluster, make_trial: Callable[..., Trial]) -> None:
    trial = replace(make_trial(), arms=("plain",))
    other = textwrap.dedent(
        f"""
        from pathlib import *
        from platform.running.cluster import connected
        from platform.runs.plan import Trial
        from platform.running.observers import Observer
        from platform.running.feed import Feed
        from platform.running.tuning import run_trials

        class Silent(Observer):
            failed = lambda self, trial, failure: print(failure)

        feed = Feed([{trial!r}])
        feed.close()

        with connected({_address()!r}, cpus=2, launch="by-address") as cluster:
            print(cluster.nodes)
            run_trials(feed, cluster, Silent())
        """
    )
    checkout = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    result = subprocess.run(
        [sys.executable, "-c", other], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert result.returncode == 0, result.stderr
    assert trial.done, result.stdout + result.stderr
    import ray

    assert ray.cluster_resources()["CPU"] == 6, "the cluster is still there"


def _address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ray://10.0.0.4:10001", "Ray Client cannot carry a launch"),
        ("10.0.0.4", "an address is HOST:PORT"),
        ("127.0.0.1:1", "nothing answers there"),
        ("no.such.host.invalid:6379", "nothing answers there"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused_at_once(address: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        require_closed(address)


def test_a_job_must_fit_on_one_node(make_trial: Callable[..., Trial]) -> None:
    trial = replace(make_trial(), gpus=8, cpus=16)
    nodes = [Node(name="a", gpus=4, cpus=64), Node(name="b", gpus=4, cpus=64)]
    with pytest.raises(UserError) as refused:
        require_node([trial], nodes)
    assert "needs 8 GPUs and 16 CPUs on one node; a has 4 GPUs and 64 CPUs" in str(refused.value)
    assert "--scale laptop" in str(refused.value)
    require_node([trial], [*nodes, Node(name="c", gpus=8, cpus=16)])
    with pytest.raises(UserError, match="no node has 0 GPUs"):
        require_node([trial], [])


@pytest.mark.parametrize(
    ("visible", "gpus"), [(None, 3), ("", 0), ("-1", 0), ("0,2", 2), ("0,-1,1", 1), ("GPU-1,GPU-2,GPU-3,GPU-4", 3)]
)
def test_gpus_are_counted_without_ray_as_cuda_would_see_them(
    visible: str | None, gpus: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listing = tmp_path / "nvidia-smi"
    listing.write_text('#!/bin/sh\nfor i in 0 1 2; do echo "GPU $i: NVIDIA H100 80GB HBM3 (UUID: GPU-$i)"; done\n')
    listing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine().gpus == gpus
    assert this_machine().cpus >= 1


def test_a_ray_that_does_not_start_is_told_and_nothing_of_it_stays(tmp_path: Path) -> None:
    """Real Ray, asked for less memory than it can do with."""
    code = textwrap.dedent(
        """
        from platform.errors import explained
        from platform.running import cluster

        cluster.OBJECT_STORE_BYTES = 1
        with explained(), cluster.connected(None, cpus=1, launch="none"):
            raise AssertionError("it is there")
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert (
        "failed: Ray does not start on this machine: " in result.stderr
        and "the same command tries again" in result.stderr
    )
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("fairway-")]
