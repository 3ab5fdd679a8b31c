"""The entry names what was chosen and nothing else, reads well and runs; the trunk's text leaves scoring out."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.program.recipe import Choices, entry_program, load, program, resolved_yaml, trunk_text

LoadText = Callable[..., Choices]

ROOT = Path(__file__).parents[2]
REAL = [
    (path, scale.stem)
    for path in sorted((ROOT / "recipes").glob("*.yaml"))
    for scale in sorted((ROOT / "recipes" / "scales").glob("*.yaml"))
]

CHILD = """
question: Does it?
base: base
"""


def run(text: str, folder: Path, root: Path | None = None) -> str:
    """What the program prints, alone in a folder or with ``root`` on the path."""
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(text)
    environment = {"PYTHONPATH": str(root)} if root else {"PYTHONSAFEPATH": "1"}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_text(load_text: LoadText) -> None:
    text = """
question: Does it?
source: "PR #2"
base: base
shape: {num_layers: 123456, tied: false}
feed_forward: {leaky: {slope: 1e-5, sign: minus, rates: {up: 2, "a \\"b\\"": 0.5}}}
optimizer: {sgd: {phases: [linear, {cosine: {steps: 7}}], then: {linear: {steps: 12345}}}}
arms: {plain: nothing, sgd: {sgd: {epochs: 20}}}
"""
    assert entry_program(load_text(text)) == (
        '''"""mine at scale laptop, against base.

Does it?

