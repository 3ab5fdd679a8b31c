"""Kinds of values a knob takes, from its annotation; and the check of a value against its kind."""

import ast
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..paths import shown
from .bounds import ANYTHING, BOUNDS, Bounds
from .document import described

_SCALARS: dict[str, tuple[type, str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
}


@dataclass(frozen=True)
class Scalar:
    """``int``, ``float``, ``bool`` or ``str``; a whole number is a ``float`` too, and ``true`` is no number."""

    name: str
    bounds: Bounds = ANYTHING

    def __str__(self) -> str:
        limits = str(self.bounds)
        return f"{_SCALARS[self.name][1]}{f', {limits}' if limits else ''}"

    def checked(self, value: Any) -> Any:
        if self.name == "float" and type(value) is int and abs(value) < 10**300:
            value = float(value)
        if type(value) is not _SCALARS[self.name][0] or (isinstance(value, float) and not math.isfinite(value)):
            raise _mismatch(value, self)
        if isinstance(value, int | float) and not self.bounds.take(value):
            raise _mismatch(value, self)
        return value


@dataclass(frozen=True)
class OneOf:
    """``Literal[...]``, and ``None`` where a value may be left out."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        words = [
            "none" if value is None else str(value).lower() if type(value) is bool else str(value)
            for value in self.values
        ]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"

    def checked(self, value: Any) -> Any:
        if value == "none" and None in self.values:
            return None
        if not any(type(value) is type(one) and value == one for one in self.values):
            close = (
                nearest(value, [one for one in self.values if isinstance(one, str)]) if isinstance(value, str) else ""
            )
            raise _mismatch(value, self, close)
        return value


@dataclass(frozen=True)
class Several:
    """``tuple[T, ...]``, or ``tuple[T, U]`` with as many values as kinds; a list in YAML."""

    items: "tuple[Kind, ...]"
    any_length: bool

    def __str__(self) -> str:
        if self.any_length:
            return f"a list, each {self.items[0]}"
        return f"a list of {len(self.items)}: {', '.join(map(str, self.items))}"

    def checked(self, value: Any) -> Any:
        if not isinstance(value, tuple) or not (self.any_length or len(value) == len(self.items)):
            raise _mismatch(value, self)
        kinds = self.items * len(value) if self.any_length else self.items
        return tuple(kind.checked(one) for kind, one in zip(kinds, value, strict=True))


@dataclass(frozen=True)
class Table:
    """``dict[str, T]``; a mapping in YAML."""

    item: "Kind"

    def __str__(self) -> str:
        return f"a mapping of names, each to {self.item}"

    def checked(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, self)
        return {name: self.item.checked(one) for name, one in value.items()}


@dataclass(frozen=True)
class Nested:
    """A protocol: a technique of that family, written as a choice of its own. Who reads choices checks it."""

    family: str

    def __str__(self) -> str:
        return f"a technique of {self.family}"

    def checked(self, value: Any) -> Any:
        raise _mismatch(value, self)


@dataclass(frozen=True)
class AnyOf:
    """``T | U``; the first kind that takes a value has it."""

    kinds: "tuple[Kind, ...]"

    def __str__(self) -> str:
        return " or ".join(map(str, self.kinds))

    def checked(self, value: Any) -> Any:
        for kind in self.kinds:
            try:
                return kind.checked(value)
            except ValueError:
                continue
        raise _mismatch(value, self)


Kind = Scalar | OneOf | Several | Table | Nested | AnyOf


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A field of a technique or of a section."""

    name: str
    kind: Kind
    annotation: str  # as it stands in the code
    required: bool
    default: Any  # None where required
    summary: str  # the comment behind the field; may be empty
    line: int


def kind_of(annotation: ast.expr, families: Mapping[str, str]) -> Kind:
    """The kind that ``annotation`` describes; ``families`` maps the names of protocols to those of their families.

    Raises:
        ValueError: an annotation that no value in YAML could have.
    """
    match annotation:
        case ast.Constant(value=None):
            return OneOf((None,))
        case ast.Constant(value=str(text)):
            return kind_of(ast.parse(text, mode="eval").body, families)
        case ast.Name(id=name) if name in _SCALARS:
            return Scalar(name)
        case ast.Name(id=name) if name in families:
            return Nested(families[name])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            literal = ast.literal_eval(values)
            return OneOf(literal if isinstance(literal, tuple) else (literal,))
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=end)])) if (
            end is ...
        ):
            return Several((kind_of(item, families),), any_length=True)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=items)):
            return Several(tuple(kind_of(item, families) for item in items), any_length=False)
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), item])):
            return Table(kind_of(item, families))
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            kinds = (kind_of(left, families), kind_of(right, families))
            return AnyOf(tuple(one for kind in kinds for one in (kind.kinds if isinstance(kind, AnyOf) else (kind,))))
    raise ValueError(
        f"a knob of type {ast.unparse(annotation)}; possible are int, float, bool, str, Literal[...], tuple[T, ...], "
        f"dict[str, T], T | None and the protocols of families"
    )


