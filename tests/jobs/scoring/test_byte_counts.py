"""Bytes of each target: their sum is the length of the text, whatever is in it."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.contract.shards import byte_tokenizer
from jobs.data.byte_counts import SPACE, ByteCounts
from jobs.data.shards import validation_tokens
from tests.jobs.tiny import ENGLISH, TEXT_VOCABULARY, TEXTS, tokenized, train_tokenizer

TOKENIZERS: dict[str, dict[str, bool]] = {
    "ours": {},
    "a space in front of a text": {"add_dummy_prefix": True},  # as the challenge's
    "spaces inside and alone": {"split_by_whitespace": False, "allow_whitespace_only_pieces": True},
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [text + "run   of    spaces " * 5 for text in ENGLISH]
    return train_tokenizer(folder, texts, vocabulary=TEXT_VOCABULARY, **TOKENIZERS[request.param])


@lru_cache
def counts_of(tokenizer: Path) -> ByteCounts:
    return ByteCounts.of_tokenizer(tokenizer, TEXT_VOCABULARY)


def counted(tokenizer: Path, documents: list[str]) -> int:
    return int(counts_of(tokenizer).of_targets(torch.tensor(tokenized(tokenizer, documents))).sum())


def test_the_corpus_counts_as_many_bytes_as_its_text_has(corpus: Any) -> None:
    counts = ByteCounts.of_tokenizer(corpus.tokenizer_path, TEXT_VOCABULARY)
    tokens = validation_tokens(corpus.data_path)
    assert int(counts.of_targets(tokens).sum()) == corpus.val_bytes
    assert any(counts.base_V[tokens] > 1) and any(tokens < 260), "there are pieces and bytes in it"


def test_every_document_counts_its_bytes(tokenizer: Path) -> None:
    for text in TEXTS:
        assert counted(tokenizer, [text]) == len(text.encode()), text
    assert counted(tokenizer, TEXTS) == sum(len(text.encode()) for text in TEXTS)


@settings(max_examples=200)
@given(texts=st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_any_text_counts_its_bytes(corpus: Any, texts: list[str]) -> None:
    # U+2581 is how SentencePiece writes a space, and NUL is what it writes for nothing; a space right after BOS is
    # the one thing that the metric's rule does not count, see below.
    texts = ["x" + text.replace(SPACE, "").replace("\0", "") for text in texts]
    assert counted(corpus.tokenizer_path, texts) == sum(len(text.encode()) for text in texts)


def test_a_space_right_after_bos_is_not_text(tokenizer: Path) -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    counts = ByteCounts.of_tokenizer(tokenizer, TEXT_VOCABULARY)
    word = next(
        token
        for token in range(pieces.piece_size())
        if pieces.id_to_piece(token).startswith(SPACE) and len(pieces.id_to_piece(token)) > 1
    )
    letters = len(pieces.id_to_piece(word)) - 1
    after_bos, after_word = counts.of_targets(torch.tensor([pieces.bos_id(), word, word])).tolist()
    assert (after_bos, after_word) == (letters, letters + 1)


def test_each_kind_of_piece(tokenizer: Path) -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    counts = ByteCounts.of_tokenizer(tokenizer, 400)
    seen = set()
    for token in range(400):
        found = (int(counts.base_V[token]), bool(counts.leading_space_V[token]), bool(counts.boundary_V[token]))
        if token >= pieces.piece_size() or pieces.is_control(token) or pieces.is_unknown(token):
            seen.add("none" if token >= pieces.piece_size() else "control")
            assert found == (0, False, True)
        elif pieces.is_byte(token):
            seen.add("byte")
            assert found == (1, False, False)
        else:
            text = pieces.id_to_piece(token)
            seen.add("word" if text.startswith(SPACE) else "part")
            spelled = text.removeprefix(SPACE).replace(SPACE, " ")
            assert found == (len(spelled.encode()), text.startswith(SPACE), False), text
    assert seen == {"none", "control", "byte", "word", "part"}


def test_control_tokens_among_text_count_nothing(tokenizer: Path) -> None:
    counts = ByteCounts.of_tokenizer(tokenizer, TEXT_VOCABULARY)
    assert counts.of_targets(torch.tensor([1, 1, 0, 2, 3, 1])).tolist() == [0, 0, 0, 0, 0]


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path, corpus: Any) -> None:
    missing, garbage, empty = tmp_path / "missing.model", tmp_path / "garbage.model", tmp_path / "empty.model"
    garbage.write_bytes(bytes(range(256)) * 8)
    empty.write_bytes(b"")
    for path in (missing, garbage, empty, tmp_path):
        with pytest.raises(ValueError, match=path.name):
            ByteCounts.of_tokenizer(path, TEXT_VOCABULARY)
    with pytest.raises(ValueError, match="330 pieces"):
        ByteCounts.of_tokenizer(corpus.tokenizer_path, TEXT_VOCABULARY - 1)


def byte_level(folder: Path, **changes: Any) -> Path:
    """The file of the field's byte260: four special ids, then the bytes."""
    config = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "byte_offset": 4, "byte_count": 256}
    told = {"tokenizer_type": "pure_byte", "config": config, "vocab_size": 260, **changes}
    path = folder / "fineweb_pure_byte_260.json"
    path.write_text(json.dumps(told))
    return path


def test_a_byte_level_tokenizer_counts_a_byte_each(tmp_path: Path) -> None:
    counts = ByteCounts.of_tokenizer(byte_level(tmp_path), 300)
    documents = ["two  spaces", "", "ümlaut and 🌱\n"]
    tokens = [token for text in documents for token in (1, *(4 + byte for byte in text.encode()))]
    assert int(counts.of_targets(torch.tensor([0, *tokens])).sum()) == sum(len(text.encode()) for text in documents)
    assert counts.base_V[260:].sum() == 0 and byte_tokenizer(tmp_path / "tokenizer.model") is None


@pytest.mark.parametrize(
    "changes", [{"tokenizer_type": "bpe"}, {"config": {}}, {"config": {"byte_offset": 4, "byte_count": 200}}]
)
def test_another_json_file_is_no_tokenizer(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fineweb_pure_byte_260.json: not the JSON file of a byte-level tokenizer"):
        ByteCounts.of_tokenizer(byte_level(tmp_path, **changes), 300)
    with pytest.raises(ValueError, match=r"has 260 pieces, shape.vocab_size is 259"):
        ByteCounts.of_tokenizer(byte_level(tmp_path), 259)
