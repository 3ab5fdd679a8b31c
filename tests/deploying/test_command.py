"""The command: a launch behind the name of a world, its mistakes before anything is made, and where the file goes."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from platform.deploying import slurm
from platform.deploying.deployment import prepare
from platform.errors import UserError
from platform.paths import ROOT

RECIPE = ROOT / "recipes" / "leaky_cosine.yaml"


def deploy(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "platform.deploy", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def refused(*words: str) -> str:
    done = deploy(*words)
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_the_launch_keeps_its_words_and_their_order(tmp_path: Path) -> None:
    """Those of deploy may stand between them; the recipe is named as the nodes know it."""
    words = ("--seeds", "1337,", str(RECIPE), "--nodes", "2", "--arms", "no_ttt,sgd", "--hours", "0.5", "--force")
    done = deploy("slurm", *words, "--scale", "one_gpu")
    launch = "--seeds 1337, recipes/leaky_cosine.yaml --arms no_ttt,sgd --force --scale one_gpu"
    assert f"\nlaunch=(.venv/bin/python -m platform.launch {launch})\n" in done.stdout, done.stderr
    assert (
        f"# Made by: {shlex.join(['python', '-m', 'platform.deploy', 'slurm', *words])} --scale one_gpu\n"
        in done.stdout
    )
    for option in ("nodes=2", "gpus-per-node=1", "cpus-per-task=8", "time=00:30:00"):
        assert f"\n#SBATCH --{option}\n" in done.stdout
    written = deploy("slurm", *words, "--scale", "one_gpu", "--write", str(tmp_path / "new folder"))
    assert written.stdout == f"{tmp_path / 'new folder' / 'slurm.sbatch'}: its first lines say what to type\n"
    text = (tmp_path / "new folder" / "slurm.sbatch").read_text()
    assert text.splitlines()[2:] == done.stdout.splitlines()[2:], "but for the command that made it"


def test_a_mistake_in_the_launch_is_told_by_the_launch() -> None:
    assert "No such option" in refused("slurm", str(RECIPE), "--sedes", "3") and "--seeds" in refused(
        "slurm", "--sedes"
    )
    assert "did you mean 'leaky_cosine.yaml'?" in refused("slurm", "recipes/leaky_cosin.yaml")
    assert "no scale 'eight'; possible: eight_h100" in refused("slurm", str(RECIPE), "--scale", "eight")


def test_what_the_file_itself_decides_is_refused_in_the_launch() -> None:
    assert "--cluster: the file itself says which cluster" in refused("slurm", str(RECIPE), "--cluster", "auto")


def test_what_the_nodes_do_not_have_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("question: Where?\nbase: leaky_cosine\n")
    assert f"{own}: lies outside the checkout {ROOT}, and a node has nothing else" in refused("slurm", str(own))
    assert "a folder; name the recipe instead" in refused("slurm", str(tmp_path))


def test_what_is_missing_is_named_with_its_file() -> None:
    message = refused("kuberay", str(RECIPE))
    assert message.startswith("error: recipes/scales/eight_h100.yaml: cluster: kuberay needs image, volume, memory_gib")


def test_a_line_break_could_leave_its_line_and_is_refused() -> None:
    with pytest.raises(UserError, match="a line break or another character that cannot be printed"):
        prepare([RECIPE], [str(RECIPE), "--runs", "a\nrm -rf b"], scale=None, nodes=None, hours=1, command="x")


def test_recipes_that_ask_for_different_clusters_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("question: Where?\nbase: leaky_cosine\nscales: {eight_h100: {cluster: {nodes: 2}}}\n")
    with pytest.raises(UserError, match=r"other.yaml ask for different machines or clusters at scale eight_h100"):
        prepare([RECIPE, other], [str(RECIPE), str(other)], scale=None, nodes=None, hours=1, command="x")


@pytest.mark.parametrize(("asked", "nodes"), [(None, 1), (3, 3)])
def test_as_many_nodes_as_the_cluster_has_unless_asked_otherwise(asked: int | None, nodes: int) -> None:
    made = prepare([RECIPE], [str(RECIPE)], scale=None, nodes=asked, hours=1.5, command="x")
    assert (made.nodes, made.seconds, made.scale_file) == (nodes, 5400, ROOT / "recipes" / "scales" / "eight_h100.yaml")
    assert f"#SBATCH --nodes={nodes}\n" in slurm.sbatch(made)
