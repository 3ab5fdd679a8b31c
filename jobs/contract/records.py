"""What a job leaves behind: the record of a training run, and the result of each arm that was scored from it."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jobs.contract.errors import Refused

ARTIFACT_LIMIT_BYTES = 16_000_000  # decimal, as the rules say: code bytes + compressed model bytes

SCORE_FIRST = "score_first"  # a token is scored before anything learns from it; a model that never learns included
UNTOLD = "untold"  # nobody has looked: of a program that is not ours
NO_ADAPTATION = "no_adaptation"  # the technique of an arm that scores what was packed
PRE_EVAL = "pre_eval"  # the weights saw the validation stream before it was scored: a diagnostic, never a claim


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a job ran."""

    world_size: int
    device: str  # "8x NVIDIA H100 80GB HBM3", "cpu x2, 1 threads each"
    torch_version: str

    def __str__(self) -> str:
        return f"world size {self.world_size} on {self.device}, torch {self.torch_version}"


@dataclass(frozen=True, kw_only=True)
class TrunkRecord:
    """One training run: what it was, what it cost, on which machine, and the hashes of what it left."""

    trunk_sha256: str  # of weights_sha256 + artifact_sha256: the name of this trunk in every result
    program_sha256: str  # of the file that trained it
    weights_sha256: str | None  # None, here and below: a file of an older schema does not tell
    artifact_sha256: str | None
    recipe: str
    scale: str
    seed: int
    data_sha256: str
    tokenizer_sha256: str
    parameters: int | None
    model_bytes: int | None  # of artifact.bin
    steps: int | None
    train_tokens: int | None
    train_seconds: (
        float | None
    )  # optimizer steps and data loading; validation and warm-up steps excluded, as the rules count
    step_ms_mean: float | None  # the first step excluded
    step_ms_median: float | None
    phases: dict[str, float] = field(default_factory=dict)  # wall seconds of each phase of the training job
    machine: Machine | None
    kernel: str | None = None  # of attention


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm of one seed, scored: everything that a table prints, measured by the job itself."""

    recipe: str
    scale: str
    arm: str
    adaptation: str  # the technique's name
    protocol: str  # SCORE_FIRST, PRE_EVAL or UNTOLD
    seed: int
    program_sha256: str
    trunk: TrunkRecord  # that was scored, trained by this job or an earlier one, perhaps on another machine
    data_sha256: str
    tokenizer_sha256: str
    val_loss_nats: float | None  # per target token
    val_bpb: float
    scored_tokens: int | None
    scored_bytes: int | None
    aligned_val_bpb: float | None  # the same weights in disjoint windows, where the recipe's evaluator is another one
    artifact_bytes: int | None  # model_bytes + code_bytes, against ARTIFACT_LIMIT_BYTES
    model_bytes: int | None
    code_bytes: int
    adapt_seconds: float | None  # inside eval_seconds
    eval_seconds: float | None  # everything from reading the artifact to the score
    compile_seconds: float = 0.0  # inside eval_seconds: of torch.compile
    phases: dict[str, float] = field(default_factory=dict)  # wall seconds of each phase of scoring this arm
    end_to_end: bool  # trained and scored by one process; otherwise from a trunk trained earlier
    notes: tuple[str, ...] = ()  # what somebody should know who reads these numbers
    lines: dict[str, str] = field(default_factory=dict)  # of a program that is not ours: where its log says each number
    machine: Machine  # that scored it

    @property
    def trunk_sha256(self) -> str:
        return self.trunk.trunk_sha256

    @property
    def train_seconds(self) -> float | None:
        return self.trunk.train_seconds

    @property
    def adapts(self) -> bool:
        """Whether the weights changed after the training."""
        return self.adaptation != NO_ADAPTATION

    @property
    def claimable(self) -> bool:
        """Whether a record may claim this score: nothing learned from a token before it was scored, and it fits."""
        fits = self.artifact_bytes is not None and self.artifact_bytes <= ARTIFACT_LIMIT_BYTES
        return self.protocol == SCORE_FIRST and fits


def read_trunk(path: Path) -> TrunkRecord:
    """The record in a ``trunk.json`` that this program wrote. Raises ValueError, naming the file, when it is not."""
    return _trunk(_fields_of(TrunkRecord, path))


def read_result(path: Path) -> ArmResult:
    """The record in a ``result.json`` that this program wrote. Raises ValueError, naming the file, when it is not."""
    found = _fields_of(ArmResult, path)
    trunk, machine = _trunk(found["trunk"]), Machine(**found["machine"])
    return ArmResult(**{**found, "notes": tuple(found["notes"]), "trunk": trunk, "machine": machine})


def _trunk(found: dict[str, Any]) -> TrunkRecord:
    return TrunkRecord(**{**found, "machine": found["machine"] and Machine(**found["machine"])})


def _fields_of(kind: type, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        del found["schema_version"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Refused(f"{path}: cannot be read: {error!r}") from error
    wanted = {one.name for one in fields(kind)}
    if set(found) != wanted:
        raise Refused(f"{path}: not what this program writes: {sorted(wanted ^ set(found))} are too few or too many")
    return found
