import zlib
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, kw_only=True)
class Zlib:
    """DEFLATE.

    Source: RFC 1950; level 9 as in the challenge's naive baseline.
    """

    level: Annotated[int, "1 to 9"] = 9  # effort

    codec = "zlib"
    threads = 1

    def compress(self, payload: bytes) -> bytes:
        return zlib.compress(payload, self.level)
