"""The command: make a record folder of an arm of a run, in which no number was typed.

Refused, with every reason at once, where a seed that was planned is missing or failed, the program is not the one that
ran, bytes or times are over, the arm learned from what it had not scored, or the run was not end to end on the machine
of the challenge. The last reason alone stands in the way of a record only: ``--non-record`` writes a folder of the
other track, which says so.

Exit status: 0 the folder is written and verifies; 1 what was written does not; 2 it must not be written.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from .errors import EXIT_WRONG_INPUT, UserError, explained
from .options import described
from .paths import shown


@click.command(help=described(__doc__))
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--arm", required=True, metavar="ARM", help="The arm to submit.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="[default: records/track_.../...]")
@click.option("--against", type=click.Path(path_type=Path), metavar="FOLDER", help="A record or a run to compare with.")
@click.option("--against-arm", metavar="ARM", help="The arm of that run.  [default: the same, or its only one]")
@click.option("--ablation", type=click.Path(path_type=Path), metavar="RUN_DIR", help="A run whose arms are shown too.")
@click.option("--non-record", is_flag=True, help="A folder for the other track: any machine, need not be end to end.")
@click.option("--author", help="Name of the author.  [default: of git]")
@click.option("--github-id", help="The author's name on GitHub.")
@click.option("--json", "as_json", is_flag=True, help="Print the folder, or the reasons against it, as JSON.")
@click.option("--name", help="Title of the submission.  [default: the recipe and the arm]")
@explained()
def main(as_json: bool, **wanted: Any) -> None:
    from .submission.submit import Wanted, submit

    done = submit(Wanted(**wanted))
    if as_json:
        folder = None if done.folder is None else str(done.folder)
        numbers = {} if done.folder is None else {"numbers": done.numbers}
        print(json.dumps({"folder": folder, **numbers, "reasons": done.reasons}))
        sys.exit(EXIT_WRONG_INPUT if done.reasons else 0)
    if done.folder is None:
        listed = "".join(f"\n  - {reason}" for reason in done.reasons)
        where = f"{shown(wanted['run_dir'])}, arm {wanted['arm']},"
        raise UserError(f"{where} cannot be submitted:{listed}{done.hint}")
    for what in done.unknown:
        print(f"{what} is unknown; --{what} says who submits", file=sys.stderr)
    where = shown(done.folder)
    print(f"{where}: {done.numbers} numbers, each from a file of the folder; the program starts; every log agrees")
    print(f"verify:    python -m platform.verify {shlex.quote(where)}")


if __name__ == "__main__":
    main()
