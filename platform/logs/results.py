"""Tables of results as logs: CSV, TSV and JSON lines, a run in each row, or one run with a row for each validation.

commit   val_bpb   memory_gb  status   description       autoresearch's results.tsv
{"seed": 42, "val_bpb": 1.1194, "steps": 7182}           a line for each run
{"step": 500, "val_loss": 2.41} {"step": 1000, ...}      a line for each validation of one run
"""

import csv
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .runs import Evaluation, Fact, LogRun
from .text import raw_lines, safe_data

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
MOST_ROWS = 10_000
HIGHEST_BPB = 1000

_BPB = ("val_bpb", "final_val_bpb", "val/bpb", "bpb", "test_bpb", "eval_bpb")
_LOSS = ("val_loss", "final_val_loss", "val/loss", "eval_loss")
_STEP = ("step", "iter", "iteration", "global_step", "_step")
_FACTS = {
    "seed": ("seed_logged", 1),
    "steps": ("steps_done", 1),
    "num_steps": ("steps_done", 1),
    "step_stop": ("steps_done", 1),
    "train_time_ms": ("train_time_ms", 1),
    "train_time_s": ("train_time_ms", 1000),
    "wallclock_seconds": ("train_time_ms", 1000),
    "artifact_bytes": ("artifact_total_bytes", 1),
    "bytes_total": ("artifact_total_bytes", 1),
    "total_bytes": ("artifact_total_bytes", 1),
    "model_bytes": ("artifact_model_bytes", 1),
    "code_bytes": ("code_bytes", 1),
    "step_avg_ms": ("step_avg_ms", 1),
}
_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,18})?")
_FAILED = re.compile(r"crash|fail|error|nan|oom|timeout", re.I)

Row = tuple[int, Mapping[str, str]]  # line, column -> what stands there


def read_results(path: Path, name: str) -> tuple[str, int, tuple[LogRun, ...]]:
    """The sha256 of a table of results, how many lines it has, and its runs; none where no column is a score.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    lines = [(line.number, line.content.decode("utf-8", errors="replace")) for line in raw_lines(path, digest)]
    rows = list(_json_rows(lines) if ".jsonl" in name.lower() or ".ndjson" in name.lower() else _csv_rows(lines))
    steps = [step for _, row in rows if (step := _first(row, _STEP)) is not None]
    ordered = (
        len(steps) > 1
        and len(steps) >= len(rows) - 2
        and all(float(one) <= float(other) for one, other in itertools.pairwise(steps))
    )
    runs = _one_run(rows, name) if ordered else _runs(rows, name)
    return digest.hexdigest(), len(lines), tuple(runs)


def _csv_rows(lines: list[tuple[int, str]]) -> Iterator[Row]:
    if not lines:
        return
    first = lines[0][1]
    delimiter = "\t" if "\t" in first else ";" if ";" in first else ","
    header = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=delimiter), [])]
    if not set(header) & {*_BPB, *_LOSS}:
        return
    for number, text in lines[1 : MOST_ROWS + 1]:
        try:
            cells = next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            continue
        if cells:
            yield number, dict(zip(header, (cell.strip() for cell in cells), strict=False))


def _json_rows(lines: list[tuple[int, str]]) -> Iterator[Row]:
    for number, text in lines[:MOST_ROWS]:
        try:
            found: Any = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield number, {key.lower(): value for key, value in found.items() if isinstance(value, str)}


def _first(row: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The first of these columns that holds a number."""
    return next((row[name] for name in names if name in row and _NUMBER.fullmatch(row[name])), None)


def _evaluation(number: int, row: Mapping[str, str], label: str) -> Evaluation | None:
    bpb, loss = _first(row, _BPB), _first(row, _LOSS)
    if bpb is None or not 0 < float(bpb) < HIGHEST_BPB or _FAILED.search(row.get("status", "")):
        return None
    return Evaluation(
        label=label,
        kind="report",
        diagnostic=False,
        bpb=Fact(bpb, number),
        loss=Fact(loss, number) if loss else None,
        eval_ms=None,
        line=number,
    )


def _facts(number: int, row: Mapping[str, str]) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for column, (fact, factor) in _FACTS.items():
        if column in row and _NUMBER.fullmatch(row[column]):
            text = row[column] if factor == 1 else str(float(row[column]) * factor)
            facts.setdefault(fact, Fact(text, number))
    return facts


def _runs(rows: list[Row], name: str) -> Iterator[LogRun]:
    """A run for each row with a score, or with a loss where no row has one."""
    for number, row in rows:
        evaluation, facts = _evaluation(number, row, "row"), _facts(number, row)
        loss = _first(row, _LOSS)
        if evaluation is None and loss is not None and not _FAILED.search(row.get("status", "")):
            facts.setdefault("steps_done", Fact("1", number))
            facts["prequant_val_loss"] = Fact(loss, number)
        if evaluation is not None or "prequant_val_loss" in facts:
            yield LogRun(
                file=name,
                number=number,
                dialect="results",
                facts=facts,
                evaluations=(evaluation,) if evaluation else (),
                last=safe_data(str(dict(row)), 160),
            )


def _one_run(rows: list[Row], name: str) -> Iterator[LogRun]:
    """The run whose validations the rows are; a last row without a step is its score."""
    facts: dict[str, Fact] = {}
    evaluations: list[Evaluation] = []
    for number, row in rows:
        facts |= _facts(number, row)
        step = _first(row, _STEP)
        if step is None:
            evaluations += filter(None, [_evaluation(number, row, "last row")])
            continue
        facts["steps_done"] = Fact(step.partition(".")[0], number)
        for columns, fact in ((_BPB, "prequant_val_bpb"), (_LOSS, "prequant_val_loss")):
            if (value := _first(row, columns)) is not None:
                facts[fact] = Fact(value, number)
    if evaluations or "prequant_val_bpb" in facts or "prequant_val_loss" in facts:
        yield LogRun(file=name, number=1, dialect="results", facts=facts, evaluations=tuple(evaluations))
