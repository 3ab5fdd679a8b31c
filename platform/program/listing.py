"""The catalog for people and for programs: what ``python -m platform.catalog`` prints."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import UserError, nearest
from .catalog import Catalog, Family, Technique
from .knobs import AnyOf, Kind, Knob, OneOf, Scalar

PIPE_WIDTH = 120  # columns, where no terminal says how many it has
TAKES = {"one": "one", "optional": "one or none", "several": "a list", "named": "names, each with one"}


def as_json(catalog: Catalog, names: Sequence[str] = ()) -> dict[str, Any]:
    """The catalog, or the families and techniques of these names, as JSON has it."""
    fields = {field.family: field for field in catalog.fields.values()}
    families = {}
    for family, techniques in _selected(catalog, names):
        families[family.name] = {
            "field": fields[family.name].name if family.name in fields else None,
            "takes": fields[family.name].takes if family.name in fields else "knob",
            "default": fields[family.name].default if family.name in fields else None,
            "summary": family.summary,
            "techniques": {
                technique.name: {
                    "summary": technique.summary,
                    "source": technique.source,
                    "module": technique.module,
                    "knobs": _json(technique.knobs),
                }
                for technique in techniques
            },
        }
    sections = {name: _json(section.knobs) for name, section in catalog.sections.items() if not names or name in names}
    return {"sections": sections, "families": families}


def print_catalog(catalog: Catalog, names: Sequence[str] = ()) -> None:
    """Print the catalog, or the sections, families and techniques of these names."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)

    def print_knobs(knobs: Mapping[str, Knob]) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        for _ in ("name", "default", "type"):
            table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        for knob in knobs.values():
            default = "required" if knob.required else "none" if knob.default is None else str(knob.default)
            table.add_row(Text(knob.name, "cyan"), Text(default), Text(_type(knob), "dim"), Text(knob.summary))
        if knobs:
            console.print(Padding(table, (0, 0, 0, 4), expand=False))

    uses = {
        field.family: TAKES[field.takes] + (f", {field.default} where none is named" if field.default else "")
        for field in catalog.fields.values()
    }
    for name, section in catalog.sections.items():
        if not names or name in names:
            console.print(Text.assemble("\n", (name, "bold"), f"  {section.summary}"))
            print_knobs(section.knobs)
    for family, techniques in _selected(catalog, names):
        use = f"  ({uses.get(family.name, 'knob of other techniques')})"
        console.print(Text.assemble("\n", (family.name, "bold"), f"  {family.summary}", (use, "dim")))
        for technique in techniques:
            console.print(
                Padding(
                    Text.assemble((technique.name, "bold green"), f"  {technique.summary}"), (0, 0, 0, 2), expand=False
                )
            )
            if technique.source:
                console.print(Padding(Text(f"Source: {technique.source}", "dim"), (0, 0, 0, 4), expand=False))
            print_knobs(technique.knobs)


def _type(knob: Knob) -> str:
    if isinstance(knob.kind, OneOf):
        return " | ".join(map(str, knob.kind.values))
    bounds = next((str(kind.bounds) for kind in _kinds(knob.kind) if isinstance(kind, Scalar)), "")
    return f"{knob.annotation}, {bounds}" if bounds else knob.annotation


def _kinds(kind: Kind) -> tuple[Kind, ...]:
    return kind.kinds if isinstance(kind, AnyOf) else (kind,)


def _json(knobs: Mapping[str, Knob]) -> dict[str, Any]:
    return {
        knob.name: {
            "type": knob.annotation,
            "takes": str(knob.kind),
            "required": knob.required,
            "default": knob.default,
            "summary": knob.summary,
        }
        for knob in knobs.values()
    }


def _selected(catalog: Catalog, names: Sequence[str]) -> Iterator[tuple[Family, list[Technique]]]:
    """The families of these names whole, and of the others the techniques of these names; everything without names.

    Raises:
        UserError: a name that is neither a section, a family nor a technique.
    """
    known = {*catalog.sections, *catalog.families}
    known |= {name for family in catalog.families.values() for name in family.techniques}
    for name in names:
        if name not in known:
            raise UserError(f"{name}: no such section, family or technique{nearest(name, known)}")
    for family in catalog.families.values():
        whole = not names or family.name in names
        chosen = [name for name in family.techniques if whole or name in names]
        if chosen or whole:
            yield family, [catalog.technique(family.name, name) for name in chosen]
