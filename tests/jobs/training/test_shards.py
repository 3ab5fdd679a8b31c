"""Token shards and the batches dealt from them: broken files refused, every token once, no two ranks the same."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import shards
from jobs.contract.shards import TRAIN_SHARDS, data_sha256, shard_tokens
from jobs.data.loader import SequentialLoader, micro_batches, tokens_as_batch
from jobs.data.shards import Shards, training_shards, validation_tokens
from jobs.world import World
from tests.jobs.tiny import write_shard

TOKENS = list(range(100, 125))
BREAKAGES: dict[str, Callable[[Path], object]] = {
    "magic": lambda path: write_shard(path, TOKENS, magic=20240521),
    "version": lambda path: write_shard(path, TOKENS, version=2),
    "one token too many": lambda path: write_shard(path, TOKENS, count=len(TOKENS) + 1),
    "one token too few": lambda path: write_shard(path, TOKENS, count=len(TOKENS) - 1),
    "no tokens": lambda path: write_shard(path, []),
    "negative count": lambda path: write_shard(path, TOKENS, count=-len(TOKENS)),
    "short by one byte": lambda path: path.write_bytes(write_shard(path, TOKENS).read_bytes()[:-1]),
    "long by one byte": lambda path: path.write_bytes(write_shard(path, TOKENS).read_bytes() + b"\0"),
    "half a header": lambda path: path.write_bytes(write_shard(path, TOKENS).read_bytes()[:512]),
    "empty": lambda path: path.write_bytes(b""),
    "big-endian": lambda path: path.write_bytes(np.array([20240520, 1, 25], ">i4").tobytes().ljust(1024, b"\0")),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_shard_is_refused_by_name(tmp_path: Path, breakage: str) -> None:
    path = tmp_path / "some_train_000001.bin"
    write_shard(tmp_path / "some_train_000000.bin", TOKENS)
    write_shard(tmp_path / "some_val_000000.bin", TOKENS)
    BREAKAGES[breakage](path)
    for read in (lambda: shard_tokens(path), lambda: training_shards(tmp_path), lambda: data_sha256(tmp_path)):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read()


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        training_shards(tmp_path)
    write_shard(tmp_path / "some_train_000000.bin", TOKENS)
    with pytest.raises(ValueError, match=r"no \*_val_\*\.bin shard"):
        data_sha256(tmp_path)


def test_a_validation_stream_without_a_target_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "some_val_000000.bin", [1])
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        validation_tokens(tmp_path)


@pytest.fixture(scope="module")
def three_shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Sizes 5, 7 and 3, written out of order; tokens up to the largest that two bytes hold."""
    folder = tmp_path_factory.mktemp("shards")
    tokens = [*range(14), 65_535]
    write_shard(folder / "a_train_000002.bin", tokens[12:])
    write_shard(folder / "a_train_000000.bin", tokens[:5])
    write_shard(folder / "a_train_000001.bin", tokens[5:12])
    write_shard(folder / "a_val_000000.bin", [9, 9])
    return folder, tokens


@given(begin=st.integers(0, 200), count=st.integers(1, 60))
def test_shards_are_one_stream_that_goes_round(three_shards: tuple[Path, list[int]], begin: int, count: int) -> None:
    folder, tokens = three_shards
    read = Shards(folder, TRAIN_SHARDS).read(begin, count)
    assert read.dtype == torch.int64
    assert read.tolist() == [tokens[place % len(tokens)] for place in range(begin, begin + count)]


def test_the_data_hash_sees_every_shard(tmp_path: Path) -> None:
    def changed(name: str, tokens: list[int]) -> str:
        write_shard(tmp_path / name, tokens)
        return data_sha256(tmp_path)

    write_shard(tmp_path / "a_train_000000.bin", TOKENS)
    hashes = [
        changed("a_val_000000.bin", TOKENS),
        changed("a_val_000000.bin", [*TOKENS[:-1], 7]),
        changed("a_train_000000.bin", [7, *TOKENS[1:]]),
        changed("a_train_000001.bin", TOKENS),
    ]
    assert len(set(hashes)) == len(hashes)
    assert data_sha256(tmp_path) == hashes[-1]


