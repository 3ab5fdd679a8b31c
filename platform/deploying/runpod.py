"""A launch on RunPod, as a script for one's own machine: it rents a pod, starts the launch there, and fetches the runs.

A pod is one container with one node's cards, whose open ports face the internet. So none is open but that of ssh, Ray
stays on loopback, and there is one node. What outlives the pod lies on a network volume: it is copied there once a
minute and at the end, and back at the start, since nobody says that locks hold on such a volume.

Source: the schema of RunPod's REST API v2 as @runpod/mcp-server 4.0.0 has it. Not run on RunPod. Assumed, from
RunPod's documentation: `runpodctl remove pod` works inside a pod with the key that is there; the variables
RUNPOD_POD_ID and RUNPOD_API_KEY of its first process; the mount /workspace; images with apt.
"""

import json
import math
import shlex
from pathlib import Path
from typing import Any

from ..corpus.challenge import DATASET
from ..errors import UserError
from ..paths import ROOT
from .deployment import Deployment

NEEDS = {
    "image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
    "gpu": "NVIDIA H100 80GB HBM3",
    "volume": "abc123",
    "data_center": "US-TX-3",
}
API = "https://api.runpod.io/v2/pods"
VOLUME = "/workspace"
DISK_GB = 100  # of the container: the virtual environment, 16 GB of data, the runs
MINUTES_BESIDE = 60  # that a pod may live beside the launch: setting up, fetching data, being fetched from

AT_HOME = """\
authorization() { printf 'Authorization: Bearer %s\\n' "${RUNPOD_API_KEY:?export the API key of your account first}"; }
case "${1-}" in
  create)
    curl -sS --fail-with-body -X POST "$api" -H @<(authorization) -H 'Content-Type: application/json' --data @- < <(pod)
    echo
    ;;
  start)
    shift
    git ls-files -coz --exclude-standard | tar -cz --null -T - |
      ssh "$@" "mkdir -p $(printf %q "$folder") && tar -xz -C $(printf %q "$folder")"
    inside | ssh "$@" 'cat > fairway.sh; nohup bash fairway.sh > fairway.log 2>&1 < /dev/null &'
    ssh "$@" 'tail -n +1 -F fairway.log'
    ;;
  fetch)
    shift
    ssh "$@" "tar -cz -C $(printf %q "$folder") runs" | tar -xz
    ssh "$@" 'if [ -e finished ]; then touch fetched; fi'
    ;;
  delete)
    curl -sS --fail-with-body -X DELETE "$api/${2:?which pod}" -H @<(authorization)
    ;;
  *)
    sed -n '/^# /p' "$0"
    exit 2
    ;;
esac
"""

INSIDE = """\
for name in RUNPOD_POD_ID RUNPOD_API_KEY; do # an ssh session has not the environment of the pod
  [ -n "${!name-}" ] || export "$name=$(tr '\\0' '\\n' < /proc/1/environ | sed -n "s/^$name=//p")"
done
cd "$folder"
keep() { mkdir -p "$volume/$1" && cp -au "$1/." "$volume/$1/"; }
remove() {
  runpodctl remove pod "$RUNPOD_POD_ID" ||
    curl -sS --fail-with-body -X DELETE "$api/$RUNPOD_POD_ID" -H "Authorization: Bearer $RUNPOD_API_KEY" ||
    echo "THIS POD IS STILL THERE, AND COSTS: delete it by hand"
}
(for _ in $(seq "$minutes"); do sleep 60; keep runs || true; done; remove) & # whatever happens, it ends
every_minute=$!
finish() {
  set +e
  cp ~/fairway.log runs/runpod.log
  keep runs
  touch ~/finished
  echo "ended. The pod waits ten minutes to be fetched from, then deletes itself"
  for _ in $(seq 60); do [ -e ~/fetched ] && break; sleep 10; done
  remove
  kill "$every_minute"
}
trap finish EXIT
rm -f ~/finished ~/fetched
mkdir -p data runs "$volume/data" "$volume/runs"
cp -au "$volume/data/." data/
cp -au "$volume/runs/." runs/
apt-get update -q && apt-get install -qy make python3-venv
make setup
"""
FETCH_DATA = """\
.venv/bin/python -m platform.corpus fineweb
keep data
"""


def script(deployment: Deployment) -> str:
    """The script; called without arguments it says what it takes.

    Raises:
        UserError: more than one node is asked for, or no GPU.
    """
    folder = deployment.cluster.folder
    return "\n".join(
        (
            "#!/bin/bash",
            f"# Made by: {deployment.command}",
            "# bash runpod.sh create              rents the pod, and says its id: from now on it costs",
            "# bash runpod.sh start root@IP -p N  copies this checkout there, starts the launch and shows its log;",
            "#                                    the arguments are those of ssh, as the pod's page shows them",
            "# bash runpod.sh fetch root@IP -p N  copies runs/ from there; a pod whose launch has ended deletes itself",
            "# bash runpod.sh delete POD_ID       deletes it at once",
            "set -euo pipefail",
            f"cd {shlex.quote(str(ROOT))}",
            f"api={API} folder={shlex.quote(folder)}",
            _function("pod", json.dumps(pod(deployment), indent=2)),
            _function("inside", _inside(deployment)),
            AT_HOME,
        )
    )


def _function(name: str, text: str) -> str:
    """A function of the shell that prints ``text``, which stays readable."""
    return f"{name}() {{\ncat << 'END OF {name}'\n{text.rstrip()}\nEND OF {name}\n}}"


def pod(deployment: Deployment) -> dict[str, Any]:
    """The body of the request that creates the pod.

    Raises:
        UserError: as ``script`` does.
    """
    machine, cluster = deployment.machine, deployment.cluster
    if deployment.nodes > 1:
        raise UserError(f"{deployment.nodes} nodes: a pod is one machine; deploy a pod for each recipe instead")
    if not machine.gpus:
        raise UserError("a scale without a GPU: a pod is rented for its cards; see --scale eight_h100 or one_gpu")
    gpu: dict[str, Any] = {"id": cluster.gpu, "count": machine.gpus}
    gpu["minVcpuCountPerGpu"] = math.ceil(machine.cpus / machine.gpus)
    if cluster.memory_gib:
        gpu["minRamPerGpu"] = math.ceil(cluster.memory_gib / machine.gpus)
    if cluster.cuda:
        gpu["minCudaVersion"] = cluster.cuda
    return {
        "name": "fairway",
        "image": cluster.image,
        "cloud": "SECURE",
        "gpu": gpu,
        "disk": DISK_GB,
        "mounts": {"network": [{"volumeId": cluster.volume, "path": VOLUME}]},
        "dataCenterIds": [cluster.data_center],  # a network volume is in one
        "ports": ["22/tcp"],
        "startSsh": True,
    }


def _inside(deployment: Deployment) -> str:
    """What runs in the pod: it sets up, launches, keeps the runs, and ends the pod."""
    minutes = math.ceil(deployment.seconds / 60) + MINUTES_BESIDE
    ours = deployment.machine.data_path != Path("data", "datasets", DATASET)
    ours = ours or any(word.partition("=")[0] == "--data" for word in deployment.launch)
    return "".join(
        (
            "set -euo pipefail\n",
            f"api={API} folder={shlex.quote(deployment.cluster.folder)} volume={VOLUME} minutes={minutes}\n",
            INSIDE,
            "" if ours else FETCH_DATA,
            f"timeout {deployment.seconds} {deployment.words()}\n",
        )
    )
