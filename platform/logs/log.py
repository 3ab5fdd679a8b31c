"""A log file, of any size, to the runs that it holds.

Skipped: dumps of the script (up to a rule of ``=``), tables of nvidia-smi, warnings, progress of an evaluation. A new
run begins where a configuration follows training steps or a score. An unended last line that a kill has cut off says
nothing.
"""

import hashlib
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from .dialects import CODE_STARTS, COMPACT, DIALECTS, MARKERS, MEGABYTES, RULE, RUN_STARTS, STARTS, TORCH
from .grammar import Line, Number, cut_off, parse, without_clock
from .runs import Evaluation, Fact, LogRun, kind_of
from .text import RawLine, raw_lines, safe_data

MOST_RUNS = 200  # of one file; more is not a log of training runs
MOST_EVALUATIONS = 500  # of one run
HIGHEST_BPB = 1000  # no score; a diverged run has a few dozen
MOST_PENDING = 20_000  # lines of use that wait for the end of what may be a script dump; the last are kept
LEAST_CODE = 3  # lines that begin as code in a dump; fewer are a warning that quotes its line

_HYPERPARAMETERS = re.compile(r"(?:\w+=\S* ){3}")  # a=1 b=2 c=.. in one line

_TRAINING_KEYS = ("train_loss", "loss", "fitness")
_TRAINING_FACTS = {key: fact for dialect in DIALECTS for key, fact in dialect.training.items()}
_READERS = [
    (re.compile(reader.label, re.I), key, fact)
    for dialect in DIALECTS
    for reader in dialect.readers
    for key, fact in reader.facts.items()
]
_BYTES_FACTS = ("artifact_total_bytes", "artifact_model_bytes", "code_bytes", "code_bytes_uncompressed")
_LAST_WINS = {"artifact_total_bytes", "artifact_model_bytes", "total_eval_time_s", "report_artifact_bytes"}
_MILLISECONDS = {"": 1, "ms": 1, "s": 1000, "m": 60_000}


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """What one file holds."""

    file: str
    sha256: str
    lines: int
    runs: tuple[LogRun, ...]
    used: LogRun | None  # the last complete run, else the last one that trained

    @property
    def trained_alone(self) -> LogRun | None:
        """The training run that an evaluation in the same file belongs to, where the used run did not train itself."""
        if self.used is None or self.used.trained:
            return None
        earlier = [run for run in self.runs if run.trained and run.number < self.used.number]
        return next((run for run in reversed(earlier) if run.seed_logged == self.used.seed_logged), None)


def read_log(path: Path, name: str) -> LogFile:
    """Read the log at ``path``; ``name`` is what it is called in the record."""
    digest = hashlib.sha256()
    reader = _FileReader(name)
    count = 0
    for line in raw_lines(path, digest):
        reader.feed(line)
        count = line.number
    runs = reader.finish()
    complete = [run for run in runs if run.complete]
    trained = [run for run in runs if run.trained]
    used = next(reversed(complete or trained or runs), None)
    return LogFile(file=name, sha256=digest.hexdigest(), lines=count, runs=tuple(runs), used=used)


class _FileReader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._done: list[LogRun] = []
        self._run = _RunReader()
        self._pending: deque[tuple[int, bytes, bool]] | None = None  # lines of what may be a script dump
        self._code = 0  # lines of it that begin as code, counted up to LEAST_CODE
        self._hyperparameters_next = False

    def feed(self, raw: RawLine) -> None:
        line = without_clock(raw.content)
        if not line:
            return
        wanted = line.startswith(STARTS) or 48 <= line[0] <= 57 or b"val_bpb" in line or self._hyperparameters_next
        if not wanted and not line.startswith(RUN_STARTS):
            if line[0] == 61 and RULE.match(line):
                self._end_dump()
            elif self._code < LEAST_CODE and CODE_STARTS.match(line):
                self._code += 1
                if self._pending is None:
                    self._pending = deque(maxlen=MOST_PENDING)
            return
        self._hyperparameters_next = line.startswith(b"--- Hyperparameters")
        if self._pending is None:
            self._take(raw.number, line, raw.ended)
        else:
            self._pending.append((raw.number, line, raw.ended))

    def finish(self) -> list[LogRun]:
        self._code = 0  # no rule came: it was the log after all
        self._end_dump()
        self._close()
        return self._done

    def _end_dump(self) -> None:
        """Drop the lines that waited where they are of a script, and take them where they are not."""
        if self._pending and self._code < LEAST_CODE:
            for number, line, ended in self._pending:
                self._take(number, line, ended)
        self._pending, self._code = None, 0

    def _take(self, number: int, line: bytes, ended: bool) -> None:
        if line.startswith(RUN_STARTS) and self._run.has_results:
            self._close()
        self._run.tell_dialect(line)
        for marker, start in MARKERS.items():
            if line.startswith(start):
                self._run.markers.setdefault(marker, number)
        text = line.decode("utf-8", errors="replace")
        if match := TORCH.match(text):
            self._run.facts["torch_version"] = Fact(safe_data(match["version"]), number)
        elif match := MEGABYTES.search(text):
            for name in ("model", "code", "total"):
                self._run.facts[f"artifact_{name}_mb"] = Fact(match[name], number)
        elif (parsed := parse(number, text)) and (ended or not cut_off(parsed)):
            if _HYPERPARAMETERS.match(text):
                parsed = parsed._replace(label="")
            if self._run.restarts(parsed):
                self._close()
            self._run.take(parsed)

    def _close(self) -> None:
        if self._run.has_results and len(self._done) < MOST_RUNS:
            self._done.append(self._run.finished(self._name, len(self._done) + 1))
        self._run = _RunReader()


