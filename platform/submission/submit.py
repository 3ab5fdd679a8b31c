"""From what somebody wants to submit to a written record folder, or to every reason why it must not be."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..ledger import ledger
from ..paths import ROOT
from ..records import to_beat
from ..runs.plan import Plan
from ..runs.results import read_run
from . import folder as folders
from .candidate import candidate

RECORDS = ROOT / "records"
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to submit, and what the author says of it; None: not said."""

    run_dir: Path
    arm: str
    out: Path | None  # None: under records/, by track, date, recipe and arm
    against: Path | None  # a record or a run to compare with
    against_arm: str | None  # of that run; None: the same, or its only one
    ablation: Path | None  # a run whose arms are shown too
    non_record: bool  # a folder of the other track
    author: str | None  # None: of git
    github_id: str | None
    name: str | None


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """The folder that was written; None, with the reasons, where nothing was."""

    folder: Path | None
    numbers: int  # printed ones, each with an address
    reasons: tuple[str, ...]
    hint: str  # what would be possible all the same
    unknown: tuple[str, ...]  # options that nobody gave and the folder has no answer for


def submit(wanted: Wanted) -> Submitted:
    """Write the record folder, unless there is a reason against it.

    Raises:
        UserError: no such run, arm or record to compare with; the folder is there already.
        RunFailed: what was written does not verify.
    """
    found = candidate(wanted.run_dir, wanted.arm)
    reasons = (*found.reasons, *(() if wanted.non_record else found.not_a_record))
    if reasons:
        hint = "" if found.reasons else "\n--non-record writes a folder of the other track, which says so"
        return Submitted(folder=None, numbers=0, reasons=reasons, hint=hint, unknown=())
    record = not wanted.non_record
    other = to_beat.read(wanted.against, wanted.against_arm or wanted.arm) if wanted.against else None
    if other:
        other.require_same_text(found.first.result.scored_bytes)
    arms = read_run(wanted.ablation) if wanted.ablation else found.run
    author, github_id = wanted.author or _author(), wanted.github_id or UNKNOWN
    about = folders.About(author=author, github_id=github_id, name=wanted.name)
    out = wanted.out or _place(found.run.plan, wanted.arm, record)
    folder = folders.write(found, out, about, ablation=arms, against=other, record=record)
    unknown = tuple(what for what, value in (("author", author), ("github-id", github_id)) if value == UNKNOWN)
    return Submitted(folder=folder, numbers=ledger.entries(folder), reasons=(), hint="", unknown=unknown)


def _place(plan: Plan, arm: str, record: bool) -> Path:
    track = "track_10min_16mb" if record else "track_non_record_16mb"
    return RECORDS / track / f"{plan.created[:10]}_{plan.recipe}_{arm}"


def _author() -> str:
    git = shutil.which("git")
    if git is None:
        return UNKNOWN
    done = subprocess.run([git, "config", "user.name"], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() or UNKNOWN
