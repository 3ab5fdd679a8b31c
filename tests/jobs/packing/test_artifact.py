"""The packed weights: what goes in comes out bit by bit, and whatever is not exactly an artifact is refused."""

import hashlib
import json
import lzma
import os
import pickle
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import brotli
import pytest
import torch
import zstandard
from torch import Tensor

from jobs.artifact import CODECS, MAGIC, MAX_PAYLOAD_BYTES, PREFIX_BYTES, Encoded, load_into, pack, unpack
from tests.jobs.tiny import Case, base, every, model_of, noisy, state_of

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstandard.ZstdCompressor(level=3).compress,
    "zlib": zlib.compress,
    "lzma": lzma.compress,
    "brotli": lambda payload: bytes(brotli.compress(payload, quality=4)),
    "none": lambda payload: payload,
}


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def sample() -> list[Encoded]:
    """Every dtype, odd shapes, numbers that are none, rounded matrices of several widths."""
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45, 3.4e38])
    tensors = [
        Encoded(name="odd", dtype=torch.float32, bits=32, values=odd),
        Encoded(name="scalar", dtype=torch.float32, bits=32, values=torch.tensor(0.1)),
        Encoded(name="empty", dtype=torch.float32, bits=32, values=torch.zeros(0, 3)),
        Encoded(name="half", dtype=torch.float32, bits=16, values=random(3, 2).half()),
        Encoded(name="ünïcode.weight", dtype=torch.bfloat16, bits=16, values=random(7).bfloat16()),
    ]
    for bits in (4, 5, 6, 7, 8):
        limit = 2 ** (bits - 1)
        values = torch.randint(-limit, limit, (3, 5), dtype=torch.int8, generator=torch.Generator().manual_seed(bits))
        values[0, :2] = torch.tensor([-limit, limit - 1])
        scales = random(3).abs().half()
        tensors.append(Encoded(name=f"int{bits}", dtype=torch.float32, bits=bits, values=values, scales=scales))
    return tensors


def file_of(payload: bytes, *, codec: str = "none", length: int | None = None, packed: bytes | None = None) -> bytes:
    """A file whose hash is right, as somebody makes it on purpose; with a lie in its length where one is asked for."""
    packed = COMPRESS[codec](payload) if packed is None else packed
    return whole(codec.encode(), len(payload) if length is None else length, packed)


def whole(codec: bytes, length: int, packed: bytes) -> bytes:
    prefix = MAGIC + codec.ljust(8, b"\0") + struct.pack("<Q", length)
    return prefix + hashlib.sha256(prefix + packed).digest() + packed


