from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.contract.errors import Refused
from jobs.knobs import Count
from jobs.scoring import Window


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """Overlapping windows: each window scores its last ``stride`` targets, the first one all of its own.

    A window is placed only where it scores a target that has not been scored, and scores just those: at the end of the
    stream the published evaluators score the last ``stride`` targets length / stride times.

    Source: PR #77's lineage (2026-03-19_SlidingWindowEval), without its double count.
    """

    stride: Count = 64  # targets that a window scores
    length: Count | None = None  # of a window; None: the training length

    small = {"smoke": {"stride": 32}}
    audit = {"probe": {"stride": 16, "length": 32}, "canary": {"stride": 32, "length": 32}}

    def windows(self, num_targets: int, training_length: int, document_starts: Sequence[int]) -> Iterator[Window]:
        length = self.length or training_length
        if not 0 < self.stride <= length:
            raise Refused(f"evaluation.sliding.stride: {self.stride} must be between 1 and the length {length}")
        scored = 0
        while scored < num_targets:
            end = min(max(scored + self.stride, length), num_targets)
            yield Window(begin=max(0, end - length), score_from=scored, end=end)
            scored = end

    def label(self) -> str:
        return "sliding_window"
