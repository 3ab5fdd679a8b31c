from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.contract.errors import Refused
from jobs.knobs import Count
from jobs.scoring import Window


@dataclass(frozen=True, kw_only=True)
class DocumentIsolated:
    """Sliding windows that never reach back over the BOS of their document.

    A document scores all of its tokens but its BOS, and the next document's BOS as its last target, so that the targets
    are those of the stream.

    Source: the field's LoRA record (PR #77).
    """

    stride: Count = 64  # targets that a window scores
    length: Count | None = None  # of a window; None: the training length

    small = {"smoke": {"stride": 32}}
    audit = {"probe": {"stride": 16, "length": 32}, "canary": {"stride": 32, "length": 32}}

    def windows(self, num_targets: int, training_length: int, document_starts: Sequence[int]) -> Iterator[Window]:
        length = self.length or training_length
        if not 0 < self.stride <= length:
            raise Refused(f"evaluation.document_isolated.stride: {self.stride} must be between 1 and {length}")
        starts = [0, *(start for start in document_starts if 0 < start < num_targets)]
        for start, stop in zip(starts, [*starts[1:], num_targets], strict=True):
            scored = start
            while scored < stop:
                end = min(max(scored + self.stride, start + length), stop)
                yield Window(begin=max(start, end - length), score_from=scored, end=end)
                scored = end

    def label(self) -> str:
        return "document_isolated"
