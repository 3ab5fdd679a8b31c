from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.knobs import Count
from jobs.scoring import Window


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Disjoint windows: each target sees the tokens of its own window, half a window on average.

    Source: the challenge's naive baseline (``final_*_roundtrip``).
    """

    length: Count | None = None  # of a window; None: the training length

    audit = {"probe": {"length": 32}, "canary": {"length": 32}}

    def windows(self, num_targets: int, training_length: int, document_starts: Sequence[int]) -> Iterator[Window]:
        length = self.length or training_length
        for begin in range(0, num_targets, length):
            yield Window(begin=begin, score_from=begin, end=min(begin + length, num_targets))

    def label(self) -> str:
        return "roundtrip"
