"""A launch on Kubernetes, as a RayJob of the KubeRay operator.

Source: the RayJob of ray.io/v1 in KubeRay's API reference; ``authOptions`` is there from 1.5 on. Not run on a cluster.
"""

import re
import shlex
from importlib.metadata import version
from typing import Any

from .deployment import Deployment

NEEDS = {"image": "registry.example.com/fairway:1", "volume": "fairway", "memory_gib": "256"}
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")  # Kubernetes' own rule
GPU_LABEL = "nvidia.com/gpu.product"  # set by NVIDIA's GPU feature discovery
HEAD_RESOURCES = {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"memory": "16Gi"}}


def rayjob(deployment: Deployment) -> str:
    """The manifest, to be created with kubectl.

    Raises:
        UserError: the kind of card is no label of a node.
    """
    import yaml

    script = (
        f"cd {shlex.quote(deployment.cluster.folder)} && exec {deployment.words('--cluster', 'auto', python='python')}"
    )
    manifest = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"generateName": "fairway-"},
        "spec": {
            # One word for every shell on its way: the operator's, that of `ray job submit`, that of Ray's job.
            "entrypoint": shlex.join(["sh", "-c", script]),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60,
            "activeDeadlineSeconds": deployment.seconds,
            "backoffLimit": 0,  # a failed trial is a result; the reports name it
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0"},  # it only orchestrates
                    "template": _pod(deployment, "ray-head", HEAD_RESOURCES),
                },
                "workerGroupSpecs": [_workers(deployment)],
            },
        },
    }
    return "\n".join(
        (
            f"# Made by: {deployment.command}",
            "# Submit:  kubectl create -f rayjob.yaml        (again, where it was ended: it goes on)",
            "# End:     kubectl delete rayjob NAME           (it ends itself, too; see activeDeadlineSeconds)",
            yaml.safe_dump(manifest, sort_keys=False, width=1000),
        )
    )


def _workers(deployment: Deployment) -> dict[str, Any]:
    """As many pods as nodes, there from the start: a launch refuses what no node can hold."""
    machine, memory = deployment.machine, deployment.cluster.memory_gib or 0
    cards = {"nvidia.com/gpu": str(machine.gpus)} if machine.gpus else {}
    limits = {"memory": f"{memory}Gi", **cards}
    resources = {"requests": {"cpu": str(machine.cpus), **limits}, "limits": limits}
    template = _pod(deployment, "ray-worker", resources)
    spec = template["spec"]
    spec["containers"][0]["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})  # NCCL inside a node
    spec["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(1, memory // 8)}Gi"}})
    if (gpu := deployment.cluster.gpu) is not None:
        if not LABEL_VALUE.fullmatch(gpu):
            raise deployment.refused(
                "gpu", f"found {gpu!r}, which is no label of a node; `kubectl get nodes -L {GPU_LABEL}` shows yours"
            )
        spec["nodeSelector"] = {GPU_LABEL: gpu}
    replicas = dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), deployment.nodes)
    return {"groupName": "nodes", **replicas, "rayStartParams": {}, "template": template}


def _pod(deployment: Deployment, name: str, resources: dict[str, Any]) -> dict[str, Any]:
    """A pod that sees the checkout where every other one does."""
    container = {
        "name": name,
        "image": deployment.cluster.image,
        "resources": resources,
        "volumeMounts": [{"name": "fairway", "mountPath": deployment.cluster.folder}],
    }
    volume = {"name": "fairway", "persistentVolumeClaim": {"claimName": deployment.cluster.volume}}
    return {"spec": {"containers": [container], "volumes": [volume]}}
