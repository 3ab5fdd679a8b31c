from dataclasses import dataclass

import brotli


@dataclass(frozen=True, kw_only=True)
class Brotli:
    """Brotli with the largest window.

    Source: RFC 7932; the field's records from April on.
    """

    quality: int = 11  # 0 to 11

    codec = "brotli"

    def compress(self, payload: bytes) -> bytes:
        return bytes(brotli.compress(payload, quality=self.quality, lgwin=24))
