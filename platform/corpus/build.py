"""Documents to a corpus: split by hash, train the tokenizer, write the shards, count the bytes, say what was done.

The documents are read from their files up to three times and never held: to see what there is, to train the
tokenizer, to tokenize.
"""

import hashlib
import io
import os
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from jobs.contract import SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION, data_sha256, file_sha256

from ..errors import UserError
from .folder import TOKENIZER_FILE, Manifest, write_manifest

FORMAT = 1  # goes up when the same text would make another corpus, so that folders of the old kind are not reused
PAD, BOS, EOS, UNK = 0, 1, 2, 3  # the challenge's ids
SPACE = "\u2581"  # SentencePiece writes a space as this character
SHARD_TOKENS = 10**8  # of a full training shard, as in the challenge
SAMPLE_BYTES = 32 * 2**20  # of training text for the tokenizer: more changes no merge that a vocabulary of 1024 has
BATCH_BYTES = 4 * 2**20  # tokenized at once, on all cores
LARGEST_VAL_SHARE = 0.1  # of a small corpus, unless one asks for more: most of the text is for training
LARGEST_VOCABULARY = 2**16  # a shard stores a token in two bytes


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which documents are validation: those of lowest hash. The next ones are the sample a tokenizer is trained on."""

    val_hash: int  # the highest of a validation document
    sample_hash: int  # the highest of the sample
    repeated: frozenset[int]  # hashes that occur more than once
    documents: dict[str, int]
    text_bytes: dict[str, int]

    def of(self, document: str) -> str:
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
        """Training documents to train a tokenizer on, some SAMPLE_BYTES: whichever their hash picks, in their order."""
        return [one for one in self.once(documents) if self.val_hash < _hash(one) <= self.sample_hash]


def build(
    folder: Path,
    *,
    name: str,
    documents: Callable[[], Iterable[str]],
    made_from: dict[str, Any],
    vocabulary: int,
    tokenizer: Path | None,
    val_bytes: int,
    val_share: float | None,
) -> None:
    """Fill the empty ``folder`` with the corpus of what ``documents()`` yields each time it is called.

    Args:
        tokenizer: a SentencePiece model to use as it is; None trains one of ``vocabulary`` pieces.
        val_bytes: how much text to validate on, where ``val_share`` does not say it; at most a tenth of all.
        val_share: share of the text to validate on, at least one document.

    Raises:
        UserError: fewer than two documents, or too little text for the vocabulary.
    """
    _say(f"{name}: reading")
    split = _read(documents, val_bytes, val_share)
    if tokenizer is None:
        sample = split.sample(documents())
        _say(f"{name}: training a tokenizer of {vocabulary} pieces on {sum(map(_size, sample)):,} bytes")
        model = _trained(sample, vocabulary)
        del sample
    else:
        model = tokenizer.read_bytes()
    (folder / TOKENIZER_FILE).write_bytes(model)
    pieces = _pieces(model, tokenizer or folder / TOKENIZER_FILE)
    shards = {part: _Shards(folder, f"{name}_{part}") for part in ("train", "val")}
    widths = Widths(pieces)
    counted_bytes = 0
    for part, tokens in _tokenized(pieces, split.once(documents()), split):
        shards[part].add(tokens)
        counted_bytes += widths.total(tokens) if part == "val" else 0
    tokens_of = {part: one.close() for part, one in shards.items()}
    if tokenizer is None and counted_bytes != split.text_bytes["val"]:
        raise AssertionError(f"{counted_bytes} bytes counted in {split.text_bytes['val']} bytes of validation text")
    data_sha256(folder)  # reads every header back
    import sentencepiece

    write_manifest(
        folder,
        Manifest(
            name=name,
            made_from=made_from,
            made_with={"python": sys.version.split()[0], "sentencepiece": sentencepiece.__version__},
            vocabulary=pieces.piece_size(),
            documents=split.documents,
            text_bytes=split.text_bytes,
            tokens=tokens_of,
            val_counted_bytes=counted_bytes,
            files_sha256={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        ),
    )


def gathered(paragraphs: Iterable[str], document_bytes: int) -> Iterator[str]:
    """Documents of whole paragraphs, a blank line between two; each ends when it has ``document_bytes``."""
    held: list[str] = []
    size = 0
    for paragraph in paragraphs:
        held.append(paragraph)
        size += _size(paragraph) + 2
        if size >= document_bytes:
            yield "\n\n".join(held)
            held, size = [], 0
    if held:
        yield "\n\n".join(held)


class Widths:
    """How many bytes of text each token stands for: the rule by which the metric counts.

    A piece is as wide as its UTF-8 text, its leading space apart; a byte piece is 1, control and unknown pieces 0.
    The leading space counts 1, except after a control piece: nothing there was a space.
    """

    def __init__(self, pieces: Any) -> None:
        self.base: list[int] = []
        self.spaced: list[bool] = []
        self.boundary: list[bool] = []
        for token in range(pieces.piece_size()):
            control = pieces.is_control(token) or pieces.is_unknown(token) or pieces.is_unused(token)
            text = "" if control else "x" if pieces.is_byte(token) else pieces.id_to_piece(token)
            self.base.append(_size(text.removeprefix(SPACE)))
            self.spaced.append(text.startswith(SPACE))
            self.boundary.append(control)

    def total(self, tokens: Iterable[int]) -> int:
        """Bytes of a document that starts with BOS."""
        count, after_boundary = 0, True
        for token in tokens:
            count += self.base[token] + (self.spaced[token] and not after_boundary)
            after_boundary = self.boundary[token]
        return count


def _read(documents: Callable[[], Iterable[str]], val_bytes: int, val_share: float | None) -> Split:
    """The split. Twelve bytes are kept of each document, so that millions of short ones fit in memory."""
    import numpy

    keys, sizes = array("Q"), array("I")
    for document in documents():
        keys.append(_hash(document))
        sizes.append(_size(document))
    hashes, first, times = numpy.unique(numpy.asarray(keys), return_index=True, return_counts=True)
    if len(hashes) < 2:
        raise UserError(
            f"{'one document' if len(hashes) else 'no text'} is all there is; a corpus needs at least two documents, "
            "one of them to validate on"
        )
    text_bytes = numpy.asarray(sizes)[first].cumsum(dtype=numpy.int64)
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


def _trained(sample: list[str], vocabulary: int) -> bytes:
    """A SentencePiece BPE model whose tokens give back the text byte for byte.

    No normalization, no dummy space in front, no spaces removed, and spaces only at the start of a piece: that makes
    the metric's byte rule exact. What no piece covers falls back to bytes. Digits stand alone, as in the challenge.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary,
            byte_fallback=True,
            character_coverage=0.999,  # the rare rest is bytes anyway; every covered character costs a merge
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=False,
            max_sentence_length=2**30,  # a document is one sentence here, and none is skipped for its length
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        size = sum(map(_size, sample))
        reason = str(error).rpartition("] ")[2]
        raise UserError(
            f"{size:,} bytes of training text do not make a vocabulary of {vocabulary}: {reason}\n"
            "Give more text, another --vocabulary, or a finished --tokenizer."
        ) from None
    return model.getvalue()


