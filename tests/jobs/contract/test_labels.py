"""The labels of our logs: what a job prints its scores under is what the shared table says of them."""

from pathlib import Path

import pytest
import torch

from jobs.contract.labels import (
    BEFORE_QUANTIZATION,
    EXACT,
    LEARNED_FIRST_WORDS,
    LEGAL_TTT,
    SCORE_FIRST_WORDS,
    meaning_of,
    score_label,
)
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.dialect import write_average, write_score
from jobs.log import Log
from jobs.scoring import Scores
from platform.logs.runs import kind_of
from platform.program.recipe import entry_program, load
from tests.jobs import tiny
from tests.jobs.tiny import ROOT, Case, every

RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
SCORES = Scores(nll_N=torch.tensor([2.0]), bytes_N=torch.tensor([3]))
KINDS = {"roundtrip": "roundtrip", "sliding_window": "sliding", "document_isolated": "other"}  # by evaluator


@pytest.mark.parametrize("name", RECIPES)
def test_every_score_that_a_recipe_prints_has_a_label_of_the_table(name: str, tmp_path: Path) -> None:
    recipe = tiny.recipe_of(entry_program(load(ROOT / "recipes" / f"{name}.yaml")))
    log = Log(tmp_path, writes=True)
    for adaptation in recipe.arms.values():
        for evaluation in {"roundtrip", recipe.evaluation.label()}:
            write_score(log, recipe, adaptation, evaluation, SCORES, milliseconds=1.0)
            four, eight = (line.partition(" val_loss:")[0] for line in _lines(log)[-2:])
            meaning = meaning_of(four)
            assert eight == f"{four}{EXACT}" and meaning is not None, four
            assert meaning_of(eight) == meaning and kind_of(eight, False) == meaning.kind
            assert meaning.is_score == (adaptation.protocol != PRE_EVAL)
            assert meaning.kind == ("ttt" if four == LEGAL_TTT else KINDS[evaluation])
    if recipe.averaging:
        write_average(log, recipe, loss_nats=2.0, bpb=1.0, milliseconds=1.0)
        meaning = meaning_of(_lines(log)[-1].partition(" val_loss:")[0])
        assert meaning is not None and meaning.kind == BEFORE_QUANTIZATION and not meaning.is_score


def _lines(log: Log) -> list[str]:
    return (log.folder / "train.log").read_text().splitlines()


@pytest.mark.parametrize("case", every("evaluation"), ids=str)
@pytest.mark.parametrize("quantizer", ["int4", "int6", "int8"])
@pytest.mark.parametrize("protocol", [SCORE_FIRST, PRE_EVAL])
def test_every_evaluator_has_a_label_of_the_table(case: Case, quantizer: str, protocol: str) -> None:
    evaluation = case.made().label()
    label = score_label(evaluation=evaluation, quantizer=quantizer, codec="zlib", protocol=protocol, adapts=False)
    meaning = meaning_of(label)
    assert meaning is not None and meaning.kind == KINDS[evaluation] and meaning.is_score == (protocol == SCORE_FIRST)


def test_the_labels_are_those_of_published_logs() -> None:
    def label(quantizer: str, codec: str, evaluation: str) -> str:
        return score_label(evaluation=evaluation, quantizer=quantizer, codec=codec, protocol=SCORE_FIRST, adapts=False)

    assert label("int8", "zlib", "roundtrip") == "final_int8_zlib_roundtrip"
    assert label("int6", "zstd", "roundtrip") == "final_int6_roundtrip"
    assert label("int6", "zstd", "sliding_window") == "final_int6_sliding_window"
    assert label("int8", "zlib", "sliding_window") == "final_sliding_window"
    assert meaning_of("quantized_sliding_window") is None, "another script's spelling"


@pytest.mark.parametrize("case", every("adaptation"), ids=str)
def test_an_adaptation_begins_its_lines_with_the_words_of_its_protocol(case: Case) -> None:
    """By the text of the technique: what it gives to ``log.line``."""
    text = (ROOT / "jobs" / "techniques" / "adaptation" / f"{case.name}.py").read_text()
    words = {SCORE_FIRST: SCORE_FIRST_WORDS, PRE_EVAL: LEARNED_FIRST_WORDS}[case.made().protocol]
    if "log.line(" in text:
        own = [word for word, technique in words.items() if technique == case.name]
        assert own and all(f'f"{word}' in text for word in own)
