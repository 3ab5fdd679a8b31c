"""Seeds written into the plan of a run: a new one, one of the same experiment, or one that is made again.

A plan that is cut off, empty or gone is made again of the draft that a recipe gives, of what the results say that they
were measured on, and of the seeds that have a folder: so no seed that was ever begun is forgotten.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import starmap
from pathlib import Path

from jobs.contract.assignment import RESULT_FILE
from jobs.contract.files import write_bytes, write_record

from ..errors import UserError, naming
from ..locks import held
from ..paths import shown
from .paths import RunPaths
from .plan import NOT_STORED, Plan, Planned, machine_name, read_if_whole, seeds_begun
from .reading import read_result


def extend(
    draft: Plan, seeds: tuple[int, ...], arms: tuple[str, ...] = (), texts: Mapping[Path, str | bytes] | None = None
) -> Plan:
    """Write ``seeds`` into the plan of ``draft.run_path``, made from ``draft`` where there is none; returns it.

    Two launches may do this at once: each adds its seeds.

    Args:
        arms: that are asked for of these seeds; none named: all.
        texts: files that belong to the run, written under the same lock where they are not so already.

    Raises:
        UserError: the run was started on other data or with another tokenizer.
    """
    texts = texts or {}
    plan, _ = _continued(draft)
    if plan.with_seeds(seeds, "", arms) == read_if_whole(draft.run_path) and all(starmap(_holds, texts.items())):
        return plan  # nothing to write: a run on a disk that cannot be written can be looked at
    draft.run_path.mkdir(parents=True, exist_ok=True)
    with held(draft.paths.lock):
        plan, known = _continued(draft)
        plan = plan.with_seeds(seeds, datetime.now(UTC).isoformat(timespec="seconds"), arms)
        for path, text in texts.items():
            if not _holds(path, text):
                with naming(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_bytes(path, _bytes(text))
        if plan != known or read_if_whole(draft.run_path) is None:
            with naming(plan.paths.plan):
                write_record(plan.paths.plan, plan, but=NOT_STORED)
    return plan


def preview(draft: Plan, seeds: tuple[int, ...], arms: tuple[str, ...] = ()) -> Plan:
    """The plan that ``extend`` would write; nothing is written. Raises UserError as ``extend`` does."""
    plan, _ = _continued(draft)
    return plan.with_seeds(seeds, "not yet", arms)


def remade(run_path: Path) -> str | None:
    """Of a plan that ``extend`` will make again: why, and with which seeds; None where it need not."""
    seeds = seeds_begun(run_path)
    if not seeds or read_if_whole(run_path) is not None:
        return None
    path = RunPaths(run_path).plan
    why = "is cut off or empty" if path.exists() else "is missing"
    return f"{shown(path)} {why}: made again, with every seed that has a folder: {', '.join(map(str, seeds))}"


def _holds(path: Path, text: str | bytes) -> bool:
    return path.is_file() and path.read_bytes() == _bytes(text)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


def _continued(draft: Plan) -> tuple[Plan, Plan | None]:
    """``draft`` with what is planned already, and the plan that is there."""
    known = _known(draft)
    return (draft if known is None else replace(draft, planned=known.planned, machine=known.machine)), known


def _remade(draft: Plan) -> Plan | None:
    """The plan of a run that has lost its own; None of a run that was not begun."""
    seeds, program = seeds_begun(draft.run_path), draft.paths.program
    if not seeds:
        return None
    begun = datetime.fromtimestamp(program.stat().st_mtime, UTC) if program.exists() else datetime.now(UTC)
    plan = replace(draft, planned=(Planned(time=begun.isoformat(timespec="seconds"), seeds=seeds),))
    for path in sorted(draft.run_path.glob(f"seed_*/*/{RESULT_FILE}")):
        try:
            result = read_result(path)
        except ValueError:
            continue
        if result.program_sha256 == draft.program_sha256:
            on = result.trunk.machine
            gpus = 0 if on is None or on.device.startswith("cpu") else on.world_size
            return replace(
                plan,
                data_sha256=result.data_sha256,
                tokenizer_sha256=result.tokenizer_sha256,
                machine=machine_name(on.world_size, gpus, draft.nodes) if on else draft.machine,
            )
    return plan


def _known(draft: Plan) -> Plan | None:
    """The plan that is there already, or was there, checked to be of the same experiment."""
    known = read_if_whole(draft.run_path) or _remade(draft)
    if known is None:
        return None
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
