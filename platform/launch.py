"""The command: train and score recipes with several seeds, then report.

    python -m platform.launch recipes/leaky_cosine.yaml --seeds 3 --scale laptop

What runs is written down first (plan.json), what is done already is not run again, and what was interrupted continues
with the same command. Before the first trial every arm is audited, and one that is not what its program declares ends
the launch. Progress goes to standard error, results to standard output. Exit status: 0 every trial asked for is done, 1
some failed, 2 something in the command or a recipe is wrong, 130 stopped with Ctrl-C.
"""

from pathlib import Path
from typing import Any

import click

from jobs.contract.assignment import KERNEL_NAMES

from .errors import explained
from .options import Number
from .paths import RUNS
from .running.command import Asked, run
from .running.launch import RETRIES

FOLDER = click.Path(path_type=Path)
AMOUNT = Number(0, min_open=True)
HOPELESS = "Run no more seeds of a recipe once none of its arms can beat this: bits per byte, or a record's folder."
AGAIN = "Further attempts at a trial that a machine or its network has lost; never after a fault of the program."
HELP = "Train and score each recipe with each seed, then report. A RUN_DIR goes on with the program it has."


@click.command(help=HELP)
@click.argument("recipes", nargs=-1, required=True, type=FOLDER, metavar="RECIPE|SCRIPT|RUN_DIR...")
@click.option("--seeds", default="3", show_default=True, help="How many of the fixed list, or just these: 1337,7 or 7,")
@click.option("--scale", help="The machine to run on: a file of recipes/scales/.  [default: eight_h100]")
@click.option("--arms", default="", help="Score only these arms of the recipe: no_ttt,sgd  [default: all]")
@click.option("--end-to-end", metavar="ARM", help="A program with this arm alone, as a submission runs.")
@click.option("--squeeze", is_flag=True, help="Run the program squeezed: it does the same in fewer bytes and lines.")
@click.option("--packed", is_flag=True, help="Squeeze it and pack it into a file that unpacks itself.")
@click.option("--runs", type=FOLDER, default=RUNS, help="Folder of all results.  [default: runs]")
@click.option("--data", type=FOLDER, help="Folder of token shards, instead of the scale's.")
@click.option("--tokenizer", type=FOLDER, help="The tokenizer that made them; belongs with --data.")
@click.option("--cluster", envvar="RAY_ADDRESS", metavar="ADDRESS", help="HOST:PORT of a Ray cluster, or auto.")
@click.option("--stop-when-hopeless", metavar="SCORE", help=HOPELESS)
@click.option("--budget-usd", type=AMOUNT, metavar="X", help="Start no trial with which this launch would cost more.")
@click.option("--budget-hours", type=AMOUNT, metavar="H", help="The same in node-hours, which need no price.")
@click.option("--max-retries", type=click.IntRange(min=0), default=RETRIES, show_default=True, help=AGAIN)
@click.option(
    "--kernel", type=click.Choice(KERNEL_NAMES), help="The attention of every job.  [default: the fastest that works]"
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Tell a script this, in its environment.")
@click.option("--allow-ignored", is_flag=True, help="Run a script though it does not heed what it is told.")
@click.option("--force", is_flag=True, help="Run even what is over the limit of bytes; no record may claim it.")
@click.option("--dry-run", is_flag=True, help="Print what would run, where and on what; start nothing.")
@explained()
def main(**asked: Any) -> None:
    run(Asked(**asked))


if __name__ == "__main__":
    main()
