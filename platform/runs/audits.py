"""What the audit said of a run, as its ``audit.json`` holds it."""

from dataclasses import dataclass
from pathlib import Path

from .paths import RunPaths
from .reading import read_record

UNAUDITED = "not audited"  # how the verdict begins of an arm that was not put to the tests
FAILED = "failed"  # how it begins where its evaluation came to no end in them


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one detector found; it fires where ``figure`` is above ``threshold``."""

    passed: bool
    figure: float | None
    threshold: float
    about: str


@dataclass(frozen=True, kw_only=True)
class ArmAudit:
    """What was found of one arm."""

    verdict: str  # SCORE_FIRST, PRE_EVAL, "violates ...", or UNAUDITED or FAILED and why
    declared: str | None  # the protocol of its program; None where the program was not asked
    agrees: bool
    detectors: dict[str, Finding]

    @property
    def audited(self) -> bool:
        return not self.verdict.startswith((f"{UNAUDITED}:", f"{FAILED}:"))

    @property
    def disagrees(self) -> bool:
        return self.audited and not self.agrees


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit program said of every arm."""

    program_sha256: str  # of the audit program: the recipe, the code of its arms, and that of the audit
    recipe: str
    scale: str
    sizes: dict[str, int]
    seconds: float
    arms: dict[str, ArmAudit]

    @property
    def unaudited(self) -> tuple[str, ...]:
        """The arms whose evaluation came to no end, or was not begun."""
        return tuple(name for name, arm in self.arms.items() if not arm.audited)

    @property
    def disagreeing(self) -> tuple[str, ...]:
        """The arms whose verdict is not what their program declares."""
        return tuple(name for name, arm in self.arms.items() if arm.disagrees)

    def said(self, arm: str) -> str:
        """The verdict in words."""
        found = self.arms[arm]
        declares = f", but its program declares {found.declared}" if found.disagrees else ""
        return f"{arm}: {found.verdict}{declares}"


def read(path: Path) -> Audit | None:
    """The audit in this file; None where there is none, or not one of this version: it is made again."""
    try:
        return read_record(Audit, path)
    except (OSError, ValueError):
        return None


def of_run(run_path: Path) -> dict[str, ArmAudit]:
    """What is known of each arm of a run; nothing of one that was never audited."""
    known = read(RunPaths(run_path).audit)
    return known.arms if known else {}
