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

from .dialects import CODE_STARTS, MEGABYTES, RULE, RUN_STARTS, SLIDING_MODE, STARTS, TORCH
from .grammar import cut_off, parse
from .learning import hints
from .prefix import Prefix, prefix_in
from .results import ENDINGS, read_results
from .run_reader import DIGITS, MOST_IDLE, SIZES, TRAINING, RunReader
from .runs import Fact, LogRun
from .text import RawLine, raw_lines, safe_data

MOST_RUNS = 200  # of one file; more is not a log of training runs
MOST_PENDING = 20_000  # lines of use that wait for the end of what may be a script dump; the last are kept
LEAST_CODE = 3  # lines that begin as code in a dump; fewer are a warning that quotes its line

_KEYS = (b"bpb", b"BPB", b"bits_per_byte", b"val_loss", b"rtifact", b"otal", b"code:", b"code=")  # of facts
_SUMMARY = re.compile(r"(?:wandb:\s*)?(?P<key>val/(?:bpb|loss))\s+(?P<number>\d+\.\d+)$")  # of Weights & Biases
_HYPERPARAMETERS = re.compile(r"(?:\w+=\S* ){3}")  # a=1 b=2 c=.. in one line


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
        self._run = RunReader()
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
        step = TRAINING.match(line)
        if step and step[2] == self._of and step[1] not in (b"0", b"1") and self._pending is None:
            self._waiting = raw._replace(content=line)
            return
        if self._waiting is not None:
            self._take(*self._waiting)
            self._waiting = None
        if step and self._pending is None:
            self._of = step[2]
        form = DIGITS.sub(b"", line)
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
                elif (form := DIGITS.sub(b"", line)) not in self._idle:
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
        if hints(bare) and not TRAINING.match(bare):
            self._run.learn(number, bare, DIGITS.sub(b"", bare))
        if match := _SUMMARY.match(text):
            text = f"wandb summary {match['key']}: {match['number']}"
        if self._run.trained_until and SIZES.search(text):
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
        self._run = RunReader()
        self._of = b""
