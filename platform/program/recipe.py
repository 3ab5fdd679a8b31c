"""A recipe file to checked choices: its bases, itself, the scale; then to the program that every trial runs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..paths import ROOT, shown
from . import catalog as catalogs
from .catalog import Catalog
from .choices import Choices, ClusterSettings, Machine, Pick, Value
from .document import Node, read
from .entry import entry_program, program, trunk_text
from .knobs import Knob
from .overlays import LONGEST_NAME, NOTHING, Layer, Reader
from .sizes import with_sizes

__all__ = [
    "Choices",
    "ClusterSettings",
    "Machine",
    "Pick",
    "difference",
    "entry_program",
    "load",
    "program",
    "resolved_yaml",
    "trunk_text",
    "with_arms",
]

DEFAULT_SCALE = "eight_h100"
RECIPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # the folder of its results begins with it
DESCRIPTION = ("question", "source", "published", "base", "against")  # what is not in the program
NO_RECIPE = (None, "none")  # what base and against say of none


def load(path: Path, scale: str | None = None, root: Path = ROOT) -> Choices:
    """The choices of the recipe ``path`` at ``scale`` (default: eight_h100), checked against the catalog of ``root``.

    From below to above: the bases, the oldest first; the recipe; what the techniques' files say of the scale, then the
    scale itself; what the bases and then the recipe say of this scale.

    Raises:
        UserError: whatever is wrong in the recipe, its bases or the scale; with file, line, key, the value
            found, what is possible and the nearest name.
    """
    known = catalogs.read(root)
    tops = _with_bases(path, root)
    base, against = _base(tops[-1]), _against(tops[-1], root)
    family = [_Document.of(top, known) for top in tops]
    own = family[-1]
    if not own.description.get("question"):
        raise UserError(f"{shown(path)}: question: missing; say in a sentence what this recipe is there to find out")
    files = _scale_files(path, root)
    for document in family:
        document.refuse_unknown_scales(files)
    scale = scale or DEFAULT_SCALE
    if scale not in files:
        raise UserError(f"{shown(path)}: no scale {scale!r}; possible: {', '.join(files)}{nearest(scale, files)}")
    reader = Reader(known, multiplies=True)
    chosen = _merged((document.layer for document in family), NOTHING, known)
    scale_file = read(files[scale])
    overlay = reader.scale_layer(scale_file.entries("entries"), may_choose=False)
    overlay = with_sizes(overlay, scale, chosen, reader)
    final = _merged(
        (overlay, *(document.scales[scale] for document in family if scale in document.scales)), chosen, known
    )
    final = _with_defaults(final, known)
    _refuse_gaps(final, known, path)
    assert final.arms is not None, "refused as a gap"
    return Choices(
        name=path.stem,
        scale=scale,
        question=own.description["question"],
        source=own.description.get("source"),
        published=own.description.get("published"),
        base=base,
        against=against,
        path=path,
        sections=final.sections,
        picks=final.picks,
        arms=final.arms,
        machine=_machine(final.machine, _said_last("machine", scale_file, family, scale)),
        cluster=ClusterSettings(**final.cluster),
        overruled=tuple(overlay.overruled(own.layer, own.scales.get(scale, NOTHING))),
        catalog=known,
    )


def machine_at(path: Path, scale: str | None, root: Path = ROOT) -> tuple[str, Machine, ClusterSettings]:
    """The scale of a recipe that is not made of techniques, its machine and cluster; what it says of models is not.

    Raises:
        UserError: there is no such scale, or something in its file is wrong.
    """
    files, scale = _scale_files(path, root), scale or DEFAULT_SCALE
    if scale not in files:
        raise UserError(f"{shown(path)}: no scale {scale!r}; possible: {', '.join(files)}{nearest(scale, files)}")
    file = read(files[scale])
    layer = Reader(catalogs.read(root), multiplies=True).scale_layer(file.entries("entries"), may_choose=False)
    return scale, _machine(layer.machine, _said_last("machine", file, (), scale)), ClusterSettings(**layer.cluster)


def with_arms(choices: Choices, names: tuple[str, ...]) -> Choices:
    """``choices`` with only these arms, in the recipe's order.

    Raises:
        UserError: no arm at all, an arm that the recipe does not have, or one named twice.
    """
    for at, name in enumerate(names):
        if name not in choices.arms:
            possible = f"possible: {', '.join(choices.arms)}{nearest(name, choices.arms)}"
            raise UserError(f"{shown(choices.path)}: arms: no arm {name!r}; {possible}")
        if name in names[:at]:
            raise UserError(f"{shown(choices.path)}: arms: {name} is asked for twice; once is enough")
    if not names:
        raise UserError(f"{shown(choices.path)}: arms: ask for at least one of {', '.join(choices.arms)}")
    return replace(choices, arms={name: pick for name, pick in choices.arms.items() if name in names})


def scale_file(choices: Choices, root: Path = ROOT) -> Path:
    """The file that says what the scale of ``choices`` is."""
    return _scale_files(choices.path, root)[choices.scale]


def resolved_yaml(choices: Choices, *, with_cluster: bool = False) -> str:
    """What the program was made from, bases and scale applied, defaults included: for readers, not to be launched.

    Args:
        with_cluster: also where its nodes are and what they cost, which is not for a record that others read.
    """
    import yaml

    tree: dict[str, Any] = {"name": choices.name, "scale": choices.scale}
    tree |= {key: getattr(choices, key) for key in DESCRIPTION if getattr(choices, key) is not None}
    tree |= {"base": choices.base, "against": choices.against}
    for name in choices.catalog.order:
        if name in choices.catalog.sections:
            tree[name] = {knob: choices.setting(name, knob) for knob in choices.catalog.sections[name].knobs}
        elif name in choices.catalog.fields:
            missing = () if choices.catalog.fields[name].takes == "several" else None
            tree[name] = _plain(choices.arms if name == "arms" else choices.picks.get(name, missing))
    settings: dict[str, Any] = {"machine": choices.machine} | ({"cluster": choices.cluster} if with_cluster else {})
    for name, values in settings.items():
        unsaid = {"nodes": 1} if name == "machine" else {}  # as nearly always
        said = {key: _plain(value) for key, value in vars(values).items() if value not in (None, unsaid.get(key))}
        tree[name] = {key: str(value) if isinstance(value, Path) else value for key, value in said.items()}
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)
    return f"# {choices.name} at scale {choices.scale}: bases and scale applied, every knob with its value.\n{text}"


def _plain(value: Value) -> Any:
    if isinstance(value, Pick):
        knobs = {name: _plain(value.value(name)) for name in value.technique.knobs}
        return {value.name: knobs} if knobs else value.name
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class _Document:
    """One recipe file, checked on its own."""

    description: Mapping[str, str]
    layer: Layer
    scales: Mapping[str, Layer]
    scale_nodes: Mapping[str, Node]

    @staticmethod
    def of(top: Node, catalog: Catalog) -> "_Document":
        entries = dict(top.entries("entries"))
        for name, node in entries.items():
            if name not in (possible := [*DESCRIPTION, *catalog.sections, *catalog.fields, "scales"]):
                raise node.unknown(possible, "entry")
        said = {name: entries.pop(name) for name in DESCRIPTION if name in entries}
        description = {name: _text(node) for name, node in said.items() if name not in ("base", "against")}
        scales = entries.pop("scales").entries("names of scales") if "scales" in entries else {}
        reader = Reader(catalog, multiplies=True)
        return _Document(
            description=description,
            layer=Reader(catalog).recipe_layer(entries),
            scales={
                name: reader.scale_layer(node.entries("entries"), may_choose=True) for name, node in scales.items()
            },
            scale_nodes=scales,
        )

    def refuse_unknown_scales(self, known: Mapping[str, Path]) -> None:
        for name, node in self.scale_nodes.items():
            if name not in known:
                raise node.unknown(known, "scale")


def _with_bases(path: Path, root: Path) -> list[Node]:
    """The recipe's file and those of its bases, the oldest first."""
    files: list[Node] = []
    seen: list[Path] = []
    asked: Node | None = None
    while True:
        if not RECIPE_NAME.fullmatch(path.stem):
            raise UserError(f"{shown(path)}: a recipe's name is letters, digits, _ and -: it names a folder of results")
        if len(path.stem) > LONGEST_NAME:
            raise UserError(
                f"{shown(path)}: a recipe's name of {len(path.stem)} characters; it has at most {LONGEST_NAME}, for it "
                f"names folders of results"
            )
        if asked and path.resolve() in seen:
            names = [file.stem for file in [*seen[seen.index(path.resolve()) :], path]]
            raise asked.error(f"a cycle, {' -> '.join(names)}; one of them must have no base or another")
        seen.append(path.resolve())
        files.insert(0, top := read(path))
        if _base(top) is None:
            return files
        asked = top.entries("entries")["base"]
        path = _named(asked, path, root)


