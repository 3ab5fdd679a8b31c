"""An audit as people read it on a terminal."""

from pathlib import Path

from jobs.contract.records import PRE_EVAL, SCORE_FIRST

from ..paths import shown
from ..runs.audits import ArmAudit, Audit


def show(found: Audit, path: Path) -> None:
    sizes = found.sizes
    print(f"{found.recipe} at scale {found.scale}, made small: {sizes['parameters']:,} parameters, ", end="")
    print(f"{sizes['vocab_size']} tokens, sequences of {sizes['sequence_length']}; ", end="")
    print(f"streams of {sizes['probe_targets']} and {sizes['canary_targets']:,} targets; {found.seconds:.1f} s")
    width = max(map(len, found.arms))
    for name, arm in found.arms.items():
        print(f"  {name:{width}}  {_in_words(arm)}")
    for name, arm in found.arms.items():
        print(f"\n{found.said(name)}")
        for detector, finding in arm.detectors.items():
            figure = "none" if finding.figure is None else f"{finding.figure:.6g}"
            mark = "passed" if finding.passed else "FIRED "
            print(f"  {detector:4}{mark} {figure:>12} of at most {finding.threshold:<10.4g} {finding.about}")
    print(f"\nwith all figures: python -m platform.audit {shown(path)} --scale {found.scale} --json")


def _in_words(arm: ArmAudit) -> str:
    """The verdict for somebody who does not know the words."""
    fired = ", ".join(name for name, finding in arm.detectors.items() if not finding.passed)
    if arm.verdict == SCORE_FIRST:
        return "may be claimed: no token was learned before it was scored"
    if arm.verdict == PRE_EVAL:
        return f"a diagnostic, no claim: the stream was learned before it was scored ({fired} fired)"
    return f"may not be claimed: {fired} fired" if arm.audited else arm.verdict