def test_the_data_hash_sees_the_middle_of_a_shard_and_reads_no_shard_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and last MiB say nothing of what is between them; the cache knows a file by its state, not its name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    tokens = [7] * 2_500_000
    for part in ("train", "val"):
        write_shard(data / f"a_{part}_000000.bin", tokens)
    before = data_sha256(data)
    tokens[1_250_000] = 8
    shard = data / "a_val_000000.bin"
    write_shard(shard, tokens)
    middle = data_sha256(data)
    assert middle != before
    monkeypatch.setattr(shards, "file_sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert data_sha256(data) == middle
    monkeypatch.undo()
    for broken in ("", "[", "{}", '{"x": 1}', "[[1]]", "7"):
        (tmp_path / "cache" / "fairway" / "sha256.json").write_text(broken)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert data_sha256(data) == middle
    monkeypatch.setenv("XDG_CACHE_HOME", str(shard))  # where no file can be
    assert data_sha256(data) == middle


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_take_spans_that_share_no_token(three_shards: tuple[Path, list[int]], ranks: int) -> None:
    folder, tokens = three_shards
    loaders = [SequentialLoader(folder, sequence_length=3, world=World(rank=r, size=ranks)) for r in range(ranks)]
    expected = 0
    for sequences in (2, 1, 2, 2):  # 2 x 3 targets on a rank need 7 tokens; the stream has 15
        for loader in loaders:
            if expected % 2:  # read ahead or not: the same stream
                loader.prefetch(sequences)
            inputs, targets = loader.next(sequences)
            span = [tokens[place % 15] for place in range(expected, expected + sequences * 3 + 1)]
            assert inputs.shape == targets.shape == (sequences, 3)
            assert inputs.flatten().tolist() == span[:-1]
            assert targets.flatten().tolist() == span[1:]
            expected += len(span)


@given(
    sequences=st.integers(1, 64), length=st.integers(1, 9), ranks=st.sampled_from([1, 2, 8]), most=st.integers(1, 200)
)
def test_micro_batches_are_equal_few_and_make_up_the_batch(sequences: int, length: int, ranks: int, most: int) -> None:
    counts = micro_batches(
        batch_tokens=sequences * length * ranks,
        sequence_length=length,
        max_micro_batch_tokens=most,
        world=World(rank=ranks - 1, size=ranks),
    )
    assert sum(counts) == sequences and len(set(counts)) == 1
    assert counts[0] * length <= max(most, length)  # one sequence is the least
    fewer = [n for n in range(1, len(counts)) if sequences % n == 0 and sequences // n * length <= most]
    assert not fewer


@pytest.mark.parametrize("batch_tokens", [0, 32, 63, 96])
def test_a_batch_that_ranks_cannot_share_is_refused(batch_tokens: int) -> None:
    with pytest.raises(ValueError, match=rf"batch_tokens: {batch_tokens} .* 32 x 2"):
        micro_batches(
            batch_tokens=batch_tokens, sequence_length=32, max_micro_batch_tokens=64, world=World(rank=0, size=2)
        )


@given(num_targets=st.integers(1, 50), length=st.integers(1, 12))
def test_tokens_as_batch_leaves_out_no_target(num_targets: int, length: int) -> None:
    tokens = torch.arange(10, 11 + num_targets)
    inputs, targets = tokens_as_batch(tokens, length, -1)
    rows = (num_targets + length - 1) // length
    assert inputs.shape == targets.shape == (rows, length)
    assert inputs.flatten().tolist() == [*tokens[:-1].tolist(), *[0] * (rows * length - num_targets)]
    assert targets.flatten().tolist() == [*tokens[1:].tolist(), *[-1] * (rows * length - num_targets)]
