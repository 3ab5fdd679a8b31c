"""The dialects of public training logs, as tables over the one grammar.

A dialect says by which line it is known and which pair of which line becomes which fact of a run. Logs mix dialects (a
fork keeps its parent's lines), so every table is tried on every log; the name is that of the first telling line.

Source: counted over 165 public logs of 60 record folders, March and April 2026.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Where facts stand: lines whose label matches, and which key of theirs is which fact; ``"*"`` is any key."""

    label: str  # a regular expression for the whole label
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    name: str
    told_by: re.Pattern[bytes]
    training: Mapping[str, str]  # keys of a training or validation line
    readers: tuple[Reader, ...]


_MILESTONES = {"train_time": "train_time_ms", "step_avg": "step_avg_ms"}

BASELINE = Dialect(
    name="baseline",
    told_by=re.compile(rb"seed:\d+$|step:\d+/\d+ (?:train|val)_loss:|val_bpb:enabled|train_loader:dataset"),
    training=_MILESTONES,
    readers=(
        Reader(label="", facts={"seed": "seed_logged", "world_size": "world_size", "model_params": "model_params"}),
        Reader(label="", facts={"iterations": "iterations", "max_wallclock_seconds": "max_wallclock_seconds"}),
        Reader(label="val_loader:.*", facts={"tokens": "val_tokens"}),
        Reader(
            label="Serialized model", facts={"*": "artifact_model_bytes"}
        ),  # with a format; raw has no label "model"
        Reader(label="Total submission size", facts={"*": "artifact_total_bytes"}),
        Reader(label="Code", facts={"size": "code_bytes"}),
        Reader(label="peak memory", facts={"allocated": "peak_memory_mib"}),
        Reader(label="peak", facts={"memory": "peak_memory_mib"}),
    ),
)

SPACED = Dialect(
    name="spaced",
    told_by=re.compile(rb"Hyperparameters:$|\d+/\d+ (?:train|val)_loss: "),
    training=_MILESTONES,
    readers=(
        Reader(label="", facts={"val_tokens": "val_tokens", "total_eval_time": "total_eval_time_s"}),
        Reader(label="Code size", facts={"compressed": "code_bytes", "uncompressed": "code_bytes_uncompressed"}),
    ),
)

COMPACT = Dialect(
    name="compact",
    told_by=re.compile(rb"--- Hyperparameters ---|params:\d+ L:\d|XNOR-"),
    training={"train_time": "train_time_ms", "t": "train_time_ms", "step_avg": "step_avg_ms", "avg": "avg_ms"},
    readers=(
        Reader(label=".*", facts={"params": "model_params", "ws": "world_size", "s": "seed_logged"}),
        Reader(label="", facts={"budget": "artifact_total_bytes", "artifact": "artifact_mb"}),
        Reader(label="", facts={"code": "code_bytes"}),
    ),
)

OTHER = Dialect(
    name="other",
    told_by=re.compile(rb"step:\d+/\d+ .*lr_mul:"),
    training=_MILESTONES,
    readers=(
        Reader(label=r"INT\d\S*", facts={"model": "artifact_model_bytes", "submission": "artifact_total_bytes"}),
        Reader(label="", facts={"artifact_bytes": "report_artifact_bytes"}),
        Reader(label="", facts={"artifact_production_wallclock": "artifact_production_s"}),
    ),
)

DIALECTS = (COMPACT, SPACED, OTHER, BASELINE)

# `  INT4+fp8+brotli: 15.67MB model + 0.077MB code = 15.75/16.00MB FITS`: megabytes are all that such a log gives.
MEGABYTES = re.compile(r"(?P<model>\d+\.\d+)MB model \+ (?P<code>\d+\.\d+)MB code = (?P<total>\d+\.\d+)/")
TORCH = re.compile(r"(?:Running )?PyTorch (?:version:? )?(?P<version>\d[\w.+-]{0,40})")

SLIDING_MODE = b"final_eval_mode:sliding"  # the scores that follow are of sliding windows, whatever their labels say

# A line that can hold a fact starts with one of these, or has `val_bpb` in it; everything else is skipped unparsed.
STARTS = (
    b"step:",
    b"stopping_early",
    b"seed",
    b"world_size",
    b"train_batch_tokens",
    b"iterations",
    b"max_wallclock",
    b"val_loader",
    b"val_tokens",
    b"model_params",
    b"params:",
    b"XNOR",
    b"Running PyTorch",
    b"PyTorch ",
    b"peak memory",
    b"Serialized",
    b"Code size",
    b"Total submission",
    b"artifact",
    b"budget",
    b"total_eval_time",
    b"INT",
    b"final_eval_mode",
    b"model:",
)

# The first line of a run's configuration: after training steps or a score it begins the next run of the file.
RUN_STARTS = (
    b"Running PyTorch",
    b"PyTorch ",
    b"Hyperparameters:",
    b"--- Hyperparameters ---",
    b"val_bpb:enabled",
    b"train_loader:",
    b"model_params:",
    b"params:",
    b"world_size:",
    b"seed:",
)

CODE_STARTS = re.compile(rb"import \w|from [\w.]+ import |def \w+\(|class \w+[(:]|@\w|#!|\"\"\"|'''")
RULE = re.compile(rb"={80,200}$")  # between a dump of the script and the log
