"""What is said before a launch about data that a job could not read."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece

from jobs.contract.shards import SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION, VAL_SHARDS, file_sha256, shard_tokens
from platform.corpus import missing
from platform.corpus.preflight import vocabulary
from platform.corpus.tokenizer import trained
from platform.paths import ROOT


@pytest.fixture(scope="module")
def model() -> bytes:
    return trained([f"the number {number} and the next\n" for number in range(100)], 290)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "my shards"
    folder.mkdir()
    (folder / "x_train_000000.bin").write_bytes(shard([1, 5, 289]))
    (folder / "x_train_000001.bin").write_bytes(shard([1, 5]))
    (folder / "x_val_000000.bin").write_bytes(shard([1, 289, 7]))
    return folder


@pytest.fixture
def tokenizer(tmp_path: Path, model: bytes) -> Path:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model)
    return path


def shard(tokens: list[int], magic: int = SHARD_MAGIC, version: int = SHARD_VERSION, count: int | None = None) -> bytes:
    header = [magic, version, len(tokens) if count is None else count, *[0] * (SHARD_HEADER_INTS - 3)]
    return struct.pack(f"<{SHARD_HEADER_INTS}i{len(tokens)}H", *header, *tokens)


def test_nothing_is_missing(data: Path, tokenizer: Path) -> None:
    assert missing(data, tokenizer) is None


def test_a_part_of_a_known_validation_text_is_refused(data: Path, tokenizer: Path) -> None:
    targets = sum(map(shard_tokens, data.glob(VAL_SHARDS))) - 1
    assert missing(data, tokenizer, val_targets=targets) is None
    said = missing(data, tokenizer, val_targets=targets + 1)
    assert (
        said is not None and f"hold {targets:,} targets, this data set has {targets + 1:,}: a part of the text" in said
    )


def test_a_shard_that_was_changed_since_is_told_where_a_manifest_says_so(data: Path, tokenizer: Path) -> None:
    path = data / "x_val_000000.bin"
    (data / "manifest.json").write_text(json.dumps({"files_sha256": {path.name: file_sha256(path)}}))
    assert missing(data, tokenizer) is None
    path.write_bytes(shard([1, 288, 7]))
    said = missing(data, tokenizer)
    assert said is not None and "x_val_000000.bin: its sha256 is not that of manifest.json" in said
    (data / "manifest.json").write_text("of another tool")
    assert missing(data, tokenizer) is None


def test_the_vocabulary_is_what_sentencepiece_says(tokenizer: Path) -> None:
    assert vocabulary(tokenizer) == sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).piece_size() == 290


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x_train_000001.bin", shard([1], magic=7), "x_train_000001.bin: magic number is 7"),
        ("x_train_000001.bin", shard([1], version=2), "x_train_000001.bin: shard version is 2"),
        ("x_train_000001.bin", shard([1, 2], count=3), "x_train_000001.bin: the header counts 3 tokens"),
        ("x_val_000000.bin", shard([1, 2])[:-1], "x_val_000000.bin: the header counts 2 tokens"),
        ("x_val_000000.bin", b"short", "x_val_000000.bin: 5 bytes is shorter than"),
        ("x_val_000000.bin", shard([1, 290, 4]), "holds token 290"),
        ("x_val_000000.bin", None, "no *_val_*.bin shard there"),
    ],
)
def test_what_is_wrong_with_a_shard_is_said(
    data: Path, tokenizer: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is None:
        (data / name).unlink()
    else:
        (data / name).write_bytes(content)
    found = missing(data, tokenizer)
    assert found
    assert message in found
    assert "--scale laptop" in found


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    found = missing(tmp_path / "datasets" / "fineweb10B_sp1024", tmp_path / "nowhere.model")
    assert found
    assert "fineweb10B_sp1024: no such folder" in found
    assert "nowhere.model: no tokenizer there (No such file or directory)" in found
    assert "python -m platform.corpus fineweb" in found


def test_many_broken_shards_make_a_short_message(data: Path, tokenizer: Path) -> None:
    for number in range(80):
        (data / f"x_train_{number:06d}.bin").write_bytes(b"half")
    found = missing(data, tokenizer)
    assert found
    assert "and 76 more shards like that" in found
    assert found.count("\n") < 8


@pytest.mark.parametrize("cut", [1, 100, 2000])
def test_half_a_tokenizer_is_none(data: Path, tokenizer: Path, cut: int) -> None:
    tokenizer.write_bytes(tokenizer.read_bytes()[:-cut])
    found = missing(data, tokenizer)
    assert found
    assert "not a whole SentencePiece model" in found


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html></html>", b"\x00" * 5000, b"\xff" * 5000])
def test_something_else_is_no_tokenizer(data: Path, tokenizer: Path, content: bytes) -> None:
    tokenizer.write_bytes(content)
    found = missing(data, tokenizer)
    assert found
    assert "not a whole SentencePiece model" in found


def test_a_folder_is_no_tokenizer(data: Path) -> None:
    found = missing(data, data)
    assert found
    assert "not a file; a tokenizer is one" in found


@pytest.mark.parametrize("suffix", [".model", ".json"])
def test_a_pipe_or_a_device_never_blocks(data: Path, tmp_path: Path, suffix: str) -> None:
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"device{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for tokenizer in (pipe, device):
        found = missing(data, tokenizer)
        assert found and f"{tokenizer}: not a file; a tokenizer is one" in found


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_no_shard(data: Path, tokenizer: Path, kind: str) -> None:
    for pattern in ("*_train_*.bin", "*_val_*.bin"):
        shard = next(data.glob(pattern))
        shard.unlink()
        os.mkfifo(shard) if kind == "pipe" else shard.symlink_to("/dev/zero")
        found = missing(data, tokenizer)
        assert found and f"{shard}: no such shard" in found


def test_a_pipe_as_a_manifest_is_not_waited_for(data: Path, tokenizer: Path) -> None:
    (data / "manifest.json").unlink(missing_ok=True)
    os.mkfifo(data / "manifest.json")
    assert missing(data, tokenizer) is None


def test_looking_imports_nothing_heavy(data: Path, tokenizer: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from platform.corpus import missing\n"
        f"assert missing(Path({str(data)!r}), Path({str(tokenizer)!r})) is None\n"
        "print({'sentencepiece', 'numpy', 'torch', 'huggingface_hub', 'click', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_byte_level_tokenizer_has_the_ids_that_it_says(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "bytes.json"
    path.write_text(json.dumps({"tokenizer_type": "pure_byte", "config": {"byte_offset": 4, "byte_count": 256}}))
    assert vocabulary(path) == 260
    said = missing(data, path)
    assert said is not None and "holds token 289" in said and "has 260 pieces" in said
