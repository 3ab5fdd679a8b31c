"""The catalog says what the code says, and the code is what a catalog can be read from."""

import ast
import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.program import catalog
from platform.program.knobs import kind_of
from platform.program.listing import as_json

ROOT = Path(__file__).parents[2]
REAL = catalog.read(ROOT)
TECHNIQUES = [f"{family.name}/{name}" for family in REAL.families.values() for name in family.techniques]


def list_catalog(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "platform.catalog", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


# The real jobs/


def test_every_field_of_the_real_recipe_is_a_section_a_family_or_its_identity() -> None:
    from jobs.recipe import Recipe

    assert REAL.order == tuple(field.name for field in dataclasses.fields(Recipe))
    assert {*catalog.IDENTITY, *REAL.sections, *REAL.fields} == set(REAL.order)
    assert {"shape", "budget"} <= set(REAL.sections) and REAL.fields["arms"].takes == "named"


@pytest.mark.parametrize("which", TECHNIQUES)
def test_a_technique_is_what_its_class_is(which: str) -> None:
    """The text was read as Python reads it: same fields, same defaults; an instance with the defaults can be made."""
    technique = REAL.technique(*which.split("/"))
    of_class = getattr(importlib.import_module(technique.module), technique.class_name)
    fields = {field.name: field for field in dataclasses.fields(of_class)}
    assert list(fields) == list(technique.knobs)
    made = of_class(**{name: None for name, knob in technique.knobs.items() if knob.required})
    for name, knob in technique.knobs.items():
        is_required = fields[name].default is fields[name].default_factory is dataclasses.MISSING
        assert knob.required == is_required
        assert knob.required or (knob.default, type(knob.default)) == (getattr(made, name), type(getattr(made, name)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.anything = 1


@pytest.mark.parametrize("which", TECHNIQUES)
def test_a_technique_has_a_summary_of_one_line_and_a_source(which: str) -> None:
    technique = REAL.technique(*which.split("/"))
    assert 5 < len(technique.summary) <= 120 and technique.source


def test_class_names_are_unique_in_all_of_jobs() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "jobs").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
    assert len(places) > 30


# A small one


def test_families_fields_and_sections(checkout: Path) -> None:
    small = catalog.read(checkout)
    assert " ".join(small.order) == (
        "name scale shape budget feed_forward optimizer embedding averaging evaluation arms"
    )
    assert {name: field.takes for name, field in small.fields.items()} == {
        "feed_forward": "one",
        "optimizer": "one",
        "embedding": "several",
        "averaging": "optional",
        "evaluation": "one",
        "arms": "named",
    }
    assert list(small.families) == [
        "feed_forward", "optimizer", "embedding", "averaging", "evaluation", "adaptation", "schedule"
    ]  # fmt: skip
    assert small.families["embedding"].techniques == ("hash", "smear")
    assert small.families["schedule"].summary == "The learning rate's scale: a knob of optimizers."
    assert list(small.sections["shape"].knobs) == ["num_layers", "width", "tied"]
    assert small.sections["budget"].knobs["batch_tokens"].required


def test_a_technique_s_knobs(checkout: Path) -> None:
    relu = catalog.read(checkout).technique("feed_forward", "relu")
    assert (relu.class_name, relu.module) == ("Relu", "jobs.techniques.feed_forward.relu")
    assert relu.summary == "max(x, 0), as" and relu.source == "Fukushima 1969; again in 2010."
    assert {name: knob.default for name, knob in relu.knobs.items()} == {
        "hidden_multiple": 2.0, "layers": (), "names": ("a", "b"), "rates": None, "betas": (0.9, 0.95), "limit": None
    }  # fmt: skip
    assert relu.knobs["hidden_multiple"].summary == "hidden width over model width"
    assert relu.knobs["limit"].summary == 'of what; "#": text' and relu.knobs["layers"].summary == ""


def test_what_is_no_knob_and_no_technique(checkout: Path) -> None:
    leaky = catalog.read(checkout).technique("feed_forward", "leaky")
    assert list(leaky.knobs) == ["slope", "sign", "power", "rates"] and leaky.class_name == "Leaky"
    assert leaky.knobs["slope"].required and leaky.knobs["rates"].default == {}


def test_only_the_techniques_asked_for_are_read(checkout: Path) -> None:
    (checkout / "jobs" / "techniques" / "feed_forward" / "leaky.py").write_text("this is ( no Python\n")
    small = catalog.read(checkout)
    assert small.technique("feed_forward", "relu").name == "relu"
    with pytest.raises(UserError, match=r"leaky\.py:1: not Python"):
        small.technique("feed_forward", "leaky")


@pytest.mark.parametrize(
    ("annotation", "accepted", "refused"),
    [
        ("int", [0, -3], [1.0, True, "1", None, (1,), {}]),
        ("float", [0.5, 3, -1e-9], [True, "1", None, float("nan"), float("inf"), 10**400]),
        ("bool", [True, False], [0, 1, "true", None]),
        ("str", ["", "x"], [1, None, ("x",)]),
        ("Literal['a', 'b']", ["a"], ["c", None, 1, "none"]),
        ("Literal[1, 2]", [1, 2], [True, 1.0, "1", 3]),
        ("int | None", [1, None, "none"], ["x", 1.5]),
        ("'int | None'", [1, None], ["x"]),
        ("tuple[int, ...]", [(), (1, 2)], [(1, "x"), 1, "12", {}]),
        ("tuple[float, float]", [(1, 2)], [(1,), (1, 2, 3), (1, "x")]),
        ("dict[str, float]", [{}, {"a": 1}], [{"a": "x"}, (), 1]),
        ("dict[str, tuple[int, ...]] | None", [{"a": (1,)}, None], [{"a": 1}]),
    ],
)
def test_values_against_kinds(annotation: str, accepted: list, refused: list) -> None:
    kind = kind_of(ast.parse(annotation, mode="eval").body, {})
    for value in accepted:
        kind.checked(value)
    for value in refused:
        with pytest.raises(ValueError, match=r"^found .+, it takes .+"):
            kind.checked(value)


def test_values_become_what_the_kind_says() -> None:
    def checked(annotation: str, value: object) -> object:
        return kind_of(ast.parse(annotation, mode="eval").body, {}).checked(value)

    assert repr(checked("float", 3)) == "3.0"
    assert repr(checked("tuple[float, ...]", (1, 2))) == "(1.0, 2.0)"
    assert repr(checked("dict[str, float]", {"a": 1})) == "{'a': 1.0}"
    assert checked("int | None", "none") is None
    assert checked("Literal['none', 'cosine']", "none") == "none"


# What cannot be read


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("x: set[int] = ()", "Broken.x: a knob of type set[int]; possible are int, float"),
        ("x: Unknown", "Broken.x: a knob of type Unknown; possible are"),
        ("x: int = LIMIT", "Broken.x: the default LIMIT is not a literal"),
        ("x: int = 'one'", "Broken.x: found the text 'one', it takes a whole number"),
        ("x: float | None = field(default=None)", "Broken.x: the default field(default=None) is not a literal"),
    ],
)
def test_a_knob_that_no_recipe_could_set(checkout: Path, field: str, message: str) -> None:
    path = checkout / "jobs" / "techniques" / "feed_forward" / "broken.py"
    path.write_text(f"@dataclass(frozen=True, kw_only=True)\nclass Broken:\n    {field}\n")
    with pytest.raises(UserError) as error:
        catalog.read(checkout).technique("feed_forward", "broken")
    assert message in str(error.value) and f"{path}:3: " in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "class Broken: ...\n",
        "@dataclass\nclass Broken: ...\n",
        "@dataclass(frozen=False, kw_only=True)\nclass Broken: ...\n",
        2 * "@dataclass(frozen=True, kw_only=True)\nclass Broken: ...\n",
    ],
)
def test_a_file_with_no_or_two_techniques(checkout: Path, text: str) -> None:
    (checkout / "jobs" / "techniques" / "feed_forward" / "broken.py").write_text(text)
    with pytest.raises(UserError, match=r"broken\.py: a technique's file has exactly one @dataclass"):
        catalog.read(checkout).technique("feed_forward", "broken")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "feed_forward: FeedForward",
            "feed_forward: RunningAverage",
            "feed_forward: RunningAverage: a field of Recipe is",
        ),
        (
            "averaging: Averaging | None",
            "averaging: list[Averaging]",
            "averaging: list[Averaging]: a field of Recipe is",
        ),
        ("arms: dict[str, Adaptation]", "scores: dict[str, Adaptation]", "and its name is arms"),
        ("class Recipe:", "class Resipe:", "has no class Recipe"),
        ("width: float = 1.5", "width: set = 1.5", "Shape.width: a knob of type set"),
        ("class Shape:", "class Shape", "not Python"),
    ],
)
def test_a_recipe_module_that_cannot_be_read(checkout: Path, old: str, new: str, message: str) -> None:
    path = checkout / "jobs" / "recipe.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError) as error:
        catalog.read(checkout)
    assert message in str(error.value) and str(path) in str(error.value)