def _pieces(model: bytes, path: Path) -> Any:
    import sentencepiece

    try:
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise UserError(f"{path}: not a SentencePiece model ({str(error)[:200]})") from None
    if pieces.bos_id() < 0 or pieces.piece_size() > LARGEST_VOCABULARY:
        raise UserError(
            f"{path}: has {pieces.piece_size()} pieces and bos id {pieces.bos_id()}; "
            f"needed are a BOS piece and at most {LARGEST_VOCABULARY} pieces"
        )
    return pieces


def _tokenized(pieces: Any, documents: Iterable[str], split: Split) -> Iterator[tuple[str, list[int]]]:
    """Each document's part and tokens, BOS in front."""
    done = 0
    total = split.text_bytes["train"] + split.text_bytes["val"]
    for batch in _batches(documents):
        # A document's own "\u2581" would become a space; as bytes it stays what it is.
        texts = [text.split(SPACE) for text in batch]
        flat = iter(pieces.encode([one for parts in texts for one in parts], num_threads=os.cpu_count() or 1))
        literal = [pieces.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
        for text, parts in zip(batch, texts, strict=True):
            tokens = [pieces.bos_id(), *next(flat)]
            for _ in parts[1:]:
                tokens += literal
                tokens += next(flat)
            yield split.of(text), tokens
        done += sum(map(_size, batch))
        _say(f"tokenized {done / 2**20:,.1f} of {total / 2**20:,.1f} MiB")


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Shards:
    """Writes tokens to ``<stem>_000000.bin``, ``_000001`` and so on, in the challenge's format."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder, self.stem = folder, stem
        self.file: BinaryIO | None = None
        self.number = self.held = self.total = 0

    def add(self, tokens: list[int]) -> None:
        while tokens:
            if self.file is None:
                self.file = (self.folder / f"{self.stem}_{self.number:06d}.bin").open("xb")
                self.file.write(bytes(4 * SHARD_HEADER_INTS))
            now, tokens = tokens[: SHARD_TOKENS - self.held], tokens[SHARD_TOKENS - self.held :]
            self.file.write(struct.pack(f"<{len(now)}H", *now))
            self.held += len(now)
            if self.held == SHARD_TOKENS:
                self._end()

    def close(self) -> int:
        """Finish the last shard and return how many tokens there were in all."""
        self._end()
        return self.total

    def _end(self) -> None:
        if self.file:
            self.file.seek(0)
            self.file.write(struct.pack("<3i", SHARD_MAGIC, SHARD_VERSION, self.held))
            self.file.close()
            self.file = None
            self.number += 1
            self.total += self.held
            self.held = 0


def _hash(document: str) -> int:
    return int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big")


def _size(text: str) -> int:
    return len(text.encode())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
