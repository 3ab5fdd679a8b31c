"""Text to tokens with SentencePiece, such that the metric's byte rule counts the text exactly."""

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError

PAD, BOS, EOS, UNK = 0, 1, 2, 3  # the challenge's ids
SPACE = "\u2581"  # SentencePiece writes a space as this character
BATCH_CHARACTERS = 4 * 2**20  # tokenized at once, on all cores
LARGEST_VOCABULARY = 2**16  # a shard stores a token in two bytes


def trained(sample: list[str], vocabulary: int) -> bytes:
    """A SentencePiece BPE model whose tokens give back the text byte for byte.

    No normalization, no dummy space in front, no spaces removed, and spaces only at the start of a piece: each of them
    would break the byte rule. What no piece covers falls back to bytes. Digits stand alone, as in the challenge.

    Raises:
        UserError: too little text for the vocabulary, or a vocabulary too small for bytes and characters.
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
        reason = str(error).rpartition("] ")[2]
        raise UserError(
            f"a vocabulary of {vocabulary} does not fit {_size(sample):,} bytes of training text: {reason}\n"
            "Give more text, another --vocabulary, or a finished --tokenizer."
        ) from None
    return model.getvalue()


def loaded(model: bytes, path: Path) -> Any:
    """The SentencePiece processor of ``model``, which came from ``path``.

    Raises:
        UserError: not a model, no BOS, or more pieces than a shard can store.
    """
    import sentencepiece

    try:
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError:
        raise UserError(f"{path}: {len(model):,} bytes that are not a SentencePiece model") from None
    if pieces.bos_id() < 0 or pieces.piece_size() > LARGEST_VOCABULARY:
        raise UserError(
            f"{path}: has {pieces.piece_size()} pieces and bos id {pieces.bos_id()}; "
            f"needed are a BOS piece and at most {LARGEST_VOCABULARY} pieces"
        )
    return pieces


def tokenized(pieces: Any, documents: Iterable[str]) -> Iterator[tuple[str, list[int]]]:
    """Each document with its tokens, BOS in front."""
    literal = _literal_space(pieces)
    for batch in _batches(documents):
        parts = [text.split(SPACE) if literal else [text] for text in batch]
        flat = iter(pieces.encode([segment for some in parts for segment in some], num_threads=os.cpu_count() or 1))
        for text, some in zip(batch, parts, strict=True):
            tokens = [pieces.bos_id(), *next(flat)]
            for _ in some[1:]:
                tokens += literal
                tokens += next(flat)
            yield text, tokens


class Widths:
    """How many bytes of text each token stands for: the rule by which the metric counts.

    A piece is as wide as its UTF-8 text, its leading space apart; a byte piece is 1, control and unknown pieces 0.
    The leading space counts 1, except after a control piece: nothing there was a space.

    Source: byte accounting of the challenge's evaluation script. The job has its own, of tensors; test_corpus compares.
    """

    def __init__(self, pieces: Any) -> None:
        self.base: list[int] = []
        self.spaced: list[bool] = []
        self.boundary: list[bool] = []
        for token in range(pieces.piece_size()):
            control = pieces.is_control(token) or pieces.is_unknown(token) or pieces.is_unused(token)
            text = "" if control else "x" if pieces.is_byte(token) else pieces.id_to_piece(token)
            self.base.append(len(text.removeprefix(SPACE).encode()))
            self.spaced.append(text.startswith(SPACE))
            self.boundary.append(control)

    def total(self, tokens: Iterable[int]) -> int:
        """Bytes of a document that starts with BOS."""
        count, after_boundary = 0, True
        for token in tokens:
            count += self.base[token] + (self.spaced[token] and not after_boundary)
            after_boundary = self.boundary[token]
        return count


def _literal_space(pieces: Any) -> list[int]:
    """U+2581 as byte pieces: where a text holds it itself it must not turn into a space.

    Empty for a tokenizer that cannot do it, having no byte pieces or putting a space in front of all it is given.
    """
    tokens = [pieces.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
    exact = all(map(pieces.is_byte, tokens)) and not pieces.encode("a", out_type=str)[0].startswith(SPACE)
    return tokens if exact else []


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)
