"""What a job's log says, in the words of the challenge's own script, so that its readers can read ours.

The labels of scores, and what each of them stands for, are in ``jobs.contract.labels``.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass

import torch

from jobs.artifact import Encoded
from jobs.contract.assignment import Assignment
from jobs.contract.labels import EXACT, score_label
from jobs.contract.records import ARTIFACT_LIMIT_BYTES, Machine
from jobs.contract.shards import TRAIN_SHARDS, VAL_SHARDS, byte_tokenizer
from jobs.data.loader import micro_batches
from jobs.log import Log
from jobs.recipe import Adaptation, Recipe
from jobs.scoring import Scores
from jobs.world import World

DESCRIBED = ("feed_forward", "attention", "position", "optimizer", "schedule", "averaging", "quantizer")


def write_header(
    log: Log,
    *,
    recipe: Recipe,
    assignment: Assignment,
    world: World,
    program_sha256: str,
    parameters: int,
    num_targets: int,
    kernel: str,
) -> None:
    """What a reader of the log must know before the first step; ``num_targets`` of the validation stream."""
    budget, shape, data_path = recipe.budget, recipe.shape, assignment.data_path
    log.line(f"recipe:{recipe.name} scale:{recipe.scale} program_sha256:{program_sha256}")
    log.line(f"Running Python {sys.version.split()[0]}")
    log.line(f"Running PyTorch {torch.__version__}")
    kind = "sentencepiece" if byte_tokenizer(assignment.tokenizer_path) is None else "pure_byte"
    log.line(f"val_bpb:enabled tokenizer_kind={kind} tokenizer_path={assignment.tokenizer_path}")
    log.line(f"train_loader:dataset:{data_path.name} train_shards:{len(list(data_path.glob(TRAIN_SHARDS)))}")
    log.line(f"val_loader:shards pattern={data_path / VAL_SHARDS} tokens:{num_targets}")
    log.line(f"model_params:{parameters}")
    pieces = micro_batches(
        batch_tokens=budget.batch_tokens,
        sequence_length=budget.sequence_length,
        max_micro_batch_tokens=budget.max_micro_batch_tokens,
        world=world,
    )
    log.line(f"world_size:{world.size} grad_accum_steps:{len(pieces)}")
    log.line(f"attention_kernel:{kernel}")
    log.line(f"attention_mode:gqa num_heads:{shape.num_heads} num_kv_heads:{shape.num_kv_heads}")
    for field in DESCRIBED:
        log.line(f"{field}:{described(getattr(recipe, field))}")
    log.line(
        f"train_batch_tokens:{budget.batch_tokens} train_seq_len:{budget.sequence_length} "
        f"iterations:{budget.iterations} warmup_steps:{budget.warmup_steps} "
        f"max_wallclock_seconds:{budget.train_seconds:.3f}"
    )
    log.line(f"seed:{assignment.seed}")


def where_bytes_went(
    tensors: list[Encoded], kinds: dict[str, str], packed_bytes: Callable[[list[Encoded]], int]
) -> Iterator[str]:
    """Lines of a table: each kind of tensor, its values, their bits, and its bytes when packed alone."""
    by_kind: dict[str, list[Encoded]] = {}
    for one in tensors:
        by_kind.setdefault(kinds[one.name], []).append(one)
    yield "where the bytes went: kind, tensors, values, bits of a value, bytes packed alone"
    for kind, members in by_kind.items():
        values = sum(one.values.numel() for one in members)
        bits = sum(one.values.numel() * one.bits for one in members) / values
        yield f"  {kind:12} {len(members):4} {values:11,} {bits:5.2f} {packed_bytes(members):11,}"


def format_of(recipe: Recipe) -> str:
    """The artifact's format: int6+zstd."""
    return f"{recipe.quantizer.label()}+{recipe.compressor.codec}"


def write_sizes(log: Log, recipe: Recipe, *, model_bytes: int, code_bytes: int) -> int:
    """The bytes that count, and a plain word where they are too many; returns their sum."""
    total = model_bytes + code_bytes
    log.line(f"Code size: {code_bytes} bytes")
    log.line(f"Serialized model {format_of(recipe)}: {model_bytes} bytes")
    log.line(f"Total submission size {format_of(recipe)}: {total} bytes")
    if total > ARTIFACT_LIMIT_BYTES:
        log.line(f"over the limit: {total} bytes are {total - ARTIFACT_LIMIT_BYTES} more than {ARTIFACT_LIMIT_BYTES}")
    return total


def write_average(log: Log, recipe: Recipe, *, loss_nats: float, bpb: float, milliseconds: float) -> None:
    """What the averaged weights score before they are rounded."""
    average = snake_case(type(recipe.averaging).__name__)
    log.line(f"DIAGNOSTIC post_{average} val_loss:{loss_nats:.4f} val_bpb:{bpb:.4f} eval_time:{milliseconds:.0f}ms")


def write_score(
    log: Log, recipe: Recipe, adaptation: Adaptation, evaluation: str, scores: Scores, *, milliseconds: float
) -> None:
    """A score in four and in eight decimals, under the label that its protocol deserves.

    ``evaluation`` is the evaluator's own label.
    """
    label = score_label(
        evaluation=evaluation,
        quantizer=recipe.quantizer.label(),
        codec=recipe.compressor.codec,
        protocol=adaptation.protocol,
        adapts=snake_case(type(adaptation).__name__) != "no_adaptation",
    )
    log.line(f"{label} val_loss:{scores.loss_nats:.4f} val_bpb:{scores.bpb:.4f} eval_time:{milliseconds:.0f}ms")
    log.line(f"{label}{EXACT} val_loss:{scores.loss_nats:.8f} val_bpb:{scores.bpb:.8f}")


def described(technique: object) -> str:
    """A technique and all its knobs on one line."""
    if not is_dataclass(technique) or isinstance(technique, type):
        return str(technique)
    knobs = " ".join(f"{name}={value}" for name, value in asdict(technique).items())
    return f"{snake_case(type(technique).__name__)} {knobs}".strip()


def snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def machine_of(world: World) -> Machine:
    """What this job runs on."""
    return Machine(world_size=world.size, device=device_name(world), torch_version=torch.__version__)


def device_name(world: World) -> str:
    """The card's own name, or what kind of CPU job it is."""
    if world.device.type == "cuda":
        return f"{world.size}x {torch.cuda.get_device_name(world.device)}"
    return f"cpu x{world.size}, {torch.get_num_threads()} threads each"
