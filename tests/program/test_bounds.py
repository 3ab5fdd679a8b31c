"""Bounds of numbers: that they hold at their ends, and that each field of jobs/ has those that its own line says."""

import pytest

from platform.errors import UserError
from platform.program import catalog
from platform.program.bounds import Bounds
from platform.program.knobs import AnyOf, Scalar
from tests.program.conftest import WriteFiles


@pytest.mark.parametrize(
    ("text", "taken", "refused"),
    [
        ("above 0", [1e-9, 5], [0, -1]),
        ("1 or more", [1, 10**9], [0, -3]),
        ("0 or more and below 1", [0, 0.999], [1, -0.1]),
        ("above 0 and at most 1", [1e-9, 1], [0, 1.1]),
        ("2 to 8", [2, 8], [1, 9]),
        ("-1.5 to 2.5", [-1.5, 2.5], [-1.6, 2.6]),
        ("at most 1e-05", [1e-5, -3], [2e-5]),
        ("below 3", [2.9, -1e300], [3]),
    ],
)
def test_ends_are_taken_or_not_as_they_say(text: str, taken: list[float], refused: list[float]) -> None:
    """And the words of an error are those of the declaration."""
    bounds = Bounds.of(text)
    assert all(map(bounds.take, taken)) and not any(map(bounds.take, refused)) and str(bounds) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "2", "positive", "2 - 8", "more than 2", "2 to", "x or more", "1 or more, below 3", "1 OR more"),
        *("above 0 and 1 or more", "2 to 8 and below 3", "8 to 2", "above 1 and below 1", "1 or more and at most 0"),
    ],
)
def test_words_that_are_no_bounds(text: str) -> None:
    with pytest.raises(ValueError, match="the bounds "):
        Bounds.of(text)


def test_a_technique_s_own_line_bounds_its_knobs(write: WriteFiles, checkout: object) -> None:
    """By a kind of jobs/knobs.py, a kind of its own file, in the field itself; inside lists, and where none is left."""
    root = write(
        {
            "jobs/techniques/feed_forward/own.py": """
                from dataclasses import dataclass
                from typing import Annotated

                from jobs.knobs import Count

                Turn = Annotated[float, "0 or more and below 360"]


                @dataclass(frozen=True, kw_only=True)
                class Own:
                    width: Count
                    angle: Turn = 0.0
                    bits: Annotated[int, "2 to 8"] | None = None
                    layers: tuple[Count, ...] = ()
                    plain: float = 0.0
            """
        }
    )
    knobs = catalog.read(root).technique("feed_forward", "own").knobs
    assert {name: str(knob.kind) for name, knob in knobs.items()} == {
        "width": "a whole number, 1 or more",
        "angle": "a number, 0 or more and below 360",
        "bits": "a whole number, 2 to 8 or none",
        "layers": "a list, each a whole number, 1 or more",
        "plain": "a number",
    }
    assert [knob.annotation for knob in knobs.values()] == ["int", "float", "int | None", "tuple[int, ...]", "float"]
    with pytest.raises(ValueError, match="found the number 0, it takes a whole number, 1 or more"):
        knobs["layers"].kind.checked((2, 0))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('x: Annotated[int, "2 till 8"]', ":3: Broken.x: the bounds '2 till 8'; write 'A to B', or one or two of"),
        ('x: Annotated[int, "1 or more"] = 0', ":3: Broken.x: found the number 0, it takes a whole number, 1 or more"),
        ('x: Annotated[str, "1 or more"]', ":3: Broken.x: a knob of type Annotated[str, '1 or more']; possible are"),
        ("x: Annotated[int, 1]", ":3: Broken.x: a knob of type Annotated[int, 1]; possible are"),
        ("x: Cuont = 1", ":3: Broken.x: a knob of type Cuont; possible are int, float, bool, str, Count, Positive, A"),
    ],
)
def test_a_bound_that_cannot_be_read(write: WriteFiles, checkout: object, field: str, message: str) -> None:
    text = f"@dataclass(frozen=True, kw_only=True)\nclass Broken:\n    {field}\n"
    root = write({"jobs/techniques/feed_forward/broken.py": text})
    with pytest.raises(UserError) as error:
        catalog.read(root).technique("feed_forward", "broken")
    assert f"broken.py{message}" in str(error.value)
    assert ("did you mean 'Count'?" in str(error.value)) == ("Cuont" in field)


def test_a_kind_that_cannot_be_read(write: WriteFiles, checkout: object) -> None:
    root = write({"jobs/knobs.py": 'Count = Annotated[int, "one or more"]\n'})
    with pytest.raises(UserError, match=r"jobs/knobs\.py:1: Count: the bounds 'one or more'"):
        catalog.read(root)


def test_every_kind_is_used_and_every_count_in_jobs_has_bounds() -> None:
    """What is unbounded today is a slope, a gain, a start value: all of them fractions that may be below zero."""
    found = catalog.read()
    knobs = [knob for section in found.sections.values() for knob in section.knobs.values()]
    knobs += [knob for technique in found.techniques() for knob in technique.knobs.values()]
    kinds = [one for knob in knobs for one in (knob.kind.kinds if isinstance(knob.kind, AnyOf) else [knob.kind])]
    assert all(str(one.bounds) for one in kinds if isinstance(one, Scalar) and one.name == "int")
    assert not {one for one in found.kinds.values() if isinstance(one, Scalar)} - {*kinds}


def test_two_techniques_bound_the_same_word_differently() -> None:
    levels = {name: catalog.read().technique("compressor", name).knobs["level"].kind for name in ("zlib", "zstd")}
    assert {name: str(kind) for name, kind in levels.items()} == {
        "zlib": "a whole number, 1 to 9",
        "zstd": "a whole number, 1 to 22",
    }
