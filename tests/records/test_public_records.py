"""Twelve public record folders with what a correct reader finds in them, where GOLF_RECORDS says they are."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from platform.records.claim import claim_of
from platform.records.record import Examined, examine
from platform.rules.claims import Claim, SeedFacts, compare

RECORDS = Path(os.environ.get("GOLF_RECORDS", ""))
EXPECTED: list[dict[str, Any]] = (
    json.loads((RECORDS / "expected.json").read_text(encoding="utf-8"))
    if os.environ.get("GOLF_RECORDS") and (RECORDS / "expected.json").is_file()
    else []
)
pytestmark = pytest.mark.skipif(
    not EXPECTED, reason="GOLF_RECORDS does not name a folder with records and expected.json"
)
BY_NAME = {entry["record"]: entry for entry in EXPECTED}


@pytest.fixture(scope="module", params=list(BY_NAME) or ["none"])
def both(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Examined]:
    entry = BY_NAME[request.param]
    return entry, examine(RECORDS / entry["track"] / entry["record"])


def test_every_field_of_every_log(both: tuple[dict[str, Any], Examined]) -> None:
    entry, record = both
    found = {run["file"]: run for run in record.runs}
    assert sorted(found) == sorted(run["file"] for run in entry["logs"])
    for run in entry["logs"]:
        assert {name: found[run["file"]][name] for name in run} == run


def test_the_claimed_seeds_and_their_score(both: tuple[dict[str, Any], Examined]) -> None:
    entry, record = both
    claimed, score = entry["seed_sets"]["claimed"], record.score
    assert record.track == entry["track"] and record.claimed.label == entry["final_label"]
    assert list(score.files) == claimed["logs"] and list(score.seeds) == claimed["seeds"]
    assert list(score.bpb) == claimed["val_bpb"] and list(score.losses) == claimed["val_loss"]
    measured = {
        "mean_bpb": score.mean_bpb,
        "mean_loss": score.mean_loss,
        "sample_std_bpb": score.sample_std_bpb,
        "population_std_bpb": score.population_std_bpb,
    }
    assert {name: value if value is None else round(value, 8) for name, value in measured.items()} == {
        name: claimed[name] for name in measured
    }


def test_std_conventions(both: tuple[dict[str, Any], Examined]) -> None:
    entry, record = both
    found = {one.where: one for one in record.std_conventions}
    assert {where: (one.printed, one.ddof) for where, one in found.items()} == {
        one["where"]: (one["printed"], one["ddof"]) for one in entry["std_convention"]
    }
    for one in entry["std_convention"]:
        assert math.isclose(found[one["where"]].sample, one["sample"], rel_tol=1e-9)
        assert math.isclose(found[one["where"]].population, one["population"], rel_tol=1e-9)


def test_verdict_and_mismatches(both: tuple[dict[str, Any], Examined]) -> None:
    """Every contradiction that is listed is found; one that is not listed is a conversion that is wrong as well."""
    entry, record = both
    assert record.verdict == entry["agreement"]["verdict"]
    found = sorted((one.figure.file, one.figure.number.raw) for one in record.mismatches)
    listed = sorted(
        (one["where"].split()[0].replace("README", "README.md"), one["printed"]) for one in entry["mismatches"]
    )
    beyond = list(found)
    for one in listed:
        assert one in beyond
        beyond.remove(one)
    assert beyond == ([("README.md", "0.00181")] if record.name.startswith("2026-04-19") else [])
    assert record.headline is not None and record.headline.status.value == entry["agreement"]["headline"]
    twice_in_titles = record.name.startswith("2026-04-05")  # the mean of rounded scores, which the list counts once
    assert len(record.roundings) == entry["agreement"]["rounding_level"] + twice_in_titles


def test_measured_side_of_a_mismatch(both: tuple[dict[str, Any], Examined]) -> None:
    entry, record = both
    for one in entry["mismatches"]:
        if one.get("field", "").startswith("delta"):
            continue  # works from another record's scores
        same = [found for found in record.mismatches if found.figure.number.raw == one["printed"]]
        assert any(math.isclose(float(found.measured or 0), one["log_value"], rel_tol=1e-8) for found in same)


def test_significance_against_the_record_before(both: tuple[dict[str, Any], Examined]) -> None:
    entry, record = both
    known = entry["significance"]
    if not known or "one_sample" not in known:
        pytest.skip("no predecessor is listed")
    claim = claim_of(record)
    before = known["previous"]
    against = claim_of(examine(RECORDS / BY_NAME[before]["track"] / before)) if before in BY_NAME else _only_mean(known)
    margin = {"value": 0.005, "unit": "nats per token"}
    for name, bar in (("one_sample", margin), ("one_sample_margin0", None)):
        result = compare(claim, against, "one-sample t", bar)
        assert result.statistic == pytest.approx(known[name]["t"], rel=1e-4)
        assert result.p == pytest.approx(known[name]["p"], rel=1e-3) and result.df == known[name]["df"]
        assert result.gain == pytest.approx(known["delta_nats"], abs=1e-6)
    if before in BY_NAME and known["welch"]:
        for name, bar in (("welch", margin), ("welch_margin0", None)):
            result = compare(claim, against, "Welch t", bar)
            assert result.statistic == pytest.approx(known[name]["t"], rel=1e-4)
            assert (result.p, result.df) == pytest.approx((known[name]["p"], known[name]["df"]), rel=1e-3)


def _only_mean(known: dict[str, Any]) -> Claim:
    """The predecessor as far as it is listed: its mean, in its own nats only where the tokenizer is the same."""
    loss = known["previous_mean_loss"] if known["same_bytes_per_token"] else None
    facts = SeedFacts(
        seed=None,
        source="expected.json",
        bpb=known["previous_mean_bpb"],
        loss=loss,
        artifact_bytes=None,
        train_seconds=None,
        eval_seconds=None,
        all_eval_seconds=None,
    )
    return Claim(name=known["previous"], track="", seeds=(facts,), nats_per_bpb=known["nats_per_bpb"])
