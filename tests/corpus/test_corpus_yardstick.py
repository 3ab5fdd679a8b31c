"""The byte model that a trained model has to beat: its probabilities by hand, and its figure on a corpus."""

import math
from array import array
from pathlib import Path

import pytest

from platform.corpus import from_text
from tests.benchmarks.byte_model import ByteModel, measured, texts


def test_probabilities_by_hand() -> None:
    """Witten and Bell on "abab": P(b | a) = (2 + 1 · P(b)) / (2 + 1), P(b) = (2 + 2 / 256) / (4 + 2)."""
    model = ByteModel([b"abab"], order=1)
    alone = (2 + 2 / 256) / (4 + 2)
    assert model.probability(ord("b"), b"") == pytest.approx(alone, rel=1e-15)
    assert model.probability(ord("b"), b"a") == pytest.approx((2 + alone) / 3, rel=1e-15)
    assert model.probability(ord("x"), b"a") == pytest.approx((2 / 256 / 6) / 3, rel=1e-15)
    assert model.probability(ord("b"), b"unseen context z") == model.probability(ord("b"), b"")
    expected = -math.log2(model.probability(ord("a"), b"")) - math.log2(model.probability(ord("b"), b"a"))
    assert model.bits(b"ab") == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("context", [b"", b"t", b"th", b"the", b"zzz", b"hez"])
def test_probabilities_sum_to_one(context: bytes) -> None:
    model = ByteModel([b"the theme of the thesis", b"another document"])
    assert sum(model.probability(byte, context) for byte in range(256)) == pytest.approx(1, rel=1e-12)


def test_no_context_reaches_over_a_document() -> None:
    assert b"ab" not in ByteModel([b"a", b"b"]).followers
    assert ByteModel([b"a", b"b"]).followers[b""] == {ord("a"): 1, ord("b"): 1}
    assert b"a" not in ByteModel([b"a", b"b"]).followers


def test_more_context_predicts_better_and_the_text_is_all_there(tmp_path: Path) -> None:
    file = tmp_path / "squares.txt"
    file.write_text("\n\n".join(f"Line {number}: the square of it is {number**2}." for number in range(3000)))
    corpus = from_text([file], data_root=tmp_path, vocabulary=300)
    found = measured(corpus.data_path)
    assert found.val_bytes == corpus.val_bytes
    assert (found.train_tokens, found.val_tokens) == (corpus.train_tokens, corpus.val_tokens)
    assert found.bits_per_byte < 0.5 * found.byte_bits_per_byte
    assert found.token_bits_per_byte < found.byte_bits_per_byte < 8


def test_documents_are_what_lies_between_bos() -> None:
    class Letters:
        def bos_id(self) -> int:
            return 1

        def decode(self, tokens: list[int]) -> str:
            return "".join(map(chr, tokens))

    assert list(texts(Letters(), array("H", [1, 97, 98, 1, 99]))) == [b"ab", b"c"]
