"""RunPod's script from one end to the other, with programs that stand in for RunPod, ssh and what a pod has.

The pod is a folder: what ssh is told to do there is done by bash, with that folder as its home.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform.deploying import runpod
from platform.deploying.deployment import Deployment
from platform.processes.supervisor import marked

from .conftest import HARD
from .test_files import valid

PATIENCE_SECONDS = 600
CHALLENGE = Path("data/datasets/fineweb10B_sp1024")
OURS = "FAIRWAY_TEST_OF_RUNPOD"
CURL = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import json, os, sys
def meant(word):
    return sys.stdin.read() if word == "@-" else open(word[1:]).read().strip() if word[0] == "@" else word
json.dump([meant(word) for word in sys.argv[1:]], open(os.environ["POD"] + "/curl", "w"))
sys.exit(int(os.environ.get("CURL_STATUS", "0")))
"""
SSH = """#!/bin/bash
cd "$POD/home" && HOME=$POD/home PATH=$POD/bin:$PATH exec bash -c "${@: -1}"
"""
NOHUP = """#!/bin/bash
"$@"
touch "$POD/ended"
"""
TAIL = """#!/bin/bash
while [ ! -e "$POD/ended" ]; do /bin/sleep 0.05; done
cat "${@: -1}"
"""
SLEEP = """#!/bin/bash
case "$1" in
  10) while [ ! -e "$HOME/fetched" ] && [ -n "${IS_FETCHED-}" ]; do /bin/sleep 0.05; done ;;
  60) if [ -n "${MINUTES_ARE_SHORT-}" ]; then exec /bin/sleep 0.01; else exec /bin/sleep 100000; fi ;;
esac
"""
RUNPODCTL = """#!/bin/bash
echo "$*" >> "$POD/runpodctl"
touch "$POD/tried"
exit "${RUNPODCTL_STATUS-0}"
"""
MAKE = """#!/bin/bash
mkdir -p .venv/bin && cp "$POD/bin/python" .venv/bin/python
exit "${MAKE_STATUS-0}"
"""
PYTHON = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import json, os, sys, time
from pathlib import Path
pod = Path(os.environ["POD"])
with (pod / "said").open("a") as said:
    said.write(json.dumps(sys.argv[1:]) + "\\n")
if "platform.corpus" in sys.argv:
    Path("data/fetched.bin").touch()
else:
    Path("runs/new").write_text(Path("runs/earlier").read_text() if Path("runs/earlier").exists() else "")
    while not (pod / os.environ.get("HANGS_UNTIL", "")).exists():
        time.sleep(0.05)
    sys.exit(int(os.environ.get("STATUS", "0")))
"""


class Home:
    """One's own machine: a checkout with the script in it, and a pod and its volume in the folders beside."""

    def __init__(self, folder: Path, make: Callable[..., Deployment], environment: dict[str, str]) -> None:
        self.checkout, self.pod, self.volume = folder / "my checkout", folder / "pod", folder / "volume"
        self.make, self.environment = make, environment

    def write(self, hours: float) -> None:
        cluster = {"gpu": "NVIDIA H100 80GB HBM3", "folder": str(self.pod / "my fairway")}
        deployment = self.make(cluster=cluster, machine={"data_path": CHALLENGE}, hours=hours)
        (self.checkout / "runpod.sh").write_text(runpod.script(deployment))

    def start(self, *words: str, **changes: str) -> "subprocess.Popen[str]":
        command = ["bash", str(self.checkout / "runpod.sh"), *words]
        environment = {**self.environment, **changes}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)

    def run(self, *words: str, status: int = 0, **changes: str) -> str:
        process = self.start(*words, **changes)
        printed = process.communicate(timeout=PATIENCE_SECONDS)[0]
        assert process.returncode == status, printed
        return printed

    def wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not path.exists():
            assert time.monotonic() < deadline, (self.pod / "home" / "fairway.log").read_text()
            time.sleep(0.05)

    @property
    def asked_of_runpod(self) -> list[str]:
        """The words of the last call of curl, here or in the pod."""
        return json.loads((self.pod / "curl").read_text())

    @property
    def removals(self) -> list[str]:
        return (self.pod / "runpodctl").read_text().splitlines()


