"""What a job is told and what it leaves behind: the only file that both halves of Fairway share.

Standard library only. The orchestrator imports it, and the inliner pastes it into every program.

A job is told things in environment variables (the community's names where there is one) and leaves files:

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

import hashlib
import json
import math
import struct
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
ARTIFACT_LIMIT_BYTES = 16_000_000  # decimal, as the rules say: code bytes + compressed model bytes

TRUNK_FILE, RESULT_FILE = "trunk.json", "result.json"
WEIGHTS_FILE, ARTIFACT_FILE = "weights.pt", "artifact.bin"
LOG_FILE, METRICS_FILE = "train.log", "metrics.jsonl"

SCORE_FIRST = "score_first"  # a token is scored before anything learns from it; a model that never learns included
PRE_EVAL = "pre_eval"  # the weights saw the validation stream before it was scored: a diagnostic, never a claim


SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION = 256, 20240520, 1  # the challenge's .bin format, little-endian int32
BOS_TOKEN = 1  # begins every document in the challenge's token streams
TRAIN_SHARDS, VAL_SHARDS = "*_train_*.bin", "*_val_*.bin"


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

    @staticmethod
    def from_environment(environment: dict[str, str]) -> "Assignment":
        """The assignment in ``environment``; what is not set falls back to the community's defaults.

        Raises:
            ValueError: a variable that is not the number it should be.
        """
        output_path = Path(environment.get("OUTPUT_PATH") or Path("logs") / environment.get("RUN_ID", "run"))
        seconds = environment.get("MAX_WALLCLOCK_SECONDS")
        return Assignment(
            seed=int(_number(environment, "SEED", "1337", int)),
            data_path=Path(environment.get("DATA_PATH") or "data/datasets/fineweb10B_sp1024"),
            tokenizer_path=Path(environment.get("TOKENIZER_PATH") or "data/tokenizers/fineweb_1024_bpe.model"),
            output_path=output_path,
            trunk_path=Path(environment.get("TRUNK_PATH") or output_path / "trunk"),
            arms=tuple(name for name in environment.get("ARMS", "").split(",") if name),
            max_wallclock_seconds=_number(environment, "MAX_WALLCLOCK_SECONDS", "", float) if seconds else None,
            force=environment.get("FORCE") == "1",
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
        if self.max_wallclock_seconds is not None:
            variables["MAX_WALLCLOCK_SECONDS"] = str(self.max_wallclock_seconds)
        return variables


@dataclass(frozen=True, kw_only=True)
class TrunkRecord:
    """One training run: what it was, what it cost, and the hashes of what it left."""

    trunk_sha256: str  # of weights_sha256 + artifact_sha256: the name of this trunk in every result
    program_sha256: str  # of the file that trained it
    weights_sha256: str
    artifact_sha256: str
    recipe: str
    scale: str
    seed: int
    data_sha256: str
    tokenizer_sha256: str
    parameters: int
    model_bytes: int  # of artifact.bin
    steps: int
    train_tokens: int
    train_seconds: float  # optimizer steps and data loading; validation and warm-up steps excluded, as the rules count
    step_ms_mean: float  # the first step excluded
    step_ms_median: float
    phases: dict[str, float] = field(default_factory=dict)  # wall seconds of each phase of the training job
    world_size: int
    device: str
    torch_version: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm of one seed, scored: everything that a table prints, measured by the job itself."""

    recipe: str
    scale: str
    arm: str
    adaptation: str  # the technique's name
    protocol: str  # SCORE_FIRST or PRE_EVAL
    seed: int
    program_sha256: str
    trunk_sha256: str
    data_sha256: str
    tokenizer_sha256: str
    val_loss_nats: float  # per target token
    val_bpb: float
    scored_tokens: int
    scored_bytes: int
    aligned_val_bpb: float | None  # the same weights in disjoint windows, where the recipe's evaluator is another one
    artifact_bytes: int  # model_bytes + code_bytes, against ARTIFACT_LIMIT_BYTES
    model_bytes: int
    code_bytes: int
    parameters: int
    steps: int
    train_seconds: float
    step_ms_mean: float
    step_ms_median: float
    adapt_seconds: float  # inside eval_seconds
    eval_seconds: float  # everything from reading the artifact to the score
    phases: dict[str, float] = field(default_factory=dict)  # wall seconds of each phase of scoring this arm
    end_to_end: bool  # trained and scored by one process; otherwise from a trunk trained earlier
    world_size: int
    device: str
    torch_version: str
    schema_version: int = SCHEMA_VERSION

    @property
    def claimable(self) -> bool:
        """Whether a record may claim this score: nothing learned from a token before it was scored, and it fits."""
        return self.protocol == SCORE_FIRST and self.artifact_bytes <= ARTIFACT_LIMIT_BYTES