Source: PR #2
"""

from jobs.recipe import Budget, Recipe, Shape
from jobs.techniques.adaptation.nothing import Nothing
from jobs.techniques.adaptation.sgd import SgdAdaptation
from jobs.techniques.averaging.ema import Ema
from jobs.techniques.embedding.hash import Hash
from jobs.techniques.embedding.smear import Smear
from jobs.techniques.evaluation.aligned import Aligned
from jobs.techniques.feed_forward.leaky import Leaky
from jobs.techniques.optimizer.sgd import Sgd
from jobs.techniques.schedule.cosine import Cosine
from jobs.techniques.schedule.linear import Linear
from jobs.train import main

RECIPE = Recipe(
    name="mine",
    scale="laptop",
    shape=Shape(num_layers=123_456, tied=False),
    budget=Budget(train_seconds=60.0, batch_tokens=10),
    feed_forward=Leaky(slope=1e-05, sign="minus", rates={"up": 2.0, 'a "b"': 0.5}),
    optimizer=Sgd(schedule=Cosine(steps=5, final=0.1), then=Linear(steps=12_345), phases=(Linear(), Cosine(steps=1))),
    embedding=(Hash(), Smear()),
    averaging=Ema(),
    evaluation=Aligned(),
    arms={
        "plain": Nothing(),
        "sgd": SgdAdaptation(epochs=2),
    },
)

if __name__ == "__main__":
    main(RECIPE, __file__)
'''
    )


def test_it_makes_the_recipe_that_was_chosen(load_text: LoadText, checkout: Path) -> None:
    choices = load_text(CHILD + "averaging: none\nembedding: [smear]\nshape: {width: 2}\n")
    expected = (
        "Recipe(name='mine', scale='laptop', shape=Shape(num_layers=9, width=2.0, tied=True), "
        "budget=Budget(train_seconds=60.0, batch_tokens=10), feed_forward=Relu(hidden_multiple=3.0, layers=(), "
        "names=('a', 'b'), rates=None, betas=(0.9, 0.95), limit=None), "
        "optimizer=Sgd(rate=0.1, schedule=Cosine(steps=5, final=0.1), then=None, phases=()), embedding=(Smear(),), "
        "averaging=None, evaluation=Aligned(length=None), arms={'plain': Nothing()})\n"
    )
    assert run(entry_program(choices), checkout / "entry", root=checkout) == expected
    assert run(program(choices), checkout / "alone folder") == expected


def test_a_knob_at_its_default_is_not_written(load_text: LoadText) -> None:
    same = load_text(CHILD + "feed_forward: {relu: {hidden_multiple: 2, layers: [], names: [a, b], limit: none}}\n")
    assert "feed_forward=Relu()," in entry_program(same)
    assert "shape=Shape()," in entry_program(load_text(CHILD + "shape: {num_layers: 9}\n"))


def test_a_question_with_quotes_and_backslashes(load_text: LoadText) -> None:
    question = (
        r'Is "quoted" or """tripled""" or \n escaped \ text ü² '
        + "very " * 50
        + "long, and http://x/"
        + "y" * 150
        + '"'
    )
    quoted = question.replace("'", "''")
    text = program(load_text(f"base: base\nquestion: '{quoted}'\n"))
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring is not None and " ".join(question.split()) in docstring.replace("\n", " ")


def test_long_values_are_laid_out_one_a_line(load_text: LoadText) -> None:
    rates = ", ".join(f"name_{n}: {n}.5" for n in range(12))
    text = entry_program(load_text(CHILD + f"feed_forward: {{leaky: {{slope: 1, rates: {{{rates}}}}}}}\n"))
    assert '    feed_forward=Leaky(\n        slope=1.0,\n        rates={\n            "name_0": 0.5,\n' in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    "change",
    [
        "arms: {other: {sgd: {epochs: 3}}}",
        "evaluation: {aligned: {length: 7}}",
        "question: Another?",
        "source: elsewhere",
        "averaging: {ema: {decay: 0.997}}",
    ],
)
def test_what_comes_after_the_trunk_does_not_change_its_text(load_text: LoadText, change: str) -> None:
    ours, other = (
        load_text("base: base\nquestion: Q\n"),
        load_text("base: base\n" + ("" if change.startswith("question") else "question: Q\n") + change),
    )
    assert trunk_text(ours) == trunk_text(other)


@pytest.mark.parametrize(
    "change",
    ["shape: {num_layers: 3}", "averaging: none", "feed_forward: {relu: {limit: 3}}", "embedding: [smear, hash]"],
)
def test_what_decides_the_trunk_changes_its_text(load_text: LoadText, change: str) -> None:
    assert trunk_text(load_text(CHILD)) != trunk_text(load_text(CHILD + change))


def test_a_copy_under_another_name_has_the_same_trunk(checkout: Path) -> None:
    folder = checkout / "recipes"
    (folder / "copy.yaml").write_text((folder / "base.yaml").read_text())
    first, second = (load(folder / f"{name}.yaml", "laptop", checkout) for name in ("base", "copy"))
    assert trunk_text(first) == trunk_text(second) and program(first) != program(second)


def test_a_change_in_the_code_of_training_changes_the_trunk_s_text(checkout: Path) -> None:
    choices = load(checkout / "recipes" / "base.yaml", "laptop", checkout)
    before = trunk_text(choices)
    path = checkout / "jobs" / "techniques" / "averaging" / "ema.py"
    path.write_text(path.read_text().replace("0.997", "0.9970"))
    assert trunk_text(choices) != before


def test_every_real_entry_has_the_layout_of_the_formatter(tmp_path: Path) -> None:
    for path, scale in REAL:
        (tmp_path / f"{path.stem}_{scale}.py").write_text(entry_program(load(path, scale)))
    for command in (["format", "--check"], ["check"]):
        line = [
            str(Path(sys.executable).with_name("ruff")),
            *command,
            "--config",
            str(ROOT / "pyproject.toml"),
            "--quiet",
        ]
        done = subprocess.run([*line, "--no-cache", str(tmp_path)], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.iterdir())) == len(REAL) >= 6


# A field that need not be named


def depth(folder: Path, line: str) -> Choices:
    """The naive baseline with ``line`` in it."""
    path = folder / "mine.yaml"
    path.write_text(f"question: How deep?\nbase: naive_baseline\n{line}\n")
    return load(path, "smoke")


def test_a_default_is_not_printed_and_is_known_all_the_same(tmp_path: Path) -> None:
    said, unsaid = depth(tmp_path, "depth: once"), depth(tmp_path, "")
    assert entry_program(said) == entry_program(unsaid) and "depth" not in entry_program(unsaid)
    assert trunk_text(said) == trunk_text(unsaid)
    assert unsaid.picks["depth"] == said.picks["depth"] and "depth: once\n" in resolved_yaml(unsaid)


def test_another_choice_is_printed_and_changes_the_trunk(tmp_path: Path) -> None:
    choices = depth(tmp_path, "depth: {recurrent: {first_layer: 1, last_layer: 2, extra_passes: 2}}")
    entry = entry_program(choices)
    assert "\n    depth=RecurrentDepth(first_layer=1, last_layer=2),\n" in entry
    assert "\nfrom jobs.techniques.depth.recurrent import RecurrentDepth\n" in entry
    assert trunk_text(choices) != trunk_text(depth(tmp_path, ""))


def test_a_field_that_takes_one_does_not_take_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="depth: every recipe needs one; possible: once, recurrent"):
        depth(tmp_path, "depth: none")
