"""From the folders that somebody names to judged records, on a terminal or as data."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from ..errors import UserError
from ..logs.text import safe
from ..rules import claims
from ..rules.claims import Claim
from ..runs.paths import RunPaths
from . import folder as record_folder
from .claim import claim_of
from .data import as_data
from .record import AGREES, NOTHING_CLAIMED, ROUNDING_ONLY, Examined, examine
from .show import show, summary

WIDTH_WITHOUT_TERMINAL = 140
LETTERS = str.maketrans(
    dict(zip("✓✗·‹›⟦⟧¦＆±", ("+", "x", "-", "<", ">", "[", "]", "|", "&", "+-"), strict=True)) | {"…": "..", "≤": "<="}
)


def examined(folders: Sequence[Path]) -> list[Examined]:
    """Every record at or below ``folders``.

    Raises:
        UserError: nothing there, a file, a run of ours, or no record at all.
    """
    return [examine(path) for given in folders for path in _records(given)]


def exit_status(records: Sequence[Examined]) -> int:
    """0 where every number of every record agrees with its logs, rounding aside; 3 where nothing else is wrong than
    that some record claims nothing; else 1."""
    verdicts = {record.verdict for record in records} - {AGREES, ROUNDING_ONLY}
    return 0 if not verdicts else 3 if verdicts == {NOTHING_CLAIMED} else 1


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


class _InLetters:
    """A stream that cannot write our signs, given others for them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "ascii"
        written = text.translate(LETTERS).encode(encoding, errors="replace").decode(encoding)
        return self._stream.write(written)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _writable(stream: TextIO) -> TextIO:
    try:
        "".join(map(chr, LETTERS)).encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return cast(TextIO, _InLetters(stream))
    return stream


def print_all(records: Sequence[Examined], to_beat: Claim | None, rules: Sequence[str]) -> None:
    """Print what was found of each record, and a summary where there are several."""
    from rich.console import Console

    plain = Console(highlight=False, markup=False, emoji=False)
    width = None if plain.is_terminal else WIDTH_WITHOUT_TERMINAL
    console = Console(file=_writable(sys.stdout), highlight=False, markup=False, emoji=False, width=width)
    for record in records:
        judgements = claims.judge_all(claim_of(record), to_beat, rules)
        show(record, judgements, console, against=to_beat, every_check=bool(rules))
    if len(records) > 1:
        console.print(summary(records))
    if to_beat is None:
        console.print(
            "Next: --against FOLDER names the record to beat; --rules NAME shows every check; --json has all."
        )
