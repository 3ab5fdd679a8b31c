"""The benchmark of a card, run where there is none: all of its parts, their figures, its budget and its failures."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.kernels import trial
from jobs.packing import Packer
from platform.paths import ROOT
from tests.benchmarks import card, gpu
from tests.benchmarks.card import PARTS, Bench

CPU = torch.device("cpu")
BENCH = Bench(scale="smoke", device=CPU, steps=2)
SLEEP = 0.05
COMMAND = [sys.executable, "-m", "tests.benchmarks.gpu"]


def command(*options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*COMMAND, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_all_of_it_runs_without_a_card(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    done = command("--scale", "smoke", "--device", "cpu", "--steps", "2", "--minutes", "60", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert found["machine"]["card"] == "cpu" and found["machine"]["packages"]["torch"] == torch.__version__
    assert found["command"][1:3] == ["-m", "tests.benchmarks.gpu"] and found["scale"] == "smoke"
    parts = {one["part"]: one for one in found["parts"]}
    assert list(parts) == list(PARTS), "in their order"
    assert {one["status"] for one in parts.values()} == {"measured"}
    assert 0 < sum(one["seconds"] for one in parts.values()) <= found["seconds"] and found["minutes"] == 60
    rows = {name: one["figures"] for name, one in parts.items()}

    for name in card.RECIPES_STEPPED:
        (row,) = rows[f"steps of {name}"]
        assert row["recipe"] == name and row["kernel"] == "sdpa" and row["steps"] == 2
        assert row["step_ms_low"] <= row["step_ms"] <= row["step_ms_high"]
        assert row["tokens_per_second"] == pytest.approx(1000 * row["tokens"] / row["step_ms"])
        assert row["peak_share"] is None and row["peak_bytes"] is None, "there is no card"
        assert [one["kernel"] for one in rows[f"other kernels of {name}"]] == ["fa4", "fa3", "fa2", "cudnn"]
    calls = {row["call"] for row in rows["kernels"]}
    assert len(rows["kernels"]) == 5 * len(calls) and {n for row in rows["kernels"] for n in row["recipes"]} == {
        *card.RECIPES
    }
    assert all((row["ms"] is None) == bool(row["reason"]) for row in rows["kernels"])
    assert all(row["ms"] > 0 for row in rows["kernels"] if row["kernel"] == "sdpa")
    assert [row["cache"] for row in rows["first step"]] == ["empty", "filled"]
    for row in rows["first step"]:
        assert row["process_seconds"] > row["kernel_trial_seconds"] + row["first_step_seconds"] > 0
    for name in ("sliding", "score_first", "pre_eval", "document_lora"):
        (row,) = rows[name]
        assert row["targets"] == card.TARGETS_ON_A_CPU
        assert row["targets_per_second"] == pytest.approx(row["targets"] / row["seconds"])
    assert rows["score_first"][0]["chunks_learned"] == 3, "of four: behind the last there is nothing to score"
    assert rows["packing"][0]["artifact_bytes"] > rows["packing"][0]["parameters"] // 4
    seconds = [row["seconds"] for name in ("sliding", "score_first", "pre_eval", "packing") for row in rows[name]]
    assert len(set(seconds)) == len(seconds)


def slower(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        time.sleep(SLEEP)
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("part", "place", "name", "figure"),
    [
        ("steps of naive_baseline", card, "take_step", "step_ms"),
        ("steps of gptq_lite_414", card, "take_step", "step_ms_low"),
        ("first step", card, "take_step", "first_step_seconds"),
        ("first step", card, "select", "kernel_trial_seconds"),
        ("sliding", card, "score_stream", "seconds"),
        ("score_first", card, "score_stream", "seconds"),
        ("document_lora", card, "score_documents", "seconds"),
        ("packing", Packer, "pack", "seconds"),
    ],
)
def test_a_figure_is_what_took_the_time(
    part: str, place: Any, name: str, figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is timed is made slower, and the figure has it."""
    monkeypatch.setattr(place, name, slower(getattr(place, name)))
    (row,) = PARTS[part].measure(BENCH)
    assert row[figure] >= SLEEP * (1000 if "_ms" in figure else 1), row


