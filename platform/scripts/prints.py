"""What a script prints, by its text: how its lines begin, and which of its names stands behind which label."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..logs.dialects import DIALECTS
from .tree import last_name

PRINTING = re.compile(r"print|log|write|info|warn|echo|report", re.I)
LONGEST_LABEL = 80
MOST_LABELS = 400
_LABEL = re.compile(r"(?P<label>[A-Za-z_][\w.\-/]*)[\"']?\s*[:=]\s*$")
_PERCENT = re.compile(r"%(?P<spec>[-+ #0-9.]*[a-zA-Z])")
_BRACES = re.compile(r"\{\w*:?(?P<spec>[^{}]*)\}")
_ROUNDED = re.compile(r"\.\d+[feg%]|[feg]$|,")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A label in a printed line and what stands behind it."""

    label: str  # ``embed_lr`` of ``f"embed_lr:{token_lr}"``
    of: str  # the name behind it, ``token_lr``; empty where it is computed in the line
    is_rounded: bool  # printed with fewer digits than it may have


def texts(nodes: list[ast.AST]) -> list[list[str | ast.FormattedValue]]:
    """Every text with values in it, printed or not."""
    return [_together(_parts(node)) for node in nodes if isinstance(node, ast.JoinedStr)]


def printed_lines(nodes: list[ast.AST]) -> Iterator[list[str | ast.FormattedValue]]:
    """Each text that a print or log call is given: constant parts and values in turn."""
    for node in nodes:
        if not (isinstance(node, ast.Call) and PRINTING.search(last_name(node.func)) and node.args):
            continue
        parts: list[str | ast.FormattedValue] = []
        for index, argument in enumerate(node.args):
            if index:
                parts.append(" ")
            parts += _parts(argument)
        yield _together(parts)


def labels(lines: list[list[str | ast.FormattedValue]]) -> tuple[str, ...]:
    """How printed lines begin, up to the first value; each once, in order."""
    found: dict[str, None] = {}
    for line in lines:
        first = line[0] if line else None
        if isinstance(first, str) and (label := first.split("\n")[0].strip()[:LONGEST_LABEL]):
            found.setdefault(label)
    return tuple(found)[:MOST_LABELS]


def shown(lines: list[list[str | ast.FormattedValue]]) -> tuple[Shown, ...]:
    """What stands behind the labels of printed lines."""
    found: dict[Shown, None] = {}
    for line in lines:
        for before, value in pairwise(line):
            if isinstance(before, str) and isinstance(value, ast.FormattedValue) and (match := _LABEL.search(before)):
                spec = "".join(one for one in _parts(value.format_spec) if isinstance(one, str))
                its = _bare(value.value)
                found.setdefault(Shown(label=match["label"], of=last_name(its), is_rounded=bool(_ROUNDED.search(spec))))
    return tuple(found)


def dialect(lines: list[list[str | ast.FormattedValue]]) -> str:
    """The dialect of the log that these lines make; empty where no line tells."""
    samples = ["".join(one if isinstance(one, str) else "1" for one in line).encode() for line in lines]
    for one in DIALECTS:
        if any(one.told_by.match(part) for sample in samples for part in sample.split(b"\n")):
            return one.name
    return ""


def _together(parts: list[str | ast.FormattedValue]) -> list[str | ast.FormattedValue]:
    """The parts with constant ones side by side as one."""
    found: list[str | ast.FormattedValue] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return found


def _parts(node: ast.expr | None) -> list[str | ast.FormattedValue]:
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.JoinedStr(values=values):
            return [part for one in values for part in _parts(one)]
        case ast.FormattedValue():
            return [node]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_parts(left), *_parts(right)]
        case ast.BinOp(left=ast.Constant(value=str() as text), op=ast.Mod(), right=right):
            return _filled(text, _PERCENT, right.elts if isinstance(right, ast.Tuple) else [right])
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as text), attr="format"), args=args):
            return _filled(text, _BRACES, args)
        case None:
            return []
    return [ast.FormattedValue(value=node, conversion=-1, format_spec=None)]


def _filled(text: str, places: "re.Pattern[str]", values: list[ast.expr]) -> list[str | ast.FormattedValue]:
    """The parts of a text whose places are filled with ``values`` in turn."""
    parts: list[str | ast.FormattedValue] = []
    end = 0
    for match, value in zip(places.finditer(text), values, strict=False):
        spec = ast.JoinedStr(values=[ast.Constant(value=match["spec"])])
        parts += [text[end : match.start()], ast.FormattedValue(value=value, conversion=-1, format_spec=spec)]
        end = match.end()
    return [*parts, text[end:]]


def _bare(node: ast.expr) -> ast.expr:
    """Without the types around it: ``int(args.seed)`` is ``args.seed``."""
    while isinstance(node, ast.Call) and last_name(node.func) in ("int", "float", "bool", "str", "repr") and node.args:
        node = node.args[0]
    return node
