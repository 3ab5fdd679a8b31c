"""The embedded corpus, and what holds for every corpus: exact bytes, a split without overlap, whole folders."""

import subprocess
import sys
from array import array
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.contract.shards import SHARD_HEADER_INTS, TRAIN_SHARDS, VAL_SHARDS, data_sha256, file_sha256, shard_tokens
from platform.corpus import embedded, embedded_if_cached, standard_library
from platform.corpus.build import Shards
from platform.corpus.folder import Corpus, read_manifest, staged
from platform.corpus.split import split
from platform.corpus.tokenizer import Widths, loaded, tokenized, trained
from platform.errors import UserError
from platform.paths import ROOT


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data with a space")


@pytest.fixture(scope="module")
def corpus(data_root: Path) -> Corpus:
    return embedded(data_root)


@pytest.fixture(scope="module")
def pieces(corpus: Corpus) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(corpus.tokenizer_path))


def documents(corpus: Corpus, pattern: str, pieces: sentencepiece.SentencePieceProcessor) -> list[str]:
    """The texts of a split, decoded document by document."""
    texts: list[list[int]] = []
    for path in sorted(corpus.data_path.glob(pattern)):
        for token in stream(path):
            if token == 1:
                texts.append([])
            else:
                texts[-1].append(token)
    return [pieces.decode(one) for one in texts]


def stream(path: Path) -> array:
    tokens = array("H")
    tokens.frombytes(path.read_bytes()[4 * SHARD_HEADER_INTS :])
    return tokens


def test_embedded_corpus_is_a_whole_folder(corpus: Corpus) -> None:
    assert shard_tokens(corpus.data_path / "embedded_train_000000.bin") == corpus.train_tokens
    assert shard_tokens(corpus.data_path / "embedded_val_000000.bin") == corpus.val_tokens
    assert len(data_sha256(corpus.data_path)) == 64
    manifest = read_manifest(corpus.data_path)
    on_disk = {path.name for path in corpus.data_path.iterdir()} - {"manifest.json"}
    assert {name: file_sha256(corpus.data_path / name) for name in on_disk} == manifest.files_sha256
    assert manifest.tokens == {"train": corpus.train_tokens, "val": corpus.val_tokens}
    assert manifest.made_with["python"] == sys.version.split()[0]
    assert "pydoc_data/topics.py" in manifest.made_from["sources"]
    assert not any(Path(name).parts[0] in ("test", "site-packages") for name in manifest.made_from["sources"])


def test_embedded_corpus_has_the_size_that_its_users_count_on(corpus: Corpus) -> None:
    """Wide bounds: the text grows with Python. What must not happen: half of it gone, or minutes of evaluation."""
    manifest = read_manifest(corpus.data_path)
    assert 1.2e6 < manifest.text_bytes["train"] < 4e6
    assert 95_000 < manifest.text_bytes["val"] < 120_000
    assert 2.0 < manifest.text_bytes["train"] / manifest.tokens["train"] < 3.0


