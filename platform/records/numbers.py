"""Numbers as people print them, and whether a printed number agrees with a measured one.

    **1.1192**   15,977,386   15.90MB   ~8,300   ~15.8M   596.1s   83.3ms   15,996,697 B   −0.0025   1.1194 (std 0.0006)

Agreement is a matter of digits, not of tolerances: a printed number is the measured one, exactly, rounded or truncated
to the digits that are printed, or one off in the last of them where that digit says little, or it is another number.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from enum import StrEnum
from functools import cached_property


class Status(StrEnum):
    """How a printed number stands to what was measured, the best first."""

    EXACT = "exact"
    ROUNDED = "rounded"
    TRUNCATED = "truncated"
    OFF_BY_ONE = "one off in the last digit"
    MEAN_OF_ROUNDED = "mean_of_rounded"  # worked out from printed numbers instead of measured ones
    EXPLAINED = "explained"  # measured, but of something else than its name says: the log of another run, the sum
    NO_LOG = "no log"
    MISMATCH = "mismatch"

    @property
    def agrees(self) -> bool:
        return self in (Status.EXACT, Status.ROUNDED)

    @property
    def is_rounding(self) -> bool:
        return self in (Status.TRUNCATED, Status.OFF_BY_ONE, Status.MEAN_OF_ROUNDED)


SMALL_STEP = Decimal("0.0001")  # of a last digit: scores and losses are printed with four decimals at least
SMALL_SHARE, SMALL_SHARE_WITH_UNIT = Decimal("0.0005"), Decimal("0.02")  # the same as a share: 7,185 steps; 78 s
SMALL_CUT = Decimal("0.001")  # 1.119 may be 1.1196 cut off; 1.11 is another score than 1.1194

_CONTEXT = Context(prec=100)  # more digits than any two numbers here have together
_RANK = {status: rank for rank, status in enumerate(Status)}


def best(statuses: Iterable[Status]) -> Status:
    return min(statuses, key=_RANK.__getitem__)


# Units in base units: milliseconds, bytes, or a plain count.
_UNITS = {
    "ms": Decimal(1),
    "s": Decimal(1000),
    "min": Decimal(60_000),
    "h": Decimal(3_600_000),
    "bytes": Decimal(1),
    "KB": Decimal(1000),
    "MB": Decimal(10**6),
    "GB": Decimal(10**9),
    "KiB": Decimal(1024),
    "MiB": Decimal(2**20),
    "GiB": Decimal(2**30),
    "K": Decimal(1000),
    "M": Decimal(10**6),
    "B": Decimal(10**9),
    "%": Decimal("0.01"),
}
_SPELLINGS = {
    spelling: unit
    for unit, spellings in {
        "ms": "ms msec msecs millisecond milliseconds",
        "s": "s sec secs second seconds",
        "min": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "bytes": "b byte bytes",
        "KB": "kb",
        "MB": "mb",
        "GB": "gb",
        "KiB": "kib",
        "MiB": "mib",
        "GiB": "gib",
        "K": "k",
        "%": "%",
    }.items()
    for spelling in spellings.split()
}
_DIMENSIONS = {
    **dict.fromkeys(("ms", "s", "min", "h"), "time"),
    **dict.fromkeys(("bytes", "KB", "MB", "GB", "KiB", "MiB", "GiB"), "bytes"),
}

NUMBER = r"[-+]?(?:\d{1,3}(?:[,_]\d{3}){1,6}(?:\.\d{1,18})?|\d{1,18}(?:\.\d{1,18})?|\.\d{1,18})(?:[eE][-+]?\d{1,2})?"
PRINTED_NUMBER = rf"(?P<about>[~≈≤≥<>]=?)?\s*(?<![\w.,#])(?P<number>{NUMBER})(?P<open>x\b)?"
_PRINTED = re.compile(
    rf"{PRINTED_NUMBER}"
    r"(?:\s*(?P<unit>ms|msecs?|milliseconds?|secs?|seconds?|minutes?|mins?|hours?|hrs?|bytes?|[KMG]i?B|kB|mb|kb|s|m|h|B|M|K|k|%)(?![\w]))?"
)
_BOUNDS = {"≤": "at most", "<": "at most", "≥": "at least", ">": "at least"}
_MINUTES_SECONDS = re.compile(
    r"(?P<about>[~≈])?\s*(?P<minutes>\d{1,4})\s*m(?:in)?\s*(?P<seconds>\d{1,2}(?:\.\d+)?)\s*s\b"
)
_STD = re.compile(
    rf"(?:±|\+/-|\bstd\.?(?:\s*dev\w*)?\s*[:=]?|σ\s*[:=]?)\s*(?P<number>{NUMBER})(?![\d.]*\d)"
    r"(?!\s*[(,]?\s*(?:%|sem\b|s\.?e\.?\b|std\.? ?err|standard err|95))",  # a standard error or an interval
    re.I,
)
_DROPPED = re.compile(r"~~[^~]*~~|<!--.{0,400}?-->|</?[A-Za-z][^<>]{0,200}>|\\(?=[^\w\s])|[*`]")
_THIN_PARTS = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
_PARTS = re.compile(r"(?<![\d.,] )(?<![\w.,])\d{1,3}(?: \d{3})+(?![\w.,]| \d)(?=\W*$| ?(?:bytes|B|steps?)\b)")
_SPACES = str.maketrans(
    dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | dict.fromkeys("\u2212\u2013\u2014\ufe63\uff0d", "-")
)


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A number as printed: its digits, its unit, and whether it says of itself that it is rough."""

    raw: str
    value: Decimal  # in its own unit
    unit: str = ""  # of _UNITS; "" where none was printed
    approximate: bool = False
    bound: str = ""  # "at most" or "at least" where it says so of itself

    @cached_property
    def decimals(self) -> int:
        exponent = self.value.as_tuple().exponent
        return max(0, -exponent) if isinstance(exponent, int) else 0

    @property
    def dimension(self) -> str:
        return _DIMENSIONS.get(self.unit, "")

    @cached_property
    def factor(self) -> Decimal:
        return _UNITS.get(self.unit, Decimal(1))

    @cached_property
    def base(self) -> Decimal:
        """The value in base units: milliseconds, bytes, counts."""
        return self.value * self.factor

    def with_unit(self, unit: str) -> "Printed":
        return replace(self, unit=unit)


