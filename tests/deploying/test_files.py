"""The file for each world is one that this world takes: by its own schema, parser or linter, where they can be had."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from platform.deploying import kuberay, ray_up, runpod, slurm
from platform.deploying.deployment import Deployment
from platform.deploying.worlds import WORLDS, file_for
from platform.errors import UserError
from platform.paths import ROOT
from platform.program.recipe import ClusterSettings

SCHEMAS = Path(__file__).parent / "schemas"
Make = Callable[..., Deployment]


def valid(schema: str, found: Any) -> None:
    described = json.loads((SCHEMAS / schema).read_text())
    validator = jsonschema.validators.validator_for(described)
    validator.check_schema(described)
    validator(described).validate(found)


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterSpec"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


# KubeRay


def test_kuberay_and_kubernetes_take_the_job(make: Make) -> None:
    for changes in ({}, {"nodes": 3}, {"machine": {"gpus": 0}}, {"cluster": {"gpu": "NVIDIA-H100-80GB-HBM3"}}):
        manifest = yaml.safe_load(kuberay.rayjob(make(**changes)))
        valid("ray_job.json", manifest)
        assert len(pods(manifest)) == 2
        for pod in pods(manifest):
            valid("kubernetes_pod.json", pod)


def test_what_kuberay_or_kubernetes_would_not_take_is_seen(make: Make) -> None:
    manifest = yaml.safe_load(kuberay.rayjob(make()))
    manifest["spec"]["activeDeadline"] = 3
    with pytest.raises(jsonschema.ValidationError, match="activeDeadline"):
        valid("ray_job.json", manifest)
    pod = pods(manifest)[1]
    pod["spec"]["containers"][0]["volumeMounts"][0]["mounthPath"] = "/x"
    with pytest.raises(jsonschema.ValidationError, match="mounthPath"):
        valid("kubernetes_pod.json", pod)


def test_a_job_wants_a_token_whole_nodes_and_an_end(make: Make) -> None:
    manifest = yaml.safe_load(kuberay.rayjob(make(nodes=3, hours=1.5)))
    spec, cluster = manifest["spec"], manifest["spec"]["rayClusterSpec"]
    assert (spec["activeDeadlineSeconds"], spec["shutdownAfterJobFinishes"]) == (5400, True)
    assert cluster["authOptions"] == {"mode": "token"}
    constraint = re.search(r"^ray(?:\[.*\])?==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert constraint and cluster["rayVersion"] == constraint[1].strip()
    [workers] = cluster["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 3
    resources = workers["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "256Gi", "nvidia.com/gpu": "8"} and resources["requests"]["cpu"] == "16"
    for pod in pods(manifest):
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert mounts["fairway"].endswith("/my fairway")
        assert {volume["name"] for volume in pod["spec"]["volumes"]} == set(mounts), "each is mounted"
    assert "/dev/shm" in mounts.values()


def test_a_card_that_is_no_label_is_refused(make: Make) -> None:
    with pytest.raises(
        UserError, match=r"eight_h100.yaml: cluster.gpu: found 'NVIDIA H100 80GB HBM3', which is no label"
    ):
        kuberay.rayjob(make(cluster={"gpu": "NVIDIA H100 80GB HBM3"}))


# Slurm


def options(script: str) -> Iterator[tuple[str, str]]:
    for line in script.splitlines():
        if line.startswith("#SBATCH "):
            name, _, value = line.removeprefix("#SBATCH --").partition("=")
            yield name, value


@pytest.mark.parametrize("nodes", [1, 3])
def test_sbatch_knows_every_option(make: Make, nodes: int) -> None:
    known = {line for line in (SCHEMAS / "sbatch_options.txt").read_text().splitlines() if not line.startswith("#")}
    found = dict(options(slurm.sbatch(make(nodes=nodes, hours=1.5, cluster={"gpu": "h100"}))))
    assert len(known) > 90 and set(found) <= known
    assert (found["nodes"], found["gpus-per-node"], found["cpus-per-task"]) == (str(nodes), "h100:8", "16")
    assert (found["time"], found["mem"], found["partition"], found["account"]) == ("01:30:00", "256G", "gpu", "me")
    plain = dict(options(slurm.sbatch(make(machine={"gpus": 0}, cluster={"memory_gib": None, "partition": None}))))
    assert plain["mem"] == "0" and "partition" not in plain and "gpus-per-node" not in plain


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="no sbatch (Debian: slurm-client)")
@pytest.mark.parametrize("nodes", [1, 3])
def test_sbatch_itself_takes_the_script_up_to_the_controller_that_is_not_there(
    make: Make, tmp_path: Path, nodes: int
) -> None:
    def submitted(script: str) -> str:
        (tmp_path / "slurm.sbatch").write_text(script)
        command = ["sbatch", "--test-only", str(tmp_path / "slurm.sbatch")]
        environment = {**os.environ, "SLURM_CONF": str(tmp_path / "slurm.conf")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr

    (tmp_path / "slurm.conf").write_text(
        "ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=9\nAuthType=auth/none\nGresTypes=gpu\n"
        "MessageTimeout=2\nSlurmctldTimeout=5\nNodeName=localhost CPUs=1\nPartitionName=gpu Nodes=ALL\n"
    )
    script = slurm.sbatch(make(nodes=nodes, cluster={"gpu": "h100"}))
    assert "Unable to contact slurm controller" in submitted(script)
    assert "Invalid --time" in submitted(script.replace("time=04:00:00", "time=4h"))


def test_a_card_that_is_no_type_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match=r"eight_h100.yaml: cluster.gpu: found 'NVIDIA H100', which is no type; `sinfo"):
        slurm.sbatch(make(cluster={"gpu": "NVIDIA H100"}))


# ray up


def validated(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Ray's own judgement, in a process of its own: Ray reads its settings when it is imported."""
    (tmp_path / "ray_up.yaml").write_text(text)
    program = (
        "import sys, yaml; from ray.autoscaler._private.util import prepare_config, validate_config\n"
        "validate_config(prepare_config(yaml.safe_load(open(sys.argv[1]))))"
    )
    command = [sys.executable, "-P", "-c", program, str(tmp_path / "ray_up.yaml")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


def test_ray_takes_its_cluster_file_and_starts_nothing_without_a_token(make: Make, tmp_path: Path) -> None:
    text = ray_up.cluster_file(make(nodes=2))
    assert validated(text, tmp_path).returncode == 0, validated(text, tmp_path).stderr
    assert validated(text.replace("min_workers", "least_workers"), tmp_path).returncode != 0
    found = yaml.safe_load(text)
    assert found["provider"] == {"type": "local", "head_ip": "10.0.0.4", "worker_ips": ["10.0.0.5"]}
    assert found["min_workers"] == found["max_workers"] == 1
    for line in found["head_start_ray_commands"] + found["worker_start_ray_commands"]:
        assert "RAY_AUTH_MODE=token" in line and "ray stop" not in line


def test_a_launch_on_machines_of_ones_own_ends_and_the_file_says_that_they_do_not(make: Make) -> None:
    """With Ray's local provider, idle_timeout_minutes would only be written down."""
    text = ray_up.cluster_file(make(nodes=2, hours=1.5))
    assert " timeout --foreground 5400 " in text and "its local provider cannot end one that is idle" in text
    assert "idle_timeout_minutes" not in yaml.safe_load(text)


def test_more_nodes_than_addresses_are_refused(make: Make) -> None:
    with pytest.raises(UserError, match=r"cluster.workers: 2 beside the head, and 4 nodes are asked for; say their"):
        ray_up.cluster_file(make(nodes=4))


# RunPod


def test_runpod_takes_the_pod(make: Make) -> None:
    for changes in ({}, {"memory_gib": None, "cuda": None}):
        pod = runpod.pod(make(cluster={"gpu": "NVIDIA H100 80GB HBM3", **changes}))
        valid("runpod_pod.json", pod)
    assert pod["gpu"] == {"id": "NVIDIA H100 80GB HBM3", "count": 8, "minVcpuCountPerGpu": 2}
    assert pod["ports"] == ["22/tcp"], "nothing else faces the internet"
    with pytest.raises(jsonschema.ValidationError, match="gpuCount"):
        valid("runpod_pod.json", {**pod, "gpuCount": 8})


def test_what_a_pod_cannot_be_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="2 nodes: a pod is one machine"):
        runpod.script(make(nodes=2))
    with pytest.raises(UserError, match="a scale without a GPU"):
        runpod.script(make(machine={"gpus": 0}))


