"""The commands: python -m platform.corpus embedded | text FILE... | fineweb."""

import shlex
from pathlib import Path

import click

from ..errors import RunFailed, explained
from ..paths import DATA, shown
from . import VOCABULARY, Corpus, Remote, embedded, fineweb, from_text
from .challenge import REPO, TRAIN_SHARDS_WANTED
from .folder import MANIFEST_FILE, read_manifest
from .split import VAL_BYTES

into = click.option(
    "--into", "data_root", type=click.Path(path_type=Path), default=DATA, help="Folder for the data. Default: data"
)


@click.group()
def main() -> None:
    """Make or fetch what a model is trained on: token shards and the tokenizer that made them."""


@main.command("embedded")
@into
def embedded_command(data_root: Path) -> None:
    """The corpus that needs no download: English that every Python carries."""
    _report(embedded(data_root), "python -m platform.launch recipes/leaky_cosine.yaml --scale laptop")


@main.command("text")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--vocabulary", type=click.IntRange(1), help=f"Pieces of the tokenizer to train. Default: {VOCABULARY}")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="A SentencePiece model to use instead.")
@click.option(
    "--val-share",
    type=float,
    help=f"Share of the text to validate on. Default: {VAL_BYTES:,} bytes, at most a tenth",
)
@click.option("--name", help="Of the corpus and its shards. Default: that of the first file")
@into
def text_command(
    files: tuple[Path, ...],
    vocabulary: int | None,
    tokenizer: Path | None,
    val_share: float | None,
    name: str | None,
    data_root: Path,
) -> None:
    """Your own UTF-8 text, JSON Lines or Parquet (field or column "text").

    In plain text a document is what lies between two <|endoftext|>, where the file has them; otherwise whole
    paragraphs, gathered to 4 kB.
    """
    corpus = from_text(
        files, data_root=data_root, name=name, vocabulary=vocabulary, tokenizer=tokenizer, val_share=val_share
    )
    _report(corpus, _launch_on(corpus, " --scale laptop"))


@main.command("fineweb")
@click.option("--train-shards", type=click.IntRange(1), default=TRAIN_SHARDS_WANTED, help="Of 200 MB. Default: 80")
@click.option("--repo", default=REPO, help=f"Dataset repository. Default: {REPO}")
@click.option("--revision", default="main", help="Branch, tag or commit of it. Default: main")
@click.option("--endpoint", envvar="HF_ENDPOINT", help="Server, where it is not huggingface.co. Also: HF_ENDPOINT")
@into
def fineweb_command(train_shards: int, repo: str, revision: str, endpoint: str | None, data_root: Path) -> None:
    """The challenge's shards and tokenizer; goes on where it was cut off."""
    remote = Remote(repo=repo, revision=revision, endpoint=endpoint)
    corpus = fineweb(data_root, train_shards=train_shards, remote=remote)
    at_default = data_root.resolve() == DATA
    _report(corpus, "python -m platform.launch recipes/leaky_cosine.yaml" if at_default else _launch_on(corpus))


def _launch_on(corpus: Corpus, scale: str = "") -> str:
    data, tokenizer = (shlex.quote(shown(path)) for path in (corpus.data_path, corpus.tokenizer_path))
    return f"python -m platform.launch recipes/leaky_cosine.yaml{scale} --data {data} --tokenizer {tokenizer}"


def _report(corpus: Corpus, next_command: str) -> None:
    print(f"data        {shown(corpus.data_path)}")
    print(f"tokenizer   {shown(corpus.tokenizer_path)}")
    print(f"training    {corpus.train_tokens:,} tokens")
    if corpus.val_bytes is None:
        print(f"validation  {corpus.val_tokens:,} tokens")
    else:
        width = corpus.val_bytes / corpus.val_tokens
        print(f"validation  {corpus.val_tokens:,} tokens, {corpus.val_bytes:,} bytes: {width:.4f} bytes per token")
        manifest = read_manifest(corpus.data_path)
        text_bytes = manifest.text_bytes["val"]
        if text_bytes != corpus.val_bytes:
            print(f"            but {text_bytes:,} bytes of text: this tokenizer changes the text it reads")
        if manifest.documents["repeated"]:
            print(f"left out    {manifest.documents['repeated']:,} documents that were there already")
    print(f"more        {shown(corpus.data_path / MANIFEST_FILE)}")
    print(f"next        {next_command}")


if __name__ == "__main__":
    with explained():
        try:
            main(prog_name="python -m platform.corpus")
        except OSError as error:
            raise RunFailed(f"{error}; nothing half-made was left under a final name") from None
