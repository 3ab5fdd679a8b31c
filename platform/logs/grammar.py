"""The one grammar of all log dialects: a label, perhaps a progress ``N/M``, and pairs of key and number.

    step:13700/20000 train_loss:2.0323 train_time:596577ms      "" step=13700/20000 train_loss train_time (ms)
    5000/20000 train_loss: 2.5132 train_time: 9.0m              "" step=5000/20000 train_loss train_time (m)
    final_sliding val_loss:3.1157 val_bpb:1.2064 (stride=16)    "final_sliding" val_loss val_bpb stride
    Total submission size int6+zstd: 15872848 bytes             "Total submission size" int6+zstd (bytes)

A value has digits, so the format strings of a script dump (``val_loss:{loss:.4f}``) are no pairs. Of a number with
commas that do not part thousands (``1,1194``, a list) nobody can tell what it is: no pair.
"""

import re
from decimal import Decimal
from typing import NamedTuple

LONGEST_LINE = 6000  # characters; a line of hyperparameters has some 4,000

_THOUSANDS = r"(?:,\d{3}){1,5}(?!,?\d)"  # of 15,990,006
_PROGRESS = re.compile(r"(\d{1,12})/(\d{1,12})(?=[ \t])")
_PAIR = re.compile(
    r"(?P<key>[A-Za-z(#@][^\s:=,|]{0,60})(?:[:=]|[ \t]+=)[ \t]*"
    rf"(?P<number>[-+]?(?:\d{{1,18}}(?:\.\d{{1,18}}|{_THOUSANDS})?|\.\d{{1,18}})(?:[eE][-+]?\d{{1,3}})?)"
    rf"(?:/(?P<of>\d{{1,12}}(?:{_THOUSANDS})?))?"
    r"[ \t]?(?P<unit>ms|MiB|MB|KB|bytes|tok|s|m|x|B|%)?(?![\w.:=]|,\d)"
)


class Number(NamedTuple):
    """A number of a log, as it stands there."""

    text: str
    unit: str
    of: int | None  # M of ``N/M``

    @property
    def decimal(self) -> Decimal:
        return Decimal(self.text)

    @property
    def decimals(self) -> int:
        return len(self.text.partition(".")[2])


class Line(NamedTuple):
    """A line that has at least one pair."""

    number: int
    label: str  # what stands before the first pair
    values: dict[str, Number]  # the first of each key
    text: str


def parse(number: int, text: str) -> Line | None:
    """The line by the grammar; None where it has no pair of key and number."""
    text = text[:LONGEST_LINE]
    values: dict[str, Number] = {}
    label = ""
    start = 0
    if progress := _PROGRESS.match(text):
        values["step"] = Number(progress[1], "", int(progress[2]))
        start = progress.end()
    plain = str if "," not in text else _without_commas
    for match in _PAIR.finditer(text, start):
        if not values:
            label = text[: match.start()].strip()
        of = match["of"]
        values.setdefault(
            match["key"].strip("()"),
            Number(plain(match["number"]), match["unit"] or "", int(plain(of)) if of else None),
        )
    return Line(number, label, values, text) if values else None


def _without_commas(digits: str) -> str:
    return digits.replace(",", "")


def cut_off(line: Line) -> bool:
    """Whether an unended last line looks cut by a kill: its loss and BPB are always printed with equal decimals."""
    loss, bpb = line.values.get("val_loss"), line.values.get("val_bpb")
    if loss and bpb:
        return loss.decimals != bpb.decimals or line.text.endswith(("eval_time:", "."))
    last = next(reversed(line.values.values()))
    return not last.unit and not line.text.endswith((")", "FITS"))