# All of them


@pytest.mark.parametrize("world", list(WORLDS))
def test_what_the_scale_does_not_say_is_asked_for_at_once_and_never_made_up(make: Make, world: str) -> None:
    nothing = {name: None for name in vars(ClusterSettings()) if getattr(ClusterSettings(), name) is None}
    needs = WORLDS[world].needs
    if world == "slurm":
        assert not needs and "None" not in file_for(world, make(cluster=nothing))
        return
    with pytest.raises(UserError) as refused:
        file_for(world, make(cluster=nothing))
    message = str(refused.value)
    assert f"eight_h100.yaml: cluster: {world} needs {', '.join(needs)}, and nothing is said of it" in message
    example = yaml.safe_load(message.splitlines()[-1])["cluster"]
    text = file_for(world, make(cluster={**nothing, **example}))
    assert "None" not in text and ": null" not in text


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck (Debian: shellcheck)")
@pytest.mark.parametrize("world", ["slurm", "runpod"])
def test_shellcheck_finds_nothing(make: Make, tmp_path: Path, world: str) -> None:
    """But for SC2054: it takes the comma of ``--seeds 1337,7`` for one that separates."""
    deployments = [make(nodes=1, cluster={"gpu": "h100"})] + ([make(nodes=3)] if world == "slurm" else [])
    for deployment in deployments:
        text = file_for(world, deployment)
        (tmp_path / "script").write_text(text)
        command = ["shellcheck", "--shell=bash", "--severity=warning", "--exclude=SC2054", str(tmp_path / "script")]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout
    if world == "runpod":
        (tmp_path / "inside").write_text(runpod._inside(deployment))
        found = subprocess.run([*command[:-1], str(tmp_path / "inside")], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("world", ["slurm", "runpod"])
def test_bash_can_read_it(make: Make, world: str) -> None:
    text = file_for(world, make(cluster={"gpu": "h100"}))
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