def payload_of(header: object, *blobs: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + b"".join(blobs)


def refused(path: Path, data: bytes) -> str:
    """Write ``data``, see it refused with one error that names the file, and return what that says."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        unpack(path)
    return str(caught.value)


# Round trip


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_packed_comes_back_bit_by_bit(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "artifact.bin"
    path.write_bytes(pack(sample(), codec, COMPRESS[codec]))
    found = unpack(path)
    assert len(found) == len(sample())
    for one, other in zip(sample(), found, strict=True):
        for field in fields(Encoded):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if isinstance(a, Tensor):
                assert a.dtype == b.dtype and a.shape == b.shape
                assert (
                    a.contiguous().view(torch.uint8 if a.ndim else a.dtype).tolist()
                    == b.view(torch.uint8 if b.ndim else b.dtype).tolist()
                )
            else:
                assert a == b


def test_the_file_names_its_codec() -> None:
    for codec in CODECS:
        assert pack(sample(), codec, COMPRESS[codec])[8:16].rstrip(b"\0").decode() == codec


def test_decoded_is_values_times_scales() -> None:
    for one in sample():
        decoded = one.decoded()
        assert decoded.dtype == one.dtype and decoded.shape == one.values.shape
        if one.scales is not None:
            assert torch.equal(decoded, one.values.float() * one.scales.float()[:, None])


@pytest.mark.parametrize("case", every("compressor"), ids=str)
def test_every_compressor_is_read_back_without_its_recipe(tmp_path: Path, case: Case) -> None:
    compressor = case.made()
    assert compressor.codec in CODECS
    packed = [pack(sample(), compressor.codec, compressor.compress) for _ in range(2)]
    assert packed[0] == packed[1], "the same weights always give the same bytes"
    path = tmp_path / "artifact.bin"
    path.write_bytes(packed[0])
    assert [one.name for one in unpack(path)] == [one.name for one in sample()]


@pytest.mark.parametrize("case", every("compressor"), ids=str)
def test_every_compressor_compresses(case: Case) -> None:
    payload = bytes(torch.randint(-3, 4, (20_000,), generator=torch.Generator().manual_seed(1)).byte().tolist())
    # 7 equally likely values are 2.81 bits each; zlib and lzma on bytes get within a quarter of that
    assert len(case.made().compress(payload)) < 1.25 * len(payload) * 2.81 / 8


# Damage


@pytest.mark.parametrize("codec", CODECS)
def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path, codec: str) -> None:
    intact = pack(sample()[3:8], codec, COMPRESS[codec])
    path = tmp_path / "artifact.bin"
    for place in range(len(intact)):
        damaged = bytearray(intact)
        damaged[place] ^= 1 << (place % 8)
        refused(path, bytes(damaged))
    for bit in range(8):  # and each bit of the first bytes of every region
        for place in (0, 8, 16, 24, PREFIX_BYTES, PREFIX_BYTES + 4, PREFIX_BYTES + 5):
            damaged = bytearray(intact)
            damaged[place] ^= 1 << bit
            refused(path, bytes(damaged))


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_of_any_other_length_is_refused(tmp_path: Path, codec: str) -> None:
    intact = pack(sample()[3:8], codec, COMPRESS[codec])
    path = tmp_path / "artifact.bin"
    for length in range(len(intact)):
        refused(path, intact[:length])
    for more in (b"\0", b"\n", intact, COMPRESS[codec](b"another frame")):
        refused(path, intact + more)


def test_a_codec_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    assert "'gzip'" in refused(tmp_path / "artifact.bin", whole(b"gzip", 3, zlib.compress(b"abc")))


# Hostility


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.sprung}'",)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    bomb = pickle.dumps(Trap(sprung))
    os.system("true")
    pickle.loads(bomb)
    assert sprung.exists(), "the trap works"
    sprung.unlink()
    torch.save({"weight": Trap(sprung)}, tmp_path / "checkpoint.pt")
    path = tmp_path / "artifact.bin"
    inside = {"tensors": [{"name": "x", "dtype": "float32", "bits": 32, "parts": {"values": ["uint8", [len(bomb)]]}}]}
    for data in (
        bomb,
        (tmp_path / "checkpoint.pt").read_bytes(),
        MAGIC + bomb,
        file_of(bomb),
        file_of(payload_of(bomb)),
        file_of(bomb, codec="zstd"),
    ):
        refused(path, data)
    path.write_bytes(file_of(payload_of(inside, bomb)))  # as a tensor it is bytes like any other
    assert bytes(unpack(path)[0].values.tolist()) == bomb
    assert not sprung.exists()


@pytest.mark.parametrize("length", [MAX_PAYLOAD_BYTES + 1, 2**63, 2**64 - 1])
def test_a_payload_that_claims_too_much_is_refused_unread(tmp_path: Path, length: int) -> None:
    assert "claims a payload" in refused(tmp_path / "artifact.bin", file_of(b"", length=length))


@lru_cache
def zeros_packed(codec: str) -> bytes:
    return COMPRESS[codec](bytes(64 * 2**20))


@pytest.mark.parametrize("codec", ["zstd", "zlib", "lzma", "brotli"])
@pytest.mark.parametrize("claimed", [0, 1, 1000])
def test_a_bomb_is_not_unpacked_beyond_its_claim(tmp_path: Path, codec: str, claimed: int) -> None:
    bomb = zeros_packed(codec)
    assert len(bomb) < 2**17, "64 MiB from almost nothing"
    path = tmp_path / "artifact.bin"
    path.write_bytes(file_of(bytes(claimed), codec=codec, packed=bomb))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            unpack(path)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20  # lzma's own dictionary has 8
    finally:
        tracemalloc.stop()


def entry(**changes: Any) -> dict[str, Any]:
    """A rounded tensor of 2 x 3 with its scales: 6 + 4 bytes."""
    parts = {"values": ["int8", [2, 3]], "scales": ["float16", [2]]}
    return {"name": "weight", "dtype": "float32", "bits": 6, "parts": parts, **changes}


BLOBS = bytes([31, 0, 5, 250, 3, 225]) + struct.pack("<2e", 0.5, 0.25)
LIES: dict[str, Any] = {
    "no object": [],
    "a number": 3,
    "no tensors": {},
    "tensors are no list": {"tensors": 3},
    "a tensor is no object": {"tensors": [3]},
    "no name": {"tensors": [{key: value for key, value in entry().items() if key != "name"}]},
    "a name that is none": {"tensors": [entry(name=["weight"])]},
    "two of one name": {"tensors": [entry(parts={"values": ["int8", [5]]}), entry(parts={"values": ["int8", [5]]})]},
    "no parts": {"tensors": [entry(parts={})]},
    "parts are no object": {"tensors": [entry(parts=[["values", "int8"]])]},
    "a part is no list": {"tensors": [entry(parts={"values": "int8"})]},
    "an unknown part": {"tensors": [entry(parts={**entry()["parts"], "code": ["uint8", [0]]})]},
    "an unknown dtype": {"tensors": [entry(dtype="complex64")]},
    "an unknown dtype of a part": {"tensors": [entry(parts={"values": ["int64", [2, 3]]})]},
    "a shape beyond the payload": {"tensors": [entry(parts={"values": ["int8", [2, 3]], "scales": ["float16", [3]]})]},
    "a huge shape": {"tensors": [entry(parts={"values": ["int8", [2**40, 2**40]]})]},
    "a huge shape of nothing": {"tensors": [entry(parts={"values": ["int8", [0, 2**80]], "scales": ["float16", [0]]})]},
    "a negative shape": {"tensors": [entry(parts={"values": ["int8", [-2, -3]], "scales": ["float16", [2]]})]},
    "a shape of floats": {"tensors": [entry(parts={"values": ["int8", [2.0, 3.0]], "scales": ["float16", [2]]})]},
    "a shape of words": {"tensors": [entry(parts={"values": ["int8", ["2", "3"]], "scales": ["float16", [2]]})]},
    "scales of other rows": {"tensors": [entry(parts={"values": ["int8", [3, 2]], "scales": ["float16", [2]]})]},
    "scales for a scalar": {"tensors": [entry(parts={"values": ["int8", []], "scales": ["uint8", [9]]})]},
    "no bits": {"tensors": [entry(bits=None)]},
    "bits that are a word": {"tensors": [entry(bits="6")]},
    "no bit at all": {"tensors": [entry(bits=0)]},
    "a fraction of a bit": {"tensors": [entry(bits=1e300)]},
    "a billion bits": {"tensors": [entry(bits=10**9)]},
    "fewer bits than the values need": {"tensors": [entry(bits=2)]},
    "something after the last tensor": {"tensors": [entry(parts={"values": ["int8", [2, 3]]}, bits=8)]},
    "a seed that is none": {"tensors": [entry(rotation_seed="0")]},
    "no JSON": b"{'tensors': []}",
    "not UTF-8": b"\xff\xfe\xfd",
    "nested without end": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(tmp_path: Path, lie: str) -> None:
    """With the right hash: an artifact that somebody made on purpose."""
    refused(tmp_path / "artifact.bin", file_of(payload_of(LIES[lie], BLOBS)))


def test_the_header_that_the_lies_are_made_from_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "artifact.bin"
    path.write_bytes(file_of(payload_of({"tensors": [entry()]}, BLOBS)))
    (found,) = unpack(path)
    assert found.decoded().tolist() == [[15.5, 0, 2.5], [-1.5, 0.75, -7.75]]


@pytest.mark.parametrize("header_bytes", [0, 1, 2**31, 2**32 - 1])
def test_a_header_of_another_size_is_refused(tmp_path: Path, header_bytes: int) -> None:
    payload = struct.pack("<I", header_bytes) + payload_of({"tensors": []})[4:]
    refused(tmp_path / "artifact.bin", file_of(payload))
    refused(tmp_path / "artifact.bin", file_of(b"\1"))


# Into a model


def as_encoded(state: dict[str, Tensor]) -> list[Encoded]:
    return [Encoded(name=name, dtype=one.dtype, bits=32, values=one) for name, one in state.items()]


def test_loading_puts_every_tensor_in_its_place() -> None:
    model, other = noisy(model_of(base())), model_of(base(), seed=2)
    load_into(other, as_encoded(state_of(model))[::-1])
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_the_artifact_of_another_model_is_refused() -> None:
    model = model_of(base())
    right = as_encoded(state_of(model))
    flat = Encoded(name=right[0].name, dtype=torch.float32, bits=32, values=right[0].values.flatten())
    stranger = Encoded(name="stranger", dtype=torch.float32, bits=32, values=torch.zeros(1))
    for tensors, message in (
        (right[:-1], right[-1].name),
        ([*right, stranger], "stranger"),
        ([*right, right[0]], "another model"),
        ([*right[:-1], stranger], "stranger"),
        ([flat, *right[1:]], right[0].name),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            load_into(model, tensors)
