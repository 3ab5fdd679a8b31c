"""The command: list everything that a recipe can say.

python -m platform.catalog [NAME ...] [--json]
"""

import json

import click

from .errors import explained
from .program import catalog, listing


@click.command(help="List sections, families, techniques and knobs: everything a recipe can say.")
@click.argument("names", nargs=-1, metavar="[SECTION | FAMILY | TECHNIQUE]...")
@click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
@explained()
def main(names: tuple[str, ...], is_json: bool) -> None:
    known = catalog.read()
    if is_json:
        print(json.dumps(listing.as_json(known, names), indent=2))
    else:
        listing.print_catalog(known, names)


if __name__ == "__main__":
    main()