def knobs_of(node: ast.ClassDef, text: str, path: Path, families: Mapping[str, str]) -> dict[str, Knob]:
    """The fields of the dataclass ``node``, which stands in the file ``path`` with this text.

    Raises:
        UserError: a field that no value in YAML could fill, or a default that is no literal; with file and line.
    """
    lines = text.splitlines()
    knobs = {}
    for field_ in annotated(node):
        name = ast.unparse(field_.target)
        try:
            kind = _bounded(kind_of(field_.annotation, families), name)
            default = None if field_.value is None else _default(field_.value, kind)
        except ValueError as error:
            raise UserError(f"{shown(path)}:{field_.lineno}: {node.name}.{name}: {error}") from None
        comment = lines[(field_.end_lineno or 0) - 1].encode()[field_.end_col_offset :].decode().strip()
        knobs[name] = Knob(
            name=name,
            kind=kind,
            annotation=ast.unparse(field_.annotation),
            required=field_.value is None,
            default=default,
            summary=comment.lstrip("# ") if comment.startswith("#") else "",
            line=field_.lineno,
        )
    return knobs


def _bounded(kind: Kind, name: str) -> Kind:
    """``kind`` with the bounds that go with the knob's name, where it is a number or optionally one."""
    if isinstance(kind, Scalar) and kind.name in ("int", "float"):
        return replace(kind, bounds=BOUNDS.get(name, ANYTHING))
    if isinstance(kind, AnyOf):
        return AnyOf(tuple(_bounded(one, name) for one in kind.kinds))
    return kind


def _default(value: ast.expr, kind: Kind) -> Any:
    """A literal, or what ``field(default_factory=dict)`` and ``field(default_factory=lambda: {...})`` make.

    Raises:
        ValueError: another expression, or a literal of another kind than the field's annotation says.
    """
    match value:
        case ast.Call(
            func=ast.Name(id="field"), keywords=[ast.keyword(arg="default_factory", value=ast.Name(id="dict"))]
        ):
            return {}
        case ast.Call(
            func=ast.Name(id="field"), keywords=[ast.keyword(arg="default_factory", value=ast.Lambda(body=body))]
        ):
            value = body
    try:
        literal = ast.literal_eval(value)
    except ValueError:
        raise ValueError(
            f"the default {ast.unparse(value)} is not a literal; nobody could read it in a catalog"
        ) from None
    return kind.checked(literal)


def annotated(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """The fields of a dataclass."""
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one.annotation):
            yield one


def nested_family(kind: Kind) -> str | None:
    """The family whose techniques a knob of this kind takes, alone, in a list or optionally; None: it takes values."""
    if isinstance(kind, Nested):
        return kind.family
    inside = kind.items if isinstance(kind, Several) else kind.kinds if isinstance(kind, AnyOf) else ()
    return next((family for one in inside if (family := nested_family(one))), None)


def takes_several(kind: Kind) -> bool:
    """Whether a value of this kind may be a list."""
    return isinstance(kind, Several) or (isinstance(kind, AnyOf) and any(map(takes_several, kind.kinds)))


def takes_none(kind: Kind) -> bool:
    """Whether a value of this kind may be None."""
    if isinstance(kind, AnyOf):
        return any(map(takes_none, kind.kinds))
    return isinstance(kind, OneOf) and None in kind.values


def _mismatch(value: Any, kind: Kind, hint: str = "") -> ValueError:
    return ValueError(f"found {described(value)}, it takes {kind}{hint}")
