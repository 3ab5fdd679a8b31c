"""Whose fault it is: a user's is told in one line with exit status 2, one of the code keeps its traceback."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from jobs.audit import command
from jobs.audit.command import audit
from jobs.contract.errors import Diverged, Refused
from jobs.size import print_size
from jobs.train import main
from tests.jobs import tiny

MAIN = {"train": main, "audit": audit, "size": print_size}
BROKEN = {"train": "job_of", "audit": "audited", "size": "tensor_kinds"}  # a function that each of them calls
FOLDERS = ("DATA_PATH", "TOKENIZER_PATH", "OUTPUT_PATH")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RANK", "WORLD_SIZE", "ARMS", "SEED", "MAX_WALLCLOCK_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    for name in FOLDERS:
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "argv", ["train_gpt.py"])


def raising(error: Exception) -> Any:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    return broken


@pytest.mark.parametrize("name", MAIN)
def test_a_value_error_of_the_code_is_not_taken_for_a_mistake_of_the_user(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules[MAIN[name].__module__], BROKEN[name], raising(ValueError("int('x')")))
    with pytest.raises(ValueError, match=r"int\('x'\)"):
        MAIN[name](tiny.base(), "train_gpt.py")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", MAIN)
@pytest.mark.parametrize("kind", [Refused, Diverged])
def test_what_a_job_says_itself_is_one_line(
    name: str, kind: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind is Diverged and name != "train":
        pytest.skip("only a job trains")
    monkeypatch.setattr(sys.modules[MAIN[name].__module__], BROKEN[name], raising(kind("no such thing")))
    with pytest.raises(SystemExit) as ended:
        MAIN[name](tiny.base(), "train_gpt.py")
    assert ended.value.code == (2 if kind is Refused else 1)
    begin = "train_gpt.py" if name == "train" else "tiny"
    assert capsys.readouterr().err == f"{begin}: no such thing\n"


def test_a_technique_that_is_written_wrongly_keeps_its_traceback() -> None:
    class Foreign:
        def build(self, shape: Any, layer: int) -> nn.Module:
            return nn.Sequential(nn.Linear(shape.model_dim, shape.model_dim))

    with pytest.raises(ValueError, match=r"torch\.nn\.Linear"):
        print_size(replace(tiny.base(), feed_forward=Foreign()), "size.py")


class Nobody:
    """A second rank that is never asked."""

    def __init__(self, *_: Any) -> None: ...
    def __enter__(self) -> "Nobody":
        return self

    def __exit__(self, *_: object) -> None: ...
    def agreements(self, evaluations: Any) -> dict[str, Any]:
        assert not evaluations
        return {}


def test_an_arm_whose_code_is_broken_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The audit goes on with the others; a mistake in the recipe has no traceback even here."""
    monkeypatch.setattr(command, "Partner", Nobody)
    recipe = replace(tiny.base(), arms={"plain": tiny.technique("adaptation", "no_adaptation")})
    for number, error in enumerate((ValueError("int('x')"), Refused("a knob"))):
        monkeypatch.setattr(command, "examined", raising(error))
        folder = tmp_path / str(number)
        folder.mkdir()
        found = command.audited(recipe, ("plain",), "audit.py", folder, seed=1)
        assert found["arms"]["plain"]["verdict"] == f"failed: {type(error).__name__}: {error}"
        assert ("Traceback" in capsys.readouterr().err) == (type(error) is ValueError)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "SEED", "MAX_WALLCLOCK_SECONDS"])
def test_a_variable_that_is_no_number(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "eight")
    with pytest.raises(SystemExit) as ended:
        main(tiny.base(), "train_gpt.py")
    assert ended.value.code == 2 and f"{name}='eight' in the environment is not" in capsys.readouterr().err
