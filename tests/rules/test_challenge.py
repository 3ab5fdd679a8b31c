"""What the challenge defines stands once, with a source, and everybody who has a copy has the same."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.contract.records import ARTIFACT_LIMIT_BYTES
from platform.errors import UserError
from platform.rules import claims
from platform.rules.challenge import FILE, challenge, dataset, limits
from platform.runs.plan import RECORD_PROCESSES

ROOT = Path(__file__).parents[2]


def test_programs_have_the_same_limit() -> None:
    """They cannot read the file: ``jobs/contract/records.py`` is pasted into them."""
    assert limits().artifact_bytes == ARTIFACT_LIMIT_BYTES == 16_000_000


def test_a_record_runs_a_process_for_every_card() -> None:
    assert challenge().machine.gpus == RECORD_PROCESSES


def test_every_number_has_a_source() -> None:
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    stated = [*data["limits"].values(), data["machine"], *data["validation_texts"].values(), *data["datasets"].values()]
    assert all(len(one["source"]) > 10 for one in stated)
    assert set(limits().sources) == set(data["limits"])


@pytest.mark.parametrize("name", challenge().datasets)
def test_tokens_bytes_and_nats_of_a_dataset_fit(name: str) -> None:
    """Within what five digits and a dropped tail leave open; a text is the present one or the older one."""
    found = dataset(name)
    assert found.name == name and math.log(2) * 0.999 < found.nats_per_bpb < 4
    assert (found.val_tokens is None) == (found.val_bytes is None)
    if found.val_tokens and found.val_bytes:
        assert found.nats_per_bpb == pytest.approx(math.log(2) * found.val_bytes / found.val_tokens, rel=5e-6)
        assert (found.val_bytes in challenge().text) is ("older" not in name)
        assert (found.val_bytes in challenge().older_text) is ("older" in name)
    assert all(count in challenge().text for count in found.evaluators)


def test_a_wrong_name_is_explained() -> None:
    with pytest.raises(UserError, match=r"no dataset 'sp1042'; did you mean 'sp1024'\?; possible: sp1024, "):
        dataset("sp1042")


def test_sets_of_rules_take_the_numbers_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = claims.load(claims.CHALLENGE)
    assert claims.limit_of(readme, "artifact_bytes") == (limits().artifact_bytes, 0)
    assert claims.limit_of(readme, "train_seconds") == (limits().train_seconds, 0.25)
    test = claims.test_of(readme)
    assert (test["margin"], test["p_below"]) == ({"value": 0.005, "unit": "nats per token"}, 0.01)
    assert claims.test_of(claims.load("pg-2026-leaderboard"))["p_below"] == 0.25, "its own, not that of the README"
    for path in claims.RULES.glob("*.yaml"):
        if path != FILE:
            text = "".join(line.partition(" #")[0] for line in path.read_text(encoding="utf-8").splitlines(True))
            assert "limit: 6" not in text and "limit: 1" not in text and "value: 0.005" not in text, path.name


def test_to_import_it_reads_nothing() -> None:
    code = "import sys, platform.rules.claims, platform.rules.challenge; print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
