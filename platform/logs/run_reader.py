"""One run of a log while its lines come in: facts, scores, sizes, and what it says of learning.

Of a line that a dialect knows, the pairs become facts; a score of a part (a chunk, a running mean) is none. What is
said of learning is kept by the form of its lines: thousands of progress lines make one block.
"""

import re
from decimal import Decimal

from .dialects import COMPACT, DIALECTS
from .grammar import Line, Number
from .learning import MOST_BLOCKS, UNKNOWN, Learning, is_setting, names_learning, order_in, switches_on
from .runs import Evaluation, Fact, LogRun, kind_of
from .text import safe_data

MOST_EVALUATIONS = 500  # of one run
HIGHEST_BPB = 1000  # no score; a diverged run has a few dozen
MOST_IDLE = 5_000  # forms of lines that are remembered
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
SIZES = re.compile(r"\b(?:total|artifact|submission)\b.{0,40}\d", re.I)  # a line that may be one of sizes
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
TRAINING = re.compile(rb"(?:step:)?(\d+)/(\d+) (?:train_)?loss:")
DIGITS = re.compile(rb"[\d.]+")
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


class RunReader:
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
                self.learn(line.number, said, DIGITS.sub(b"", said))
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