ALIGNED = "evaluation: Evaluation = field(default_factory=Aligned)"
IMPORT = "from jobs.techniques.evaluation.aligned import Aligned\n"


def with_default(checkout: Path, field: str, imported: str) -> catalog.Catalog:
    path = checkout / "jobs" / "recipe.py"
    text = path.read_text().replace("from typing", f"{imported}from typing", 1)
    path.write_text(text.replace("evaluation: Evaluation", field))
    return catalog.read(checkout)


def test_a_field_may_have_a_technique_that_no_recipe_names(checkout: Path) -> None:
    fields = with_default(checkout, ALIGNED, IMPORT).fields
    assert {name for name, one in fields.items() if one.default} == {"evaluation"}
    assert (fields["evaluation"].takes, fields["evaluation"].default) == ("one", "aligned")
    assert REAL.fields["depth"].default == "once" and as_json(REAL)["families"]["depth"]["default"] == "once"
    assert "(one, once where none is named)" in list_catalog("depth").stdout


@pytest.mark.parametrize(
    ("field", "imported"),
    [
        (ALIGNED, ""),
        (ALIGNED, "from jobs.techniques.feed_forward.relu import Aligned\n"),
        ("evaluation: Evaluation = Aligned()", IMPORT),
        ("evaluation: Evaluation = field(default_factory=lambda: Aligned())", IMPORT),
        ("evaluation: Evaluation = field(default_factory=Other)", IMPORT),
    ],
)
def test_a_default_that_cannot_be_read(checkout: Path, field: str, imported: str) -> None:
    with pytest.raises(UserError, match=r"evaluation: the default .+ is not field\(default_factory=X\), X the class"):
        with_default(checkout, field, imported)


