"""Which detector of the audit catches what: every evaluation of ``tests.jobs.audit.audit_cases`` under all of them.

python -m tests.benchmarks.audit_confusion    prints the matrix; exits with 1 where it is not as it should be
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from jobs.audit.command import PLAIN, verdict
from jobs.audit.detectors import Examination, Finding
from jobs.audit.ranks import Partner, accompany
from jobs.audit.toy import evaluation_of
from jobs.contract.records import SCORE_FIRST
from tests.jobs.audit.audit_cases import AuditCase, cases

DETECTORS = ("D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D13")
Findings = Mapping[str, Finding]


def confusion(folder: Path, tell: Callable[[AuditCase, Findings], None] = lambda *_: None) -> dict[str, Findings]:
    """By case what each detector found. Runs a second process beside this one."""
    command = [sys.executable, "-m", "tests.benchmarks.audit_confusion"]
    found: dict[str, Findings] = {}
    with Partner(command, folder) as partner:
        trunks = {name: case.made(folder) for name, case in cases().items()}
        ranks = partner.agreements({name: (case.evaluate, trunks[name][0]) for name, case in cases().items()})
    for name, case in cases().items():
        probe, canary = trunks[name]
        alone = Examination(evaluate=case.evaluate, plain=evaluation_of(PLAIN), probe=probe, canary=canary).findings()
        found[name] = {**alone, "D13": ranks[name]}
        tell(case, found[name])
    return found


def flaws(case: AuditCase, findings: Findings) -> list[str]:
    """What is not as the case says it should be; empty where all is."""
    said = verdict(findings)
    missed = [name for name in case.caught_by if findings[name].passed]
    wanted = case.verdict or "violates"
    return [f"{name} missed it" for name in missed] + ([] if said.startswith(wanted) else [f"{said}, not {wanted}"])


def main() -> int:
    torch.set_num_threads(1)  # sums over several threads are not the same twice
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        accompany({name: (case.evaluate, case.trunks(folder)[0]) for name, case in cases().items()}, folder)
        return 0
    begun = time.perf_counter()
    wrong: list[str] = []

    def tell(case: AuditCase, findings: Findings) -> None:
        marks = ["." if findings[name].passed else "X" for name in DETECTORS]
        print(f"{case.name:40}" + "".join(f"{mark:>5}" for mark in marks) + f"   {verdict(findings)}", flush=True)
        wrong.extend(f"{case.name}: {flaw}" for flaw in flaws(case, findings))

    print(f"{'X: flagged':40}" + "".join(f"{name:>5}" for name in DETECTORS) + "   verdict")
    with tempfile.TemporaryDirectory() as folder:
        confusion(Path(folder), tell)
    legal = [case for case in cases().values() if case.verdict == SCORE_FIRST]
    print(f"audit: {len(legal)} legal and {len(cases()) - len(legal)} other evaluations", end="")
    print(f" in {time.perf_counter() - begun:.0f} s; {len(wrong)} not as they should be", *wrong, sep="\n  ")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
