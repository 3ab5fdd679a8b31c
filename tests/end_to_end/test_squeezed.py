"""Squeezed and packed, every recipe's program is what the readable one is, and gives the same bits."""

import ast
import json
import subprocess
import sys
import textwrap
from functools import lru_cache
from pathlib import Path

import pytest

from jobs.contract.assignment import Assignment
from platform.program.recipe import load, program
from platform.program.squeeze import Form, squeeze
from tests.finished import run_here, small_data

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
MOST_LINES = 1800  # the challenge holds its own starter scripts to 1,500, which records outgrow


@lru_cache
def real_program(path: Path, scale: str = "eight_h100") -> str:
    return program(load(path, scale))


@lru_cache
def squeezed_program(path: Path) -> str:
    return squeeze(real_program(path))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_s_program_is_smaller_and_short_enough(path: Path) -> None:
    readable = real_program(path)
    squeezed = squeezed_program(path)
    assert squeezed.count("\n") < MOST_LINES
    assert len(squeezed.encode()) < 0.7 * len(readable.encode())
    assert squeeze(squeezed) == squeezed
    assert ast.get_docstring(ast.parse(squeezed)) == ast.get_docstring(ast.parse(readable))
    assert "Protocol" not in squeezed or "runtime_checkable" in squeezed


def test_every_squeezed_program_imports_alone_and_holds_the_same_recipe(tmp_path: Path) -> None:
    for path in RECIPES:
        (tmp_path / f"{path.stem}.readable.py").write_text(real_program(path))
        (tmp_path / f"{path.stem}.squeezed.py").write_text(squeezed_program(path))
    code = """
        import runpy, sys
        from pathlib import Path
        for path in sorted(Path().glob("*.squeezed.py")):
            squeezed = runpy.run_path(str(path), run_name="squeezed")
            readable = runpy.run_path(str(path).replace("squeezed", "readable"), run_name="readable")
            assert repr(squeezed["RECIPE"]) == repr(readable["RECIPE"]), path
            print(path.name)
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(RECIPES)


def test_a_run_of_each_form_gives_the_same_bits(tmp_path: Path) -> None:
    """Trained, packed and scored on the CPU, adaptation included; the forms differ in the bytes of their code alone."""
    data, tokenizer = small_data(tmp_path / "data")
    readable = program(load(ROOT / "recipes" / "legal_leaky.yaml", "smoke"))
    for form in Form:
        path = tmp_path / f"{form}.py"
        path.write_text(form.of(readable))
        assignment = Assignment(
            seed=7,
            data_path=data,
            tokenizer_path=tokenizer,
            output_path=tmp_path / form,
            trunk_path=tmp_path / form / "trunk",
            arms=(),
            max_wallclock_seconds=None,
        )
        run_here(path, assignment)

    def told(form: Form, arm: str) -> dict[str, object]:
        result = json.loads((tmp_path / form / arm / "result.json").read_text())
        trunk = {name: result["trunk"][name] for name in ("trunk_sha256", "steps")}
        return trunk | {name: result[name] for name in ("val_loss_nats", "val_bpb", "aligned_val_bpb")}

    def code_bytes(form: Form) -> int:
        found = json.loads((tmp_path / form / "no_ttt" / "result.json").read_text())["code_bytes"]
        assert found == (tmp_path / f"{form}.py").stat().st_size == len(form.of(readable).encode())
        return int(found)

    for arm in ("no_ttt", "score_first"):
        assert told(Form.READABLE, arm) == told(Form.SQUEEZED, arm) == told(Form.PACKED, arm)
    assert code_bytes(Form.PACKED) < 0.5 * code_bytes(Form.SQUEEZED) < 0.5 * code_bytes(Form.READABLE)


def test_the_same_text_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    text = real_program(RECIPES[0])
    (tmp_path / "train_gpt.py").write_text(text)
    for form, seed in ((Form.SQUEEZED, "1"), (Form.PACKED, "2")):
        options = [f"--{form}"] if form is Form.PACKED else []
        line = [sys.executable, "-m", "platform.squeeze", str(tmp_path / "train_gpt.py"), *options]
        done = subprocess.run(line, cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=900)
        expected = form.of(text)
        assert done.stdout == expected and f"{len(expected.encode()):,} bytes" in done.stderr