def test_outside_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run from a checkout of Fairway"):
        catalog.read(tmp_path)


# The command


def test_the_listing_names_everything() -> None:
    listed = list_catalog().stdout
    for technique in REAL.techniques():
        assert f"  {technique.name}  {technique.summary[:40]}" in listed
        assert all(f"    {knob}" in listed for knob in technique.knobs)
    assert all(f"\n{name}  " in listed for name in (*REAL.sections, *REAL.families))


def test_the_listing_as_json() -> None:
    tree = json.loads(list_catalog("--json").stdout)
    assert set(tree["families"]) == set(REAL.families) and set(tree["sections"]) == set(REAL.sections)
    slope = tree["families"]["feed_forward"]["techniques"]["leaky_relu_squared"]["knobs"]["slope"]
    assert slope["type"] == "float" and slope["default"] == 0.5 and slope["summary"]


def test_the_listing_of_one_technique_and_one_section() -> None:
    tree = json.loads(list_catalog("leaky_relu_squared", "shape", "--json").stdout)
    assert list(tree["sections"]) == ["shape"]
    assert {name: list(one["techniques"]) for name, one in tree["families"].items()} == {
        "feed_forward": ["leaky_relu_squared"]
    }


def test_the_listing_of_a_misspelt_name() -> None:
    done = list_catalog("leaky_relu_square")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: leaky_relu_square: no such section, family or technique; did you mean 'leaky_relu_squared'?\n"
    )
