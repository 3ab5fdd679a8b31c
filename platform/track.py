"""The command: record runs in MLflow, from their files; repairs what MLflow has lost.

python -m platform.track                     every run of runs/
python -m platform.track RUN_DIR...          these runs
python -m platform.track --fresh             moves a database that is broken away, and records every run anew

MLflow is a copy: recording the same files again changes nothing. Artifacts of the database that was moved away stay
where they are.
"""

import sys
from pathlib import Path

import click

from .errors import UserError, explained
from .options import described
from .paths import RUNS, shown


@click.command(help=described(__doc__))
@click.argument("run_dirs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN_DIR]...")
@click.option("--runs", type=click.Path(path_type=Path), default=RUNS, show_default="runs", help="Folder of all runs.")
@click.option("--fresh", is_flag=True, help="First rename the database; takes every run of the folder.")
@explained()
def main(run_dirs: tuple[Path, ...], runs: Path, fresh: bool) -> None:
    from .tracking import recording
    from .tracking.patience import Patience

    patience, wrong = Patience(_note), []
    for folder, paths in recording.by_folder(run_dirs or recording.runs_in(runs)).items():
        if fresh:
            moved, paths = recording.move_away(folder, patience), recording.runs_in(folder)
            _note(f"moved to {shown(moved)}" if moved else "no database yet")
        recorded = []
        for path in paths:
            try:
                recorded.append(recording.record(path, patience))
                print(f"recorded:  {shown(path)}", flush=True)
            except UserError as error:  # of this run; the others are recorded all the same
                wrong.append(str(error))
        if recorded:
            print(recording.compare(recorded, patience))
    if wrong:
        raise UserError("\n".join(wrong))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
