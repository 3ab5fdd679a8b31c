"""A log file, of any size, to the runs that it holds.

Skipped: dumps of the script (up to a rule of ``=``), tables of nvidia-smi, warnings, progress of an evaluation. A new
run begins where a configuration follows training steps or a score. An unended last line that a kill has cut off says
nothing.
"""

import hashlib
import re
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from .dialects import CODE_STARTS, COMPACT, DIALECTS, MEGABYTES, RULE, RUN_STARTS, SLIDING_MODE, STARTS, TORCH
from .grammar import Line, Number, cut_off, parse
from .learning import (
    MOST_BLOCKS,
    UNKNOWN,
    Learning,
    hints,
    is_setting,
    names_learning,
    order_in,
    switches_on,
)
from .prefix import Prefix, prefix_in
from .results import ENDINGS, read_results
from .runs import Evaluation, Fact, LogRun, kind_of
from .text import RawLine, raw_lines, safe_data

MOST_RUNS = 200  # of one file; more is not a log of training runs
MOST_EVALUATIONS = 500  # of one run
HIGHEST_BPB = 1000  # no score; a diverged run has a few dozen
MOST_IDLE = 5_000  # forms of lines that are remembered
MOST_PENDING = 20_000  # lines of use that wait for the end of what may be a script dump; the last are kept
LEAST_CODE = 3  # lines that begin as code in a dump; fewer are a warning that quotes its line

_SCORES = (
    "val_bpb",
    "bpb",
    "BPB",
    "val/bpb",
    "final_bpb",
    "test_bpb",
    "eval_bpb",
    "bits_per_byte",
    "val_bits_per_byte",
)
_KEYS = (b"bpb", b"BPB", b"bits_per_byte", b"val_loss", b"rtifact", b"otal", b"code:", b"code=")  # of facts
_NO_SCORE = re.compile(r"^(?:diagnostic|debug)|checkpoint|resum|loaded|restor|initial|untrained", re.I)
_PROGRESS = re.compile(
    r"\[ *\d+ */ *\d+ *\]|\d+ */ *\d+ *(?:\||chunk|window|batch|doc|seq|tok|step|it\b)|\d+(?:\.\d+)?% *[\]|(]"
    r"|\brunning|cumul|so far|\beta[ :=]|\bchunk[ :=#]*\d"
    r"|\b(?:chunk|batch|doc|epoch|iter)\w*[ :=#\[]*\d+ *(?:/|of) *\d+",
    re.I,
)
_DOCUMENTS = re.compile(
    r"\bdoc(?:ument)?s?[ :=#]*\d[\d,]*/(?P<of>\d[\d,]*)|\b(?:for|over|on|of|all) (?P<number>\d[\d,]*) doc(?:ument)?s\b",
    re.I,
)
_SIZES = re.compile(r"\b(?:total|artifact|submission)\b.{0,40}\d", re.I)  # a line that may be one of sizes
_SIZE = re.compile(
    r"\b(?P<what>model|weights|code|total|artifact)\b(?: (?:size|artifact|submission|bytes))*(?: size)?\W{0,3}"
    r"(?P<number>\d[\d,_]*(?:\.\d+)?)\s?(?P<unit>bytes|[KMG]B|B)?(?![\w.])",
    re.I,
)
_SIZE_FACTS = {  # in bytes, and as megabytes
    "model": ("artifact_model_bytes", "artifact_model_mb"),
    "weights": ("artifact_model_bytes", "artifact_model_mb"),
    "code": ("code_bytes", "artifact_code_mb"),
    "total": ("artifact_total_bytes", "artifact_total_mb"),
}
_PER_MEGABYTE = {"kb": -3, "mb": 0, "gb": 3}  # powers of ten
SMALLEST_CODE, SMALLEST_MODEL = 1_000, 100_000  # bytes; smaller numbers count something else
_SUMMARY = re.compile(r"(?:wandb:\s*)?(?P<key>val/(?:bpb|loss))\s+(?P<number>\d+\.\d+)$")  # of Weights & Biases
_TRAINING = re.compile(rb"(?:step:)?(\d+)/(\d+) (?:train_)?loss:")
_DIGITS = re.compile(rb"[\d.]+")
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
    def counted(self) -> tuple[LogRun, ...]:
        """The runs of the file that are runs of their own: of several seeds the last complete one each."""
        if any(run.dialect == "results" for run in self.runs):
            return self.runs
        of_seeds = {run.seed_logged: run for run in self.runs if run.complete and run.seed_logged is not None}
        if len(of_seeds) > 1:
            return tuple(of_seeds.values())
        return () if self.used is None else (self.used,)

    def trained_for(self, run: LogRun) -> LogRun | None:
        """The training run that an evaluation in the same file belongs to, where ``run`` did not train itself."""
        if run.trained:
            return None
        earlier = [other for other in self.runs if other.trained and other.number < run.number]
        return next((other for other in reversed(earlier) if other.seed_logged == run.seed_logged), None)


