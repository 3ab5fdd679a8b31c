"""The command: make the file that brings a launch to a cluster: kuberay, slurm, ray-up or runpod.

python -m platform.deploy slurm recipes/leaky_cosine.yaml --seeds 3 > slurm.sbatch
python -m platform.deploy kuberay --nodes 3 --hours 2 recipes/leaky_cosine.yaml --seeds 3 --write clusters

Behind the name of the world stands a launch, with its recipes and options. Where the nodes are is said by the section
``cluster`` of its scale, recipes/scales/eight_h100.yaml unless --scale names another. Nothing is sent anywhere.
"""

import shlex
import sys
from pathlib import Path

import click
from click.core import ParameterSource

from . import launch
from .deploying.deployment import prepare
from .deploying.worlds import WORLDS, file_for
from .errors import UserError, explained
from .options import Number, described
from .paths import shown


@click.command(help=described(__doc__), context_settings={"ignore_unknown_options": True})
@click.argument("world", type=click.Choice(list(WORLDS)))
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="RECIPE... [OPTIONS OF LAUNCH]")
@click.option("--scale", help="The machine to run on, and its cluster.  [default: eight_h100]")
@click.option("--nodes", type=click.IntRange(1), help="Nodes, and so trials at once.  [default: the cluster's]")
@click.option("--hours", type=Number(0, min_open=True), default=4.0, show_default=True, help="It is ended after these.")
@click.option("--write", type=click.Path(path_type=Path), metavar="FOLDER", help="Write it there, not to the output.")
@explained()
def main(
    world: str, words: tuple[str, ...], scale: str | None, nodes: int | None, hours: float, write: Path | None
) -> None:
    words = (*words, *(() if scale is None else ("--scale", scale)))
    asked = launch.main.make_context("platform.launch", list(words))
    if asked.get_parameter_source("cluster") == ParameterSource.COMMANDLINE:
        raise UserError("--cluster: the file itself says which cluster; leave it out")
    command = shlex.join(["python", "-m", "platform.deploy", *sys.argv[1:]])
    recipes = asked.params["recipes"]
    deployment = prepare(recipes, words, scale=scale, nodes=nodes, hours=hours, command=command)
    text, name = file_for(world, deployment), WORLDS[world].file
    if write is None:
        print(text, end="")
        return
    write.mkdir(parents=True, exist_ok=True)
    (write / name).write_text(text, encoding="utf-8")
    print(f"{shown(write / name)}: its first lines say what to type")


if __name__ == "__main__":
    main()
