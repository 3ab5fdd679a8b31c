"""Whatever stands in a launch arrives in it, word for word, through every shell on the way of each world."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform.deploying import kuberay, ray_up, slurm
from platform.deploying.deployment import Deployment

from .conftest import HARD

Make = Callable[..., Deployment]
Programs = Callable[..., dict[str, str]]
Said = Callable[[], list[dict[str, Any]]]

LAUNCH = ["-m", "platform.launch", *HARD]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "my fairway"


def shell(text: str, environment: dict[str, str], *, status: int = 0) -> str:
    """Run ``text`` as a script; what it printed."""
    done = subprocess.run(
        ["bash"], input=text, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def test_through_sbatch_on_one_node(make: Make, programs: Programs, said: Said, recording: str, folder: Path) -> None:
    environment = programs({"python": recording}, folder / ".venv" / "bin")
    shell(slurm.sbatch(make()), {**environment, "STATUS": "7"}, status=7)
    assert said() == [{"folder": str(folder), "words": LAUNCH}]


SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do echo "$1" >> "$SAID.srun"; shift; done
echo "token $(cat "$RAY_AUTH_TOKEN_PATH") $(stat -c %a "$RAY_AUTH_TOKEN_PATH")" >> "$SAID.token"
exec "$@"
"""
NODES = """#!/bin/bash
echo "$*" >> "$SAID.scontrol"
printf 'localhost\\nother-node\\nthird-node\\n'
"""
RAY = """
import signal, socket, time
if "ray.scripts.scripts" not in sys.argv:
    def end(*_):
        time.sleep(0.5)
        open(os.environ["SAID"] + ".ended", "w").close()
        sys.exit(143)
    signal.signal(signal.SIGTERM, end)
    while open(os.environ["SAID"]).read().count("\\n") < 3:
        time.sleep(0.05)  # until head and workers have said what they are told
    while os.environ.get("UNTIL_TOLD"):
        time.sleep(0.05)
else:
    if "--head" in sys.argv:
        [port] = [word.partition("=")[2] for word in sys.argv if word.startswith("--port=")]
        server = socket.create_server(("localhost", int(port)))
    time.sleep(600)
"""


