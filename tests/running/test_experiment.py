"""From a recipe to a plan: two launches at once, and what a run has decided."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.paths import ROOT
from platform.running.experiment import Request, prepare
from platform.runs.plan import read
from tests.finished import small_data

RECIPE = "question: Two at once?\nbase: naive_baseline\n"


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    data, tokenizer = small_data(tmp_path / "data")
    (tmp_path / "twice.yaml").write_text(RECIPE)
    return Request(scale="smoke", runs=tmp_path / "runs", data=data, tokenizer=tokenizer)


def test_two_launches_at_once_write_one_run(request_: Request, tmp_path: Path) -> None:
    """Program, recipe and plan are written again and again by both; neither meets half a file of the other."""
    program = f"""
import sys
from pathlib import *
from platform.program.squeeze import Form
from platform.running.experiment import Request, prepare
experiment = prepare(Path({str(tmp_path / "twice.yaml")!r}), {request_!r})
for seed in range(int(sys.argv[1]), int(sys.argv[1]) + 100):
    for path in (experiment.draft.paths.program, experiment.draft.paths.recipe):
        path.unlink(missing_ok=True)
    experiment.planned((seed,))
""".replace("form=<Form.READABLE: 'readable'>", "form=Form.READABLE")
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(first)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for first in (0, 1000)
    ]
    assert [(process.wait(), process.communicate()[1]) for process in started] == [(0, "")] * 2
    experiment = prepare(tmp_path / "twice.yaml", request_)
    assert len(read(experiment.draft.run_path).seeds) == 200
    assert {path.name for path in experiment.draft.run_path.iterdir()} == {
        *("plan.json", "recipe.yaml", "train_gpt.py", ".lock")
    }


def test_arms_of_a_run_that_it_does_not_have(request_: Request, tmp_path: Path) -> None:
    experiment = prepare(tmp_path / "twice.yaml", request_)
    experiment.planned((1337,))
    wrong = Request(runs=tmp_path / "runs", arms=("no_tt",), data=request_.data, tokenizer=request_.tokenizer)
    with pytest.raises(UserError, match="no arm 'no_tt'; possible: no_ttt; did you mean 'no_ttt'"):
        prepare(experiment.draft.run_path, wrong)


def test_a_part_of_the_challenge_s_validation_text_is_refused_before_training(
    request_: Request, tmp_path: Path
) -> None:
    """By the name of the folder: its headers fit, and so would every score on it, in a unit of its own."""
    assert request_.data is not None
    named = request_.data.rename(tmp_path / "fineweb10B_sp1024")
    missing = prepare(tmp_path / "twice.yaml", replace(request_, data=named)).missing
    assert missing is not None and "this data set has 62,021,632: a part of the text" in missing
    run = prepare(tmp_path / "twice.yaml", replace(request_, data=named)).planned((1,)).run_path
    continued = prepare(run, Request(runs=request_.runs)).missing
    assert continued is not None and "a part of the text" in continued, "nor is a run continued on it"
    other = named.rename(tmp_path / "my_text")
    assert prepare(tmp_path / "twice.yaml", replace(request_, data=other)).missing is None
