"""What a job is told, in environment variables (the community's names where there is one), and where it puts what.

TRUNK_PATH/                 one training run; found again by content, shared by every arm
    trunk.json              TrunkRecord, written last: a trunk without it is not there
    weights.pt              the averaged weights before quantization
    artifact.bin            the packed weights, as a submission would ship them
    train.log               in the community's baseline dialect
    metrics.jsonl           events of the training
OUTPUT_PATH/<arm>/          one way to score that trunk
    result.json             ArmResult, written last: an arm without it has not been scored
    artifact.bin            only where the arm changes the weights before quantization
    train.log               the trunk's log, then this arm's lines: a complete log of the run
    metrics.jsonl           events of the scoring
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.errors import Refused

TRUNK_FILE, RESULT_FILE = "trunk.json", "result.json"
WEIGHTS_FILE, ARTIFACT_FILE = "weights.pt", "artifact.bin"
LOG_FILE, METRICS_FILE = "train.log", "metrics.jsonl"
SDPA = "sdpa"  # torch's scaled_dot_product_attention, as it chooses among its own
KERNEL_NAMES = (
    "fa4",
    "fa3",
    "fa2",
    "cudnn",
    SDPA,
)  # of attention, that a card may have; of equally fast ones the first


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a job is told. ``arms`` empty means all arms of the program, in its order."""

    seed: int
    data_path: Path
    tokenizer_path: Path
    output_path: Path
    trunk_path: Path
    arms: tuple[str, ...]
    max_wallclock_seconds: float | None  # None: what the recipe says
    force: bool = False  # score an artifact above the byte limit too
    kernel: str | None = None  # of attention, one of KERNEL_NAMES; None: the fastest that is right

    @staticmethod
    def from_environment(environment: dict[str, str]) -> "Assignment":
        """The assignment in ``environment``; what is not set falls back to the community's defaults.

        Raises:
            Refused: a variable that is not the number it should be, or no kernel.
        """
        output_path = Path(environment.get("OUTPUT_PATH") or Path("logs") / environment.get("RUN_ID", "run"))
        seconds = environment.get("MAX_WALLCLOCK_SECONDS")
        return Assignment(
            seed=int(number_in(environment, "SEED", "1337", int)),
            data_path=Path(environment.get("DATA_PATH") or "data/datasets/fineweb10B_sp1024"),
            tokenizer_path=Path(environment.get("TOKENIZER_PATH") or "data/tokenizers/fineweb_1024_bpe.model"),
            output_path=output_path,
            trunk_path=Path(environment.get("TRUNK_PATH") or output_path / "trunk"),
            arms=tuple(name for name in environment.get("ARMS", "").split(",") if name),
            max_wallclock_seconds=number_in(environment, "MAX_WALLCLOCK_SECONDS", "", float) if seconds else None,
            force=environment.get("FORCE") == "1",
            kernel=_kernel(environment.get("KERNEL") or None),
        )

    def to_environment(self) -> dict[str, str]:
        """The variables that make ``from_environment`` return this assignment."""
        variables = {
            "SEED": str(self.seed),
            "DATA_PATH": str(self.data_path),
            "TOKENIZER_PATH": str(self.tokenizer_path),
            "OUTPUT_PATH": str(self.output_path),
            "TRUNK_PATH": str(self.trunk_path),
            "ARMS": ",".join(self.arms),
        }
        if self.force:
            variables["FORCE"] = "1"
        if self.kernel is not None:
            variables["KERNEL"] = self.kernel
        if self.max_wallclock_seconds is not None:
            variables["MAX_WALLCLOCK_SECONDS"] = str(self.max_wallclock_seconds)
        return variables


def number_in(environment: Mapping[str, str], name: str, default: str, kind: type) -> Any:
    """The variable ``name`` as a number of ``kind``. Raises Refused where it is none."""
    text = environment.get(name) or default
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise Refused(f"{name}={text!r} in the environment is not {kind.__name__}")
    return number


def _kernel(name: str | None) -> str | None:
    if name is not None and name not in KERNEL_NAMES:
        raise Refused(
            f"KERNEL={name!r} in the environment: there is no such kernel; possible are {', '.join(KERNEL_NAMES)}"
        )
    return name
