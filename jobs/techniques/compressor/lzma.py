import lzma
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Lzma:
    """LZMA, in an .xz container: smaller than zstd on int6 weights, much slower to read.

    Source: PRs #549 (preset 6) and #1019 (preset 9) of the field.
    """

    preset: int = 9  # 0 to 9

    codec = "lzma"

    def compress(self, payload: bytes) -> bytes:
        return lzma.compress(payload, preset=self.preset)
