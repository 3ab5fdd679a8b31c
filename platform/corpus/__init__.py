"""Text to a tokenizer and token shards: the corpus that needs no download, one's own text, the challenge's shards."""

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.contract.shards import file_sha256

from ..errors import UserError
from ..paths import DATA
from . import standard_library, texts
from .build import FORMAT, build
from .challenge import TRAIN_SHARDS_WANTED, Remote, fetch
from .folder import Corpus, read_corpus, staged
from .preflight import missing
from .split import VAL_BYTES
from .texts import gathered
from .tokenizer import LARGEST_VOCABULARY

__all__ = ["Corpus", "Remote", "embedded", "embedded_if_cached", "fineweb", "from_text", "missing"]

VOCABULARY = 1024  # the challenge's
# A document of the embedded corpus is a whole module or topic unless it is longer than this. So validation text is
# mostly of modules that training has not seen, and no single one of them decides the score.
DOCUMENT_BYTES = 16_384
SHORTEST_BYTES = 256  # below it are titles, such as those of a hundred character sets


def embedded(data_root: Path = DATA) -> Corpus:
    """The corpus that needs no download: some 1.7 MB of English, made in 4 s the first time and found again after that.

    Raises:
        UserError: this Python has no library sources, or the folder found is broken.
    """
    made_from = _embedded_made_from()
    with staged(_folder(data_root, "embedded", made_from)) as folder:
        if folder:
            build(folder, name="embedded", documents=_embedded_documents, made_from=made_from, vocabulary=VOCABULARY)
    return read_corpus(_folder(data_root, "embedded", made_from))


def embedded_if_cached(data_root: Path = DATA) -> Corpus | None:
    """The embedded corpus if it has been made for this Python; imports nothing heavy and writes nothing.

    Raises:
        UserError: as ``embedded``.
    """
    folder = _folder(data_root, "embedded", _embedded_made_from())
    return read_corpus(folder) if folder.exists() else None


def from_text(
    files: Sequence[Path],
    *,
    data_root: Path = DATA,
    name: str | None = None,
    vocabulary: int | None = None,
    tokenizer: Path | None = None,
    val_share: float | None = None,
) -> Corpus:
    """The corpus of one's own files; ``texts`` says which kinds there are and what a document is.

    Args:
        name: of the corpus and its shards; None takes the first file's.
        vocabulary: pieces of the tokenizer to train; None takes 1024.
        tokenizer: a SentencePiece model to use instead of training one.
        val_share: share of the text to validate on, in (0, 1); None takes 100 kB, at most a tenth.

    Raises:
        UserError: what is wrong with an argument or in a file.
    """
    if not files:
        raise UserError("a corpus of text needs at least one file")
    name = name or re.sub("[^a-z0-9]+", "-", files[0].stem.lower()).strip("-") or "text"
    if not re.fullmatch("[A-Za-z0-9-]+", name):
        raise UserError(f"--name {name!r}: a corpus is called by letters, digits and hyphens")
    if vocabulary is not None and tokenizer is not None:
        raise UserError("--vocabulary and --tokenizer: one trains a tokenizer, the other brings one; give one of them")
    if vocabulary is not None and vocabulary > LARGEST_VOCABULARY:
        raise UserError(
            f"--vocabulary {vocabulary}: a shard stores a token in two bytes, so {LARGEST_VOCABULARY} at most"
        )
    if val_share is not None and not 0 < val_share < 1:
        raise UserError(f"--val-share {val_share}: a share of the text, between 0 and 1")
    for path in [*files, *([tokenizer] if tokenizer else [])]:
        if not path.is_file():
            raise UserError(f"{path}: {'a folder; name the files in it' if path.is_dir() else 'no such file'}")
    made_from = {
        "format": FORMAT,
        "files": [[path.name, file_sha256(path)] for path in files],
        "vocabulary": None if tokenizer else vocabulary or VOCABULARY,
        "tokenizer_sha256": file_sha256(tokenizer) if tokenizer else None,
        "val": VAL_BYTES if val_share is None else val_share,
    }
    with staged(_folder(data_root, name, made_from)) as folder:
        if folder:
            build(
                folder,
                name=name,
                documents=lambda: texts.documents(files),
                made_from=made_from,
                vocabulary=vocabulary or VOCABULARY,
                tokenizer=tokenizer,
                val_share=val_share,
            )
    return read_corpus(_folder(data_root, name, made_from))


def fineweb(data_root: Path = DATA, *, train_shards: int = TRAIN_SHARDS_WANTED, remote: Remote | None = None) -> Corpus:
    """The challenge's own corpus, fetched where it is not there yet; ``challenge`` says from where.

    Raises:
        UserError: fewer shards are to be had, or too little disk space.
        RunFailed: the server cannot be reached, or sent something else; what was fetched is kept.
    """
    return fetch(data_root, train_shards, remote or Remote())


def _embedded_made_from() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "vocabulary": VOCABULARY,
        "val": VAL_BYTES,
        "document_bytes": [SHORTEST_BYTES, DOCUMENT_BYTES],
        "sources": standard_library.sources(),
    }


def _embedded_documents() -> Iterator[str]:
    """Shuffled, so that a training run of a minute meets every part of the library."""
    documents = [
        document.strip() for block in standard_library.blocks() for document in gathered(block, DOCUMENT_BYTES)
    ]
    random.Random(0).shuffle(documents)
    yield from (document for document in documents if len(document.encode()) >= SHORTEST_BYTES)


def _folder(data_root: Path, name: str, made_from: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    return data_root / "corpora" / f"{name}-{digest[:12]}"
