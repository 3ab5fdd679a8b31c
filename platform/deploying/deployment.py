"""A launch that is to run on a cluster: its words, and what its scale says of machine and nodes.

Each world's module makes one file of it, for whoever has the cluster to submit.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..paths import ROOT, shown
from ..program import recipe
from ..program.recipe import ClusterSettings, Machine

PYTHON = ".venv/bin/python"  # of the checkout, as `make setup` makes it


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What every world makes its file of."""

    launch: tuple[str, ...]  # the words behind `python -m platform.launch`
    machine: Machine
    cluster: ClusterSettings
    nodes: int
    hours: float  # after which the world ends the launch
    scale_file: Path  # where the cluster is described
    command: str = "python -m platform.deploy"  # that made the file

    @property
    def seconds(self) -> int:
        return round(self.hours * 3600)

    def words(self, *options: str, python: str = PYTHON) -> str:
        """The command of the launch, for a shell in the checkout."""
        return shlex.join([python, "-m", "platform.launch", *self.launch, *options])

    def refused(self, name: str, message: str) -> UserError:
        """The error to raise about what the scale says of its cluster under ``name``."""
        return UserError(f"{shown(self.scale_file)}: cluster.{name}: {message}")


def prepare(
    recipes: Sequence[Path], words: Sequence[str], *, scale: str | None, nodes: int | None, hours: float, command: str
) -> Deployment:
    """The deployment of the launch ``words``, in which ``recipes`` stand.

    Raises:
        UserError: a recipe is wrong, a folder, or outside the checkout; two of them ask for different clusters; or
            a word has a line break.
    """
    for word in (*words, command):
        if not word.isprintable():
            raise UserError(f"{word!r}: a line break or another character that cannot be printed; no file can have it")
    for path in recipes:
        if path.is_dir():
            raise UserError(f"{shown(path)}: a folder; name the recipe instead: its run goes on where it stands")
    every = [recipe.load(path, scale) for path in recipes]
    first = every[0]
    for path, other in zip(recipes, every, strict=True):
        if (other.machine, other.cluster) != (first.machine, first.cluster):
            raise UserError(
                f"{shown(recipes[0])} and {shown(path)} ask for different machines or clusters at scale {first.scale}; "
                f"deploy one after the other"
            )
    return Deployment(
        launch=tuple(_in_checkout(Path(word)) if Path(word) in recipes else word for word in words),
        machine=first.machine,
        cluster=first.cluster,
        nodes=nodes or first.cluster.nodes,
        hours=hours,
        scale_file=recipe.scale_file(first),
        command=command,
    )


def home(path: str) -> str:
    """``path`` for a shell, with ``~`` as the home of whoever runs it there."""
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)


def _in_checkout(path: Path) -> str:
    """A recipe as it is called in the checkout, which is all that the nodes have."""
    try:
        return str(path.resolve().relative_to(ROOT))
    except ValueError:
        raise UserError(
            f"{shown(path)}: lies outside the checkout {ROOT}, and a node has nothing else; put it into recipes/"
        ) from None
