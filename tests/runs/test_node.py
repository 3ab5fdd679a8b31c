"""Which machine measured what: read with the run, and held against each other where step times stand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.files import write_record
from platform.runs.node import Card, Checkout, Node, Probe, apart, read_node
from platform.runs.results import read_run
from tests.nodes import node, probe

MakeRun = Callable[..., Any]
SCORES = {"no_ttt": {1337: 2.30, 42: 2.31}, "sgd": {1337: 2.27, 42: 2.28}}


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    card = Card(
        name="NVIDIA H100 80GB HBM3",
        sm_mhz=1980.0,
        memory_mhz=None,
        max_sm_mhz=1980.0,
        max_memory_mhz=2619.0,
        power_limit_watts=700.0,
    )
    checkout = Checkout(commit="c" * 40, diff_sha256="d" * 64, changed_files=2, new_files=1)
    made = replace(node("a"), cards=(card,) * 8, driver="570.86.15", cuda="12.8", checkout=checkout)
    write_record(tmp_path / "node.json", made)
    assert read_node(tmp_path / "node.json") == made
    assert str(made).startswith("a (8x NVIDIA H100 80GB HBM3, driver 570.86.15), probe 800 TFLOP/s ±")
    assert str(checkout) == f"commit {'c' * 12} + 3 changed files"
    assert str(replace(checkout, changed_files=0, new_files=0)) == f"commit {'c' * 12}"
    assert read_node(tmp_path / "none.json") is None


def test_a_probe_is_as_fast_as_its_slowest_card() -> None:
    made = Probe(
        time="",
        launch="",
        seconds=1,
        device="cuda",
        dtype="bfloat16",
        matmul_tflops=((800, 810, 790), (700, 702, 698)),
        copy_gb_per_s=((3000, 3000), (2900, 2920)),
    )
    assert (made.tflops, made.gb_per_s) == (700, 2910)
    assert str(made) == "probe 700 TFLOP/s ±1%, 2,910 GB/s, of the slowest of 2 cards; 800 TFLOP/s of the fastest"
    assert "slowest" not in str(probe(800.0))


@pytest.mark.parametrize(
    ("others", "share"),
    [
        ([node("a", 800)], 0.0),
        ([node("a", 800), node("b", 800)], 0.0),
        ([node("a", 800), node("b", 840)], 0.05),
        ([node("a", 800), node("b", 720), node("c", 760)], 800 / 720 - 1),
        ([node("a", 800), node("a", 600)], 1 / 3),  # the same machine on a hot day
        ([node("a", 800, gb_per_s=3000), node("b", 800, gb_per_s=2000)], 0.5),
        ([node("a", None), node("a", None)], 0.0),
        ([node("a", 800), node("b", None)], None),
        ([node("a", 800), replace(node("b", 800), probe=replace(probe(800), dtype="float32"))], None),
    ],
)
def test_how_far_apart_machines_are(others: list[Node], share: float | None) -> None:
    assert apart(others) == (None if share is None else pytest.approx(share))


def test_a_run_knows_who_trained_and_who_scored(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    assert read_run(folder.path).nodes == {} == read_run(folder.path).scored_on, "an older run"
    trial = folder.plan.trial(42)
    write_record(trial.trunk.node, node("a"))
    write_record(trial.paths.arm("sgd").node, node("b"))
    run = read_run(folder.path)
    assert run.nodes == {42: node("a")} and run.scored_on == {("sgd", 42): node("b")}
    rows = {(row["arm"], row["seed"]): (row["trained_node"], row["node"]) for row in run.rows()}
    assert rows["sgd", 42] == ("a", "b") and rows["no_ttt", 42] == ("a", None) and rows["sgd", 1337] == (None, None)
    write_record(trial.trunk.record, replace(folder.trunk_record(42), trunk_sha256="another"))
    assert read_run(folder.path).nodes == {}, "another training than the one that was scored"


def test_a_broken_record_costs_a_note(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    folder.plan.trial(42).trunk.node.write_text('{"hostname": 7}')
    run = read_run(folder.path)
    assert len(run.arms["sgd"]) == 2 and run.nodes == {} and "node.json: not a Node" in run.notes[0]
