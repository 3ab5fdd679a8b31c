"""The files of a report: report.md, report.json, results.csv and the figures."""

import csv
import io
import json
from pathlib import Path

from jobs.contract.files import write_text

from ..errors import naming
from ..runs.paths import RunPaths
from ..runs.results import Run, read_run
from . import figures, tables
from .build import Report, build
from .data import as_data


def write(run_path: Path) -> Report:
    """Write report.md, report.json, results.csv and the figures of the run in this folder.

    Raises:
        UserError: no run there, or a file in it that cannot be read.
    """
    report = build(read_run(run_path))
    paths = RunPaths(run_path)
    drawn = figures.draw(report, paths.figures)
    for path, text in (
        (paths.report_json, to_json(report)),
        (paths.results_csv, to_csv(report.run)),
        (paths.report_md, tables.to_markdown(report, drawn)),
    ):
        with naming(path):
            write_text(path, text)
    return report


def to_json(report: Report) -> str:
    return json.dumps(as_data(report), indent=2, allow_nan=False) + "\n"


def to_csv(run: Run) -> str:
    """One line a result, full precision, the file of each in the last column; only the header without results."""
    rows = run.rows()
    names = list(rows[0]) if rows else ["recipe", "scale", "arm", "seed", "val_bpb", "path"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
