"""What an expression of a ledger gives for the files of a folder, whoever wrote either.

An expression is an address, a number, or a list of an operation and what it is done to:

    "train_seed42.log:50 val_bpb"              what stands behind val_bpb in line 50 of the log
    "train_gpt.py:12-14"                       the text of these lines
    "results/seed_42/no_ttt.json phases.score" a value of a JSON file
    ["bytes", "train_gpt.py"]                  the size of a file; ["sha256", ...] its hash
    ["limit", "artifact_bytes"]                a number that is not measured: of the rules, or a convention
    ["mean", "train_seed42.log:50 val_bpb", "train_seed7.log:49 val_bpb"]

Nothing is executed, no path leads out of the folder, and what is read is bounded.
"""

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobs.contract.shards import file_sha256

from ..rules.challenge import limits
from ..statistics import significance
from ..statistics.significance import BPB, Amount, Scores

MOST_FILE_BYTES = 16 << 20
MOST_DEPTH = 8

Expression = Any
Value = float | int | str | tuple[float, ...]

LIMITS = ("artifact_bytes", "train_seconds", "eval_seconds", "margin_nats")  # of the challenge
CONVENTIONS: Mapping[str, float] = {"confidence_percent": 95}  # of ours

_ADDRESS = re.compile(r"(?P<file>[^\s:]+)(?::(?P<line>\d{1,9})(?:-(?P<last>\d{1,9}))?)?(?: (?P<key>.{1,200}))?")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_FORMAT = re.compile(r"\+?,?(?:\.\d{1,2})?[defg]")
_NUMBER = r"\s*(?P<number>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"


class LedgerError(ValueError):
    """Something in a ledger that cannot be worked out; says why."""


class Folder:
    """The files that addresses lead to, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, list[str]] = {}
        self._trees: dict[str, Any] = {}

    def file(self, name: str) -> Path:
        """The file called ``name``, which lies in the folder and is no link out of it.

        Raises:
            LedgerError: it does not, or is not there.
        """
        path = self.path / name
        try:
            inside = bool(_FILE.fullmatch(name)) and path.resolve().is_relative_to(self.path.resolve())
        except (OSError, RuntimeError):  # links in a circle
            inside = False
        if not inside:
            raise LedgerError(f"{name!r:.200} is no file of this folder")
        if not path.is_file():
            raise LedgerError(f"{name} is not there")
        if path.stat().st_size > MOST_FILE_BYTES:
            raise LedgerError(f"{name} is too large to be read: {path.stat().st_size:,} bytes")
        return path

    def lines(self, name: str, first: int, last: int) -> str:
        """Lines of a text file, counted from 1."""
        if name not in self._lines:
            self._lines[name] = self.file(name).read_text(encoding="utf-8", errors="replace").split("\n")
        if not 1 <= first <= last <= len(self._lines[name]):
            raise LedgerError(f"{name} has no line {last}")
        return "\n".join(self._lines[name][first - 1 : last])

    def leaf(self, name: str, key: str) -> int | float | str:
        """A value of a JSON file; ``key`` has a dot between the names of each level."""
        if name not in self._trees:
            try:
                self._trees[name] = json.loads(self.file(name).read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise LedgerError(f"{name} is not JSON: {error}") from None
        value = self._trees[name]
        for part in key.split("."):
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (KeyError, IndexError, TypeError, ValueError):
                raise LedgerError(f"{name} has no {key}") from None
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise LedgerError(f"{name} {key} is neither a number nor a text")
        return value

    def at(self, address: str) -> int | float | str:
        """What the address leads to: a number of a log or of a JSON file, or the text of lines."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise LedgerError(f"{address!r} is no address")
        name, line, key = match["file"], match["line"], match["key"]
        if line is None:
            return self.leaf(name, key or "")
        text = self.lines(name, int(line), int(match["last"] or line))
        if key is None:
            return text
        number = re.search(rf"(?<![\w.+-]){re.escape(key)}[:=]{_NUMBER}", text)
        if number is None:
            raise LedgerError(f"{name}:{line} has no number behind {key}")
        return float(number["number"])


