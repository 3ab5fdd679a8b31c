"""The command: print a run as tables, or as JSON.

python -m platform.report RUN_DIR            prints the report
python -m platform.report RUN_DIR --json     prints report.json
python -m platform.report RUN_DIR --write    writes report.md, report.json, results.csv and figures/ again
"""

from pathlib import Path

import click

from .errors import explained
from .reports import build, files, tables
from .runs.results import read_run


@click.command(help="Print the report of a run: a folder such as runs/leaky_cosine-991bb5f2.")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of tables.")
@click.option("--write", "rewrite", is_flag=True, help="Write report.md, report.json, results.csv and figures again.")
@click.option("--against", type=click.Path(path_type=Path), metavar="RUN_DIR", help="Compare with this run too.")
@explained()
def main(run_dir: Path, as_json: bool, rewrite: bool, against: Path | None) -> None:
    report = files.write(run_dir) if rewrite else build.build(read_run(run_dir))
    if as_json:
        print(files.to_json(report), end="")
        return
    tables.show(report)
    if against is not None:
        tables.show_comparison([read_run(against), report.run])


if __name__ == "__main__":
    main()
