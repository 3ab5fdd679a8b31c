from dataclasses import dataclass

import zstandard


@dataclass(frozen=True, kw_only=True)
class Zstd:
    """Zstandard, single-threaded so that the same weights always give the same bytes.

    Source: RFC 8878; level 22 as the field uses it.
    """

    level: int = 22  # 1 to 22

    codec = "zstd"

    def compress(self, payload: bytes) -> bytes:
        return zstandard.ZstdCompressor(level=self.level).compress(payload)