@pytest.fixture
def home(
    make: Callable[..., Deployment],
    programs: Callable[..., dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Home]:
    checkout, pod = tmp_path / "my checkout", tmp_path / "pod"
    monkeypatch.setattr(runpod, "ROOT", checkout)
    monkeypatch.setattr(runpod, "VOLUME", str(tmp_path / "volume"))
    (pod / "home").mkdir(parents=True)
    (checkout / "recipes").mkdir(parents=True)
    (checkout / "recipes" / "my recipe.yaml").write_text("not even committed")
    (checkout / ".gitignore").write_text("/data/\n/runs/\n")
    (checkout / "data").mkdir()
    (checkout / "data" / "large.bin").touch()
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    curl, python = CURL.replace("{python}", sys.executable), PYTHON.replace("{python}", sys.executable)
    bash = {
        "make": MAKE,
        "sleep": SLEEP,
        "runpodctl": RUNPODCTL,
        "tail": TAIL,
        "nohup": NOHUP,
        "apt-get": "#!/bin/sh\n",
    }
    programs({**bash, "curl": curl, "python": python}, pod / "bin")
    environment = programs({"ssh": SSH, "curl": curl})
    told = {"POD": str(pod), "RUNPOD_API_KEY": "secret", "RUNPOD_POD_ID": "pod1", OURS: tmp_path.name}
    found = Home(tmp_path, make, {**environment, **told})
    found.write(hours=4)
    yield found
    for pid in marked(OURS, tmp_path.name):
        os.kill(pid, signal.SIGKILL)


def test_a_pod_is_asked_for_with_the_key_of_the_account(home: Home) -> None:
    home.run("create")
    *options, method, url, _, key, _, kind, _, body = home.asked_of_runpod
    assert (options, method, url) == (["-sS", "--fail-with-body", "-X"], "POST", "https://api.runpod.io/v2/pods")
    assert (key, kind) == ("Authorization: Bearer secret", "Content-Type: application/json")
    valid("runpod_pod.json", json.loads(body))
    assert json.loads(body)["mounts"]["network"] == [{"volumeId": "fairway", "path": str(home.volume)}]
    home.run("delete", "pod1")
    assert home.asked_of_runpod[2:5] == ["-X", "DELETE", "https://api.runpod.io/v2/pods/pod1"]
    assert "bash runpod.sh create" in home.run(status=2)


def test_a_launch_runs_there_is_kept_and_fetched_and_ends_the_pod(home: Home) -> None:
    (home.volume / "runs").mkdir(parents=True)
    (home.volume / "runs" / "earlier").write_text("of an earlier pod")
    following = home.start("start", "root@192.0.2.7", "-p", "10022", IS_FETCHED="1")
    home.wait_for(home.pod / "home" / "finished")
    assert not (home.pod / "tried").exists(), "it waits to be fetched from"
    home.run("fetch", "root@192.0.2.7", "-p", "10022")
    assert "ended. The pod waits ten minutes" in following.communicate(timeout=PATIENCE_SECONDS)[0]
    said = [json.loads(line) for line in (home.pod / "said").read_text().splitlines()]
    assert said == [["-m", "platform.corpus", "fineweb"], ["-m", "platform.launch", *HARD]]
    there = home.pod / "my fairway"
    assert (there / "recipes" / "my recipe.yaml").exists() and not (there / "data" / "large.bin").exists()
    for folder in (home.volume, home.checkout):
        assert (folder / "runs" / "new").read_text() == "of an earlier pod"
        assert (folder / "runs" / "runpod.log").exists()
    assert (home.volume / "data" / "fetched.bin").exists(), "the next pod fetches nothing"
    assert home.removals == ["remove pod pod1"]


@pytest.mark.parametrize("changes", [{"STATUS": "1"}, {"MAKE_STATUS": "2"}], ids=["a trial failed", "no set-up"])
def test_a_pod_ends_itself_whatever_failed_and_though_nobody_fetches(home: Home, changes: dict[str, str]) -> None:
    home.run("start", "root@192.0.2.7", **changes)
    assert home.removals == ["remove pod pod1"] and (home.volume / "runs" / "runpod.log").exists()


def test_a_launch_is_ended_after_its_hours(home: Home) -> None:
    home.write(hours=1 / 3600)
    home.run("start", "root@192.0.2.7", HANGS_UNTIL="never")
    assert home.removals == ["remove pod pod1"]


def test_a_pod_is_ended_though_its_launch_cannot_be(home: Home) -> None:
    """``timeout`` does nothing here: the minutes that a pod may live are left."""
    (home.pod / "bin" / "timeout").write_text('#!/bin/bash\nshift\nexec "$@"\n')
    (home.pod / "bin" / "timeout").chmod(0o755)
    home.write(hours=0.01)
    home.run("start", "root@192.0.2.7", HANGS_UNTIL="tried", MINUTES_ARE_SHORT="1")
    assert home.removals[0] == "remove pod pod1"


def test_runs_are_kept_every_minute(home: Home) -> None:
    """The launch ends when what it wrote is on the volume."""
    home.write(hours=400)
    home.run("start", "root@192.0.2.7", HANGS_UNTIL="../volume/runs/new", MINUTES_ARE_SHORT="1")
    assert home.removals == ["remove pod pod1"]


def test_a_pod_that_one_way_does_not_remove_is_removed_the_other_or_it_is_told(home: Home) -> None:
    assert "THIS POD IS STILL THERE" not in home.run("start", "root@192.0.2.7", RUNPODCTL_STATUS="1")
    assert home.asked_of_runpod[2:5] == ["-X", "DELETE", "https://api.runpod.io/v2/pods/pod1"]
    assert home.asked_of_runpod[-1] == "Authorization: Bearer secret"
    (home.pod / "ended").unlink()
    printed = home.run("start", "root@192.0.2.7", RUNPODCTL_STATUS="1", CURL_STATUS="22")
    assert "THIS POD IS STILL THERE, AND COSTS" in printed


def test_only_the_data_of_the_challenge_are_fetched(make: Callable[..., Deployment]) -> None:
    assert "platform.corpus fineweb" in runpod._inside(make(machine={"data_path": CHALLENGE}))
    for other in (make(), make(machine={"data_path": CHALLENGE}, launch=("recipes/a.yaml", "--data=data/mine"))):
        assert "platform.corpus" not in runpod._inside(other)
