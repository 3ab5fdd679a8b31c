"""Packing rounded weights: what goes in comes out, and what zstd's search is for."""

import pytest
import torch
import zstandard

from jobs.techniques.compressor.zstd import Zstd


def weights(std: float, count: int = 1 << 20) -> bytes:
    """Integers of 6 bits as a quantizer leaves them, ``std`` grid steps wide."""
    values = torch.randn(count, generator=torch.Generator().manual_seed(0)) * std
    return values.round().clamp(-31, 31).to(torch.int8).numpy().tobytes()


@pytest.mark.parametrize("std", [1.5, 8.0])
def test_the_search_saves_bytes_of_rounded_weights(std: float) -> None:
    payload = weights(std)
    plain, searched = Zstd(searches=False).compress(payload), Zstd().compress(payload)
    assert plain == zstandard.ZstdCompressor(level=22).compress(payload), "without it: as the published scripts pack"
    assert len(searched) < len(plain)
    assert zstandard.decompress(searched) == payload and Zstd().compress(payload) == searched


@pytest.mark.parametrize(
    "payload", [b"", b"a", b"words and words and words " * 500], ids=["nothing", "one byte", "text"]
)
@pytest.mark.parametrize("level", [1, 3, 9, 16, 22])
def test_any_level_packs_anything_and_never_larger(level: int, payload: bytes) -> None:
    searched = Zstd(level=level).compress(payload)
    assert len(searched) <= len(Zstd(level=level, searches=False).compress(payload))
    assert zstandard.ZstdDecompressor().decompress(searched, max_output_size=1 << 20) == payload
