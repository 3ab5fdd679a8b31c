"""Every arm of every recipe is as legal as it declares, by the detectors that tell the two protocols apart."""

from pathlib import Path

import pytest
import torch

from jobs.audit.command import probe_trunk, verdict
from jobs.audit.detectors import Examination
from jobs.audit.toy import NOISE, declared_protocol, evaluation_of
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from platform.program.recipe import entry_program
from platform.running.audit import audited_choices
from tests import recipes
from tests.jobs.tiny import ROOT, recipe_of

TECHNIQUES = {"no_adaptation": SCORE_FIRST, "score_first": SCORE_FIRST, "document_lora": SCORE_FIRST}
TECHNIQUES |= {"pre_eval": PRE_EVAL, "two_phase": PRE_EVAL}


@pytest.mark.parametrize("name", recipes.parameters())
def test_every_recipe(name: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    choices = audited_choices(ROOT / "recipes" / f"{name}.yaml", "laptop")
    recipe = recipe_of(entry_program(choices))
    trunk = probe_trunk(recipe, tmp_path, 1337)
    trunk.make(noise=NOISE)
    for arm, pick in choices.arms.items():
        examination = Examination(evaluate=evaluation_of(arm), plain=evaluation_of(arm), probe=trunk, canary=trunk)
        findings = {
            "D2": examination.causality(),
            "D5": examination.weights_as_loaded(),
            "D6": examination.untainted_artifact(),
            "D7": examination.intervals(),
        }
        assert verdict(findings) == declared_protocol(trunk, arm) == TECHNIQUES[pick.name], (arm, findings)
