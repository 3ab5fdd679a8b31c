"""A part of the fault matrix, one of each kind; the whole of it is ``python -m tests.faults.matrix``, and a soak."""

from pathlib import Path

import pytest

from tests.faults import matrix
from tests.faults.gated import Gated
from tests.faults.matrix import Case, disturb_driver, disturb_trials

OF_TRIALS = (
    Case("KILL", "rank", "train"),
    Case("KILL", "torchrun", "score"),
    Case("KILL", "guard", "start"),
    Case("KILL", "worker", "result"),
    Case("TERM", "guard", "pack"),
    Case("STOP", "rank", "train"),
    Case("INT", "rank", "end"),
    Case("KILL", "worker", "end"),
)
OF_DRIVER = (Case("KILL", "driver", "train"), Case("TERM", "driver", "score"), Case("HUP", "driver", "start"))


def test_faults_of_trials_leave_nothing_and_lose_nothing(gated: Gated) -> None:
    found = disturb_trials(gated, OF_TRIALS)
    assert not {str(one.case): one.problems for one in found if one.problems}
    once = {str(one.case) for one in found if one.attempts == 1}
    assert once >= {"STOP rank train", "KILL worker end", "INT rank end"} and "KILL guard start" not in once


@pytest.mark.parametrize("case", OF_DRIVER, ids=str)
def test_a_fault_of_the_driver_leaves_nothing_and_the_same_command_ends_it(gated: Gated, case: Case) -> None:
    assert not disturb_driver(gated, case).problems


@pytest.mark.soak
def test_the_whole_matrix_is_zeros(tmp_path: Path, tiny_data: tuple[Path, Path]) -> None:
    cases = [case for case in matrix.all_cases() if case not in (*OF_TRIALS, *OF_DRIVER)]
    of_trials = [case for case in cases if case.process in matrix.OF_TRIALS]
    found = []
    for at in range(0, len(of_trials), matrix.A_LAUNCH):
        found += disturb_trials(Gated(tmp_path / f"trials {at}", *tiny_data), of_trials[at : at + matrix.A_LAUNCH])
    for at, case in enumerate(case for case in cases if case.process in matrix.OF_LAUNCHES):
        found.append(disturb_driver(Gated(tmp_path / f"driver {at}", *tiny_data), case))
    assert not {str(one.case): one.problems for one in found if one.problems}