def read_log(path: Path, name: str) -> LogFile:
    """Read the log at ``path``; ``name`` is what it is called in the record."""
    if name.lower().endswith(ENDINGS):
        sha256, lines, rows = read_results(path, name)
        return LogFile(file=name, sha256=sha256, lines=lines, runs=rows, used=rows[-1] if rows else None)
    digest = hashlib.sha256()
    reader = _FileReader(name, prefix_in(path))
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
    def __init__(self, name: str, prefix: Prefix) -> None:
        self._name = name
        self._prefix = prefix
        self._done: list[LogRun] = []
        self._run = _RunReader()
        # Lines of what may be a script dump; those that end in None hold no fact, and may speak of learning.
        self._pending: deque[tuple[int, bytes, bool | None]] | None = None
        self._code = 0  # lines of it that begin as code, counted up to LEAST_CODE
        self._hyperparameters_next = False
        self._of = b""  # of how many steps the training lines are
        self._idle: set[bytes] = set()  # forms of lines that say nothing
        self._talk: set[bytes] = set()  # forms of lines that may speak of learning, and hold no fact
        self._waiting: RawLine | None = None  # the last of many training lines: the others say nothing more

    def feed(self, raw: RawLine) -> None:
        line = self._prefix.off(raw.content)
        step = _TRAINING.match(line)
        if step and step[2] == self._of and step[1] not in (b"0", b"1") and self._pending is None:
            self._waiting = raw._replace(content=line)
            return
        if self._waiting is not None:
            self._take(*self._waiting)
            self._waiting = None
        if step and self._pending is None:
            self._of = step[2]
        form = _DIGITS.sub(b"", line)
        if form in self._idle and not self._hyperparameters_next and not line[:1].isdigit():
            self._run.last = line
            return
        if form in self._talk and self._pending is None and not line[:1].isdigit():
            self._run.last = line
            self._run.learn(raw.number, line, form)
            return
        bare = line.strip()
        if not bare:
            return
        wanted = (
            bare.startswith(STARTS)
            or 48 <= bare[0] <= 57
            or any(map(bare.__contains__, _KEYS))
            or self._hyperparameters_next
        )
        if not wanted and not line.startswith(RUN_STARTS):
            if bare[0] == 61 and RULE.match(bare):
                self._end_dump()
                return
            if self._code < LEAST_CODE and CODE_STARTS.match(line):
                self._code += 1
                if self._pending is None:
                    self._pending = deque(maxlen=MOST_PENDING)
                return
            self._run.last = line
            if self._pending is not None:
                self._pending.append((raw.number, bare, None))
            elif not self._run.goes_on(form, raw.number, bare):
                if hints(bare):
                    self._talk.add(form)
                    self._run.learn(raw.number, bare, form)
                elif len(self._idle) < MOST_IDLE:
                    self._idle.add(form)
            return
        self._hyperparameters_next = line.startswith(b"--- Hyperparameters")
        if self._pending is None:
            self._take(raw.number, line, raw.ended)
        else:
            self._pending.append((raw.number, line, raw.ended))

    def finish(self) -> list[LogRun]:
        if self._waiting is not None:
            self._take(*self._waiting)
        self._code = 0  # no rule came: it was the log after all
        self._end_dump()
        self._close()
        return self._done

    def _end_dump(self) -> None:
        """Drop the lines that waited where they are of a script, and take them where they are not."""
        if self._pending and self._code < LEAST_CODE:
            for number, line, ended in self._pending:
                if ended is not None:
                    self._take(number, line, ended)
                elif (form := _DIGITS.sub(b"", line)) not in self._idle:
                    if hints(line):
                        self._run.learn(number, line, form)
                    else:
                        self._idle.add(form)
        self._pending, self._code = None, 0

    def _take(self, number: int, line: bytes, ended: bool) -> None:
        if line.startswith(RUN_STARTS) and self._run.has_results:
            self._close()
        self._run.tell_dialect(line)
        bare = line.strip()
        self._run.last = bare
        if bare.startswith(SLIDING_MODE):
            self._run.slides = True
        text = bare.decode("utf-8", errors="replace")
        if hints(bare) and not _TRAINING.match(bare):
            self._run.learn(number, bare, _DIGITS.sub(b"", bare))
        if match := _SUMMARY.match(text):
            text = f"wandb summary {match['key']}: {match['number']}"
        if self._run.trained_until and _SIZES.search(text):
            self._run.sizes(number, text)
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
        self._of = b""


