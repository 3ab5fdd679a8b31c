from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import zstandard

LONG_MATCH = 6  # bytes: shorter matches of rounded weights are chance, and cost more than the bytes themselves
WINDOW_LOGS = (15, 18)  # which is better depends on how many of the values are near zero


@dataclass(frozen=True, kw_only=True)
class Zstd:
    """Zstandard; the same weights always give the same bytes.

    Rounded weights are close to noise, and the optimal parser of level 22 loses bytes to matches that are chance: on
    27 M Gaussian weights of 6 bits it gives 18.51 MB, and 10.03 MB where rows are held at a limit of 1.0; with long
    matches alone 18.50 and 9.77 MB (``make bench``). Both are tried, side by side, and the smallest is kept. Splitting
    the payload to use more cores costs up to 0.7 %, and zstd's own threads up to 6 %: neither is done.

    Source: RFC 8878; level 22 as the field uses it.
    """

    level: Annotated[int, "1 to 22"] = 22  # effort
    searches: bool = True  # also try long matches alone, in two windows; false: as the published scripts

    codec = "zstd"

    @property
    def threads(self) -> int:
        return 1 + len(WINDOW_LOGS) if self.searches else 1

    small = {"laptop": {"level": 19}, "smoke": {"level": 3}}

    def compress(self, payload: bytes) -> bytes:
        if not self.searches:
            return zstandard.ZstdCompressor(level=self.level).compress(payload)
        tries = [zstandard.ZstdCompressor(level=self.level)]
        for window_log in WINDOW_LOGS:
            parameters = zstandard.ZstdCompressionParameters.from_level(
                self.level, window_log=window_log, min_match=LONG_MATCH
            )
            tries.append(zstandard.ZstdCompressor(compression_params=parameters))
        with ThreadPoolExecutor(len(tries)) as threads:  # zstd works without the interpreter's lock
            return min(threads.map(lambda one: one.compress(payload), tries), key=len)
