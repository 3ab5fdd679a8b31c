"""What a recipe will weigh, before any money is spent: parameters, bytes of the artifact, memory of a GPU.

The parameters are counted on the model itself, built without weights by a program of its own (torch stays out of this
process); the count is kept by the program's hash. The bytes are an estimate from the entropy of rounded weights:

- Rows of Gaussian weights whose largest magnitude is put at the end of a b-bit grid have about b - 0.68 bits of entropy
  a weight (4.28, 5.32, 6.34, 7.35 bits for b = 5, 6, 7, 8 at 512 columns: computed, not fitted).
- Where a grid's limit is held at 1.0, small weights use little of it. Two published models that do so give the
  figures: 7.42 bits at 8 bits (naive baseline, 15,815,847 bytes) and 4.5 bits at 6 bits (#414, 15,487,414 bytes).
  Weight decay moves the latter by about 1.5 to 2 MB per 0.01, and the search of our ``zstd`` takes up to 5 % off (they
  had none): hence its wide interval.
"""

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass

from jobs.contract.files import write_text
from jobs.contract.records import ARTIFACT_LIMIT_BYTES

from ..errors import UserError
from ..paths import DATA
from ..processes import guarded
from ..processes.environment import kept
from . import entry
from .choices import Choices
from .inline import inline

GAUSSIAN_BITS_SAVED = 0.68  # of a b-bit grid that reaches the row's largest weight
HELD_BITS = {6: (3.7, 4.5, 5.3), 8: (7.0, 7.42, 7.5)}  # bits a weight (low, likely, high) where the limit is held at 1
COUNT_SECONDS = 120  # importing torch takes most of it
SPREAD = 0.04  # of the other estimates: published files are within it


@dataclass(frozen=True, kw_only=True)
class Size:
    """An estimate; bytes are of code and model together."""

    parameters: int
    likely_bytes: int
    low_bytes: int
    high_bytes: int
    gpu_gib: float  # of one process while it trains

    @property
    def fits(self) -> bool:
        """Whether it can be within the limit at all."""
        return self.low_bytes <= ARTIFACT_LIMIT_BYTES

    def line(self) -> str:
        """For a person."""
        share = f"{self.likely_bytes / 1e6:.2f} MB expected ({self.low_bytes / 1e6:.2f} to {self.high_bytes / 1e6:.2f})"
        return f"{self.parameters:,} parameters, {share} of 16.00, about {self.gpu_gib:.1f} GiB a process in training"


def estimate(choices: Choices, *, code_bytes: int, processes: int) -> Size:
    """The size of the recipe's model.

    Raises:
        UserError: the recipe's model cannot be built; says why.
    """
    counted = _counted(choices)
    whole = counted["sequence_length"] * processes
    if counted["batch_tokens"] % whole:
        raise UserError(
            f"{choices.name} at scale {choices.scale}: budget.batch_tokens is {counted['batch_tokens']}, which is no "
            f"multiple of sequence_length x processes, {counted['sequence_length']} x {processes} = {whole}"
        )
    low = likely = high = 0.0
    for _, elements, bits, limit in counted["tensors"]:
        per_weight = _bits_per_weight(bits, limit)
        low, likely, high = (
            total + elements * width / 8 for total, width in zip((low, likely, high), per_weight, strict=True)
        )
    return Size(
        parameters=counted["parameters"],
        likely_bytes=int(likely) + code_bytes,
        low_bytes=int(low) + code_bytes,
        high_bytes=int(high) + code_bytes,
        gpu_gib=_training_bytes(counted, processes) / 2**30,
    )


def require_fit(choices: Choices, size: Size) -> None:
    """Refuse what is too large even at the low end of the estimate.

    Raises:
        UserError: it is; says by how much and what can be done.
    """
    if not size.fits:
        raise UserError(
            f"{choices.name} at scale {choices.scale} cannot fit {ARTIFACT_LIMIT_BYTES:,} bytes: {size.line()}.\n"
            f"Fewer bits, a smaller model or a fitting technique would; --force trains and measures it all the same."
        )


def _bits_per_weight(bits: int, limit: float | None) -> tuple[float, float, float]:
    if limit is None:  # float16 hardly compresses, and control vectors hold few weights
        return bits * 0.85, bits * 0.95, float(bits)
    if limit >= 1.0 and bits in HELD_BITS:
        return HELD_BITS[bits]
    likely = bits - GAUSSIAN_BITS_SAVED
    return likely * (1 - SPREAD), likely, likely * (1 + SPREAD)


def _training_bytes(counted: dict, processes: int) -> float:
    """Weights, gradients, optimizer and average (20 bytes a parameter), logits, and activations kept for the gradient.

    A token keeps, for each block that is run, about (8 + 4 hidden / width) x width values of 2 bytes: 16 and 20 widths
    in the published peaks of the naive baseline (10,184 MiB) and of #1019 (22,847 MiB). Assumed for other shapes, not
    measured.
    """
    tokens = min(counted["max_micro_batch_tokens"], counted["batch_tokens"] // processes)
    activations = tokens * counted["places"] * counted["model_dim"] * 2 * (8 + 4 * counted["hidden_over_width"])
    return 20 * counted["parameters"] + tokens * counted["vocab_size"] * 12 + activations


def _counted(choices: Choices) -> dict:
    """What ``jobs.size`` prints for the recipe; kept in data/sizes/ by the hash of the program that printed it."""
    text = inline(entry.entry_program(choices, main="jobs.size:print_size"), choices.catalog.root)
    counts = DATA / "sizes" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError):  # not there, or cut off
        return json.loads(counts.read_text())
    ran = guarded.run(
        [sys.executable, "-P", "size.py"],
        environment=kept(os.environ),
        seconds=COUNT_SECONDS,
        files={"size.py": text},
    )
    if ran.timed_out:
        raise UserError(
            f"{choices.name}: its model was not built within {COUNT_SECONDS} s, even without weights: too large"
        )
    if ran.status != 0:
        lines = ran.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(
            f"{choices.name}: its model cannot be built: {lines[-1] if ran.status == 1 else ran.stderr.strip()}"
        )
    with suppress(OSError):  # no room to keep it: it is counted again the next time
        counts.parent.mkdir(parents=True, exist_ok=True)
        write_text(counts, ran.stdout)
    return json.loads(ran.stdout)
