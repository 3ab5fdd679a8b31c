"""One's own text: which documents come out of a file, the corpus they make, and what is said when they do not."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from jobs.contract.shards import TRAIN_SHARDS
from platform.corpus import Corpus, from_text, texts
from platform.corpus.folder import read_manifest
from platform.corpus.tokenizer import loaded, tokenized
from platform.errors import UserError
from platform.paths import ROOT

LINES = [f"Line {number} says that the square of {number} is {number**2}." for number in range(2000)]


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "My Story (1).txt"
    path.write_text("\n\n".join(LINES), encoding="utf-8")
    return path


def corpus_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "platform.corpus", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# ---- documents


def test_paragraphs_are_gathered_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(("\ufeff  " + "\r\n\r\n".join(LINES) + "\r\n\r\n \r\n").encode())
    found = list(texts.documents([path]))
    assert "\n\n".join(found) == "\n\n".join(LINES)
    assert all(4000 < len(one.encode()) < 4300 for one in found[:-1])


def test_where_the_marker_occurs_it_separates(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\nstill one<|endoftext|>two\n<|endoftext|>\n\n<|endoftext|>" + "long " * 5000)
    assert list(texts.documents([path])) == ["one\n\nstill one", "two", ("long " * 5000).strip()]


@pytest.mark.parametrize("block", range(30, 45))
def test_a_marker_on_the_edge_of_a_block_separates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(texts, "LONGEST_CHARACTERS", block)
    path = tmp_path / "a.txt"
    path.write_text("first 45678 012<|endoftext|>second 67 901<|endoftext|>third")
    assert list(texts.documents([path])) == ["first 45678 012", "second 67 901", "third"]


def test_text_without_an_end_is_cut_at_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LONGEST_CHARACTERS", 100)
    path = tmp_path / "a.txt"
    path.write_text("word " * 200 + "x" * 300)
    parts = list(texts._parts(path, "\n\n"))
    assert "".join(parts) == path.read_text()
    assert all(len(one) <= 100 for one in parts)
    assert all(one.endswith("word ") for one in parts[:10])


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\\u00e9\\r\\n two "}\n\n{"id": 1, "text": ""}\n{"text": "<|endoftext|>\\n\\nx"}\n')
    assert list(texts.documents([path])) == ["oneé\r\n two", "<|endoftext|>\n\nx"]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"id": range(2000), "text": LINES}), path, row_group_size=700)
    assert list(texts.documents([path])) == LINES


# ---- mistakes


def write(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.txt",
            b"fine\n" * 300_000 + b"caf\xe9 au lait",
            r"a\.txt: not UTF-8.*0xe9 at offset 1,500,003, line 300,001",
        ),
        ("a.txt", b"\xff\xfeh\x00i\x00", r"0xff at offset 0, line 1\n.*iconv"),
        ("a.txt", b"end cut off \xe4\xbd", r"0xe4 at offset 12, line 1"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "caf\xe9"}', r"a\.jsonl:2: not UTF-8.*0xe9 in column 14"),
        ("a.jsonl", b'{"text": "x"}\n{"text": ', r"a\.jsonl:2: not a JSON value"),
        ("a.json", b"[\n", r"a\.json:1: not a JSON value on a line of its own"),
        ("a.jsonl", b'["x"]', r"a\.jsonl:1: a list, expected an object"),
        (
            "a.jsonl",
            b'{"texts": "x", "id": 1}',
            r"a\.jsonl:1: no field 'text' among 'texts', 'id'; did you mean 'texts'",
        ),
        ("a.jsonl", b'{"text": null}', r"a\.jsonl:1: field 'text' is null, expected a string"),
        ("a.jsonl", b'{"text": "\\ud800"}', r"a\.jsonl:1: field 'text' holds half a character, \\ud800"),
        ("a.parquet", b"text\nhello", r"a\.parquet: not a Parquet file"),
        ("a.txt", b"", "no text is all there is"),
        ("a.txt", b" \n\n \n", "no text is all there is"),
        ("a.txt", b"just this", "one document is all there is"),
        ("a.txt", b"same\n\n" * 3000, "vocabulary of 1024 does not fit.*Please set it to a value <= "),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_text([write(tmp_path, name, content)], data_root=tmp_path)
    assert not list((tmp_path / "corpora").iterdir())


def test_parquet_without_the_column(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"content": LINES}), path)
    with pytest.raises(UserError, match="no column 'text' among 'content'"):
        from_text([path], data_root=tmp_path)
    parquet.write_table(pyarrow.table({"text": ["x", None]}), path)
    with pytest.raises(UserError, match="row 2, column 'text' is null"):
        from_text([path], data_root=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 70_000}, "65536 at most"),
        ({"vocabulary": 200}, "vocabulary of 200 does not fit .* smaller than required_chars"),
        ({"vocabulary": 300, "tokenizer": Path("x")}, "give one of them"),
        ({"tokenizer": Path("nowhere.model")}, "nowhere.model: no such file"),
        ({"tokenizer": ROOT / "Makefile"}, "Makefile: .* not a SentencePiece model"),
        ({"val_share": 1.0}, "--val-share 1.0"),
        ({"val_share": 0.0}, "--val-share 0.0"),
        ({"name": "my_val_story"}, "letters, digits and hyphens"),
    ],
)
def test_wrong_options_are_explained(tmp_path: Path, story: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_text([story], data_root=tmp_path, **options)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file"):
        from_text([tmp_path / "nowhere.txt"], data_root=tmp_path)
    with pytest.raises(UserError, match="a folder; name the files in it"):
        from_text([tmp_path], data_root=tmp_path)


# ---- corpora


def make(story: Path, **options: object) -> Corpus:
    return from_text([story], data_root=story.parent, **{"vocabulary": 300, **options})  # type: ignore[arg-type]


def test_a_corpus_is_named_by_file_and_content(story: Path) -> None:
    corpus = make(story)
    assert corpus.name == "my-story-1"
    assert corpus.data_path.name.startswith("my-story-1-")
    assert sorted(path.name for path in corpus.data_path.iterdir()) == [
        "manifest.json",
        "my-story-1_train_000000.bin",
        "my-story-1_val_000000.bin",
        "tokenizer.model",
    ]
    assert make(story) == corpus
    story.write_text(story.read_text() + "\n\nAnd one line more.")
    assert make(story).data_path != corpus.data_path


def test_validation_is_the_share_asked_for(story: Path) -> None:
    total = len("\n\n".join(LINES))
    assert make(story).val_bytes / total == pytest.approx(0.1, abs=0.05)  # a document has 4 of 110 kB
    assert make(story, val_share=0.5).val_bytes / total == pytest.approx(0.5, abs=0.05)


def test_a_repeated_document_is_used_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in [*LINES, *LINES[:50]]))
    manifest = read_manifest(from_text([path], data_root=tmp_path, vocabulary=300).data_path)
    assert manifest.documents["repeated"] == 50
    assert sum(manifest.text_bytes.values()) == sum(map(len, LINES))


def test_another_corpus_tokenizer_can_be_used_again(story: Path) -> None:
    first = make(story)
    again = make(story, vocabulary=None, tokenizer=first.tokenizer_path)
    assert again.data_path != first.data_path
    shard = next(first.data_path.glob(TRAIN_SHARDS)).name
    assert (again.data_path / shard).read_bytes() == (first.data_path / shard).read_bytes()
    assert (again.val_bytes, again.tokenizer_path.read_bytes()) == (first.val_bytes, first.tokenizer_path.read_bytes())


def test_a_tokenizer_that_changes_text_is_said_to(tmp_path: Path) -> None:
    """Compatibility forms, as the tokenizers of published models fold them: the ligature becomes two letters."""
    import sentencepiece

    path = tmp_path / "ligatures.txt"
    path.write_text("\n\n".join(f"{line} ﬁne  spaces" for line in LINES))
    prefix = tmp_path / "given"
    sentencepiece.SentencePieceTrainer.train(
        input=str(path), model_prefix=str(prefix), vocab_size=330, model_type="bpe", byte_fallback=True, minloglevel=2
    )
    given = Path(f"{prefix}.model")
    [(_, tokens)] = tokenized(loaded(given.read_bytes(), given), ["one▁two"])
    assert tokens == [1, *sentencepiece.SentencePieceProcessor(model_file=str(given)).encode("one▁two")]
    done = corpus_command("text", path, "--into", tmp_path, "--tokenizer", given)
    assert done.returncode == 0, done.stderr
    assert "this tokenizer changes the text it reads" in done.stdout
    [folder] = (tmp_path / "corpora").iterdir()
    manifest = read_manifest(folder)
    assert manifest.val_counted_bytes < manifest.text_bytes["val"]


def test_the_same_text_makes_the_same_shards_on_any_day(story: Path, tmp_path: Path) -> None:
    one, other = make(story), from_text([story], data_root=tmp_path / "elsewhere", vocabulary=300)
    assert {p.name: p.read_bytes() for p in one.data_path.iterdir()} == {
        p.name: p.read_bytes() for p in other.data_path.iterdir()
    }


def test_a_large_file_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More text takes no more memory. The pieces it is read in are as small beside it as they are beside 2 GB."""
    monkeypatch.setattr("platform.corpus.split.SAMPLE_BYTES", 2**17)
    monkeypatch.setattr("platform.corpus.tokenizer.BATCH_CHARACTERS", 2**15)
    monkeypatch.setattr(texts, "LONGEST_CHARACTERS", 2**15)
    peaks_bytes, sizes_bytes = [], []
    for documents in (1, 20, 80):  # one to import what is needed: that stays
        path = tmp_path / "large.txt"
        path.write_text(
            "".join(f"<|endoftext|>Part {part}\n" + "\n".join(LINES[:500]) for part in range(documents + 1))
        )
        tracemalloc.start()
        make(path)
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes_bytes.append(path.stat().st_size)
    assert sizes_bytes[2] - sizes_bytes[1] > 1_000_000
    assert peaks_bytes[2] - peaks_bytes[1] < 100_000


# ---- commands


def test_the_command_ends_with_what_to_type_next(story: Path) -> None:
    done = corpus_command("text", story, "--into", story.parent, "--vocabulary", 300, "--name", "tale")
    assert done.returncode == 0, done.stderr
    assert "bytes per token" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("next        python -m platform.launch recipes/leaky_cosine.yaml --scale laptop --data ")
    assert last.endswith("/tokenizer.model")
    assert "tokens in all" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("text",), "Missing argument 'FILES...'"),
        (("text", "nowhere.txt"), "error: nowhere.txt: no such file"),
        (("text", "Makefile", "--vocabulary", "many"), "'many' is not a valid integer"),
        (("embeded",), "No such command 'embeded'"),
    ],
)
def test_a_wrong_command_ends_with_2_and_one_message(arguments: tuple[str, ...], message: str) -> None:
    done = corpus_command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_folder_that_cannot_be_written_is_a_failure(story: Path) -> None:
    done = corpus_command("text", story, "--into", story / "data")
    assert done.returncode == 1
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr
