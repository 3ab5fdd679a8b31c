"""What a recipe can choose: families, techniques and knobs, read from the text of jobs/ without running it.

``jobs/recipe.py`` says what a recipe consists of: the annotations of ``class Recipe`` name sections (dataclasses of
that file) and families (protocols of that file). ``jobs/techniques/<family>/<name>.py`` is a technique: one frozen
dataclass whose fields are its knobs. A file or a class whose name begins with an underscore is a technique's own
business. ``jobs/knobs.py`` names kinds of numbers; what a technique's own file names so is one, too. How small a
technique is made are two literals of its class, ``small`` and ``audit``; ``sizes.py`` reads them.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..errors import UserError
from ..paths import ROOT, shown
from .document import Node, literal
from .knobs import Kind, Knob, Nested, annotated, knobs_of, named_kinds

RECIPE_MODULE = "jobs/recipe.py"
KINDS_MODULE = "jobs/knobs.py"
TECHNIQUES = "jobs/techniques"  # a folder for each family
SCALES = "recipes/scales"
IDENTITY = ("name", "scale")  # fields of Recipe that are no choice


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One named choice: a file of a family's folder."""

    family: str
    name: str
    class_name: str
    path: Path
    summary: str
    source: str
    knobs: Mapping[str, Knob]
    small: Node | None  # knobs by scale, where the class says so
    audit: Node | None  # knobs by the two trunks of an audit, where the class says so

    @property
    def module(self) -> str:
        """As a program imports it."""
        return f"jobs.techniques.{self.family}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A dataclass of numbers that are no technique: shape, budget."""

    name: str
    class_name: str
    summary: str
    knobs: Mapping[str, Knob]


@dataclass(frozen=True, kw_only=True)
class Family:
    """The place a technique fills: a protocol and a folder."""

    name: str
    protocol: str
    summary: str
    techniques: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of Recipe that a recipe fills with techniques of ``family``."""

    name: str
    family: str
    takes: Literal["one", "optional", "several", "named"]
    default: str | None = None  # the technique that a recipe has without saying so, of a field that takes one


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Families, sections and fields; the techniques' files are read when somebody asks for them."""

    root: Path
    order: tuple[str, ...]  # the fields of Recipe, name and scale included
    scales: tuple[str, ...]  # of the checkout: those that a technique may have sizes for
    sections: Mapping[str, Section]
    fields: Mapping[str, Field]
    families: Mapping[str, Family]  # those too whose techniques are only knobs of other techniques
    kinds: Mapping[str, Kind]  # that a knob may be, by name: numbers with bounds, and the protocols of families
    _read: dict[tuple[str, str], Technique] = field(default_factory=dict, repr=False, compare=False)

    def technique(self, family: str, name: str) -> Technique:
        """The technique in ``jobs/techniques/<family>/<name>.py``.

        Raises:
            UserError: the file is not what a technique's file is; says where and why.
        """
        if (family, name) not in self._read:
            self._read[family, name] = self._technique(family, name)
        return self._read[family, name]

    def techniques(self) -> Iterator[Technique]:
        """Every technique, by family in the order of Recipe, then by name."""
        for family in self.families.values():
            for name in family.techniques:
                yield self.technique(family.name, name)

    def families_of(self, technique: str) -> list[str]:
        """The families that have a technique of this name."""
        return [family.name for family in self.families.values() if technique in family.techniques]

    def _technique(self, family: str, name: str) -> Technique:
        path = self.root / TECHNIQUES / family / f"{name}.py"
        text, tree = _parsed(path)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        classes = [node for node in classes if _is_frozen_dataclass(node)]
        if len(classes) != 1:
            raise UserError(
                f"{shown(path)}: a technique's file has exactly one @dataclass(frozen=True, kw_only=True), found "
                f"{', '.join(node.name for node in classes) or 'none'}; "
                f"whatever else there is gets an underscore in front"
            )
        docstring = ast.get_docstring(classes[0]) or ""
        source = re.search(r"^Source:\s*(.+?)(?:\n\s*\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
        return Technique(
            family=family,
            name=name,
            class_name=classes[0].name,
            path=path,
            summary=_first_line(docstring),
            source=" ".join(source[1].split()) if source else "",
            knobs=knobs_of(classes[0], text, path, {**self.kinds, **named_kinds(tree, path)}),
            small=_attribute(classes[0], "small", path),
            audit=_attribute(classes[0], "audit", path),
        )


def read(root: Path = ROOT) -> Catalog:
    """The catalog of the checkout ``root``.

    Raises:
        UserError: jobs/recipe.py is not there, or something in it is no section, no family and no choice of one.
    """
    path = root / RECIPE_MODULE
    text, tree = _parsed(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if "Recipe" not in classes:
        raise UserError(f"{shown(path)}: has no class Recipe, which says what a recipe consists of")
    families = {
        name: Family(
            name=_snake_case(name),
            protocol=name,
            summary=_first_line(ast.get_docstring(node) or ""),
            techniques=tuple(
                sorted(p.stem for p in (root / TECHNIQUES / _snake_case(name)).glob("*.py") if p.stem[0] != "_")
            ),
        )
        for name, node in classes.items()
        if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
        and (root / TECHNIQUES / _snake_case(name)).is_dir()
    }
    names = {family.protocol: family.name for family in families.values()}
    numbers = named_kinds(_parsed(root / KINDS_MODULE)[1], root / KINDS_MODULE)
    order, sections, fields = [], {}, {}
    for node in annotated(classes["Recipe"]):
        name, annotation = ast.unparse(node.target), node.annotation
        order.append(name)
        section = classes.get(annotation.id) if isinstance(annotation, ast.Name) else None
        if section and _is_frozen_dataclass(section):
            knobs = knobs_of(section, text, path, numbers)
            summary = _first_line(ast.get_docstring(section) or "")
            sections[name] = Section(name=name, class_name=section.name, summary=summary, knobs=knobs)
        elif name not in IDENTITY:
            field_ = _field(name, annotation, names, path, node.lineno)
            default = _default(field_, node, tree, path)
            fields[name] = replace(field_, default=default)
    if "arms" not in fields or [declared.name for declared in fields.values() if declared.takes == "named"] != ["arms"]:
        raise UserError(f"{shown(path)}: Recipe has one field of type dict[str, family], and its name is arms")
    by_use = sorted(families.values(), key=lambda family: _use(family.name, fields))
    return Catalog(
        root=root,
        order=tuple(order),
        scales=tuple(sorted(file.stem for file in (root / SCALES).glob("*.yaml"))),
        sections=sections,
        fields=fields,
        families={family.name: family for family in by_use},
        kinds={**numbers, **{protocol: Nested(family) for protocol, family in names.items()}},
    )


def _use(family: str, fields: Mapping[str, Field]) -> int:
    """The place of the family's first field in Recipe; families that are only knobs come last."""
    return next((at for at, declared in enumerate(fields.values()) if declared.family == family), len(fields))


def _field(name: str, annotation: ast.expr, families: Mapping[str, str], path: Path, line: int) -> Field:
    match annotation:
        case ast.Subscript(
            value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), ast.Name(id=protocol)])
        ):
            takes: Literal["one", "optional", "several", "named"] = "named"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[ast.Name(id=protocol), ast.Constant()])):
            takes = "several"
        case ast.BinOp(left=ast.Name(id=protocol), right=ast.Constant(value=None)):
            takes = "optional"
        case ast.Name(id=protocol):
            takes = "one"
        case _:
            protocol = ""
    if protocol not in families:
        raise UserError(
            f"{shown(path)}:{line}: {name}: {ast.unparse(annotation)}: a field of Recipe is a section of this "
            f"file or X, X | None, tuple[X, ...] or dict[str, X], X a protocol of this file that has a folder "
            f"{TECHNIQUES}/<x>/"
        )
    return Field(name=name, family=families[protocol], takes=takes)


