"""What becomes of each script that goes wrong when it is launched: a clear outcome, by real torchrun and guard."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.foreign.pack import packed
from tests.foreign.running import HERE

from jobs.contract.records import UNTOLD, ArmResult
from platform.errors import UserError
from platform.running.experiment import Experiment, Request, prepare
from platform.running.trial import JobFailed, Patience, run
from platform.runs.reading import read_result

SEED = 1337
Prepared = Callable[..., Experiment]


@pytest.fixture
def prepared(tmp_path: Path, tiny_data: tuple[Path, Path]) -> Prepared:
    def made(script: Path, **settings: object) -> Experiment:
        told = {name: str(value) for name, value in settings.items()}
        data, tokenizer = tiny_data
        runs = tmp_path / "runs"
        return prepare(script, Request(scale="laptop", runs=runs, data=data, tokenizer=tokenizer, settings=told))

    return made


def outcome(experiment: Experiment) -> ArmResult | str:
    """The result of its one arm, or why there is none."""
    trial = experiment.planned((SEED,)).trial(SEED)
    try:
        run(trial, lambda _: None, patience=Patience(stall_seconds=8, grace_seconds=0.5))
    except JobFailed as failed:
        return failed.failure.said
    return read_result(trial.paths.arm("plain").result)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("dies_at_7", "Error"),
        ("swallows", "no line of train.log gives a score; its last line: "),
        ("silent_death", "no line of train.log gives a score"),
        ("hangs", "it printed nothing for 8 s: ended as hung"),
        ("floods", "no line of train.log gives a score"),
        ("two_scores", "several lines could be the score: "),
        ("wrong_seed", "5658"),
        ("clamped", "ITERATIONS: asked for 12, and the script prints 8"),
    ],
)
def test_what_gives_no_score_fails_with_the_reason(prepared: Prepared, mode: str, said: str) -> None:
    found = outcome(prepared(HERE / "misbehaving.py", MODE=mode, ITERATIONS=12))
    assert isinstance(found, str) and said in found


@pytest.mark.parametrize(
    ("mode", "noted"),
    [
        ("none", ""),
        ("fineweb_names", ""),
        ("bigger_artifact", "the larger counts"),
        ("pre_eval", ""),
        ("daemon", ""),
        ("large_file", "removed when it had ended: "),
    ],
)
def test_what_gives_a_score_is_taken_with_what_is_to_be_known(prepared: Prepared, mode: str, noted: str) -> None:
    """Nobody has looked whether it is legal: none of them may be claimed."""
    found = outcome(prepared(HERE / "misbehaving.py", MODE=mode, ITERATIONS=12))
    assert isinstance(found, ArmResult) and (found.protocol, found.claimable) == (UNTOLD, False), found
    assert any(noted in note for note in found.notes) or not noted
    assert found.seed == SEED and found.trunk.steps == 12


def test_a_packed_script_runs_as_it_is(prepared: Prepared, tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(packed((HERE / "misbehaving.py").read_text()))
    whole, small = (outcome(prepared(path, ITERATIONS=12)) for path in (HERE / "misbehaving.py", script))
    assert isinstance(whole, ArmResult) and isinstance(small, ArmResult)
    assert whole.val_bpb == small.val_bpb and small.code_bytes == script.stat().st_size < whole.code_bytes


def test_what_cannot_run_here_is_told(prepared: Prepared) -> None:
    with pytest.raises(UserError, match="it needs what is not installed here: "):
        prepared(HERE / "missing_package.py")
    (doubt,) = prepared(HERE / "misbehaving.py", SMOOTHING=0.1).remarks  # it starts another program, which might
    assert doubt.startswith("SMOOTHING: whether the script reads it cannot be told") and "'SMOTHING'" in doubt
    for script, said in (("needs_cuda.py", "CUDA is required"), ("eight_ranks.py", "this script is for 8 GPUs")):
        assert said in str(outcome(prepared(HERE / script)))
