"""From the folders that somebody names to judged records, on a terminal or as data."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..logs.text import safe
from ..rules import claims
from ..rules.claims import Claim
from ..runs.paths import RunPaths
from . import folder as record_folder
from .claim import claim_of
from .data import as_data
from .record import AGREES, ROUNDING_ONLY, Examined, examine
from .show import show, summary

WIDTH_WITHOUT_TERMINAL = 140


def examined(folders: Sequence[Path]) -> list[Examined]:
    """Every record at or below ``folders``.

    Raises:
        UserError: nothing there, a file, a run of ours, or no record at all.
    """
    return [examine(path) for given in folders for path in _records(given)]


def agree(records: Sequence[Examined]) -> bool:
    """Whether every number of every record agrees with its logs, rounding aside."""
    return all(record.verdict in (AGREES, ROUNDING_ONLY) for record in records)


def claim_to_beat(given: Path) -> Claim:
    """The claim of the one record in the folder ``given``.

    Raises:
        UserError: as ``examined``; or several records, or one without a score.
    """
    return claim_of(_one(given))


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
        folders = record_folder.records_under(given)
    except OSError as error:
        raise UserError(f"{safe(str(given))} cannot be read: {error.strerror}") from None
    if folders == [given] and not record_folder.is_record(given):
        raise UserError(f"{safe(str(given))} holds no record: no submission.json, no README, no log of a training run")
    return folders


def _one(given: Path) -> Examined:
    folders = _records(given)
    if len(folders) != 1:
        raise UserError(f"--against {safe(str(given))} holds {len(folders)} records; name one")
    record = examine(folders[0])
    if not record.score.bpb:
        raise UserError(f"--against {safe(str(given))}: its logs give no score to beat")
    return record


def data_of(record: Examined, to_beat: Claim | None, rules: tuple[str, ...]) -> dict[str, object]:
    claim = claim_of(record)
    return as_data(record, claims.judge_all(claim, to_beat, rules), claim, to_beat)


def print_all(records: Sequence[Examined], to_beat: Claim | None, rules: Sequence[str]) -> None:
    """Print what was found of each record, and a summary where there are several."""
    from rich.console import Console

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
