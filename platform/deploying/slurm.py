"""A launch on a Slurm cluster, as a batch script.

On one node it has a private Ray cluster, like everywhere. On several, a head and workers with a token, for one trial
each. Source: the manuals of sbatch and srun of Slurm 22.05. Not run on a cluster.
"""

import re
import shlex
from collections.abc import Iterator

from .deployment import Deployment, home

NEEDS: dict[str, str] = {}  # it finds everything by itself, or in what sbatch has by default
GPU_TYPE = re.compile(r"[\w.-]+")  # between two colons of --gpus-per-node
WARNING_SECONDS = 120  # between TERM and the end of the job; a launch ends in some seconds

ONE_NODE = 'exec "${launch[@]}" # a private Ray cluster on this node, gone afterwards\n'

SEVERAL_NODES = """\
# Ray's ports are open to the cluster's network: nobody gets in without this file's content.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token-$SLURM_JOB_ID" RAY_USAGE_STATS_ENABLED=0
(umask 077 && "${launch[0]}" -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
port=$((20000 + SLURM_JOB_ID % 20000))
others=$((SLURM_JOB_NUM_NODES - 1))
step=(srun --overlap --cpus-per-task="$SLURM_CPUS_PER_TASK") # srun takes it from nowhere else since 22.05
ray=("${launch[0]}" -m ray.scripts.scripts start)
"${step[@]}" --nodes=1 --ntasks=1 --nodelist="$head" \\
  "${ray[@]}" --head --port="$port" --include-dashboard=false --block &
for _ in $(seq 60); do
  (: > "/dev/tcp/$head/$port") 2> /dev/null && break
  kill -0 "$!" || exit 1 # Ray has not started there
  sleep 2
done
"${step[@]}" --nodes="$others" --ntasks="$others" --exclude="$head" \\
  "${ray[@]}" --address="$head:$port" --block &

"${launch[@]}" --cluster "$head:$port" &
running=$!
trap 'kill -TERM "$running" || true' TERM
status=0
wait "$running" || status=$?
while kill -0 "$running" 2> /dev/null; do # the signal ended the wait, not yet the launch
  status=0
  wait "$running" || status=$?
done
exit "$status" # Slurm ends what `ray start` left, on every node
"""


def sbatch(deployment: Deployment) -> str:
    """The batch script.

    Raises:
        UserError: the kind of card is no type of a Slurm GPU.
    """
    cluster = deployment.cluster
    return "\n".join(
        (
            "#!/bin/bash",
            f"# Made by: {deployment.command}",
            "# Submit:  sbatch slurm.sbatch                  (again, where the time limit ended it: it goes on)",
            "# End:     scancel JOB",
            *(f"#SBATCH --{option}" for option in _options(deployment)),
            "set -euo pipefail",
            f"cd {shlex.quote(cluster.folder)}",
            f"launch=({deployment.words()})",
            *([f"token={home(cluster.token)}"] if deployment.nodes > 1 else []),
            "",
            SEVERAL_NODES if deployment.nodes > 1 else ONE_NODE,
        )
    )


def _options(deployment: Deployment) -> Iterator[str]:
    machine, cluster = deployment.machine, deployment.cluster
    yield "job-name=fairway"
    yield f"nodes={deployment.nodes}"
    yield "ntasks-per-node=1"
    yield f"cpus-per-task={machine.cpus}"
    if machine.gpus:
        if cluster.gpu is not None and not GPU_TYPE.fullmatch(cluster.gpu):
            raise deployment.refused("gpu", f"found {cluster.gpu!r}, which is no type; `sinfo -o %G` shows yours")
        yield f"gpus-per-node={f'{cluster.gpu}:' if cluster.gpu else ''}{machine.gpus}"
    yield f"mem={f'{cluster.memory_gib}G' if cluster.memory_gib else 0}"  # 0: all that a node has
    yield "exclusive"
    minutes, seconds = divmod(deployment.seconds, 60)
    yield f"time={minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    yield f"signal=B:TERM@{WARNING_SECONDS}"
    if cluster.partition:
        yield f"partition={cluster.partition}"
    if cluster.account:
        yield f"account={cluster.account}"
