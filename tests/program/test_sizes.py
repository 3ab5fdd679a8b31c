"""A technique's own file says how small it is at a scale and in an audit; a mistake there is told with its line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.program import catalog
from platform.program.choices import Choices, Pick
from platform.program.document import read
from platform.program.overlays import NOTHING, Reader
from platform.program.recipe import load
from platform.program.sizes import refuse_unsized, with_sizes
from tests.program.conftest import WriteFiles

LoadText = Callable[..., Choices]

CHUNKS = """
    from dataclasses import dataclass

    from jobs.knobs import Count, Positive


    @dataclass(frozen=True, kw_only=True)
    class Chunks:
        epochs: Count = 10
        chunk: Count | None = None
        rate: Positive = 0.5

        small = {"laptop": {"epochs": {"times": 0.3}, "chunk": 64}, "eight_h100": {}}
        audit = {"probe": {"epochs": 2}, "canary": {"rate": {"times": 10}}}
"""
FILE = "jobs/techniques/adaptation/chunks.py"
MINE = "base: base\nquestion: Q\narms: {a: {chunks: {epochs: 20}}, b: chunks}\n"


def knobs(choices: Choices) -> list[dict]:
    return [dict(pick.knobs) for pick in choices.arms.values()]


def sized(root: Path) -> Callable[[str, str, str], None]:
    """Writes the technique with another text in the place of one."""

    def write_it(old: str, new: str, path: str = FILE) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return write_it


def test_a_new_file_alone_has_bounds_and_sizes(write: WriteFiles, load_text: LoadText) -> None:
    root = write({FILE: CHUNKS})
    assert knobs(load_text(MINE, "laptop")) == [{"epochs": 6, "chunk": 64}, {"epochs": 3, "chunk": 64}]
    assert knobs(load_text(MINE, "eight_h100")) == [{"epochs": 20}, {}]
    with pytest.raises(UserError, match=r"arms\.a\.chunks\.epochs: found the number 0, it takes a whole number, 1 or"):
        load_text(MINE.replace("20", "0"))
    refuse_unsized(load_text(MINE).arms.values())
    assert catalog.read(root).technique("adaptation", "chunks").audit is not None


def test_a_scale_s_file_and_a_recipe_go_over_the_technique_s_own_sizes(write: WriteFiles, load_text: LoadText) -> None:
    root = write({FILE: CHUNKS})
    scale = root / "recipes" / "scales" / "laptop.yaml"
    scale.write_text(scale.read_text() + "  chunks: {epochs: {times: 0.5}, rate: 1}\n")
    assert knobs(load_text(MINE))[0] == {"epochs": 10, "chunk": 64, "rate": 1.0}, "half of the recipe's, not of 6"
    own = "scales: {laptop: {techniques: {chunks: {epochs: {times: 2}, chunk: none}}}}\n"
    assert knobs(load_text(MINE + own))[0] == {"epochs": 20, "chunk": None, "rate": 1.0}, "twice what the scale made"
    said = load_text(MINE.replace("epochs: 20", "chunk: 9")).overruled
    assert said == ("arms.a.adaptation.chunks.chunk is 64, not 9",)


def test_a_scale_of_one_s_own_takes_the_sizes_of_another(write: WriteFiles, load_text: LoadText) -> None:
    machine = "machine: {processes: 1, gpus: 0, cpus: 1, corpus: embedded}\n"
    write({FILE: CHUNKS, "recipes/scales/tiny.yaml": machine, "recipes/scales/same.yaml": machine + "sizes: laptop\n"})
    assert knobs(load_text(MINE, "tiny"))[0] == {"epochs": 20}
    assert knobs(load_text(MINE, "same"))[0] == {"epochs": 6, "chunk": 64}


def test_sizes_reach_techniques_inside_others(write: WriteFiles, load_text: LoadText) -> None:
    root = write({})
    field = "    steps: int = 100\n"
    sized(root)(field, field + '    small = {"laptop": {"steps": 7}}\n', "jobs/techniques/schedule/cosine.py")
    scale = root / "recipes" / "scales" / "laptop.yaml"
    scale.write_text(scale.read_text().replace("  cosine: {steps: {times: 0.1}}\n", ""))
    assert load_text("base: base\nquestion: Q\n").picks["optimizer"].knobs["schedule"].knobs["steps"] == 7


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"chunk": 64', '"chnk": 64', "12: Chunks.small.laptop.chnk: no such knob; possible: epochs, chunk, rate; did"),
        ('"laptop":', '"labtop":', "12: Chunks.small.labtop: no such scale; possible: eight_h100, laptop; did you mea"),
        ('"chunk": 64', '"chunk": "64"', "12: Chunks.small.laptop.chunk: found the text '64', it takes a whole numbe"),
        ('"chunk": 64', '"chunk": 0', "12: Chunks.small.laptop.chunk: found the number 0, it takes a whole number"),
        ('"chunk": 64', '"chunk": SIZE', "12: Chunks.small.laptop.chunk: found SIZE, which is no value written out"),
        ('"chunk": 64', '"chunk": 8 * 8', "12: Chunks.small.laptop.chunk: found 8 * 8, which is no value written out"),
        ('"chunk": 64', "**MORE", "12: Chunks.small.laptop: found the key **, a key is a text"),
        ('"chunk": 64', '"epochs": 64', "12: Chunks.small.laptop.epochs: given twice, first in line 12; keep one"),
        ('{"times": 0.3}', '{"times": "x"}', "12: Chunks.small.laptop.epochs: times takes a number above 0, found the"),
        ('"eight_h100": {}', '"eight_h100": 3', "12: Chunks.small.eight_h100: found the number 3, here belong knobs"),
        ("small = {", "small = [", "12: not Python"),
        ("    audit = {", "    audit = [], {", "13: Chunks.audit: found a list of 2, here belong probe and canary"),
        ('"probe":', '"prob":', "13: Chunks.audit.prob: no such trunk of an audit; possible: probe, canary; did you"),
        ('"epochs": 2}', '"epoch": 2}', "13: Chunks.audit.probe.epoch: no such knob; possible: epochs, chunk, rate"),
        ('"epochs": 2}', '"epochs": 0}', "13: Chunks.audit.probe.epochs: found the number 0, it takes a whole numbe"),
        ('"epochs": 2}', '"chunk": None}', "13: Chunks.audit.probe.chunk: found nothing; an audit takes the most that"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scale", ["laptop", "eight_h100"])
def test_a_mistake_in_the_sizes(
    write: WriteFiles, load_text: LoadText, old: str, new: str, message: str, scale: str
) -> None:
    """At whatever scale: who writes a technique sees the mistake at the first try, not when somebody else is small."""
    sized(write({FILE: CHUNKS}))(old, new)
    with pytest.raises(UserError) as error:
        load_text(MINE, scale)
    assert str(error.value).startswith(f"{FILE}:{message}")


def test_a_product_that_the_knob_does_not_take(write: WriteFiles, load_text: LoadText) -> None:
    sized(write({FILE: CHUNKS}))('"chunk": 64', '"chunk": {"times": 2}')
    with pytest.raises(UserError, match=rf"^{FILE}:12: Chunks\.small\.laptop\.chunk: times multiplies a number, and"):
        load_text(MINE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sizes: labtop\n", "tiny.yaml:2: sizes: found the text 'labtop', it takes the scale whose sizes of techniques "
         "this one takes; possible: eight_h100, laptop, tiny; did you mean 'laptop'?"),
        ("sizes: {ema: 3}\n", "tiny.yaml:2: sizes: found a mapping (ema), it takes the scale"),
        ("size: laptop\n", "tiny.yaml:2: size: no such entry; possible: shape, budget, sizes, techniques, machine,"),
    ],
)  # fmt: skip
def test_a_mistake_in_whose_sizes_a_scale_takes(
    write: WriteFiles, load_text: LoadText, text: str, message: str
) -> None:
    write({"recipes/scales/tiny.yaml": "machine: {processes: 1, gpus: 0, cpus: 1, corpus: embedded}\n" + text})
    with pytest.raises(UserError) as error:
        load_text("base: base\nquestion: Q\n", "tiny")
    assert message in str(error.value)


def test_what_an_audit_cannot_make_small_is_refused(write: WriteFiles, load_text: LoadText) -> None:
    write_it = sized(write({FILE: CHUNKS}))
    write_it("    audit = ", "    other = ")
    with pytest.raises(UserError) as error:
        refuse_unsized(load_text(MINE).arms.values())
    assert str(error.value) == (
        f"{FILE}:8: Chunks.epochs: a whole number, and the class does not say how small it is in an audit; write "
        'audit = {"probe": {"epochs": ...}, "canary": {"epochs": ...}}, with {} for what may stay as it is'
    )
    write_it("    other = ", "    audit = {}  # ")
    refuse_unsized(load_text(MINE).arms.values())


REAL = catalog.read()


@pytest.mark.parametrize("technique", list(REAL.techniques()), ids=lambda one: f"{one.family}.{one.name}")
def test_the_sizes_of_every_technique(technique: catalog.Technique) -> None:
    """They can be read; and each technique that an audit makes small says how."""
    pick = Pick(technique=technique, knobs={})
    with_sizes(NOTHING, "laptop", replace(NOTHING, picks={"any": pick}), Reader(REAL, multiplies=True))
    if technique.family in ("evaluation", "adaptation"):
        refuse_unsized([pick])
    else:
        assert technique.audit is None, "an audit makes evaluations and adaptations small, and nothing else"


def test_the_scales_of_the_checkout_name_no_technique() -> None:
    """What is small about a technique stands in its file; scales keep machines, budgets and shapes."""
    for scale in REAL.scales:
        assert "techniques" not in read(REAL.root / "recipes" / "scales" / f"{scale}.yaml").entries("entries")


@pytest.mark.parametrize("scale", ["laptop", "smoke"])
def test_a_copy_of_a_small_scale_under_another_name_is_as_small(tmp_path: Path, scale: str) -> None:
    (tmp_path / "scales").mkdir()
    text = (REAL.root / "recipes" / "scales" / f"{scale}.yaml").read_text()
    (tmp_path / "scales" / "copied.yaml").write_text(text)
    path = tmp_path / "leaky_cosine.yaml"
    path.write_text((REAL.root / "recipes" / "leaky_cosine.yaml").read_text())
    copied, own = load(path, "copied"), load(path, scale)
    assert (copied.sections, copied.picks, copied.arms) == (own.sections, own.picks, own.arms)