class _RunReader:
    """One run while its lines come in."""

    def __init__(self) -> None:
        self.facts: dict[str, Fact] = {}
        self.slides = False  # the log said that its evaluator slides
        self.last = b""
        self._evaluations: list[Evaluation] = []
        self._learning: dict[tuple[int, bytes], Learning] = {}  # by the number of evaluations before, and its form
        self._harmless: set[bytes] = set()  # forms of lines that speak of no learning
        self._switches: dict[str, int] = {}
        self._trained_until = 0
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
        """Take the facts of a line."""
        step, values, before = line.values.get("step"), line.values, self._last_step
        trains = step is not None and step.of is not None and any(key in values for key in _TRAINING_KEYS)
        if line.label.startswith("stopping_early"):
            self._stop(line)
        elif step and step.of and ("val_bpb" in values or "val_loss" in values) and self._is_of_training(line, step):
            self._validation(line, step)
        elif step and trains:
            if not self._is_of_training(line, step):
                said = line.text.encode()
                self.learn(line.number, said, _DIGITS.sub(b"", said))
                return
            self._training(line, step)
        elif step is None and (key := next((key for key in _SCORES if key in values), None)):
            if not _is_progress(line):
                self._evaluation(line, key)
            return
        else:
            if len(line.label) < 200:
                self._facts_of(line)
            return
        if self._last_step is not None and (before is None or self._last_step[0] > before[0]):  # not a step told again
            self._trained_until = line.number
            self._learning.clear()

    def _is_of_training(self, line: Line, step: Number) -> bool:
        """Whether a step is one of the training: with no other label in front, and of as many as the last one."""
        return not line.label and (self._last_step is None or self._last_step[1] in (None, step.of))

    def goes_on(self, form: bytes, number: int, line: bytes) -> bool:
        """Whether a line is of a form that is known: of a block, which then goes on to it, or of none."""
        if form in self._harmless:
            return True
        block = self._learning.get((len(self._evaluations), form))
        if block is not None:
            block.goes_on(number, line)
        return block is not None

    def learn(self, number: int, line: bytes, form: bytes) -> None:
        """Take what a line says of learning after the training, and of how many documents are scored."""
        if self.goes_on(form, number, line):
            return
        text = line.decode("utf-8", errors="replace").strip()
        if match := _DOCUMENTS.search(text):
            self.facts["documents"] = Fact((match["of"] or match["number"]).replace(",", ""), number)
        if is_setting(text):
            if switches_on(text):
                self._switches.setdefault(text, number)
            if names_learning(text) and not self._trained_until:
                return
            order = UNKNOWN if names_learning(text) else None
        else:
            order = order_in(text)
        if order is None:
            if len(self._harmless) < MOST_IDLE:
                self._harmless.add(form)
        elif len(self._learning) < MOST_BLOCKS:
            self._learning[len(self._evaluations), form] = Learning(
                order=order, text=safe_data(text, 160), first_line=number, last_line=number, last_text=line
            )

    @property
    def trained_until(self) -> int:
        return self._trained_until

    def sizes(self, number: int, text: str) -> None:
        """Take a line of sizes in no form that is known: each number by the word before it, in bytes or megabytes."""
        found = {match["what"].lower(): match for match in _SIZE.finditer(text)}
        if "artifact" in found:
            found.setdefault("total", found["artifact"])
        for word in found.keys() & _SIZE_FACTS:
            self._size(*_SIZE_FACTS[word], found[word], number)

    def _size(self, exact: str, rough: str, match: re.Match[str], number: int) -> None:
        digits, unit = match["number"].replace(",", "").replace("_", ""), (match["unit"] or "").lower()
        least = SMALLEST_CODE if exact == "code_bytes" else SMALLEST_MODEL
        if "." not in digits and unit in ("", "b", "bytes") and int(digits) >= least:
            self.facts.setdefault(exact, Fact(digits, number))
        elif unit in _PER_MEGABYTE:
            self.facts.setdefault(rough, Fact(f"{Decimal(digits).scaleb(_PER_MEGABYTE[unit]):f}", number))

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

    def _evaluation(self, line: Line, key: str) -> None:
        bpb, loss = line.values[key], line.values.get("val_loss")
        if len(self._evaluations) >= MOST_EVALUATIONS or not _is_score(bpb) or (loss and not _is_score(loss)):
            return
        label = safe_data(line.label if key == "val_bpb" else f"{line.label} {key}".strip(), 120)
        self._evaluations.append(
            Evaluation(
                label=label,
                kind=kind_of(label, self.slides) if key == "val_bpb" else "report",
                diagnostic=_NO_SCORE.search(label) is not None,
                bpb=Fact(bpb.text, line.number),
                loss=Fact(loss.text, line.number) if loss else None,
                eval_ms=_time_of(line),
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
        model, code = self.facts.get("artifact_model_bytes"), self.facts.get("code_bytes")
        if "artifact_total_bytes" not in self.facts and model and code:  # its parts are all that the log prints
            self.facts["artifact_total_bytes"] = Fact(str(model.decimal + code.decimal), max(model.line, code.line))
        average = self.facts.get("last_train_line_step_avg_ms")
        if average and "step_avg_ms" not in self.facts and self._dialect != COMPACT.name:
            self.facts["step_avg_ms"] = average
        return LogRun(
            file=name,
            number=number,
            dialect=self._dialect or "other",
            facts=self.facts,
            evaluations=tuple(self._evaluations),
            learning=tuple(self._learning.values()),
            switches=self._switches,
            trained_until=self._trained_until,
            last=safe_data(self.last.strip().decode("utf-8", errors="replace"), 160),
        )


def _is_progress(line: Line) -> bool:
    """Whether a score is that of a part: of so many chunks, of so much per cent, a running mean."""
    return _PROGRESS.search(line.text) is not None


def _time_of(line: Line) -> Decimal | None:
    """How long the evaluation of a line took, in milliseconds."""
    for key in ("eval_time", "time", "elapsed"):
        time = line.values.get(key)
        if time and time.unit:
            return Decimal(_milliseconds(time))
        for unit in ("ms", "s"):
            if time := line.values.get(f"{key}_{unit}"):
                return Decimal(_milliseconds(time._replace(unit=unit)))
    return None


def _is_score(number: Number) -> bool:
    return "e" not in number.text.lower() and 0 < number.decimal < HIGHEST_BPB


def _milliseconds(time: Number) -> str:
    factor = _MILLISECONDS.get(time.unit, 1)
    return time.text if factor == 1 else str(time.decimal * factor)