@pytest.fixture
def job(
    make: Make, programs: Programs, recording: str, folder: Path, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the script for three nodes, with programs that stand in for Slurm's; Ray's opens the port waited for."""
    ray = recording.replace("sys.exit", RAY + "sys.exit", 1)
    python = f'#!/bin/bash\n[ "$1" = -c ] && exec {shlex.quote(sys.executable)} "$@"\nexec ray-or-launch "$@"\n'
    environment = programs({"python": python}, folder / ".venv" / "bin")
    environment |= programs({"srun": SRUN, "scontrol": NODES, "ray-or-launch": ray})
    environment |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NUM_NODES": "3"}
    environment |= {"SLURM_CPUS_PER_TASK": "16", "STATUS": "7"}
    script = tmp_path / "slurm.sbatch"
    script.write_text(slurm.sbatch(make(nodes=3)))
    started = []

    def start(**changes: str) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(["bash", script], env={**environment, **changes}, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # as Slurm ends what is left of a job
        process.wait()


def test_through_sbatch_on_several_nodes(
    job: Callable[..., "subprocess.Popen[bytes]"], said: Said, folder: Path, tmp_path: Path
) -> None:
    assert job().wait(timeout=600) == 7, "the status of the launch is that of the job"
    calls = said()
    port = 20000 + os.getpid() % 20000
    assert {"folder": str(folder), "words": [*LAUNCH, "--cluster", f"localhost:{port}"]} in calls
    start = ["-m", "ray.scripts.scripts", "start"]
    assert [*start, "--head", f"--port={port}", "--include-dashboard=false", "--block"] in [
        one["words"] for one in calls
    ]
    assert [*start, f"--address=localhost:{port}", "--block"] in [one["words"] for one in calls]
    words = (tmp_path / "said.srun").read_text().split()
    assert {"--nodelist=localhost", "--exclude=localhost", "--nodes=1", "--nodes=2", "--ntasks=2"} <= set(words)
    assert words.count("--cpus-per-task=16") == 2
    [token, other] = [line.split() for line in (tmp_path / "said.token").read_text().splitlines()]
    assert token == other and len(token[1]) == 64 and token[2] == "600"
    assert not list(tmp_path.glob(".fairway-token*")), "the token is gone with the job"


def test_a_signal_to_the_job_reaches_the_launch_and_the_job_waits_for_it(
    job: Callable[..., "subprocess.Popen[bytes]"], said: Said, tmp_path: Path
) -> None:
    running = job(UNTIL_TOLD="1")
    while len(said()) < 3:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=600) == 143 and (tmp_path / "said.ended").exists()
    assert not list(tmp_path.glob(".fairway-token*"))


@pytest.mark.parametrize("mode", ["HTTPMode", "K8sJobMode"])
def test_through_kuberay(make: Make, programs: Programs, said: Said, recording: str, folder: Path, mode: str) -> None:
    """The operator hands the entry point to Ray; or bash does, in words that `ray job submit` joins again.

    Ray runs it with a shell: ray/dashboard/modules/job/job_supervisor.py; it joins words in cli.py beside that.
    """
    folder.mkdir()
    environment = programs({"python": recording})
    entry = yaml.safe_load(kuberay.rayjob(make()))["spec"]["entrypoint"]
    if mode == "K8sJobMode":
        listed = shell(
            f"{shlex.quote(sys.executable)} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' {entry}", environment
        )
        entry = shlex.join(json.loads(listed))
    subprocess.run(entry, shell=True, env=environment, check=True, timeout=600)
    assert said() == [{"folder": str(folder), "words": [*LAUNCH, "--cluster", "auto"]}]


def test_through_ray_exec(
    make: Make, programs: Programs, said: Said, recording: str, folder: Path, tmp_path: Path
) -> None:
    """As it is typed at home, and then in the shell on the head that Ray's own code makes of it."""
    programs({"python": recording}, folder / ".venv" / "bin")
    environment = programs({"ray": recording}, tmp_path / ".venv" / "bin")
    text = ray_up.cluster_file(make(nodes=3))
    typed = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
    assert len(typed) == 4
    shell(f"cd {shlex.quote(str(tmp_path))}\n" + "\n".join(typed), environment)
    assert len((tmp_path / ".fairway-token").read_text()) == 64
    assert (tmp_path / ".fairway-token").stat().st_mode & 0o777 == 0o600
    up, [_, _, launch], down = [one["words"] for one in said()]
    assert up == ["up", "ray_up.yaml"] and down == ["down", "ray_up.yaml"]
    program = (
        "import sys; from ray.autoscaler._private.command_runner import _with_interactive\n"
        "print(' '.join(_with_interactive(sys.argv[1])))"
    )
    (tmp_path / "said").unlink()
    over_ssh = subprocess.run(
        [sys.executable, "-P", "-c", program, launch], capture_output=True, text=True, check=True, timeout=600
    ).stdout
    (tmp_path / ".bashrc").touch()
    subprocess.run(["bash", "-c", over_ssh], env=environment, check=True, timeout=600, start_new_session=True)
    assert said() == [{"folder": str(folder), "words": [*LAUNCH, "--cluster", "auto"]}]


def test_the_commands_of_the_cluster_file_find_the_checkout_and_the_token(
    make: Make, programs: Programs, said: Said, recording: str, folder: Path, tmp_path: Path
) -> None:
    environment = programs({"python": recording}, folder / ".venv" / "bin")
    found = yaml.safe_load(ray_up.cluster_file(make(nodes=3)))
    (tmp_path / ".fairway-token").touch(mode=0o644)
    lines = found["setup_commands"] + found["head_start_ray_commands"] + found["worker_start_ray_commands"]
    shell("\n".join(lines), {**environment, "RAY_HEAD_IP": "10.0.0.4"})
    assert (tmp_path / ".fairway-token").stat().st_mode & 0o777 == 0o600
    start = ["-m", "ray.scripts.scripts", "start"]
    assert [one["words"] for one in said()] == [
        [*start, "--head", "--port=6379", "--include-dashboard=false"],
        [*start, "--address=10.0.0.4:6379"],
    ]
