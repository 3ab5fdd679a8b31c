"""What one YAML file says, checked against the catalog; and how one file's say goes over another's.

Over what is there: sections merge key by key, the same technique merges its knobs, another technique replaces it, lists
and ``arms`` are replaced whole. Scales may also multiply a number, ``{times: 0.1}``, and set knobs of a technique
wherever it was chosen, ``techniques: {muon: {momentum: 0.9}}``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..errors import nearest
from .bounds import Bounds
from .catalog import Catalog, Field
from .choices import Pick, Value
from .document import Node
from .knobs import Kind, Knob, OneOf, Scalar, Several, Table, Text, nested_family, takes_none, takes_several

ARM_NAME = re.compile(r"[a-z][a-z0-9_]*")  # a folder of results and a word in a list
LONGEST_NAME = 80  # of a recipe or an arm: with what is added to it, it names folders, files and runs of MLflow
MACHINE_KEYS: dict[str, Kind] = {
    "processes": Scalar("int", Bounds.of("1 or more")),
    "gpus": Scalar("int", Bounds.of("0 or more")),
    "cpus": Scalar("int", Bounds.of("1 or more")),
    "nodes": Scalar("int", Bounds.of("1 or more")),
    "corpus": OneOf(("embedded",)),
    "data_path": Scalar("str"),
    "tokenizer_path": Scalar("str"),
}
_NAME = Text(r"\w[\w.:/@+=-]*", "a name: letters, digits and . _ - : / @ + =")  # of a volume, an image, an address
_PLACE = Text(r"([a-z][a-z0-9]*://|~/|/)[^\x00-\x1f]+", "a folder, or a source such as https://, s3:// or gs://")
_HOME_FILE = Text(r"(~/|/|\w)[\w./@+=-]*", "the path of a file without spaces, such as ~/.fairway-token")
CLUSTER_KEYS: dict[str, Kind] = {  # the fields of ClusterSettings
    "usd_per_hour": Scalar("float", Bounds.of("above 0")),
    "nodes": Scalar("int", Bounds.of("1 or more")),
    "data": Several((_PLACE,), any_length=True),
    "folder": Text(r"/[^:\x00-\x1f]+", "an absolute path without a colon, such as /fairway"),
    "token": _HOME_FILE,
    "image": _NAME,
    "gpu": Text(r"\w[\w .:/()+-]*", "the name of a kind of card, such as H100"),
    "cuda": Text(r"\d+\.\d+", 'a version in quotes, such as "12.8"'),
    "memory_gib": Scalar("int", Bounds.of("1 or more")),
    **dict.fromkeys(("volume", "data_center", "partition", "account", "ssh_user"), _NAME),
    "ssh_key": _HOME_FILE,
    "head": _NAME,
    "workers": Several((_NAME,), any_length=True),
}


@dataclass(frozen=True)
class Times:
    """``{times: factor}``: what is there, multiplied."""

    factor: float
    node: Node

    def of(self, value: Value, knob: Knob) -> Value:
        """The product; a whole number stays one, and at least 1."""
        product = self._product(value)
        try:
            return knob.kind.checked(product)
        except ValueError as error:
            raise self.node.error(f"{value} in the recipe times {self.factor:g} is {product}: {error}") from None

    def _product(self, value: Value) -> Value:
        if isinstance(value, bool) or not isinstance(value, int | float):
            there = "nothing" if value is None else repr(value)
            raise self.node.error(f"times multiplies a number, and the recipe has {there} here")
        if isinstance(value, float):
            return value * self.factor
        return max(1, round(value * self.factor)) if value > 0 else value


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one file, or its part for a scale, says."""

    sections: Mapping[str, Mapping[str, Value]]
    picks: Mapping[str, Pick | tuple[Pick, ...] | None]
    arms: Mapping[str, Pick] | None
    techniques: Mapping[tuple[str, str], Mapping[str, Value]]  # by family and name
    machine: Mapping[str, Value]
    cluster: Mapping[str, Value]
    sizes: str | None = None  # of a scale: the one whose sizes of techniques it takes, where that is another

    def over(self, below: "Layer", catalog: Catalog) -> "Layer":
        """This layer's say over ``below``."""
        sections = {
            name: _merged(below.sections.get(name, {}), self.sections.get(name, {}), section.knobs)
            for name, section in catalog.sections.items()
        }
        picks = {**below.picks, **{name: _over(below.picks.get(name), pick) for name, pick in self.picks.items()}}
        arms = below.arms if self.arms is None else {name: _over(None, pick) for name, pick in self.arms.items()}
        return Layer(
            sections=sections,
            picks={name: self._set_techniques(pick) for name, pick in picks.items()},
            arms=None if arms is None else {name: self._set_techniques(pick) for name, pick in arms.items()},
            techniques={},
            machine={**below.machine, **self.machine},
            cluster={**below.cluster, **self.cluster},
        )

    def overruled(self, recipe: "Layer", own: "Layer") -> Iterator[str]:
        """What this layer of a scale sets otherwise than ``recipe``, unless ``own``, the recipe's part for it, does.

        Numbers that the scale multiplies are meant to be others, and are left out.
        """
        for section, knobs in recipe.sections.items():
            above = {**self.sections.get(section, {}), **own.sections.get(section, {})}
            yield from _differing(section, knobs, above)
        chosen: dict[str, list[Value]] = {"": list(recipe.picks.values())}
        chosen |= {f"arms.{name}.": [pick] for name, pick in (recipe.arms or {}).items()}
        for where, values in chosen.items():
            for pick in picks_in(values):
                technique = (pick.technique.family, pick.technique.name)
                above = {**self.techniques.get(technique, {}), **own.techniques.get(technique, {})}
                yield from _differing(f"{where}{'.'.join(technique)}", pick.knobs, above)

    def _set_techniques(self, value: Value) -> Value:
        """``value`` with the knobs that ``techniques`` sets, in every technique inside it."""
        if isinstance(value, tuple):
            return tuple(self._set_techniques(item) for item in value)
        if not isinstance(value, Pick):
            return value
        technique = value.technique
        knobs = {name: self._set_techniques(item) for name, item in value.knobs.items()}
        own = self.techniques.get((technique.family, technique.name), {})
        return replace(value, knobs=_merged(knobs, own, technique.knobs))


