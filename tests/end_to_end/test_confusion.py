"""The confusion matrix of the audit: every evaluation, right or wrong, through every detector."""

import math

import pytest
import torch

from jobs.audit.toy import VOCABULARY
from tests.benchmarks.audit_confusion import DETECTORS, Findings, confusion, flaws
from tests.jobs.audit.audit_cases import AuditCase, cases


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """What every detector found of every case, in one thread as the tests of jobs."""
    torch.set_num_threads(1)
    return confusion(tmp_path_factory.mktemp("confusion"))


@pytest.mark.parametrize("case", cases().values(), ids=lambda case: case.name)
def test_confusion(case: AuditCase, found: dict[str, Findings]) -> None:
    assert not flaws(case, found[case.name]), found[case.name]


def test_every_detector_fires_somewhere_and_says_its_figure(found: dict[str, Findings]) -> None:
    for name in DETECTORS:
        assert any(not findings[name].passed for findings in found.values()), name
    for findings in found.values():
        assert list(findings) == list(DETECTORS)
        for finding in findings.values():
            assert finding.about and math.isfinite(finding.threshold)
            assert finding.figure is None or finding.passed <= (finding.figure <= finding.threshold)


def test_figures_are_what_they_say(found: dict[str, Findings]) -> None:
    """By hand, from what the wrong evaluations do."""
    hits = found["target in key"]["D4"].figure
    assert hits is not None and 0.3 < hits < 1.0  # one pair seen: half its own chance is lost, a half is gained
    extra = found["unnormalised"]["D4"].figure
    assert extra is not None and extra == pytest.approx(0.01 * (VOCABULARY + 1), abs=0.011)  # 0.01 a token and count
    skipped = found["first window skipped"]["D7"]
    assert skipped.figure == 32 and "32 not scored" in skipped.about  # its window
    twice = found["tail counted twice"]["D7"]
    assert twice.figure == 8 and "8 scored more than once" in twice.about  # its stride
    assert found["scores after training"]["D7"].figure == 150
    assert found["pre-quantization by hand"]["D6"].figure == 8  # its steps
