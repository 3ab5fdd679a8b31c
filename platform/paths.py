"""The folders of the checkout, and how a path is shown to a person."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the checkout; elsewhere in a Ray worker, which gets absolute paths
RUNS = ROOT / "runs"
DATA = ROOT / "data"
RECIPES = ROOT / "recipes"
SCALES = RECIPES / "scales"


def cache() -> Path:
    """The folder of this user on this machine for what can be had again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairway"


def shown(path: Path) -> str:
    """``path`` as a person would type it here: relative where it lies under the working directory."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
