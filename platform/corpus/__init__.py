"""Text to a tokenizer and token shards: the corpus that needs no download, one's own text, the challenge's shards."""

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..paths import DATA
from . import standard_library
from .build import FORMAT, build, gathered
from .folder import Corpus, read_corpus, staged

__all__ = ["Corpus", "embedded", "embedded_if_cached"]

VOCABULARY = 1024  # the challenge's
VAL_BYTES = 100_000  # of validation text: sliding evaluation of it takes seconds on two cores
# A document of the embedded corpus is a whole module or topic unless it is longer than this. So validation text is mostly
# of modules that training has not seen, and no single one of them decides the score.
DOCUMENT_BYTES = 16_384
SHORTEST_BYTES = 256  # below it are titles, such as those of a hundred character sets


def embedded(data_root: Path = DATA) -> Corpus:
    """The corpus that needs no download, made in some 15 s the first time and found again after that.

    Raises:
        UserError: this Python has no library sources, or the folder found is broken.
    """
    final = _embedded_folder(data_root)
    with staged(final) as folder:
        if folder:
            build(
                folder,
                name="embedded",
                documents=_embedded_documents,
                made_from=_embedded_made_from(),
                vocabulary=VOCABULARY,
                tokenizer=None,
                val_bytes=VAL_BYTES,
                val_share=None,
            )
    return read_corpus(final)


def embedded_if_cached(data_root: Path = DATA) -> Corpus | None:
    """The embedded corpus if it has been made for this Python; imports nothing heavy and writes nothing."""
    folder = _embedded_folder(data_root)
    return read_corpus(folder) if folder.exists() else None


def _embedded_folder(data_root: Path) -> Path:
    return data_root / "corpora" / f"embedded-{_digest(_embedded_made_from())}"


def _embedded_made_from() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "vocabulary": VOCABULARY,
        "val_bytes": VAL_BYTES,
        "document_bytes": [SHORTEST_BYTES, DOCUMENT_BYTES],
        "sources": standard_library.sources(),
    }


def _embedded_documents() -> Iterator[str]:
    """Shuffled, so that a training run of a minute meets every part of the library."""
    documents = [one.strip() for block in standard_library.blocks() for one in gathered(block, DOCUMENT_BYTES)]
    random.Random(0).shuffle(documents)
    yield from (one for one in documents if len(one.encode()) >= SHORTEST_BYTES)


def _digest(made_from: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]
