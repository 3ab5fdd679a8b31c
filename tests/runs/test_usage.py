"""What the GPUs of a run were used for: phases and histories written by hand, and every case in which it is unknown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.contract.events import PhaseChange, to_line
from jobs.contract.files import write_record
from platform.runs.plan import NOT_STORED
from platform.runs.results import read_run
from platform.runs.usage import KINDS, OTHER, Usage, usage
from tests.history import History

MakeRun = Callable[..., Any]  # of tests/conftest.py
ROOT = Path(__file__).resolve().parents[2]


def metrics(path: Path, *changes: tuple[str, float]) -> None:
    """A metrics.jsonl with these phases: a name begins one, a name behind a slash ends it."""
    events = (
        PhaseChange(phase=name.strip("/"), state="end" if name[0] == "/" else "start", seconds=seconds)
        for name, seconds in changes
    )
    path.write_text("".join(map(to_line, events)))


def scored(
    make_run: MakeRun, seeds: tuple[int, ...] = (1,), planned: tuple[int, ...] | None = None, **machine: Any
) -> Any:
    """A run whose seeds trained 60 s (4 of them compiling), packed 3, adapted 20, read for 1 and scored 16."""
    folder = make_run({"no_ttt": dict.fromkeys(seeds, 1.25), "sgd": {}}, seeds=planned or seeds)
    write_record(folder.plan.paths.plan, replace(folder.plan, **machine), but=NOT_STORED)
    for seed in seeds:
        trial = folder.plan.trial(seed)
        phases = {"setup": 1.0, "train": 59.0, "compile": 4.0, "pack": 3.0}
        trunk = replace(folder.trunk_record(seed), phases=phases)
        write_record(trial.trunk.record, trunk)
        changes = (("setup", 0), ("/setup", 1), ("train", 1), ("compile", 2), ("/compile", 6), ("/train", 60))
        metrics(trial.trunk.metrics, *changes, ("pack", 60), ("/pack", 63))
        folder.result(seed, "no_ttt", 1.25, trunk=trunk, phases={"load": 1.0, "adapt": 20.0, "score": 16.0})
        changes = (("load", 0), ("/load", 1), ("adapt", 1), ("/adapt", 21), ("score", 21), ("/score", 37))
        metrics(trial.paths.arm("no_ttt").metrics, *changes)
    return folder


def used(folder: Any) -> Usage:
    found = usage(read_run(folder.path))
    assert found is not None
    return found


WORK = {"training": 56, "adapting": 20, "scoring": 17, "compiling": 4, "packing": 3}  # 100 s in all


def test_each_second_of_a_node_is_of_one_kind_and_times_its_gpus(make_run: MakeRun) -> None:
    folder = scored(make_run, gpus=8)
    history = History(folder.path)
    history.begun(1, at=0)
    history.ended(1, at=130)
    found = used(folder)
    assert found.seconds == {kind: 8 * seconds for kind, seconds in (WORK | {"waiting": 30}).items()}
    assert found.usd == pytest.approx({kind: 24 / 3600 * seconds for kind, seconds in (WORK | {"waiting": 30}).items()})
    assert str(found) == (
        "GPU seconds: training 448 (0.37 USD), adapting 160 (0.13 USD), scoring 136 (0.11 USD), compiling 32 "
        "(0.03 USD), packing 24 (0.02 USD), waiting 240 (0.20 USD)"
    )


def test_failed_attempts_and_seeds_without_a_result_wait(make_run: MakeRun) -> None:
    folder = scored(make_run, planned=(1, 2), gpus=8)
    history = History(folder.path)
    history.begun(1, at=0)
    history.retried(1, at=50)
    history.again(1, at=60)
    history.ended(1, at=190)
    history.begun(2, at=0)
    history.failed(2, at=70)
    assert used(folder).seconds == {kind: 8 * seconds for kind, seconds in (WORK | {"waiting": 150}).items()}


def test_without_gpus_it_is_told_in_seconds_of_the_node(make_run: MakeRun) -> None:
    folder = scored(make_run)
    history = History(folder.path)
    history.begun(1, at=0, usd=None)
    history.ended(1, at=130)
    found = used(folder)
    assert (found.unit, found.seconds, found.usd) == ("seconds of the node", WORK | {"waiting": 30}, None)
    assert str(found).endswith("packing 3, waiting 30; no price is known")


def test_each_node_of_a_trial_costs_and_its_gpus_are_those_of_all(make_run: MakeRun) -> None:
    folder = scored(make_run, gpus=16, nodes=2)
    history = History(folder.path)
    history.begun(1, at=0, nodes=2)
    history.ended(1, at=130)
    found = used(folder)
    assert found.seconds["waiting"] == 16 * 30 and found.usd is not None
    assert sum(found.usd.values()) == pytest.approx(2 * 130 / 3600 * 24), "what the run has cost"


def test_a_trunk_of_another_run_is_not_counted(make_run: MakeRun) -> None:
    folder = scored(make_run, gpus=1)
    trunk = replace(folder.trunk_record(1), program_sha256="9" * 64)
    write_record(folder.plan.trial(1).trunk.record, trunk)
    folder.result(1, "no_ttt", 1.25, trunk=trunk, phases={"score": 16.0})
    history = History(folder.path)
    history.begun(1, at=0, trains=False)
    history.ended(1, at=30)
    assert used(folder).seconds == dict.fromkeys(WORK, 0) | {"scoring": 16, "waiting": 14}


def test_what_is_not_known_is_said(make_run: MakeRun) -> None:
    folder = scored(make_run, (1, 2), gpus=8)
    found = used(folder)
    assert not found.waits and found.usd is None and found.seconds["training"] == 2 * 8 * 56
    assert "waiting not known; of seeds 1, 2 launches tell less time than the phases took" in str(found)
    history = History(folder.path)
    history.begun(1, at=0)
    history.ended(1, at=130)
    history.begun(2, at=0)
    history.phase(2, at=90, phase="score", arm="no_ttt")  # its launch was killed
    assert not used(folder).waits and "of seed 2 launches tell" in str(used(folder)), (
        "less than the 100 s of its phases"
    )
    history.phase(2, at=110, phase="score", arm="sgd")
    assert used(folder).at_least and "waiting at least 320 (" in str(used(folder))
    History(folder.path, "b").begun(1, at=500, usd=36)
    assert "dollars are not split: 24 and 36 USD an hour" in str(used(folder)) and used(folder).usd is None
    History(folder.path, "c").begun(1, at=600, usd=None)
    assert str(used(folder)).endswith("24 and 36 USD an hour, no price of 1 attempt")


def test_phases_that_nobody_knows_any_more_are_other(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1: 1.25}})  # its trunk has a phase ``data``, its result one ``read``
    assert used(folder).seconds[OTHER] == 1.5 + 0.5


def test_a_run_of_which_nothing_is_known_says_nothing(make_run: MakeRun) -> None:
    assert usage(read_run(make_run({"no_ttt": {}}, seeds=(1,)).path)) is None


def test_every_phase_of_a_job_is_of_a_kind() -> None:
    """A phase that is added to jobs/ needs a place here; told from the text, as no job runs them all."""
    import re

    texts = [path.read_text() for path in (ROOT / "jobs").rglob("*.py") if "audit" not in path.parts]
    named = {name for text in texts for name in re.findall(r'log\.phase\("(\w+)"\)', text)}
    of_a_script = {"evaluate"}
    assert len(named) > 8 and named | {"compile"} | of_a_script == set(KINDS)
