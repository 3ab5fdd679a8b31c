"""``python -m platform.submit RUN_DIR --arm ARM``: an arm of a run to a record folder in which no number was typed.

Refused, with every reason at once, where a seed that was planned is missing or failed, the program is not the one that
ran, bytes or times are over, the arm learned from what it had not scored, or the run was not end to end on the machine
of the challenge. The last reason alone stands in the way of a record only: ``--non-record`` writes a folder of the
other track, which says so.

Exit status: 0 the folder is written and verifies; 1 what was written does not; 2 it must not be written.
"""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from .errors import EXIT_WRONG_INPUT, UserError, explained
from .paths import ROOT, shown
from .runs.plan import Plan

RECORDS = ROOT / "records"
UNKNOWN = "unknown"


@click.command(help=(__doc__ or "").replace("``", ""))
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--arm", required=True, metavar="ARM", help="The arm to submit.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="[default: records/track_.../...]")
@click.option("--against", type=click.Path(path_type=Path), metavar="FOLDER", help="A record or a run to compare with.")
@click.option("--against-arm", metavar="ARM", help="The arm of that run.  [default: the same, or its only one]")
@click.option("--ablation", type=click.Path(path_type=Path), metavar="RUN_DIR", help="A run whose arms are shown too.")
@click.option("--non-record", is_flag=True, help="A folder of the other track: any machine, not end to end.")
@click.option("--author", help="[default: of git]")
@click.option("--github-id", help="The author's name on GitHub.")
@click.option("--json", "as_json", is_flag=True, help="Print the folder, or the reasons against it, as JSON.")
@click.option("--name", help="Title of the submission.  [default: the recipe and the arm]")
@explained()
def main(
    run_dir: Path,
    arm: str,
    out: Path | None,
    against: Path | None,
    against_arm: str | None,
    ablation: Path | None,
    non_record: bool,
    author: str | None,
    github_id: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    from .ledger import ledger
    from .records import to_beat
    from .runs import results
    from .submission import candidate as candidates
    from .submission import folder as folders

    found = candidates.candidate(run_dir, arm)
    reasons = [*found.reasons, *(() if non_record else found.not_a_record)]
    if reasons and as_json:
        print(json.dumps({"folder": None, "reasons": reasons}))
        sys.exit(EXIT_WRONG_INPUT)
    if reasons:
        hint = "" if found.reasons else "\n--non-record writes a folder of the other track, which says so"
        listed = "".join(f"\n  - {one}" for one in reasons)
        raise UserError(f"{shown(run_dir)}, arm {arm}, cannot be submitted:{listed}{hint}")
    record = not non_record
    other = to_beat.read(against, against_arm or arm) if against else None
    if other:
        other.require_same_text(found.first.result.scored_bytes)
    arms = results.read_run(ablation) if ablation else found.run
    about = folders.About(author=author or _author(), github_id=github_id or UNKNOWN, name=name)
    folder = folders.write(
        found, out or _place(found.run.plan, arm, record), about, ablation=arms, against=other, record=record
    )
    for what, value in (("author", about.author), ("github-id", about.github_id)):
        if value == UNKNOWN:
            print(f"{what} is {UNKNOWN}; --{what} says who submits", file=sys.stderr)
    numbers = ledger.entries(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "numbers": numbers, "reasons": []}))
        return
    print(f"{shown(folder)}: {numbers} numbers, each from a file of the folder; the program starts; every log agrees")
    print(f"verify:    python -m platform.verify {shlex.quote(shown(folder))}")


def _place(plan: Plan, arm: str, record: bool) -> Path:
    track = "track_10min_16mb" if record else "track_non_record_16mb"
    return RECORDS / track / f"{plan.created[:10]}_{plan.recipe}_{arm}"


def _author() -> str:
    git = shutil.which("git")
    if git is None:
        return UNKNOWN
    done = subprocess.run([git, "config", "user.name"], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() or UNKNOWN


if __name__ == "__main__":
    main()
