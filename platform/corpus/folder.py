"""A corpus on disk: one folder with token shards, tokenizer and manifest, which is complete or not there.

    data/corpora/embedded-1f0c7e5a9d3b/
        embedded_train_000000.bin ...    shards in the challenge's format
        embedded_val_000000.bin
        tokenizer.model                  SentencePiece, trained on the training documents alone
        manifest.json                    sources, counts and hashes

The twelve digits hash everything the corpus is made from, so a folder is never out of date and never overwritten.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.contract.shards import TRAIN_SHARDS, VAL_SHARDS, shard_tokens

from ..errors import UserError, naming
from ..locks import exclusive

TOKENIZER_FILE, MANIFEST_FILE = "tokenizer.model", "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Shards and the tokenizer that made them: the two paths a job is told, and how much text they hold."""

    name: str
    data_path: Path
    tokenizer_path: Path
    train_tokens: int
    val_tokens: int
    val_bytes: int | None  # what bits per byte divides by; None where nobody has decoded the validation shards yet


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a corpus was made from and what came out."""

    name: str
    made_from: dict[str, Any]  # everything that decides the content; its hash names the folder
    made_with: dict[str, str]  # versions of Python and SentencePiece
    vocabulary: int
    documents: dict[str, int]  # train, val; and repeated: left out because the same text had been there before
    text_bytes: dict[str, int]  # train, val: UTF-8 bytes of the documents
    tokens: dict[str, int]  # train, val: with one BOS in front of every document
    val_counted_bytes: int  # by the byte rule of the metric: text_bytes["val"], unless a given tokenizer changes text
    files_sha256: dict[str, str]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into ``folder``."""
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a corpus folder.

    Raises:
        UserError: there is none, or it is not one.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not the manifest of a corpus ({error}); delete {folder} and make it again") from None


def read_corpus(folder: Path) -> Corpus:
    """The corpus in ``folder``, its shards checked by header and size.

    Raises:
        UserError: a file is missing or broken; names it and says to delete the folder.
    """
    manifest = read_manifest(folder)
    for name in manifest.files_sha256:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; delete {folder} and make the corpus again")
    return Corpus(
        name=manifest.name,
        data_path=folder,
        tokenizer_path=folder / TOKENIZER_FILE,
        train_tokens=_tokens(folder, TRAIN_SHARDS),
        val_tokens=_tokens(folder, VAL_SHARDS),
        val_bytes=manifest.val_counted_bytes,
    )


def _tokens(folder: Path, pattern: str) -> int:
    try:
        return sum(shard_tokens(path) for path in folder.glob(pattern))
    except ValueError as error:
        raise UserError(f"{error}\nDelete {folder} and make the corpus again.") from None


@contextmanager
def staged(final: Path) -> Iterator[Path | None]:
    """An empty folder that becomes ``final`` when the block ends well; None where ``final`` is already there.

    A second process that wants the same folder waits for the first and then gets None. What a killed process left
    behind is thrown away by the next one: under its final name a folder is always whole.
    """
    if final.exists():
        yield None
        return
    staging = final.with_name(f".{final.name}.part")
    with exclusive(staging):
        if final.exists():  # made while we waited
            shutil.rmtree(staging)
            yield None
            return
        for leftover in staging.iterdir():
            leftover.unlink()
        try:
            with naming(final):
                yield staging
        except BaseException:
            shutil.rmtree(staging)
            raise
        staging.rename(final)