NOTHING = Layer(sections={}, picks={}, arms=None, techniques={}, machine={}, cluster={})


def picks_in(values: Iterable[Value]) -> Iterator[Pick]:
    """Every technique in ``values``, those inside others too."""
    for value in values:
        if isinstance(value, Pick):
            yield value
            yield from picks_in(value.knobs.values())
        elif isinstance(value, tuple):
            yield from picks_in(value)


def _differing(where: str, said: Mapping[str, Value], above: Mapping[str, Value]) -> Iterator[str]:
    for name, value in said.items():
        if name in above and not isinstance(above[name], Times) and above[name] != value:
            yield f"{where}.{name} is {above[name]}, not {value}"


def _merged(below: Mapping[str, Value], above: Mapping[str, Value], knobs: Mapping[str, Knob]) -> dict[str, Value]:
    merged = dict(below)
    for name, value in above.items():
        there = below.get(name, knobs[name].default)
        merged[name] = value.of(there, knobs[name]) if isinstance(value, Times) else _over(there, value)
    return merged


def _over(below: Value, above: Value) -> Value:
    """``above`` with what it leaves open taken from ``below``, and with its multiplications done."""
    if isinstance(above, tuple):
        return tuple(_over(None, item) for item in above)
    if not isinstance(above, Pick):
        return above
    same = isinstance(below, Pick) and below.technique == above.technique
    return replace(above, knobs=_merged(below.knobs if same else {}, above.knobs, above.technique.knobs))


def _values(node: Node, kinds: Mapping[str, Kind]) -> dict[str, Value]:
    """The entries of ``machine`` or of ``cluster``, each checked against its kind."""
    values = {}
    for name, entry in node.entries(", ".join(kinds)).items():
        if name not in kinds:
            raise entry.unknown(kinds, f"entry of {node.key.rpartition('.')[2]}")
        try:
            values[name] = kinds[name].checked(entry.plain())
        except ValueError as error:
            raise entry.error(str(error)) from None
    return values