def _base(top: Node) -> str | None:
    """The recipe that this file is made from.

    Raises:
        UserError: it is compared with a recipe and does not say whether it is made from it, which was one key once.
    """
    entries = top.entries("entries")
    if "base" in entries:
        return None if entries["base"].value in NO_RECIPE else str(entries["base"].value)
    if "against" in entries and entries["against"].value not in NO_RECIPE:
        node = entries["against"]
        raise node.error(
            f"compares, and no longer inherits; write base: {node.value} where this recipe is made from it (it "
            f"is then compared with it, too), or base: none where it is whole by itself"
        )
    return None


def _against(top: Node, root: Path) -> str | None:
    """The recipe that this file is compared with: its base, unless it says another or none."""
    entries = top.entries("entries")
    if "against" not in entries:
        return _base(top)
    node = entries["against"]
    if node.value in NO_RECIPE:
        return None
    if _named(node, top.path, root).resolve() == top.path.resolve():
        raise node.error("a recipe is compared with another, not with itself")
    return str(node.value)


def _named(asked: Node, child: Path, root: Path) -> Path:
    """The file of the recipe that ``asked`` names: beside the child, or among the checkout's recipes."""
    folders = (child.parent, root / "recipes")
    for file in (folder / f"{asked.value}.yaml" for folder in folders):
        if RECIPE_NAME.fullmatch(str(asked.value)) and file.is_file():
            return file
    names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")} - {child.stem})
    possible = f"possible: {', '.join(names) or 'there is no other'}{nearest(str(asked.value), names)}"
    raise asked.error(f"found {asked.found()}, which names no recipe beside this one; {possible}")


