"""The command: make or fetch token shards and their tokenizer: embedded, text FILE... or fineweb."""

from pathlib import Path
from typing import Any

import click

from ..errors import explained
from ..paths import DATA
from . import VOCABULARY, Remote, embedded, fineweb, from_text
from .challenge import REPO, TRAIN_SHARDS_WANTED
from .split import VAL_BYTES
from .telling import launch_on, told

FILE = click.Path(path_type=Path)
into = click.option("--into", "data_root", type=FILE, default=DATA, help="Folder for the data. Default: data")


@click.group()
def main() -> None:
    """Make or fetch what a model is trained on: token shards and the tokenizer that made them."""


@main.command("embedded")
@into
def embedded_command(data_root: Path) -> None:
    """The corpus that needs no download: English that every Python carries."""
    told(embedded(data_root), "python -m platform.launch recipes/leaky_cosine.yaml --scale laptop")


@main.command("text")
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--vocabulary", type=click.IntRange(1), help=f"Pieces of the tokenizer to train. Default: {VOCABULARY}")
@click.option("--tokenizer", type=FILE, help="A SentencePiece model to use instead.")
@click.option("--val-share", type=float, help=f"Share to validate on. Default: {VAL_BYTES:,} bytes, at most a tenth")
@click.option("--name", help="Of the corpus and its shards. Default: that of the first file")
@into
def text_command(files: tuple[Path, ...], **options: Any) -> None:
    """Your own UTF-8 text, JSON Lines or Parquet (field or column "text").

    Documents of plain text lie between two <|endoftext|>; without any, they are paragraphs, gathered to 4 kB.
    """
    corpus = from_text(files, **options)
    told(corpus, launch_on(corpus, " --scale laptop"))


@main.command("fineweb")
@click.option("--train-shards", type=click.IntRange(1), default=TRAIN_SHARDS_WANTED, help="Of 200 MB. Default: 80")
@click.option("--repo", default=REPO, help=f"Dataset repository. Default: {REPO}")
@click.option("--revision", default="main", help="Branch, tag or commit of it. Default: main")
@click.option("--endpoint", envvar="HF_ENDPOINT", help="Server, where it is not huggingface.co. Also: HF_ENDPOINT")
@into
def fineweb_command(train_shards: int, data_root: Path, **remote: Any) -> None:
    """The challenge's shards and tokenizer; goes on where it was cut off."""
    corpus = fineweb(data_root, train_shards=train_shards, remote=Remote(**remote))
    told(corpus, launch_on(corpus, at_default=data_root.resolve() == DATA))


with explained(on_disk="nothing half-made was left under a final name"):
    main(prog_name="python -m platform.corpus")
