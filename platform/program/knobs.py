"""Kinds of values a knob takes, from its annotation; and the check of a value against its kind."""

import ast
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..paths import shown
from .bounds import ANYTHING, Bounds
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
class Text:
    """A text of a certain form: ``form`` matches all of it, ``words`` say what it is."""

    form: str
    words: str

    def __str__(self) -> str:
        return self.words

    def checked(self, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(self.form, value):
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
        if not any(type(value) is type(allowed) and value == allowed for allowed in self.values):
            close = (
                nearest(value, [allowed for allowed in self.values if isinstance(allowed, str)])
                if isinstance(value, str)
                else ""
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
        return tuple(kind.checked(item) for kind, item in zip(kinds, value, strict=True))


@dataclass(frozen=True)
class Table:
    """``dict[str, T]``; a mapping in YAML."""

    item: "Kind"

    def __str__(self) -> str:
        return f"a mapping of names, each to {self.item}"

    def checked(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, self)
        return {name: self.item.checked(item) for name, item in value.items()}


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


Kind = Scalar | Text | OneOf | Several | Table | Nested | AnyOf


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A field of a technique or of a section."""

    name: str
    kind: Kind
    annotation: str  # as it stands in the code, with named kinds written out
    required: bool
    default: Any  # None where required
    summary: str  # the comment behind the field; may be empty
    line: int


def kind_of(annotation: ast.expr, names: Mapping[str, Kind]) -> Kind:
    """The kind that ``annotation`` describes; ``names`` are those of kinds, besides int, float, bool and str.

    Raises:
        ValueError: an annotation that no value in YAML could have.
    """
    match annotation:
        case ast.Constant(value=None):
            return OneOf((None,))
        case ast.Constant(value=str(text)):
            return kind_of(ast.parse(text, mode="eval").body, names)
        case ast.Name(id=name) if name in _SCALARS:
            return Scalar(name)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[number, ast.Constant(str(text))])):
            kind = kind_of(number, names)
            if isinstance(kind, Scalar) and kind.name in ("int", "float") and kind.bounds == ANYTHING:
                return Scalar(kind.name, Bounds.of(text))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            literal = ast.literal_eval(values)
            return OneOf(literal if isinstance(literal, tuple) else (literal,))
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=end)])) if (
            end is ...
        ):
            return Several((kind_of(item, names),), any_length=True)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=items)):
            return Several(tuple(kind_of(item, names) for item in items), any_length=False)
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), item])):
            return Table(kind_of(item, names))
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            kinds = (kind_of(left, names), kind_of(right, names))
            return AnyOf(
                tuple(inner for kind in kinds for inner in (kind.kinds if isinstance(kind, AnyOf) else (kind,)))
            )
    words = ast.unparse(annotation)
    numbers = [name for name, kind in names.items() if isinstance(kind, Scalar)]
    raise ValueError(
        f"a knob of type {words}; possible are {', '.join([*_SCALARS, *numbers])}, Annotated[int, 'A to B'], "
        f"Literal[...], tuple[T, ...], dict[str, T], T | None and the protocols of families{nearest(words, names)}"
    )


def named_kinds(tree: ast.Module, path: Path) -> dict[str, Kind]:
    """The kinds of numbers that the file ``path`` gives names to: ``Share = Annotated[float, "0 to 1"]``.

    Raises:
        UserError: a kind that is none; with file and line.
    """
    kinds: dict[str, Kind] = {}
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Subscript(value=ast.Name(id="Annotated")) as annotation
            ):
                try:
                    kinds[name] = kind_of(annotation, kinds)
                except ValueError as error:
                    raise UserError(f"{shown(path)}:{node.lineno}: {name}: {error}") from None
    return kinds


def knobs_of(node: ast.ClassDef, text: str, path: Path, names: Mapping[str, Kind]) -> dict[str, Knob]:
    """The fields of the dataclass ``node``, which stands in the file ``path`` with this text.

    Raises:
        UserError: a field that no value in YAML could fill, or a default that is no literal; with file and line.
    """
    lines = text.splitlines()
    knobs = {}
    for field_ in annotated(node):
        name = ast.unparse(field_.target)
        try:
            kind = kind_of(field_.annotation, names)
            default = None if field_.value is None else _default(field_.value, kind)
        except ValueError as error:
            raise UserError(f"{shown(path)}:{field_.lineno}: {node.name}.{name}: {error}") from None
        comment = lines[(field_.end_lineno or 0) - 1].encode()[field_.end_col_offset :].decode().strip()
        knobs[name] = Knob(
            name=name,
            kind=kind,
            annotation=ast.unparse(_WrittenOut(names).visit(field_.annotation)),
            required=field_.value is None,
            default=default,
            summary=comment.lstrip("# ") if comment.startswith("#") else "",
            line=field_.lineno,
        )
    return knobs


@dataclass(frozen=True)
class _WrittenOut(ast.NodeTransformer):
    """An annotation with ``int`` or ``float`` in the place of a number with bounds: what Python takes it to be."""

    names: Mapping[str, Kind]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        kind = self.names.get(node.id)
        return ast.Name(id=kind.name) if isinstance(kind, Scalar) else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated" and isinstance(node.slice, ast.Tuple):
            return node.slice.elts[0]
        return self.generic_visit(node)


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
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation):
            yield statement


def nested_family(kind: Kind) -> str | None:
    """The family whose techniques a knob of this kind takes, alone, in a list or optionally; None: it takes values."""
    if isinstance(kind, Nested):
        return kind.family
    inside = kind.items if isinstance(kind, Several) else kind.kinds if isinstance(kind, AnyOf) else ()
    return next((family for inner in inside if (family := nested_family(inner))), None)


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
