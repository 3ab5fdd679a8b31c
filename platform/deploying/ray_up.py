"""A launch on machines that are there already, as a file for `ray up`: Ray's local provider.

Source: Ray's own schema of such files (ray/autoscaler/ray-schema.json) and its local provider. Not run on machines.
"""

import shlex

from .deployment import PYTHON, Deployment, home

NEEDS = {"head": "10.0.0.4", "ssh_user": "ubuntu"}
PORT = 6379


def cluster_file(deployment: Deployment) -> str:
    """The cluster's file; its first lines say what to type.

    Raises:
        UserError: the scale has fewer addresses than nodes are asked for.
    """
    import yaml

    cluster = deployment.cluster
    if deployment.nodes > 1 + len(cluster.workers):
        raise deployment.refused(
            "workers",
            f"{len(cluster.workers)} beside the head, and {deployment.nodes} nodes are asked for; "
            f"say their addresses, such as cluster: {{workers: [10.0.0.5]}}, or fewer --nodes",
        )
    workers = list(cluster.workers[: deployment.nodes - 1])
    folder, token = shlex.quote(cluster.folder), home(cluster.token)
    settings = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token} RAY_USAGE_STATS_ENABLED=0"
    start = f"{settings} {shlex.quote(f'{cluster.folder}/{PYTHON}')} -m ray.scripts.scripts start"
    launch = (
        f"cd {folder} && {settings} timeout --foreground {deployment.seconds} {deployment.words('--cluster', 'auto')}"
    )
    described = {
        "cluster_name": "fairway",
        "provider": {"type": "local", "head_ip": cluster.head, "worker_ips": workers},
        "auth": {"ssh_user": cluster.ssh_user, "ssh_private_key": cluster.ssh_key},
        "min_workers": len(workers),
        "max_workers": len(workers),
        "file_mounts": {cluster.token: cluster.token},
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "setup_commands": [f"chmod 600 {token}"],
        "head_start_ray_commands": [f"{start} --head --port={PORT} --include-dashboard=false"],
        "worker_start_ray_commands": [f"{start} --address=$RAY_HEAD_IP:{PORT}"],
    }
    secret = """python3 -c 'import secrets; print(secrets.token_hex(32), end="")'"""
    return "\n".join(
        (
            f"# Made by: {deployment.command}",
            "# Type these, in this order, once; the third again, where it was ended: it goes on.",
            f"#   (umask 077 && {secret} > {token})",
            "#   .venv/bin/ray up ray_up.yaml",
            f"#   .venv/bin/ray exec ray_up.yaml {shlex.quote(launch)}",
            "#   .venv/bin/ray down ray_up.yaml",
            "# The launch ends itself. Ray, and the machines, do not: its local provider cannot end one that is idle.",
            yaml.safe_dump(described, sort_keys=False, width=1000),
        )
    )
