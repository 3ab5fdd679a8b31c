"""The command: run the script of a record folder again, and hold the scores against those that it claims.

    python -m platform.reproduce path/to/record_folder --seeds 3

What the script was told is read from the README's commands, from what the logs print, and from the script itself; where
they differ it says so. --dry-run prints the recipe that would run, and starts nothing.
"""

from pathlib import Path
from typing import Any

import click

from .errors import explained
from .paths import RUNS
from .running.command import Asked
from .running.launch import RETRIES
from .running.reproduce import Reproduce, reproduce

FOLDER = click.Path(path_type=Path)


@click.command(help="Run the script of a record folder again, and compare.")
@click.argument("folder", type=FOLDER)
@click.option("--seeds", help="How many of the fixed list, or just these: 1337,7  [default: those of the record]")
@click.option("--scale", help="The machine to run on: a file of recipes/scales/.  [default: eight_h100]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Tell it this, over what the record says.")
@click.option("--runs", type=FOLDER, default=RUNS, help="Folder of all results.  [default: runs]")
@click.option("--data", type=FOLDER, help="Folder of token shards, instead of the scale's.")
@click.option("--tokenizer", type=FOLDER, help="The tokenizer that made them; belongs with --data.")
@click.option("--cluster", envvar="RAY_ADDRESS", metavar="ADDRESS", help="HOST:PORT of a Ray cluster, or auto.")
@click.option("--max-retries", type=click.IntRange(min=0), default=RETRIES, show_default=True, help="As for launch.")
@click.option("--allow-ignored", is_flag=True, help="Run it though it does not heed what it is told.")
@click.option("--dry-run", is_flag=True, help="Print the recipe and what would run; start nothing.")
@explained()
def main(folder: Path, seeds: str | None, **asked: Any) -> None:
    reproduce(Reproduce(folder=folder, seeds=seeds, asked=Asked.plain(**asked)))


if __name__ == "__main__":
    main()
