"""How much room a launch asks for, held against what its files take."""

import pytest

from platform.paths import ROOT
from platform.running import room
from platform.running.experiment import Experiment, Request, prepare
from tests.finished import small_data


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("room")
    data, tokenizer = small_data(folder / "data")
    path = ROOT / "recipes" / "leaky_cosine.yaml"
    return prepare(path, Request(scale="smoke", runs=folder / "runs", data=data, tokenizer=tokenizer))


def test_a_trunk_takes_four_bytes_a_parameter_and_an_arm_its_artifact(experiment: Experiment) -> None:
    size = experiment.measured_size()
    assert size is not None
    trials = experiment.trials((1337, 42))
    need = room.need_of(experiment, trials, set())
    arms = len(experiment.arms)
    trunks = 2 * (4.1 * size.parameters + size.high_bytes + 1e6)
    assert need.bytes == pytest.approx(trunks + 2 * arms * (size.high_bytes + 1e6) + 10e6)
    assert need.what == f"2 trunks and {2 * arms} arms of leaky_cosine"


def test_a_trunk_that_is_there_or_that_another_recipe_trains_is_not_counted_again(experiment: Experiment) -> None:
    first, second = experiment.trials((1337, 42))
    both = room.need_of(experiment, [first, second], set())
    trained = {first.trunk_path}
    one = room.need_of(experiment, [first, second], trained)
    assert one.bytes < both.bytes and one.files < both.files and trained == {first.trunk_path, second.trunk_path}
