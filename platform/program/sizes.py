"""How small a technique is made, as its own file says: ``small`` at a scale, ``audit`` where the launch audits it.

Both are literals of the technique's class, in the words of a scale's file:

    small = {"laptop": {"epochs": {"times": 0.1}}, "smoke": {"epochs": 1}}
    audit = {"probe": {"epochs": 2}, "canary": {"epochs": 5, "learning_rate": {"times": 10}}}

A scale takes the sizes of its own name, or of the one that it names in ``sizes``; what its file or a recipe says in
``techniques`` goes over them. In an audit a number is the most that the knob may be, and knobs that are None stay;
``jobs/audit/toy.py`` does that. Each file's literals are checked whole whenever a recipe has the technique.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..errors import UserError
from ..paths import shown
from .catalog import Technique
from .choices import Value
from .knobs import AnyOf, Kind, Scalar
from .overlays import Layer, Reader, Times, picks_in

AUDITED = ("probe", "canary")  # the two trunks of an audit, as jobs/audit/toy.py calls them


def with_sizes(scale: Layer, name: str, recipe: Layer, reader: Reader) -> Layer:
    """``scale``, called ``name``, with the sizes that the techniques of ``recipe`` have for it.

    Raises:
        UserError: a technique's sizes name an unknown scale or knob, or a value that the knob does not take; with the
            file of the technique and the line.
    """
    techniques = {}
    for pick in picks_in([*recipe.picks.values(), *(recipe.arms or {}).values()]):
        technique = pick.technique
        _refuse_wrong_audit(technique, reader)
        own = _small(technique, reader).get(scale.sizes or name, {})
        key = (technique.family, technique.name)
        techniques[key] = {**own, **scale.techniques.get(key, {})}
    return replace(scale, techniques=techniques)


def refuse_unsized(picks: Iterable[Value]) -> None:
    """Raise for a technique that an audit could not make small, because its file does not say how.

    It would be audited at its full size: a chunk of 32,768 targets is never learned from on a stream of 150, and an
    audit that sees nothing finds nothing.
    """
    for pick in picks_in(picks):
        technique = pick.technique
        counts = [knob for knob in technique.knobs.values() if _is_count(knob.kind)]
        if counts and technique.audit is None:
            example = ", ".join(f'"{name}": {{"{counts[0].name}": ...}}' for name in AUDITED)
            raise UserError(
                f"{shown(technique.path)}:{counts[0].line}: {technique.class_name}.{counts[0].name}: a whole number, "
                f"and the class does not say how small it is in an audit; write audit = {{{example}}}, with {{}} for "
                f"what may stay as it is"
            )


def _small(technique: Technique, reader: Reader) -> dict[str, Mapping[str, Value]]:
    entries = technique.small.entries("names of scales, each with knobs") if technique.small else {}
    for name, node in entries.items():
        if name not in reader.catalog.scales:
            raise node.unknown(reader.catalog.scales, "scale")
    return {name: reader.knobs(node, technique.knobs) for name, node in entries.items()}


def _refuse_wrong_audit(technique: Technique, reader: Reader) -> None:
    entries = technique.audit.entries(f"{' and '.join(AUDITED)}, each with knobs") if technique.audit else {}
    for name, node in entries.items():
        if name not in AUDITED:
            raise node.unknown(AUDITED, "trunk of an audit")
        knobs = node.entries("knobs")
        for knob, value in reader.knobs(node, technique.knobs).items():
            if isinstance(value, bool) or not isinstance(value, int | float | Times):
                found = knobs[knob].found()
                raise knobs[knob].error(f"found {found}; an audit takes the most that a number may be, or {{times: x}}")


def _is_count(kind: Kind) -> bool:
    kinds = kind.kinds if isinstance(kind, AnyOf) else (kind,)
    return any(isinstance(inner, Scalar) and inner.name == "int" for inner in kinds)
