"""The ledger of a record folder that we wrote: what in the folder it does not support, as findings like all others."""

from decimal import Decimal, InvalidOperation

from ..ledger import ledger
from ..ledger.derivation import LedgerError
from ..ledger.ledger import LEDGER_FILE, Problem
from .figure import Figure
from .folder import RecordFiles
from .numbers import Printed, Status
from .reconcile import Finding

OURS = b"fairway"  # stands at the beginning of each of our ledgers


def findings(files: RecordFiles) -> list[Finding]:
    """One for each number that the ledger does not give, and for each file that is not the one it was taken from."""
    if not _is_there(files):
        return []
    try:
        return [_finding(problem) for problem in ledger.check(files.folder)]
    except LedgerError as error:
        return [_finding(Problem(file=LEDGER_FILE, note=str(error)))]


def note(files: RecordFiles) -> str | None:
    """How many numbers the ledger speaks of; None where there is no ledger of ours."""
    try:
        return f"{LEDGER_FILE} has an entry for {ledger.entries(files.folder)} numbers" if _is_there(files) else None
    except LedgerError:
        return None


def _is_there(files: RecordFiles) -> bool:
    if LEDGER_FILE not in files.others:
        return False
    with (files.folder / LEDGER_FILE).open("rb") as file:
        return OURS in file.read(200)


def _finding(problem: Problem) -> Finding:
    derived = _number(problem.derived)
    note = problem.note if derived is not None or not problem.derived else f"{problem.note}: {problem.derived}"
    figure = Figure(
        file=problem.file,
        line=problem.line,
        item=problem.key or "a number" if problem.printed else problem.key or "the file",
        number=Printed(raw=problem.printed, value=_number(problem.printed) or Decimal(0)),
        quantity="score",
        statistic="value",
    )
    return Finding(figure=figure, status=Status.MISMATCH, measured=derived, field="ledger", log=LEDGER_FILE, note=note)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
