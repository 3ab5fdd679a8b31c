"""Tiny data, made once."""

import struct
from pathlib import Path

import pytest
from tests.finished import small_data

from jobs.contract.shards import BOS_TOKEN, SHARD_HEADER_INTS

BETWEEN = 50  # tokens of a document; a space that begins one is no text, which the corpus itself is too short to show


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards and tokenizer: the beginning of the embedded corpus, its validation text in many short documents."""
    data, tokenizer = small_data(tmp_path_factory.mktemp("tiny data") / "data")
    (shard,) = data.glob("*_val_*.bin")
    content = bytearray(shard.read_bytes())
    for at in range(4 * SHARD_HEADER_INTS, len(content), 2 * BETWEEN):
        struct.pack_into("<H", content, at, BOS_TOKEN)
    shard.write_bytes(content)
    return data, tokenizer
