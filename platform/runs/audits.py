"""What the audit said of a run, as its ``audit.json`` holds it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .paths import RunPaths

FAILED = "failed"  # how the verdict of an arm begins whose evaluation came to no end


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit program said; ``arms`` is its JSON: verdict, declared, agrees and detectors of each arm."""

    program_sha256: str  # of the audit program: the recipe, the code of its arms, and that of the audit
    recipe: str
    scale: str
    sizes: Mapping[str, int]
    seconds: float
    arms: Mapping[str, Mapping[str, Any]]

    @property
    def unaudited(self) -> tuple[str, ...]:
        """The arms whose evaluation came to no end."""
        return tuple(name for name, arm in self.arms.items() if arm["verdict"].startswith(f"{FAILED}:"))

    @property
    def disagreeing(self) -> tuple[str, ...]:
        """The arms whose verdict is not what their program declares."""
        return tuple(name for name, arm in self.arms.items() if not arm["agrees"] and name not in self.unaudited)

    def said(self, arm: str) -> str:
        """The verdict in words."""
        found = self.arms[arm]
        declares = f", but its program declares {found['declared']}" if arm in self.disagreeing else ""
        return f"{arm}: {found['verdict']}{declares}"


def read(file: Path) -> Audit | None:
    try:
        return Audit(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # none, or not one of this version: it is made again


def verdicts(run_path: Path) -> dict[str, str]:
    """The verdict of every arm of a run that has been audited."""
    known = read(RunPaths(run_path).audit)
    return {name: arm["verdict"] for name, arm in known.arms.items()} if known else {}