def _attribute(node: ast.ClassDef, name: str, path: Path) -> Node | None:
    """The literal that ``name = ...`` in the body of a class is."""
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return literal(value, path, f"{node.name}.{name}")
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
                return literal(value, path, f"{node.name}.{name}")
    return None


def _default(field_: Field, node: ast.AnnAssign, tree: ast.Module, path: Path) -> str | None:
    """The technique of ``field(default_factory=X)``, by the file that X is imported from; its knobs are not set."""
    if field_.takes != "one" or node.value is None:
        return None
    prefix = f"jobs.techniques.{field_.family}."
    match = re.fullmatch(r"field\(default_factory=(\w+)\)", ast.unparse(node.value))
    for statement in tree.body if match else ():
        if isinstance(statement, ast.ImportFrom) and match and match[1] in [alias.name for alias in statement.names]:
            module = statement.module or ""
            if module.startswith(prefix):
                return module.removeprefix(prefix)
    raise UserError(
        f"{shown(path)}:{node.lineno}: {field_.name}: the default {ast.unparse(node.value)} is not "
        f"field(default_factory=X), X the class of a technique, imported from {prefix}<name>"
    )


def _is_frozen_dataclass(node: ast.ClassDef) -> bool:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in ("dataclass", "dataclasses.dataclass"):
            given = {
                word.arg
                for word in decorator.keywords
                if isinstance(word.value, ast.Constant) and word.value.value is True
            }
            return {"frozen", "kw_only"} <= given
    return False


def _parsed(path: Path) -> tuple[str, ast.Module]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, ast.parse(text)
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read: {error.strerror}; run from a checkout of Fairway") from None
    except SyntaxError as error:
        raise UserError(f"{shown(path)}:{error.lineno}: not Python: {error.msg}") from None


def _first_line(docstring: str) -> str:
    return docstring.strip().partition("\n")[0]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