def shard_tokens(path: Path) -> int:
    """How many tokens the shard holds: a header of 256 little-endian int32 (magic, version, count, zeros), then uint16.

    Raises:
        ValueError: no such file, or wrong magic, version, count or size; names the file and what was found.
    """
    header_bytes = 4 * SHARD_HEADER_INTS
    if not path.is_file():
        raise ValueError(f"{path}: no such shard")
    with path.open("rb") as file:
        header = file.read(header_bytes)
    size = path.stat().st_size
    if len(header) < header_bytes:
        raise ValueError(f"{path}: {size} bytes is shorter than a shard's header of {header_bytes}")
    magic, version, count = struct.unpack_from("<3i", header)
    if magic != SHARD_MAGIC:
        raise ValueError(f"{path}: magic number is {magic}, a shard has {SHARD_MAGIC}; is this a token file?")
    if version != SHARD_VERSION:
        raise ValueError(f"{path}: shard version is {version}, this program reads {SHARD_VERSION}")
    if count <= 0 or size != header_bytes + 2 * count:
        raise ValueError(
            f"{path}: the header counts {count} tokens, which makes {header_bytes + 2 * max(count, 0)} bytes; "
            f"the file has {size}: a broken copy, fetch it again"
        )
    return count


def data_sha256(data_path: Path) -> str:
    """Name of a data set: over the name, size and first and last MiB of every shard, so that 16 GB take no minute.

    Raises:
        ValueError: no training or no validation shard in the folder, or a broken one.
    """
    digest = hashlib.sha256()
    for pattern in (TRAIN_SHARDS, VAL_SHARDS):
        shards = sorted(data_path.glob(pattern))
        if not shards:
            raise ValueError(f"{data_path}: no {pattern} shard there")
        for path in shards:
            shard_tokens(path)
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                digest.update(file.read(2**20))
                file.seek(max(0, size - 2**20))
                digest.update(file.read())
    return digest.hexdigest()


def byte_tokenizer(path: Path) -> tuple[int, int] | None:
    """Of a byte-level tokenizer, the field's byte260: the id of byte 0, and how many ids there are. None: another kind.

    Such a tokenizer is a JSON file, ``{"tokenizer_type": "pure_byte", "config": {"byte_offset": 4, ...}, ...}``; the
    ids below the offset are pad, BOS, EOS and unknown, those from it on are the bytes themselves.

    Raises:
        ValueError: a JSON file that is not this.
    """
    if path.suffix != ".json":
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        offset, count = found["config"]["byte_offset"], found["config"]["byte_count"]
        if (found["tokenizer_type"], count) != ("pure_byte", 256) or type(offset) is not int or not 1 < offset < 2**15:
            raise ValueError("another kind")
    except OSError as error:
        raise ValueError(f"{path}: no tokenizer there ({error.strerror})") from None
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{path}: not the JSON file of a byte-level tokenizer, tokenizer_type pure_byte") from None
    return offset, offset + count


def file_sha256(path: Path) -> str:
    """sha256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_record(path: Path, record: TrunkRecord | ArmResult) -> None:
    """Write ``record`` as JSON so that a reader sees all of it or none of it."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(record), indent=2, sort_keys=True) + "\n")
    part.replace(path)


def read_trunk(path: Path) -> TrunkRecord:
    """The record in a ``trunk.json``. Raises ValueError, naming the file, when it is not one."""
    return TrunkRecord(**_fields_of(TrunkRecord, path))


def read_result(path: Path) -> ArmResult:
    """The record in a ``result.json``. Raises ValueError, naming the file, when it is not one."""
    return ArmResult(**_fields_of(ArmResult, path))


def _fields_of(kind: type, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    wanted = {one.name for one in fields(kind)}
    if not isinstance(found, dict) or set(found) != wanted:
        keys = set(found) if isinstance(found, dict) else set()
        raise ValueError(
            f"{path}: not a {kind.__name__} of schema {SCHEMA_VERSION}: "
            f"missing {sorted(wanted - keys)}, unknown {sorted(keys - wanted)}"
        )
    return found


def _number(environment: dict[str, str], name: str, default: str, kind: type) -> Any:
    text = environment.get(name) or default
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"{name}={text!r} in the environment is not {kind.__name__}")
    return number
