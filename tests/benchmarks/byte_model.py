"""Bits per byte of an order-3 byte model on a corpus: the yardstick that a trained model has to beat.

    python -m tests.benchmarks.byte_model [CORPUS FOLDER]

Each byte is predicted from the three before it, with counts from the training text, interpolated down to the uniform
distribution by Witten and Bell's rule. Without a folder the embedded corpus is measured.
"""

import math
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.shards import SHARD_HEADER_INTS, TRAIN_SHARDS, VAL_SHARDS

ORDER = 3


class ByteModel:
    """Counts of what followed each context of up to ``order`` bytes; a document starts with an empty context."""

    def __init__(self, documents: Iterable[bytes], order: int = ORDER) -> None:
        self.order = order
        followers: dict[bytes, Counter[int]] = defaultdict(Counter)
        for document in documents:
            for place, byte in enumerate(document):
                for length in range(min(order, place) + 1):
                    followers[document[place - length : place]][byte] += 1
        self.followers = dict(followers)
        self.total = {context: counts.total() for context, counts in followers.items()}

    def probability(self, byte: int, context: bytes) -> float:
        """P(byte | context) = (count + kinds * P(byte | shorter context)) / (total + kinds): Witten and Bell 1991, C.

        ``kinds`` is how many different bytes followed the context. The empty context falls back to one in 256.
        """
        estimate = 1 / 256
        for length in range(min(self.order, len(context)) + 1):
            history = context[len(context) - length :]
            counts = self.followers.get(history)
            if counts is None:  # then no longer context has been seen either
                break
            kinds = len(counts)
            estimate = (counts[byte] + kinds * estimate) / (self.total[history] + kinds)
        return estimate

    def bits(self, document: bytes) -> float:
        """What it costs to tell ``document`` byte by byte."""
        contexts = (document[max(0, place - self.order) : place] for place in range(len(document)))
        return -sum(math.log2(self.probability(byte, one)) for byte, one in zip(document, contexts, strict=True))


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """A corpus and how well counting predicts it."""

    train_bytes: int
    val_bytes: int
    train_tokens: int
    val_tokens: int
    bits_per_byte: float  # of the order-3 model
    byte_bits_per_byte: float  # of an order-0 model: what the frequencies of single bytes give
    token_bits_per_byte: float  # of the frequencies of single tokens, add-one smoothed; BOS costs bits and has no bytes


def measured(folder: Path) -> Yardstick:
    """The yardstick of a corpus folder; some 6 s for the embedded corpus."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    train, val = tokens(folder, TRAIN_SHARDS), tokens(folder, VAL_SHARDS)
    train_documents, val_documents = list(texts(pieces, train)), list(texts(pieces, val))
    val_bytes = sum(map(len, val_documents))

    def score(order: int) -> float:
        model = ByteModel(train_documents, order)
        return sum(map(model.bits, val_documents)) / val_bytes

    counts, size = Counter(train), pieces.piece_size()
    token_bits = -sum(math.log2((counts[one] + 1) / (len(train) + size)) for one in val)
    return Yardstick(
        train_bytes=sum(map(len, train_documents)),
        val_bytes=val_bytes,
        train_tokens=len(train),
        val_tokens=len(val),
        bits_per_byte=score(ORDER),
        byte_bits_per_byte=score(0),
        token_bits_per_byte=token_bits / val_bytes,
    )


def tokens(folder: Path, pattern: str) -> array:
    """All tokens of the shards, in order."""
    found = array("H")
    for path in sorted(folder.glob(pattern)):
        found.frombytes(path.read_bytes()[4 * SHARD_HEADER_INTS :])
    if sys.byteorder == "big":
        found.byteswap()
    return found


def texts(pieces: Any, stream: array) -> Iterator[bytes]:
    """The documents of a token stream, each as its UTF-8 text."""
    document: list[int] = []
    for token in [*stream, pieces.bos_id()]:
        if token != pieces.bos_id():
            document.append(token)
        elif document:
            yield pieces.decode(document).encode()
            document = []


def main() -> None:
    from platform.corpus import embedded

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else embedded().data_path
    found = measured(folder)
    print(f"corpus                {folder}")
    for part, size, count in (
        ("training", found.train_bytes, found.train_tokens),
        ("validation", found.val_bytes, found.val_tokens),
    ):
        print(f"{part:<21} {size:,} bytes, {count:,} tokens, {size / count:.4f} bytes per token")
    print(f"single bytes          {found.byte_bits_per_byte:.4f} bits per byte")
    print(f"single tokens         {found.token_bits_per_byte:.4f} bits per byte")
    print(f"order-{ORDER} byte model    {found.bits_per_byte:.4f} bits per byte")


if __name__ == "__main__":
    main()
