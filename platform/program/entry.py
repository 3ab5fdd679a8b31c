"""Choices to program text: the entry of some twenty lines, and the one file that every trial runs.

The entry names what the recipe chose and the knobs that differ from their defaults, nothing else; its layout is the one
that the formatter would give it.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .choices import Choices, Pick, Value
from .inline import inline
from .knobs import Knob

LINE_LENGTH = 120
IDENTITY = ("name", "scale")
SCORING = ("evaluation", "arms")  # fields of what happens after the trunk, which cannot change it


def entry_program(choices: Choices, main: str = "jobs.train") -> str:
    """The text of ``entry.py``, which runs in a checkout: for people to read, and for ``inline``.

    ``main`` is the module whose ``main(recipe, program)`` it calls: the job, or what looks at a recipe otherwise;
    ``module:function`` where the function has another name, as it must in a module that imports the job.
    """
    about = [f"{choices.name} at scale {choices.scale}" + (f", against {choices.against}." if choices.against else ".")]
    about += [_filled(choices.question)]
    about += [_filled(f"Source: {choices.source}")] if choices.source else []
    docstring = "\n\n".join(about).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{docstring}\n"""\n\n{_statements(choices, skip=(), main=main)}'


def program(choices: Choices) -> str:
    """The text of ``train_gpt.py``: the entry and every module it needs, in one file that runs alone."""
    return inline(entry_program(choices), choices.catalog.root)


def trunk_text(choices: Choices) -> str:
    """What decides a trunk, as text to hash: the program without its names and without what comes after the trunk.

    Two recipes of the same trunk text train the same weights from the same seed and data.
    """
    return inline(_statements(choices, skip=(*IDENTITY, *SCORING)), choices.catalog.root)


def _statements(choices: Choices, skip: tuple[str, ...], main: str = "jobs.train") -> str:
    """Imports, one ``Recipe(...)`` without the fields ``skip``, one call of ``main``."""
    fields = [field for field in _fields(choices) if field.label.rstrip("=") not in skip]
    called, _, function = main.partition(":")
    function = function or "main"
    modules: dict[str, set[str]] = {"jobs.recipe": {"Recipe"}, called: {function}}
    for field in fields:
        for module, name in field.needs():
            modules.setdefault(module, set()).add(name)
    imports = "\n".join(_import(module, sorted(names)) for module, names in sorted(modules.items()))
    recipe = _Part("Recipe(", fields, ")", one_a_line=True).laid_out(indent=0, before=len("RECIPE = "))
    return f'{imports}\n\nRECIPE = {recipe}\n\nif __name__ == "__main__":\n    {function}(RECIPE, __file__)\n'


def _filled(text: str) -> str:
    return textwrap.fill(text, LINE_LENGTH, break_long_words=False, break_on_hyphens=False)


def _import(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_LENGTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def _fields(choices: Choices) -> "Iterator[_Part]":
    """The fields of Recipe that are not left at their default, in its order."""
    for name in choices.catalog.order:
        if name in IDENTITY:
            yield _Part(_literal(getattr(choices, name)), label=f"{name}=")
        elif name == "arms":
            arms = [_part(pick, f"{_literal(arm)}: ") for arm, pick in choices.arms.items()]
            yield _Part("{", arms, "}", label="arms=", one_a_line=True)
        elif name in choices.catalog.sections:
            section = choices.catalog.sections[name]
            knobs = _changed(section.knobs, choices.sections[name])
            yield _Part(
                f"{section.class_name}(", knobs, ")", label=f"{name}=", imported=("jobs.recipe", section.class_name)
            )
        elif choices.picks.get(name) and not _is_default(choices, name):
            yield _part(choices.picks[name], f"{name}=")


def _is_default(choices: Choices, name: str) -> bool:
    """Whether the field has the technique that it has in a recipe that does not name one, at its defaults."""
    pick, default = choices.picks[name], choices.catalog.fields[name].default
    return isinstance(pick, Pick) and pick.name == default and not _changed(pick.technique.knobs, pick.knobs)


def _changed(knobs: Mapping[str, Knob], values: Mapping[str, Value]) -> "list[_Part]":
    """The values that are not the knob's default, in the order of the fields."""
    return [
        _part(values[name], f"{name}=")
        for name, knob in knobs.items()
        if name in values
        and (knob.required or (type(knob.default), knob.default) != (type(values[name]), values[name]))
    ]


def _part(value: Value, label: str = "") -> "_Part":
    match value:
        case Pick(technique=technique, knobs=knobs):
            changed = _changed(technique.knobs, knobs)
            return _Part(
                f"{technique.class_name}(", changed, ")", label, imported=(technique.module, technique.class_name)
            )
        case tuple():
            return _Part("(", [_part(item) for item in value], ",)" if len(value) == 1 else ")", label)
        case dict():
            return _Part("{", [_part(item, f"{_literal(name)}: ") for name, item in value.items()], "}", label)
    return _Part(_literal(value), label=label)


def _literal(value: Value) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    text = repr(value)
    if isinstance(value, str) and text[0] == "'" and '"' not in text:
        return '"' + text[1:-1].replace("\\'", "'") + '"'
    return text


@dataclass(frozen=True)
class _Part:
    """A piece of an expression: text, or brackets around parts."""

    opening: str
    parts: "list[_Part] | None" = None
    closing: str = ""
    label: str = ""  # in front: ``name=`` or ``"name": ``
    one_a_line: bool = False
    imported: tuple[str, str] | None = None  # the module and the name that this needs

    def needs(self) -> Iterator[tuple[str, str]]:
        if self.imported:
            yield self.imported
        for part in self.parts or ():
            yield from part.needs()

    def flat(self) -> str:
        return self.label + self.opening + ", ".join(part.flat() for part in self.parts or ()) + self.closing

    def laid_out(self, *, indent: int, before: int) -> str:
        """On one line where ``before`` characters, this and a comma fit, or else one part a line."""
        if not self.parts or not (self.one_a_line or before + len(self.flat()) + 1 > LINE_LENGTH):
            return self.flat()
        inside = indent + 4
        lines = [f"{' ' * inside}{part.laid_out(indent=inside, before=inside)},\n" for part in self.parts]
        return f"{self.label}{self.opening}\n{''.join(lines)}{' ' * indent}{self.closing.lstrip(',')}"
