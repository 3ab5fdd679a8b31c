"""Seeds written into the plan of a run, under its lock: begun, or continued where it is of the same experiment."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from jobs.contract.assignment import RESULT_FILE
from jobs.contract.files import write_record, write_text

from ..errors import UserError
from ..locks import held
from ..paths import shown
from .plan import NOT_STORED, Plan, read


def extend(
    draft: Plan, seeds: tuple[int, ...], arms: tuple[str, ...] = (), texts: Mapping[Path, str] | None = None
) -> Plan:
    """Write ``seeds`` into the plan of ``draft.run_path``, made from ``draft`` where there is none; returns it.

    Two launches may do this at once: each adds its seeds.

    Args:
        arms: that are asked for of these seeds; none named: all.
        texts: files that belong to the run, written under the same lock where they are not so already.

    Raises:
        UserError: the run was started on other data or with another tokenizer.
    """
    draft.run_path.mkdir(parents=True, exist_ok=True)
    with held(draft.paths.lock):
        plan, known = _continued(draft)
        plan = plan.with_seeds(seeds, datetime.now(UTC).isoformat(timespec="seconds"), arms)
        for path, text in (texts or {}).items():
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)
        if plan != known:
            write_record(plan.paths.plan, plan, but=NOT_STORED)
    return plan


def preview(draft: Plan, seeds: tuple[int, ...], arms: tuple[str, ...] = ()) -> Plan:
    """The plan that ``extend`` would write; nothing is written. Raises UserError as ``extend`` does."""
    plan, _ = _continued(draft)
    return plan.with_seeds(seeds, "not yet", arms)


def _continued(draft: Plan) -> tuple[Plan, Plan | None]:
    """``draft`` with what is planned already, and the plan that is there."""
    known = _known(draft)
    return (draft if known is None else replace(draft, planned=known.planned, machine=known.machine)), known


def _known(draft: Plan) -> Plan | None:
    """The plan that is there already, checked to be of the same experiment."""
    if not draft.paths.plan.exists():
        return None
    known = read(draft.run_path)
    begun = any(known.run_path.glob(f"seed_*/*/{RESULT_FILE}"))
    for name, what in (
        ("program_sha256", "program"),
        ("data_sha256", "data"),
        ("tokenizer_sha256", "tokenizer"),
        ("machine", "machine"),
    ):
        before, now = getattr(known, name), getattr(draft, name)
        if before == now or not before:
            continue
        if not begun:
            return None  # it came to nothing as it was planned: nothing is lost by starting over
        raise UserError(
            f"{shown(draft.run_path)} was started on another {what}:\n"
            f"  then: {before[:12]}  {known.data_path}  {known.tokenizer_path}\n"
            f"  now:  {now[:12]}  {draft.data_path}  {draft.tokenizer_path}\n"
            f"Seeds of one run must share it, or their mean means nothing. Give the one of then (--data, --tokenizer, "
            f"--scale), or keep the new results elsewhere (--runs DIR)."
        )
    return known
