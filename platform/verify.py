"""The command: tell which printed numbers of a record its own logs support, and how its claim stands.

The claim is judged under each set of rules.

A folder is one record, or a tree of them. Every number in the README and in the submission file is held against the
logs; what disagrees is printed first, with file and line of both sides. Nothing of a record is executed.

Exit status: 0 every number agrees, rounding aside; 1 some number does not, or there is no log of the claim; 2 a folder
cannot be read; 3 nothing is claimed. How the rules decide does not change it.
"""

import sys
from pathlib import Path

import click

from .errors import explained
from .options import described
from .records import judge
from .records.data import dumps
from .rules import claims


@click.command(help=described(__doc__))
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="A list with everything that is known of each record.")
@click.option("--against", type=click.Path(path_type=Path), metavar="FOLDER", help="The record to beat.")
@click.option("--rules", multiple=True, metavar="NAME", help="Judge under these rules only, every check shown.")
@explained()
def main(folders: tuple[Path, ...], as_json: bool, against: Path | None, rules: tuple[str, ...]) -> None:
    for name in rules:
        claims.load(name)  # a wrong name is told before anything is read
    to_beat = None if against is None else judge.claim_to_beat(against)
    records = judge.examined(folders)
    if as_json:
        print(dumps([judge.data_of(record, to_beat, rules) for record in records]))
    else:
        judge.print_all(records, to_beat, rules)
    sys.exit(judge.exit_status(records))


if __name__ == "__main__":
    main()
