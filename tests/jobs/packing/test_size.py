"""What a recipe will weigh, told before any weights exist, against what its quantizer then packs."""

import json
from dataclasses import replace

import pytest

from jobs.model import tensor_kinds
from jobs.size import print_size
from tests.jobs import tiny
from tests.jobs.tiny import Case, base, every, model_of, small, state_of, technique

TURNED = Case("quantizer", "hadamard", {"inner": technique("quantizer", "row_wise", control_dtype="float16")})


@pytest.mark.parametrize("case", [*every("quantizer", switched=True), TURNED], ids=str)
def test_every_tensor_is_told_with_the_bits_that_it_gets(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """Bits that are only chosen by calibration may be one more or one less."""
    recipe = replace(small(), quantizer=case.made())
    print_size(recipe, "size.py")
    told = json.loads(capsys.readouterr().out)
    model = model_of(recipe)
    state, kinds = state_of(model), tensor_kinds(model)
    assert told["parameters"] == sum(tensor.numel() for tensor in state.values())
    assert [entry[:2] for entry in told["tensors"]] == [[kinds[name], tensor.numel()] for name, tensor in state.items()]
    statistics = (
        {name: tensor.square().mean() for name, tensor in state.items()} if case.name == "adaptive_bits" else {}
    )
    for one, (_, _, bits, limit) in zip(
        recipe.quantizer.encode(state, kinds, statistics), told["tensors"], strict=True
    ):
        assert abs(one.bits - bits) <= (case.name == "adaptive_bits"), one.name
        assert (limit is None) == (one.scales is None)


def test_a_shape_that_cannot_be_gets_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        print_size(replace(base(), shape=replace(tiny.SHAPE, num_heads=3)), "size.py")
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    assert said.err.startswith("tiny: model_dim 64") and said.err.count("\n") == 1


def test_widths_are_those_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    for name, over in (("relu_squared", 2.0), ("star_relu", 3.5), ("swiglu", 4.0)):  # gate and up are two
        print_size(replace(small(), feed_forward=technique("feed_forward", name)), "size.py")
        assert json.loads(capsys.readouterr().out)["hidden_over_width"] == over
