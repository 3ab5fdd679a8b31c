"""The files that take a launch to a cluster: their form, and that what they type exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from platform.launch import main
from platform.paths import ROOT

SUBMIT = ROOT / "deploy"


def load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((SUBMIT / name).read_text()))


def commands(text: str) -> list[list[str]]:
    """The words behind every ``-m platform.launch`` of ``text``, one line each."""
    lines = text.replace("\\\n", " ")
    return [shlex.split(match[1]) for match in re.finditer(r"-m platform\.launch([^'`&\n]*)", lines)]


@pytest.mark.parametrize("name", ["slurm.sbatch", "rayjob.yaml", "ray_up.yaml", "README.md"])
def test_every_launch_that_is_typed_there_has_recipes_and_options_that_exist(name: str) -> None:
    known = {option for parameter in main.params for option in parameter.opts}
    text = (SUBMIT / name).read_text()
    for words in commands(text):
        assert {word for word in words if word.startswith("--")} <= known
        assert all((ROOT / word).exists() for word in words if word.startswith("recipes/"))
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0


def test_the_slurm_script_is_a_shell_script() -> None:
    subprocess.run(["bash", "-n", str(SUBMIT / "slurm.sbatch")], check=True)


def test_the_pods_share_one_volume_and_want_a_token() -> None:
    spec = load("rayjob.yaml")["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    constraint = re.search(r"^ray(?:\[.*\])?==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert constraint and cluster["rayVersion"] == constraint[1].strip()
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in pods):
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts["fairway"] == "/fairway" and "fairway" in {volume["name"] for volume in pod["volumes"]}
    assert (
        cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        == "8"
    )


def test_ray_accepts_its_cluster_file_and_starts_nothing_without_a_token() -> None:
    program = (  # in a process of its own: Ray reads its settings when it is imported
        "import sys, yaml; from ray.autoscaler._private.util import prepare_config, validate_config\n"
        "validate_config(prepare_config(yaml.safe_load(open(sys.argv[1]))))"
    )
    subprocess.run([sys.executable, "-P", "-c", program, str(SUBMIT / "ray_up.yaml")], check=True)
    found = load("ray_up.yaml")
    for line in found["head_start_ray_commands"] + found["worker_start_ray_commands"]:
        assert "RAY_AUTH_MODE=token" in line and "ray stop" not in line


def test_the_table_names_files_that_are_there() -> None:
    named = set(re.findall(r"deploy/([\w.]+)", (SUBMIT / "README.md").read_text()))
    assert {Path(name).name for name in named} == {"slurm.sbatch", "rayjob.yaml", "ray_up.yaml"}