@dataclass(frozen=True)
class Reader:
    """Turns nodes into layers; ``multiplies`` says whether ``{times: x}`` is understood, which is for scales."""

    catalog: Catalog
    multiplies: bool = False

    def recipe_layer(self, entries: Mapping[str, Node]) -> Layer:
        """What a recipe says; ``entries`` without the keys that describe it.

        Raises:
            UserError: a key, technique, knob or value that is not in the catalog; with its place and what is possible.
        """
        return self._layer(entries, [*self.catalog.sections, *self.catalog.fields])

    def scale_layer(self, entries: Mapping[str, Node], *, may_choose: bool) -> Layer:
        """What a scale says: a file of scales/, or a recipe's entry for a scale, which may choose techniques too."""
        own = self.catalog.fields if may_choose else ["sizes"]
        return self._layer(entries, [*self.catalog.sections, *own, "techniques", "machine", "cluster"])

    def _layer(self, entries: Mapping[str, Node], possible: Iterable[str]) -> Layer:
        sections, picks, machine, cluster = {}, {}, {}, {}
        arms: Mapping[str, Pick] | None = None
        techniques: Mapping[tuple[str, str], Mapping[str, Value]] = {}
        sizes = None
        for name, node in entries.items():
            if name not in possible:
                raise node.unknown(possible, "entry")
            if name in self.catalog.sections:
                sections[name] = self.knobs(node, self.catalog.sections[name].knobs)
            elif name == "techniques":
                techniques = self._techniques(node)
            elif name == "sizes":
                sizes = self._sizes(node)
            elif name == "machine":
                machine = _values(node, MACHINE_KEYS)
            elif name == "cluster":
                cluster = _values(node, CLUSTER_KEYS)
            elif name == "arms":
                arms = self._arms(node)
            else:
                picks[name] = self._choice(node, self.catalog.fields[name])
        return Layer(
            sections=sections,
            picks=picks,
            arms=arms,
            techniques=techniques,
            machine=machine,
            cluster=cluster,
            sizes=sizes,
        )

    def _choice(self, node: Node, field: Field) -> Pick | tuple[Pick, ...] | None:
        if node.value in (None, "none"):
            if field.takes == "one":
                raise node.error(f"every recipe needs one; possible: {self._names(field.family)}")
            return () if field.takes == "several" else None
        if field.takes == "several":
            picks = [
                self._pick(item, field.family) for item in (node.value if isinstance(node.value, list) else [node])
            ]
            if any(pick in picks[:at] for at, pick in enumerate(picks)):
                raise node.error("the same technique twice, with the same knobs; keep one")
            return tuple(picks)
        return self._pick(node, field.family)

    def _arms(self, node: Node) -> dict[str, Pick]:
        entries = node.entries(f"names of arms, each with {self._names('adaptation')}")
        if not entries:
            raise node.error("a recipe has at least one arm, a name and an adaptation")
        for name, entry in entries.items():
            if not ARM_NAME.fullmatch(name):
                raise entry.error("an arm's name is small letters, digits and underscores, a letter first")
            if len(name) > LONGEST_NAME:
                raise entry.error(f"an arm's name of {len(name)} characters; it has at most {LONGEST_NAME}")
        return {name: self._pick(entry, self.catalog.fields["arms"].family) for name, entry in entries.items()}

    def _pick(self, node: Node, family: str) -> Pick:
        """``technique`` or ``technique: {knob: value}``."""
        value = {node.value: None} if isinstance(node.value, str) else node.value
        if not isinstance(value, dict) or len(value) != 1:
            raise node.error(
                f"found {node.found()}, here belongs one technique, as its name or as name: {{knob: value}}; "
                f"possible: {self._names(family)}"
            )
        [(name, knobs)] = value.items()
        if name not in self.catalog.families[family].techniques:
            where = node if knobs is None else knobs
            raise replace(where, key=f"{node.key}.{name}").unknown(
                self.catalog.families[family].techniques, f"technique of {family}"
            )
        technique = self.catalog.technique(family, name)
        return Pick(technique=technique, knobs={} if knobs is None else self.knobs(knobs, technique.knobs))

    def knobs(self, node: Node, knobs: Mapping[str, Knob]) -> dict[str, Value]:
        """What ``node`` sets of these knobs, each value checked.

        Raises:
            UserError: as ``recipe_layer`` does.
        """
        values = {}
        for name, entry in node.entries(f"knobs: {', '.join(knobs) or 'there are none'}").items():
            if name not in knobs:
                raise entry.unknown(knobs, "knob")
            values[name] = self._value(entry, knobs[name])
        return values

    def _value(self, node: Node, knob: Knob) -> Value:
        if isinstance(node.value, dict) and set(node.value) == {"times"} and not isinstance(knob.kind, Table):
            return self._times(node)
        family = nested_family(knob.kind)
        if family and node.value in (None, "none") and takes_none(knob.kind):
            return None
        if family and isinstance(node.value, list) and takes_several(knob.kind):
            return tuple(self._pick(item, family) for item in node.value)
        if family:
            return self._pick(node, family)
        try:
            return knob.kind.checked(node.plain())
        except ValueError as error:
            raise node.error(f"{error}{f' ({knob.summary})' if knob.summary else ''}") from None

    def _times(self, node: Node) -> Times:
        assert isinstance(node.value, dict)
        factor = node.value["times"].value
        if not self.multiplies:
            raise node.error("{times: x} is for scales; a recipe says the number itself")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < float("inf"):
            raise node.error(f"times takes a number above 0, found {node.value['times'].found()}")
        return Times(factor, node)

    def _techniques(self, node: Node) -> dict[tuple[str, str], dict[str, Value]]:
        """Knobs by technique; the name may have its family in front, where two families have the name."""
        layer: dict[tuple[str, str], dict[str, Value]] = {}
        for name, entry in node.entries("techniques, each with its knobs").items():
            family, _, technique = name.rpartition(".")
            families = [found for found in self.catalog.families_of(technique) if family in ("", found)]
            if not families:
                every = [known for family in self.catalog.families.values() for known in family.techniques]
                raise entry.unknown(sorted(set(every)), "technique")
            if len(families) > 1:
                raise entry.error(
                    f"a technique of several families; write {' or '.join(f'{f}.{technique}' for f in families)}"
                )
            layer[families[0], technique] = self.knobs(entry, self.catalog.technique(families[0], technique).knobs)
        return layer

    def _sizes(self, node: Node) -> str:
        if node.value not in self.catalog.scales:
            found, possible = node.found(), ", ".join(self.catalog.scales)
            raise node.error(
                f"found {found}, it takes the scale whose sizes of techniques this one takes; possible: {possible}"
                f"{nearest(str(node.value), self.catalog.scales)}"
            )
        return str(node.value)

    def _names(self, family: str) -> str:
        return ", ".join(self.catalog.families[family].techniques)
