"""What a script that has ended well has measured: read from its log and from the files that it left.

What neither says is left out. Whatever somebody should know who reads the numbers is a note; what makes them
worthless is ``Unread``, with the reason and what to do.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from jobs.contract.records import UNTOLD, ArmResult, Machine, TrunkRecord
from jobs.contract.shards import file_sha256

from ..logs.log import read_log
from ..logs.runs import KINDS, SAME_BPB, Evaluation, LogRun
from ..runs.plan import Trial

PACKED = (".ptz", ".zst", ".zstd", ".xz", ".lzma", ".br", ".zlib", ".gz", ".zip", ".bin", ".7z")


class Unread(ValueError):
    """A log without a score to take."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """A file that a script left in its folder."""

    path: Path
    name: str  # relative to the folder
    size: int


def result_of(
    trial: Trial, arm: str, *, log: Path, work: Path, phases: dict[str, float], machine: Machine
) -> ArmResult:
    """The result of ``arm`` from its log and what it left in ``work``.

    Args:
        phases: wall seconds of each, as its lines came.
        machine: that it ran on; of its version of torch the log knows better.

    Raises:
        Unread: the log gives no score, several that could be it, or is of another seed; says what to do.
    """
    script = trial.script
    assert script is not None, "the trial of a script"
    read = read_log(log, log.name)
    run = read.used
    if run is None or not run.candidates:
        last = f"; its last line: {run.last[:200]}" if run and run.last else ""
        raise Unread(f"it ended well, and no line of {log.name} gives a score{last}")
    if run.seed_logged is not None and run.seed_logged != trial.seed:
        raise Unread(
            f"{log.name}:{run.facts['seed_logged'].line} says seed {run.seed_logged}, it was told {script.seed_env}="
            f"{trial.seed}; where the script reads its seed under another name, the recipe says seed_env: NAME"
        )
    final = chosen(run, script.score, log.name)
    notes: list[str] = []
    if script.score is None and len({one.name for one in run.candidates}) > 1:
        others = ", ".join(dict.fromkeys(one.name for one in run.candidates if one.name != final.name))
        notes.append(f"the score is the line {final.label!r}, not {others}; score: in the recipe says which counts")
    if run.seed_logged is None:
        notes.append(f"its log does not say its seed, so that {script.seed_env} was heeded is not shown")
    lines = {"val_bpb": f"{log.name}:{final.line}"}
    left = files_left(work)
    code_bytes = _code_bytes(run, trial, work / script.name, lines, log.name, notes)
    model_bytes = _model_bytes(run, left, lines, log.name, notes)
    total = run.whole("artifact_total_bytes")
    artifact_bytes = None if model_bytes is None else model_bytes + code_bytes
    if total is not None:
        lines["artifact_bytes"] = f"{log.name}:{run.facts['artifact_total_bytes'].line}"
        if artifact_bytes is not None and artifact_bytes != total:
            notes.append(f"it says {total:,} bytes in all, its files have {artifact_bytes:,}: the larger counts")
        artifact_bytes = max(total, artifact_bytes or 0)
    for name, fact in (("steps", "steps_done"), ("train_seconds", "train_time_ms"), ("step_ms_mean", "step_avg_ms")):
        if fact in run.facts:
            lines[name] = f"{log.name}:{run.facts[fact].line}"
    eval_ms = run.eval_ms(final)
    return ArmResult(
        recipe=trial.recipe,
        scale=trial.scale,
        arm=arm,
        adaptation=UNTOLD,
        protocol=UNTOLD,
        seed=trial.seed,
        program_sha256=trial.program_sha256,
        trunk=TrunkRecord(
            trunk_sha256=hashlib.sha256(
                f"{trial.program_sha256} {arm} {trial.seed} {read.sha256}".encode()
            ).hexdigest(),
            program_sha256=trial.program_sha256,
            weights_sha256=None,
            artifact_sha256=None,
            recipe=trial.recipe,
            scale=trial.scale,
            seed=trial.seed,
            data_sha256=trial.data_sha256,
            tokenizer_sha256=trial.tokenizer_sha256,
            parameters=run.whole("model_params"),
            model_bytes=model_bytes,
            steps=run.whole("steps_done"),
            train_tokens=None,
            train_seconds=_over(run.number_of("train_time_ms"), 1000),
            step_ms_mean=_over(run.number_of("step_avg_ms"), 1),
            step_ms_median=None,
            phases={},
            machine=machine,
        ),
        data_sha256=trial.data_sha256,
        tokenizer_sha256=trial.tokenizer_sha256,
        val_loss_nats=float(final.loss.decimal) if final.loss else None,
        val_bpb=float(final.bpb.decimal),
        scored_tokens=run.whole("val_tokens"),
        scored_bytes=None,
        aligned_val_bpb=None,
        artifact_bytes=artifact_bytes,
        model_bytes=model_bytes,
        code_bytes=code_bytes,
        adapt_seconds=None,
        eval_seconds=_over(eval_ms, 1000),
        phases=phases,
        end_to_end=True,
        notes=tuple(notes),
        lines=lines,
        machine=machine,
    )


def chosen(run: LogRun, label: str | None, log: str) -> Evaluation:
    """The evaluation that counts: the line with ``label``, or the one that a reader would take.

    Raises:
        Unread: no line has the label, or two of the same standing give different scores.
    """
    listed = "; ".join(f"{one.label!r} {one.bpb.text} ({log}:{one.line})" for one in run.candidates)
    if label is not None:
        found = [one for one in run.evaluations if label in (one.label, one.name)]
        if not found:
            raise Unread(f"no line is labelled {label!r}, which the recipe says is the score; there are {listed}")
        return max(found, key=lambda one: (one.decimals, one.line))
    first = run.candidates[0]
    rivals = [
        one
        for one in run.candidates
        if one.kind == first.kind and one.name != first.name and abs(one.bpb.decimal - first.bpb.decimal) > SAME_BPB
    ]
    if rivals:
        raise Unread(f"several lines could be the score: {listed}; say which in the recipe, score: {first.name}")
    assert first.kind in KINDS
    return first


def files_left(work: Path) -> list[Left]:
    """The files in ``work``, the largest first; links, to data and the like, are none of them."""
    found = [path for path in work.rglob("*") if path.is_file() and not path.is_symlink()] if work.is_dir() else []
    left = [Left(path=path, name=path.relative_to(work).as_posix(), size=path.stat().st_size) for path in found]
    return sorted(left, key=lambda one: (-one.size, one.name))


def _code_bytes(run: LogRun, trial: Trial, script: Path, lines: dict[str, str], log: str, notes: list[str]) -> int:
    measured, said = script.stat().st_size, run.whole("code_bytes")
    if said is not None:
        lines["code_bytes"] = f"{log}:{run.facts['code_bytes'].line}"
        if said != measured:
            notes.append(f"it says {said:,} bytes of code, the script has {measured:,}: the larger counts")
    if file_sha256(script) != trial.program_sha256:
        notes.append("it changed its own file while it ran")
    return max(measured, said or 0)


def _model_bytes(run: LogRun, left: Sequence[Left], lines: dict[str, str], log: str, notes: list[str]) -> int | None:
    """The bytes of the model: as it says them, held against the files that it left; the larger where they differ."""
    said, packed = run.whole("artifact_model_bytes"), _packed(left)
    if said is not None:
        lines["model_bytes"] = f"{log}:{run.facts['artifact_model_bytes'].line}"
        if any(one.size == said for one in left):
            return said
    if not packed:
        if said is not None:
            notes.append(f"it left no file of the {said:,} bytes that it says its model has")
        return said
    largest = packed[0]
    if said is None:
        notes.append(f"it does not say the bytes of its model; {largest.name} has {largest.size:,}")
        return largest.size
    if largest.size != said:
        notes.append(f"it says {said:,} bytes of model, {largest.name} has {largest.size:,}: the larger counts")
    return max(said, largest.size)


def _packed(left: Iterable[Left]) -> list[Left]:
    return [one for one in left if one.path.suffix in PACKED]


def _over(number: Decimal | None, divisor: int) -> float | None:
    return None if number is None else float(number / divisor)