def plain(cell: str) -> str:
    """The text of a Markdown cell without emphasis, code marks, escapes, tags and typographic signs.

    Spaces that part thousands become commas: thin ones anywhere, others where four figures or more are the whole cell.
    """
    text = _THIN_PARTS.sub(",", cell)
    text = _PARTS.sub(lambda match: match[0].replace(" ", ","), text)
    text = text.translate(_SPACES)
    text = html.unescape(text) if "&" in text else text
    return _DROPPED.sub("", text.translate(_SPACES)).strip()


def printed(text: str, *, raw: str | None = None) -> Printed | None:
    """The first number of ``text`` (already plain); None where there is none."""
    if together := _MINUTES_SECONDS.match(text.lstrip()):
        value = Decimal(together["minutes"]) * 60 + Decimal(together["seconds"])
        return Printed(raw=raw or text, value=value, unit="s", approximate=bool(together["about"]))
    match = _PRINTED.search(text)
    return of_match(match, raw or text) if match else None


def of_match(match: re.Match[str], raw: str) -> Printed:
    digits = match["number"].replace(",", "").replace("_", "")
    unit = match["unit"] or ""
    unit = unit if unit in ("M", "K") else {"B": "bytes"}.get(unit, _SPELLINGS.get(unit.lower(), ""))
    about = (match["about"] or "")[:1]
    return Printed(
        raw=raw,
        value=Decimal(digits),
        unit=unit,
        approximate=bool(about and about in "~≈") or bool(match["open"]),
        bound=_BOUNDS.get(about, ""),
    )


def printed_std(text: str, *, raw: str | None = None) -> Printed | None:
    """The number that ``text`` calls a standard deviation: after ``std`` or ±."""
    match = _STD.search(text)
    if match is None:
        return None
    return Printed(raw=raw or match["number"], value=Decimal(match["number"].replace(",", "")))


def agreement(number: Printed, measured: Decimal, *, count: bool = False) -> Status:
    """How ``number`` stands to ``measured`` (in base units).

    Args:
        count: the measured value is a whole number that nothing rounds (steps, bytes): printed in full, it is right
            or wrong, never one off.
    """
    try:
        return _agreement_in_units(number, measured, count=count)
    except InvalidOperation:  # a number of hundreds of digits
        return Status.MISMATCH


def _agreement_in_units(number: Printed, measured: Decimal, *, count: bool) -> Status:
    if number.bound:
        holds = measured <= number.base if number.bound == "at most" else measured >= number.base
        return Status.ROUNDED if holds else Status.MISMATCH
    status = _agreement(number, measured / number.factor, count=count)
    if status is Status.MISMATCH and number.unit in ("KB", "MB", "GB"):  # some write MB and mean MiB
        binary = measured / _UNITS[number.unit[0] + "iB"]
        status = _agreement(number, binary, count=count)
        status = status if status.agrees else Status.MISMATCH
    return status


def _agreement(number: Printed, measured: Decimal, *, count: bool) -> Status:
    value = number.value
    if value == measured:
        return Status.EXACT
    step = Decimal(1).scaleb(-number.decimals)
    whole = number.approximate and not number.decimals
    if whole:
        step = Decimal(1).scaleb(_trailing_zeros(value))
    elif abs(value - measured) > 2 * step:  # most comparisons end here
        return Status.MISMATCH
    nearest = {measured.quantize(step, how, _CONTEXT) for how in (ROUND_HALF_UP, ROUND_HALF_DOWN)}
    if value in nearest:
        return Status.ROUNDED
    off = min(abs(value - rounded) for rounded in nearest)
    if whole and (off <= step or abs(value - measured) * 100 <= abs(measured)):
        return Status.ROUNDED
    small = step <= abs(measured) * (SMALL_SHARE_WITH_UNIT if number.unit else SMALL_SHARE)
    if value == measured.quantize(step, ROUND_DOWN, _CONTEXT) and (small or number.unit or step <= SMALL_CUT):
        return Status.TRUNCATED
    in_full = step == 1 and number.factor == 1
    if off <= step and (small or step <= SMALL_STEP) and not (count and in_full) and number.decimals < 8:
        return Status.OFF_BY_ONE
    return Status.MISMATCH


def _trailing_zeros(value: Decimal) -> int:
    digits = str(abs(int(value)))
    return len(digits) - len(digits.rstrip("0")) if value else 0