def test_the_time_of_a_kernel_and_of_a_pass_are_what_they_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "RECIPES", ("naive_baseline",))
    monkeypatch.setitem(trial.KERNELS, "fa4", slower(trial.KERNELS["sdpa"]))
    monkeypatch.setattr(trial, "disagreement", lambda *_: 0.0)
    by_name = {row["kernel"]: row for row in card.kernels(BENCH)}
    assert by_name["fa4"]["ms"] >= 1000 * SLEEP and not by_name["fa4"]["reason"]
    adaptation = type(BENCH.recipe("leaky_cosine").arms["adamw_30"])
    monkeypatch.setattr(adaptation, "adapt", slower(adaptation.adapt))
    assert card.pre_eval(BENCH)[0]["seconds"] >= SLEEP


def test_the_newest_recipe_is_the_one_of_the_latest_date() -> None:
    assert card.newest() == "full_gptq_reserve", "of 2026-03-29"


# --- time and failures


class Stub(gpu.Bencher):
    """Measures nothing, or fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def measure(self, part: str, limit_seconds: float) -> card.Figures:
        self.asked.append(part)
        if part == "sliding":
            raise gpu.NotMeasured("RuntimeError: out of memory")
        return [{"one": 1}]


def test_what_does_not_fit_is_left_out_and_the_rest_goes_on() -> None:
    """In 45 seconds a part that is taken to need 60 is not begun, and a smaller one behind it is."""
    bencher, told = Stub(), []
    parts = ["kernels", "sliding", "other kernels of naive_baseline", "document_lora"]
    found = gpu.measured(parts, BENCH, bencher, seconds=45, told=told.append)
    assert found == told and bencher.asked == ["kernels", "sliding", "document_lora"]
    assert [one.status for one in found] == ["measured", "failed", "left out", "measured"]
    assert found[1].reason == "RuntimeError: out of memory" and found[2].reason.startswith("it is taken to need 60 s")
    assert "left out" in gpu.shown(found[2]) and "out of memory" in gpu.shown(found[1])
    assert not gpu.measured(parts, BENCH, Stub(), seconds=0, told=told.append)[0].figures


class Dying(Bench):
    """Ends its process, hangs or fails."""

    def recipe(self, name: str) -> Any:
        if name == "leaky_cosine":
            os._exit(9)
        if name == "legal_leaky":
            time.sleep(600)
        return super().recipe(name)


def test_a_part_that_takes_its_process_with_it_or_hangs_is_told_and_the_next_is_measured() -> None:
    bencher = gpu.Bencher(Dying(scale="smoke", device=CPU))
    try:
        with pytest.raises(gpu.NotMeasured, match="its process ended with status 9"):
            bencher.measure("sliding", 300)
        with pytest.raises(gpu.NotMeasured, match="more than the 3 s that were left"):
            bencher.measure("score_first", 3)
        assert bencher.measure("packing", 300)[0]["artifact_bytes"] > 0
    finally:
        bencher.end()
    broken = gpu.Bencher(replace(BENCH, scale="no_such_scale"))
    try:
        with pytest.raises(gpu.NotMeasured, match=r"UserError: .*no scale 'no_such_scale'"):
            broken.measure("packing", 300)
    finally:
        broken.end()


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--json", "x.json"], 2, "no GPU here: nothing measured"),
        ([], 0, "no GPU here: nothing measured"),  # as a part of `make bench`
        (["--parts", "kernel"], 2, "there is no part 'kernel'; possible: kernels, "),
    ],
)
def test_mistakes_are_one_message(
    options: list[str],
    status: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", *options])
    try:
        found = gpu.main()
    except SystemExit as end:
        assert isinstance(end.code, int)
        found = end.code
    told = capsys.readouterr()
    assert found == status and says in told.out + told.err and not list(tmp_path.iterdir())
