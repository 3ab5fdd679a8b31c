"""``python -m platform.verify FOLDER...``: which printed numbers of a record its own logs support, and how its claim
stands under each set of rules.

A folder is one record, or a tree of them. Every number in the README and in the submission file is held against the
logs; what disagrees is printed first, with file and line of both sides. Nothing of a record is executed.

Exit status: 0 every number agrees, rounding aside; 1 some number does not, or there is no log of the claim; 2 a folder
cannot be read. How the rules decide does not change it.
"""

import sys
from pathlib import Path

import click

from .errors import UserError, explained
from .logs.text import safe
from .records import folder as record_folder
from .records.claim import claim_of
from .records.data import as_data, dumps
from .records.record import AGREES, ROUNDING_ONLY, Examined, examine
from .rules import claims
from .rules.claims import Claim
from .runs.paths import RunPaths

WIDTH_WITHOUT_TERMINAL = 140


@click.command(help=(__doc__ or "").replace("``", ""))
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="A list with everything that is known of each record.")
@click.option("--against", type=click.Path(path_type=Path), metavar="FOLDER", help="The record to beat.")
@click.option(
    "--rules", "rules", multiple=True, metavar="NAME", help="Judge under these rules only, every check shown."
)
@explained()
def main(folders: tuple[Path, ...], as_json: bool, against: Path | None, rules: tuple[str, ...]) -> None:
    for name in rules:
        claims.load(name)  # a wrong name is told before anything is read
    to_beat = None if against is None else claim_of(_one(against))
    records = [examine(path) for given in folders for path in _records(given)]
    if as_json:
        print(dumps([_data(record, to_beat, rules) for record in records]))
    else:
        _print(records, to_beat, rules)
    sys.exit(0 if all(record.verdict in (AGREES, ROUNDING_ONLY) for record in records) else 1)


def _records(given: Path) -> list[Path]:
    """The record folders at or below what was named."""
    if not given.is_dir():
        what = "is a file; name the folder that it is in" if given.exists() else "is not there"
        raise UserError(f"{safe(str(given))} {what}")
    if RunPaths(given).plan.is_file() and not (given / "submission.json").exists():
        where = safe(str(given))
        raise UserError(
            f"{where} is a run, not a record: python -m platform.report {where} prints it, and platform.submit makes a "
            f"record of it"
        )
    try:
        found = record_folder.records_under(given)
    except OSError as error:
        raise UserError(f"{safe(str(given))} cannot be read: {error.strerror}") from None
    if found == [given] and not record_folder.is_record(given):
        raise UserError(f"{safe(str(given))} holds no record: no submission.json, no README, no log of a training run")
    return found


def _one(given: Path) -> Examined:
    found = _records(given)
    if len(found) != 1:
        raise UserError(f"--against {safe(str(given))} holds {len(found)} records; name one")
    record = examine(found[0])
    if not record.score.bpb:
        raise UserError(f"--against {safe(str(given))}: its logs give no score to beat")
    return record


def _data(record: Examined, to_beat: Claim | None, rules: tuple[str, ...]) -> dict[str, object]:
    claim = claim_of(record)
    return as_data(record, claims.judge_all(claim, to_beat, rules), claim, to_beat)


def _print(records: list[Examined], to_beat: Claim | None, rules: tuple[str, ...]) -> None:
    from rich.console import Console

    from .records.show import show, summary

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=WIDTH_WITHOUT_TERMINAL)
    for record in records:
        judgements = claims.judge_all(claim_of(record), to_beat, rules)
        show(record, judgements, console, against=to_beat, every_check=bool(rules))
    if len(records) > 1:
        console.print(summary(records))
    if to_beat is None:
        console.print(
            "Next: --against FOLDER names the record to beat; --rules NAME shows every check; --json has all."
        )


if __name__ == "__main__":
    main()
