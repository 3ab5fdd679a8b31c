"""What torch.compile takes is a phase of its own, wherever in a job it happens."""

import time
from pathlib import Path

import torch

from jobs.log import COMPILE, Log
from platform.runs.events import own_seconds

SECONDS = 0.05


def slow_backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
    time.sleep(SECONDS)
    return graph


def test_compilation_is_a_phase_inside_of_the_one_that_needs_it(tmp_path: Path) -> None:
    torch.compiler.reset()
    compiled = torch.compile(lambda x: 2 * x, backend=slow_backend, dynamic=False)
    log = Log(tmp_path, writes=True, compiles=True)
    with log.phase("train"), log.phase("warmup"):
        compiled(torch.ones(2))
    first = log.phases[COMPILE]
    assert SECONDS < first <= log.phases["warmup"]
    with log.phase("score"):
        compiled(torch.ones(2))
    assert log.phases[COMPILE] == first, "nothing new"
    with log.phase("score"):
        compiled(torch.ones(3))
    own = own_seconds(log.phases, log.folder / "metrics.jsonl")
    assert own[COMPILE] == log.phases[COMPILE] > first + SECONDS
    assert abs(sum(own.values()) - log.phases["train"] - log.phases["score"]) < 0.01
    compiled(torch.ones(4))
    assert log.phases[COMPILE] == own[COMPILE], "outside of any phase nothing is counted"
    torch.compiler.reset()


def test_a_log_of_a_job_that_does_not_compile_watches_nothing(tmp_path: Path) -> None:
    torch.compiler.reset()
    log = Log(tmp_path, writes=True)
    with log.phase("train"):
        torch.compile(lambda x: 2 * x, backend=slow_backend)(torch.ones(2))
    assert COMPILE not in log.phases
    torch.compiler.reset()
