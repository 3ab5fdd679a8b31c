"""The program that audits a recipe: its own evaluation of every arm, made small, under all detectors.

It asks for no data. The model is the recipe's, with a vocabulary of 64 and sequences of 32; streams are
made up, 150 targets in three documents; weights are chance, packed as the recipe packs.
"""

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch

from jobs.audit.detectors import CANARY_TARGETS, Examination, Finding, probe_tokens
from jobs.audit.ranks import Joint, Partner, accompany
from jobs.audit.toy import (
    CANARY,
    LENGTH,
    NOISE,
    PROBE,
    VOCABULARY,
    Trunk,
    declared_protocol,
    evaluation_of,
    toy_recipe,
)
from jobs.contract.assignment import Assignment
from jobs.contract.errors import Refused
from jobs.contract.records import PRE_EVAL, SCORE_FIRST
from jobs.recipe import Adaptation, Recipe
from jobs.techniques.adaptation.no_adaptation import NoAdaptation

SEEING = frozenset({"D2", "D3", "D5", "D6", "D8", "D9"})  # what fails where weights saw the stream before its scores
FAILED = "failed"  # how the verdict of an arm begins whose evaluation came to no end
PLAIN = "audit: no adaptation"  # an arm that the audit adds, to compare with; no recipe can call one so


def audit(recipe: Recipe, program: str) -> None:
    """Print one line of JSON: of every arm what each detector found, the verdict, and the protocol that it declares.

    ARMS in the environment chooses arms. Started by itself with a folder behind it, it is the second of two ranks.
    Exits with 2, after one clear message, where the recipe or the environment is wrong.
    """
    torch.set_num_threads(1)
    try:
        assignment = Assignment.from_environment(dict(os.environ))
        unknown = [name for name in assignment.arms if name not in recipe.arms]
        if unknown:
            raise Refused(f"ARMS: no arm {', '.join(unknown)} in {recipe.name}; it has {', '.join(recipe.arms)}")
        arms = assignment.arms or tuple(recipe.arms)
        if len(sys.argv) > 1:
            folder = Path(sys.argv[1])
            accompany(_joint(arms, probe_trunk(recipe, folder, assignment.seed)), folder)
            return
        with tempfile.TemporaryDirectory(prefix="fairway-audit-") as name:
            print(json.dumps(audited(recipe, arms, program, Path(name), seed=assignment.seed)), flush=True)
    except Refused as error:
        print(f"{recipe.name}: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_status)


def audited(recipe: Recipe, arms: tuple[str, ...], program: str, folder: Path, *, seed: int) -> dict:
    """The audit of these arms, for JSON."""
    begun = time.perf_counter()
    probe, canary = probe_trunk(recipe, folder, seed), canary_trunk(recipe, folder, seed)
    alone: dict[str, dict[str, Finding]] = {}
    failed: dict[str, str] = {}
    with Partner([sys.executable, "-P", program], folder) as partner:
        probe.make(noise=NOISE)
        canary.make(noise=0.0)
        for arm in arms:
            try:
                alone[arm] = examined(arm, probe, canary)
            except Exception as error:  # whatever an arm's code may raise: the others can still be audited
                if not isinstance(error, Refused):  # which is a mistake in the recipe, told in its message
                    traceback.print_exc()
                failed[arm] = f"{type(error).__name__}: {error}".partition("\n")[0]
        ranks = partner.agreements(_joint(tuple(alone), probe))
    parameters = sum(parameter.numel() for parameter in probe.new_model().parameters())
    sizes = {
        "parameters": parameters,
        "sequence_length": LENGTH,
        "vocab_size": VOCABULARY,
        "probe_targets": probe_tokens().numel() - 1,
        "canary_targets": CANARY_TARGETS,
    }
    found = {arm: _told(f"{FAILED}: {failed[arm]}", recipe.arms[arm].protocol, {}) for arm in failed}
    for arm, findings in alone.items():
        findings["D13"] = ranks[arm]
        found[arm] = _told(verdict(findings), declared_protocol(probe, arm), findings)
    seconds = time.perf_counter() - begun
    return {
        "recipe": recipe.name,
        "scale": recipe.scale,
        "sizes": sizes,
        "seconds": seconds,
        "arms": {arm: found[arm] for arm in arms},
    }


def examined(arm: str, probe: Trunk, canary: Trunk) -> dict[str, Finding]:
    """What every detector that needs one process says of ``arm``; a line of progress goes to standard error."""
    begun = time.perf_counter()
    findings = Examination(
        evaluate=evaluation_of(arm), plain=evaluation_of(PLAIN), probe=probe, canary=canary
    ).findings()
    print(f"audited {arm} in {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
    return findings


def probe_trunk(recipe: Recipe, folder: Path, seed: int) -> Trunk:
    return Trunk(toy_recipe(recipe, PROBE), folder / "probe", seed=seed)


def canary_trunk(recipe: Recipe, folder: Path, seed: int) -> Trunk:
    small, plain = toy_recipe(recipe, CANARY), cast(Adaptation, NoAdaptation())
    return Trunk(replace(small, arms={**small.arms, PLAIN: plain}), folder / "canary", seed=seed)


def _told(said: str, declared: str, findings: Mapping[str, Finding]) -> dict:
    detectors = {name: asdict(finding) for name, finding in findings.items()}
    return {"verdict": said, "declared": declared, "agrees": said == declared, "detectors": detectors}


def _joint(arms: tuple[str, ...], trunk: Trunk) -> Joint:
    return {arm: (evaluation_of(arm), trunk) for arm in arms}


def verdict(findings: Mapping[str, Finding]) -> str:
    """``score_first`` where every detector passed; ``pre_eval`` where the weights saw the stream before it was scored
    and nothing else is wrong; otherwise ``violates`` and what failed."""
    failed = [name for name, finding in findings.items() if not finding.passed]
    if not failed:
        return SCORE_FIRST
    if "D2" in failed and {"D5", "D6"} & set(failed) and set(failed) <= SEEING:
        return PRE_EVAL
    return f"violates {', '.join(failed)}"