class _RunReader:
    """One run while its lines come in."""

    def __init__(self) -> None:
        self.facts: dict[str, Fact] = {}
        self.markers: dict[str, int] = {}
        self._evaluations: list[Evaluation] = []
        self._dialect: str | None = None
        self._last_step: tuple[int, int | None] | None = None

    @property
    def has_results(self) -> bool:
        return bool(self._evaluations) or "steps_done" in self.facts

    def tell_dialect(self, line: bytes) -> None:
        if self._dialect is None or self._dialect == "baseline":
            told = (dialect.name for dialect in DIALECTS if dialect.told_by.match(line))
            self._dialect = next(told, self._dialect)

    def restarts(self, line: Line) -> bool:
        """Whether a training line starts from the beginning again, without a configuration in front."""
        step = line.values.get("step")
        if not step or self._last_step is None or not any(key in line.values for key in _TRAINING_KEYS):
            return False
        done, of = self._last_step
        return step.of == of and int(step.decimal) <= 1 < done

    def take(self, line: Line) -> None:
        step, values = line.values.get("step"), line.values
        if line.label.startswith("stopping_early"):
            self._stop(line)
        elif step and step.of and ("val_bpb" in values or "val_loss" in values):
            self._validation(line, step)
        elif step and step.of and any(key in values for key in _TRAINING_KEYS):
            self._training(line, step)
        elif "val_bpb" in values and not step:
            self._evaluation(line)
        elif len(line.label) < 200:
            self._facts_of(line)

    def _stop(self, line: Line) -> None:
        if step := line.values.get("step"):
            self._set("steps_done", step, line)
        if time := line.values.get("train_time"):
            self.facts["train_time_ms"] = Fact(_milliseconds(time), line.number)

    def _validation(self, line: Line, step: Number) -> None:
        self._progress(line, step)
        self.facts.pop("step_avg_ms", None)
        for key, fact in (("val_loss", "prequant_val_loss"), ("val_bpb", "prequant_val_bpb")):
            if key in line.values:
                self._set(fact, line.values[key], line)
        if average := line.values.get("step_avg"):
            self._set("step_avg_ms", average, line)

    def _training(self, line: Line, step: Number) -> None:
        self._progress(line, step)
        average = line.values.get("step_avg") or line.values.get("avg")
        if average:
            self._set("last_train_line_step_avg_ms", average, line)

    def _progress(self, line: Line, step: Number) -> None:
        self._last_step = (int(step.decimal), step.of)
        self._set("steps_done", step, line)
        if step.of:
            self.facts.setdefault("iterations", Fact(str(step.of), line.number))
        for key, number in line.values.items():
            if (
                _TRAINING_FACTS.get(key) == "train_time_ms" and number.unit != "m"
            ):  # minutes with one decimal are no time
                self.facts["train_time_ms"] = Fact(_milliseconds(number), line.number)

    def _evaluation(self, line: Line) -> None:
        bpb, loss = line.values["val_bpb"], line.values.get("val_loss")
        if len(self._evaluations) >= MOST_EVALUATIONS or not _is_score(bpb) or (loss and not _is_score(loss)):
            return
        time = line.values.get("eval_time") or line.values.get("time") or line.values.get("elapsed")
        label = safe_data(line.label, 120)
        self._evaluations.append(
            Evaluation(
                label=label,
                kind=kind_of(label, "sliding_mode" in self.markers),
                diagnostic=label.lower().startswith(("diagnostic", "debug")),
                bpb=Fact(bpb.text, line.number),
                loss=Fact(loss.text, line.number) if loss else None,
                eval_ms=Number(_milliseconds(time), "", None).decimal if time and time.unit else None,
                line=line.number,
            )
        )

    def _facts_of(self, line: Line) -> None:
        for label, key, fact in _READERS:
            number = line.values.get(key) if key != "*" else next(iter(line.values.values()))
            if number is None or not label.fullmatch(line.label):
                continue
            if fact in _BYTES_FACTS and (number.unit not in ("", "bytes") or "." in number.text):
                continue
            if fact == "seed_logged" and key == "s" and "params" not in line.values:
                continue
            if key == "compressed" or fact in _LAST_WINS:
                self._set(fact, number, line)
            else:
                self.facts.setdefault(fact, Fact(number.text, line.number))

    def _set(self, fact: str, number: Number, line: Line) -> None:
        self.facts[fact] = Fact(number.text, line.number)

    def finished(self, name: str, number: int) -> LogRun:
        if "artifact_total_bytes" not in self.facts and (total := self.facts.get("report_artifact_bytes")):
            self.facts["artifact_total_bytes"] = total
        average = self.facts.get("last_train_line_step_avg_ms")
        if average and "step_avg_ms" not in self.facts and self._dialect != COMPACT.name:
            self.facts["step_avg_ms"] = average
        return LogRun(
            file=name,
            number=number,
            dialect=self._dialect or "other",
            facts=self.facts,
            evaluations=tuple(self._evaluations),
            markers=self.markers,
        )


def _is_score(number: Number) -> bool:
    return "e" not in number.text.lower() and 0 < number.decimal < HIGHEST_BPB


def _milliseconds(time: Number) -> str:
    factor = _MILLISECONDS.get(time.unit, 1)
    return time.text if factor == 1 else str(time.decimal * factor)
