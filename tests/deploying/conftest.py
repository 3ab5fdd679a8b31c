"""A deployment to make files of, and programs that stand in for those of a cluster, writing down what they are told."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from platform.deploying.deployment import Deployment
from platform.program.recipe import ClusterSettings, Machine

HARD = (
    "recipes/my recipe.yaml",
    "--seeds",
    "1337,7",
    "--stop-when-hopeless",
    'it\'s "best" $(id) `id` \\ & ; | $HOME *',
)
# A Python program whose interpreter may lie in a folder with a space, which a first line cannot name.
SHEBANG = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
"""
RECORDING = (
    SHEBANG
    + """
import json, os, sys
with open(os.environ["SAID"], "a") as said:
    said.write(json.dumps({{"folder": os.getcwd(), "words": sys.argv[1:]}}) + "\\n")
sys.exit(int(os.environ.get("STATUS", "0")))
"""
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Deployment]:
    """A deployment of a launch with awkward words, in a folder with a space."""

    def made(**changes: Any) -> Deployment:
        cluster = {
            "image": "registry.example.com/fairway:1",
            "folder": str(tmp_path / "my fairway"),
            "token": "~/.fairway-token",
            "volume": "fairway",
            "data_center": "US-TX-3",
            "memory_gib": 256,
            "head": "10.0.0.4",
            "workers": ("10.0.0.5", "10.0.0.6"),
            "ssh_user": "ubuntu",
            "partition": "gpu",
            "account": "me",
            "cuda": "12.8",
        }
        machine = {"processes": 8, "gpus": 8, "cpus": 16, "data_path": Path("data/x"), "tokenizer_path": Path("data/y")}
        return Deployment(
            launch=changes.pop("launch", HARD),
            machine=Machine(**machine | changes.pop("machine", {})),
            cluster=ClusterSettings(**cluster | changes.pop("cluster", {})),
            nodes=changes.pop("nodes", 1),
            hours=changes.pop("hours", 4.0),
            scale_file=tmp_path / "eight_h100.yaml",
            **changes,
        )

    return made


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Put programs of these names and texts into a folder of PATH; gives the environment in which they are found."""

    def written(texts: dict[str, str], folder: Path = tmp_path / "bin") -> dict[str, str]:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        return {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SAID": str(tmp_path / "said"),
            "HOME": str(tmp_path),
        }

    return written


@pytest.fixture
def said(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """What the recording program was told, call by call."""

    def read() -> list[dict[str, Any]]:
        path = tmp_path / "said"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def recording() -> str:
    """The text of a program that writes down its folder and words."""
    return RECORDING.format(python=sys.executable)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name is short enough for Ray's sockets in it."""
    with tempfile.TemporaryDirectory(prefix="fw-", dir="/tmp") as name:
        yield Path(name)