def test_bytes_of_the_validation_stream_are_those_of_its_text(
    corpus: Corpus, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    text_bytes = sum(len(one.encode()) for one in documents(corpus, VAL_SHARDS, pieces))
    assert corpus.val_bytes == text_bytes == read_manifest(corpus.data_path).text_bytes["val"]


def test_the_job_counts_the_same_bytes(corpus: Corpus) -> None:
    torch = pytest.importorskip("torch")
    from jobs.data.byte_counts import ByteCounts

    tokens = torch.tensor(stream(corpus.data_path / "embedded_val_000000.bin"), dtype=torch.int64)
    counts = ByteCounts.of_tokenizer(corpus.tokenizer_path, 1024)
    assert int(counts.of_targets(tokens).sum()) == corpus.val_bytes


def test_decoded_documents_are_the_documents_that_went_in(
    corpus: Corpus, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    """Read again from the library, by another way than the build."""
    paragraphs = {one for block in standard_library.blocks() for one in block}
    for pattern in (TRAIN_SHARDS, VAL_SHARDS):
        for text in documents(corpus, pattern, pieces):
            # The first paragraph of a document has lost the white space in front of it.
            assert all(one in paragraphs for one in text.split("\n\n")[1:] if one.strip() and not one.startswith("\n"))


def test_no_paragraph_of_the_validation_text_is_in_the_training_text(
    corpus: Corpus, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    def paragraphs(pattern: str) -> set[str]:
        return {" ".join(one.split()) for text in documents(corpus, pattern, pieces) for one in text.split("\n\n")}

    train, val = paragraphs(TRAIN_SHARDS), paragraphs(VAL_SHARDS)
    assert len(val) > 100
    assert val & train <= {""}


def test_special_ids_are_those_of_the_challenge(pieces: sentencepiece.SentencePieceProcessor) -> None:
    assert pieces.piece_size() == 1024
    assert (pieces.pad_id(), pieces.bos_id(), pieces.eos_id(), pieces.unk_id()) == (0, 1, 2, 3)


def test_second_call_returns_the_same_without_building(
    corpus: Corpus, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.corpus.build", None)
    assert embedded(data_root) == corpus
    assert embedded_if_cached(data_root) == corpus


def test_looking_for_the_cached_corpus_is_cheap_and_writes_nothing(corpus: Corpus, tmp_path: Path) -> None:
    empty = tmp_path / "data"
    code = (
        "import sys; from pathlib import Path; from platform.corpus import embedded_if_cached\n"
        f"assert embedded_if_cached(Path({str(empty)!r})) is None\n"
        f"assert embedded_if_cached(Path({str(corpus.data_path.parent.parent)!r})).val_bytes\n"
        "print(sorted({'sentencepiece', 'numpy', 'pyarrow', 'huggingface_hub', 'click', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not empty.exists()


def test_a_damaged_corpus_is_refused(data_root: Path, corpus: Corpus, tmp_path: Path) -> None:
    copy = tmp_path / "corpora" / corpus.data_path.name
    copy.mkdir(parents=True)
    for path in corpus.data_path.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    shard = copy / "embedded_val_000000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"embedded_val_000000.bin.*\n.*Delete"):
        embedded(tmp_path)
    shard.unlink()
    with pytest.raises(UserError, match=r"embedded_val_000000.bin is missing"):
        embedded(tmp_path)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest.json.*delete"):
        embedded_if_cached(tmp_path)


def test_a_python_without_sources_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standard_library.sources.cache_clear()
    monkeypatch.setattr(standard_library, "_library", lambda: tmp_path)
    with pytest.raises(UserError, match=r"topics.py is not there.*\n.*libpython3-stdlib"):
        embedded(tmp_path)
    standard_library.sources.cache_clear()


# ---- exact bytes, for any text

WORDS = [
    "def f(x):",
    "  two  spaces ",
    "\n\n\t",
    "a▁b",
    "▁",
    " ▁ ",
    "é",
    "你好",
    "\x00",
    "<s>",
    "<0x41>",
    "�",
    "﻿",
    "12345",
]
AWKWARD = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=12).map("".join).map(str.strip)


@pytest.fixture(scope="module")
def small_tokenizer() -> sentencepiece.SentencePieceProcessor:
    sample = [f"the {word} of the {other} is here.\n\nAnd {word}" for word in WORDS for other in WORDS]
    return loaded(trained(sample, 330), Path("small"))


@settings(max_examples=300, deadline=None)
@given(text=AWKWARD)
def test_every_text_comes_back_byte_for_byte(small_tokenizer: sentencepiece.SentencePieceProcessor, text: str) -> None:
    [(_, tokens)] = tokenized(small_tokenizer, [text])
    assert tokens[0] == 1
    assert Widths(small_tokenizer).total(tokens) == len(text.encode())
    assert small_tokenizer.decode(tokens[1:]) == text


def test_a_space_right_after_bos_is_not_counted(small_tokenizer: sentencepiece.SentencePieceProcessor) -> None:
    space = small_tokenizer.piece_to_id("▁")
    assert Widths(small_tokenizer).total([1, space, space]) == 1


# ---- split and shards


def test_the_same_text_always_goes_the_same_way() -> None:
    texts = [f"document {number} " * 20 for number in range(400)]
    one = split(texts, val_bytes=4000, val_share=None)
    other = split(reversed(texts), val_bytes=4000, val_share=None)
    assert one == other
    assert 4000 <= one.text_bytes["val"] < 4000 + max(map(len, texts))
    assert sum(len(text) for text in texts if one.part(text) == "val") == one.text_bytes["val"]
    assert one.documents["val"] + one.documents["train"] == 400


def test_share_and_repeats() -> None:
    texts = [f"document {number:04d}" for number in range(1000)]
    found = split([*texts, *texts[:7], texts[0]], val_bytes=0, val_share=0.25)
    assert found.documents == {"train": 750, "val": 250, "repeated": 8}
    assert list(found.once([*texts, *texts[:7], texts[0]])) == texts
    assert set(found.sample(texts)) == {one for one in texts if found.part(one) == "train"}


def test_both_parts_have_a_document_however_small_the_corpus() -> None:
    for share in (0.0001, 0.9999):
        assert split(["a", "bb"], val_bytes=0, val_share=share).documents == {"train": 1, "val": 1, "repeated": 0}
    with pytest.raises(UserError, match="one document is all there is"):
        split(["a", "a"], val_bytes=0, val_share=0.5)
    with pytest.raises(UserError, match="no text is all there is"):
        split([], val_bytes=0, val_share=0.5)


def test_shards_fill_up_and_start_anew(tmp_path: Path) -> None:
    shards = Shards(tmp_path, "x_train", shard_tokens=10)
    for start in range(0, 28, 7):
        shards.add(list(range(start, start + 7)))
    shards.close()
    assert shards.total == 28
    paths = sorted(tmp_path.iterdir())
    assert [shard_tokens(path) for path in paths] == [10, 10, 8]
    assert [token for path in paths for token in stream(path)] == list(range(28))
    assert [path.name for path in paths] == [f"x_train_{number:06d}.bin" for number in range(3)]


# ---- whole or not there


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged(tmp_path / "corpora" / "x") as folder:
        assert folder
        (folder / "half").touch()
        raise RuntimeError
    assert not list((tmp_path / "corpora").iterdir())


def test_what_a_killed_process_left_is_thrown_away(tmp_path: Path) -> None:
    left = tmp_path / ".x.part"
    left.mkdir()
    (left / "half").touch()
    with staged(tmp_path / "x") as folder:
        assert folder
        assert not list(folder.iterdir())
        (folder / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "whole"]


def test_processes_at_once_make_one_corpus(tmp_path: Path) -> None:
    file = tmp_path / "numbers.txt"
    file.write_text("\n\n".join(f"Line {number}: the square of it is {number**2}." for number in range(3000)))
    command = [sys.executable, "-m", "platform.corpus", "text", file, "--into", tmp_path, "--vocabulary", "300"]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate(timeout=900) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({output for output, _ in outputs}) == 1
    assert sum(b"training a tokenizer" in progress for _, progress in outputs) == 1
    [folder] = (tmp_path / "corpora").iterdir()
    assert read_manifest(folder).name == "numbers"