def _scale_files(path: Path, root: Path) -> dict[str, Path]:
    """The scales that the recipe can have: the checkout's, and those beside it."""
    folders = (root / "recipes" / "scales", path.parent / "scales")
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}


def _merged(layers: Iterable[Layer], below: Layer, catalog: Catalog) -> Layer:
    for layer in layers:
        below = layer.over(below, catalog)
    return below


def _with_defaults(final: Layer, catalog: Catalog) -> Layer:
    """``final`` with the techniques that a recipe need not name."""
    picks = dict(final.picks)
    for name, field in catalog.fields.items():
        if field.default is not None and picks.get(name) is None:
            picks[name] = Pick(technique=catalog.technique(field.family, field.default), knobs={})
    return replace(final, picks=picks)


def _refuse_gaps(final: Layer, catalog: Catalog, path: Path) -> None:
    for name, field in catalog.fields.items():
        missing = not final.arms if field.takes == "named" else field.takes == "one" and final.picks.get(name) is None
        if missing:
            possible = ", ".join(catalog.families[field.family].techniques) or "there are none"
            raise UserError(f"{shown(path)}: {name}: missing, here and in its bases; possible: {possible}")
    for where, knobs, values in _settings(final, catalog):
        for knob in knobs.values():
            if knob.required and knob.name not in values:
                raise UserError(
                    f"{shown(path)}: {where}.{knob.name}: has no value and no default; it takes {knob.kind}"
                )


def _settings(final: Layer, catalog: Catalog) -> Iterator[tuple[str, Mapping[str, Knob], Mapping[str, Value]]]:
    """Every place that has knobs: its key, the knobs, and the values that are set."""

    def inside(where: str, value: Value) -> Iterator[tuple[str, Mapping[str, Knob], Mapping[str, Value]]]:
        if isinstance(value, Pick):
            yield f"{where}.{value.name}", value.technique.knobs, value.knobs
            for name, setting in value.knobs.items():
                yield from inside(f"{where}.{value.name}.{name}", setting)
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                yield from inside(f"{where}[{at}]", item)

    for name, section in catalog.sections.items():
        yield name, section.knobs, final.sections.get(name, {})
    for name, value in {**final.picks, **{f"arms.{name}": pick for name, pick in (final.arms or {}).items()}}.items():
        yield from inside(name, value)


def _said_last(key: str, scale_file: Node, family: Iterable[_Document], scale: str) -> Node:
    """The entry ``key`` of the last one who says something of it at this scale: its file, or a recipe's part for it."""
    place = scale_file.entries("entries").get(key, replace(scale_file, key=key))
    for document in family:
        if scale in document.scale_nodes:
            place = document.scale_nodes[scale].entries("entries").get(key, place)
    return place


def _machine(values: Mapping[str, Any], place: Node) -> Machine:
    """The machine of these values, which ``place`` was the last to say something of."""
    missing = [name for name in ("processes", "gpus", "cpus") if name not in values]
    paths = [name for name in ("data_path", "tokenizer_path") if name in values]
    if missing or len(paths) != (0 if "corpus" in values else 2):
        found = ", ".join(f"{name}: {value}" for name, value in values.items()) or "nothing"
        raise place.error(
            f"found {found}; it says processes, gpus and cpus, and either corpus or both data_path and tokenizer_path"
        )
    uneven = [name for name in ("processes", "gpus", "cpus") if values[name] % values.get("nodes", 1)]
    if uneven:
        raise place.error(
            f"{uneven[0]}: found {values[uneven[0]]}, which {values['nodes']} nodes cannot share evenly; processes, "
            f"gpus and cpus are those of the whole job"
        )
    read: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in values.items()}
    return Machine(**read)


def _text(node: Node) -> str:
    if node.value is None:
        return ""
    if not isinstance(node.value, str):
        raise node.error(f"found {node.found()}, it takes text; put it in quotes")
    if not (text := " ".join(node.value.split())).isprintable():
        raise node.error("there is a character in it that cannot be printed")
    return text


def difference(old: Choices, new: Choices) -> str:
    """The unified difference of two programs, from ``old`` to ``new``."""
    from difflib import unified_diff

    before, after = (program(choices).splitlines(keepends=True) for choices in (old, new))
    return "".join(unified_diff(before, after, fromfile=old.name, tofile=new.name))