def derive(expression: Expression, folder: Folder, depth: int = 0) -> Value:
    """What the expression gives for the files as they are now.

    Raises:
        LedgerError: it cannot be worked out.
    """
    if isinstance(expression, str):
        return folder.at(expression)
    if isinstance(expression, int | float) and not isinstance(expression, bool):
        return expression
    if not isinstance(expression, list) or not expression or depth > MOST_DEPTH:
        raise LedgerError(f"{shown(expression)} is no expression")
    operation, *operands = expression
    match operation, operands:
        case "limit", [str(name)] if name in LIMITS:
            return getattr(limits(), name)
        case "limit", [str(name)] if name in CONVENTIONS:
            return CONVENTIONS[name]
        case "bytes", [str(name)]:
            return folder.file(name).stat().st_size
        case "sha256", [str(name)]:
            return file_sha256(folder.file(name))
    if not isinstance(operation, str) or operation not in _OPERATIONS:
        raise LedgerError(f"there is no operation {shown(operation)}")
    values = [derive(operand, folder, depth + 1) for operand in operands]
    try:
        result = _OPERATIONS[operation](*values)
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise LedgerError(f"{operation} cannot be worked out: {error}") from None
    if result is None or (isinstance(result, float) and not math.isfinite(result)):
        raise LedgerError(f"{operation} gives no number")
    return result


def formatted(value: Value, form: str) -> str:
    """A number as it is printed, or a text as it is.

    Raises:
        LedgerError: the format is none of numbers, or the value is not one number.
    """
    if isinstance(value, str) and not form:
        return value
    try:
        if _FORMAT.fullmatch(form) and not isinstance(value, str | tuple):
            return format(round(value) if form.endswith("d") else value, form)
    except (ValueError, OverflowError):
        pass
    raise LedgerError(f"{shown(value)} cannot be printed as {form!r:.20}")


def shown(value: Any) -> str:
    """A value of a foreign file for a message, whatever it is."""
    return f"{value!r:.80}" if isinstance(value, str | float | bool) else f"something of type {type(value).__name__}"


def _t(name: str) -> Callable[..., float | None]:
    """A figure of the two-sided one-sample t test of differences against 0, with its 95 % interval."""

    def figure(*differences: float) -> float | None:
        compared = significance.one_sample(
            Scores(tuple(-difference for difference in differences), BPB), Amount(0.0, BPB)
        )
        if name == "p":
            return compared.p_two_sided
        interval = compared.gain_interval
        return None if interval is None else getattr(interval, name)

    return figure


def _welch(name: str) -> Callable[..., float | None]:
    """A figure of Welch's one-sided test that scores lie below others by more than a margin."""

    def figure(new: tuple[float, ...], against: tuple[float, ...], margin: float = 0.0) -> float | None:
        return getattr(significance.welch(Scores(new, BPB), Scores(against, BPB), Amount(margin, BPB)), name)

    return figure


def _same(first: Value, *others: Value) -> Value:
    """The first of several that are equal."""
    if any(value != first for value in others):
        raise ValueError(
            f"it is {first} in one place and {next(value for value in others if value != first)} in another"
        )
    return first


def _confirmed(logged: float, measured: float) -> float:
    """A number of a log, whose eight decimals are those of the result."""
    if f"{logged:.8f}" != f"{measured:.8f}":
        raise ValueError(f"the log has {logged:.8f}, the result {measured:.8f}")
    return logged


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "mean": lambda *values: float(statistics.mean(values)),
    "sample_std": lambda *values: statistics.stdev(values),
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "sum": lambda *values: math.fsum(values),
    "count": lambda *values: len(values),
    "same": _same,
    "confirmed": _confirmed,
    "list": lambda *values: tuple(map(float, values)),
    "difference": lambda one, other: one - other,
    "quotient": lambda one, other: one / other,
    "product": lambda one, other: one * other,
    "t_low": _t("low"),
    "t_high": _t("high"),
    "t_p": _t("p"),
    "welch_t": _welch("statistic"),
    "welch_df": _welch("df"),
    "welch_p": _welch("p"),
    "holm": lambda which, *values: significance.holm(values)[int(which)],
}
