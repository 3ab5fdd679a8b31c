"""Which documents validate and which train, decided by their text alone: the same text always goes the same way."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import UserError

VAL_BYTES = 100_000  # of validation text: sliding evaluation of it takes seconds on two cores
LARGEST_VAL_SHARE = 0.1  # of a small corpus, unless one asks for more: most of the text is for training
SAMPLE_BYTES = 32 * 2**20  # of training text for the tokenizer: more changes no merge that a vocabulary of 1024 has


@dataclass(frozen=True, kw_only=True)
class Split:
    """The documents of lowest hash are validation, the next ones the sample that a tokenizer is trained on."""

    val_hash: int  # the highest of a validation document
    sample_hash: int  # the highest of the sample
    repeated: frozenset[int]  # hashes that occur more than once
    documents: dict[str, int]  # how many: train, val, repeated
    text_bytes: dict[str, int]  # train, val: UTF-8 bytes

    def part(self, document: str) -> str:
        """``"val"`` or ``"train"``."""
        return "val" if _hash(document) <= self.val_hash else "train"

    def once(self, documents: Iterable[str]) -> Iterator[str]:
        """``documents``, each text the first time it comes."""
        seen: set[int] = set()
        for document in documents:
            key = _hash(document)
            if key in seen:
                continue
            if key in self.repeated:
                seen.add(key)
            yield document

    def sample(self, documents: Iterable[str]) -> list[str]:
        """Some SAMPLE_BYTES of the training documents, in their order."""
        return [document for document in self.once(documents) if self.val_hash < _hash(document) <= self.sample_hash]


def split(documents: Iterable[str], *, val_bytes: int, val_share: float | None) -> Split:
    """The split of ``documents``. Keeps twelve bytes of each, so that millions of short ones fit in memory.

    Args:
        val_bytes: how much text to validate on, where ``val_share`` does not say it; at most a tenth of all.
        val_share: share of the text to validate on. At least one document stays on each side.

    Raises:
        UserError: fewer than two different documents.
    """
    import numpy

    keys, sizes = array("Q"), array("I")
    for document in documents:
        keys.append(_hash(document))
        sizes.append(len(document.encode()))
    hashes, first, times = numpy.unique(numpy.asarray(keys), return_index=True, return_counts=True)
    if len(hashes) < 2:
        raise UserError(
            f"{'one document' if len(hashes) else 'no text'} is all there is; a corpus needs at least two documents, "
            "one of them to validate on"
        )
    text_bytes = numpy.asarray(sizes)[first].cumsum(dtype=numpy.int64)  # of all documents up to each hash
    total = int(text_bytes[-1])
    wanted = min(val_bytes, LARGEST_VAL_SHARE * total) if val_share is None else val_share * total
    val_documents = min(int(numpy.searchsorted(text_bytes, wanted)) + 1, len(hashes) - 1)
    held_out = int(text_bytes[val_documents - 1])
    sampled = int(numpy.searchsorted(text_bytes, held_out + SAMPLE_BYTES, side="right"))
    return Split(
        val_hash=int(hashes[val_documents - 1]),
        sample_hash=int(hashes[max(sampled, val_documents + 1) - 1]),
        repeated=frozenset(hashes[times > 1].tolist()),
        documents={
            "train": len(hashes) - val_documents,
            "val": val_documents,
            "repeated": len(keys) - len(hashes),
        },
        text_bytes={"train": total - held_out, "val": held_out},
    )


def _hash(document: str) -> int:
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big")
