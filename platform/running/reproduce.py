"""Run the script of somebody's record again, and hold what comes out against what is claimed and logged there."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from jobs.contract.files import write_text

from ..errors import UserError, naming, refusing
from ..paths import shown
from ..reports.text_table import NOTHING, Table, clean, console, print_table
from ..runs.plan import read_if_whole
from ..runs.results import Run, read_run
from ..scripts.reproduction import Reproduction, reproduction_of
from ..statistics.significance import BPB, Scores, t_quantile, welch
from .command import Asked, run
from .experiment import prepare

ALPHA = 0.05  # two-sided: a smaller p says that the two sets of seeds are not of one distribution


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """What the command was asked."""

    folder: Path
    seeds: str | None
    asked: Asked  # how the script is launched


def reproduce(wanted: Reproduce) -> None:
    """Print the recipe that does it again; launch it, unless this is a dry run, and print the comparison.

    Raises:
        UserError: the folder holds no record or no script, or the recipe cannot be launched as it is.
        RunFailed: some trial failed; what ran is compared all the same.
    """
    found = reproduction_of(wanted.folder)
    recipe = wanted.asked.runs / "recipes" / f"{found.name}.yaml"
    for line in found.recipe().splitlines():
        console().print(clean(line), markup=False)
    for remark in found.remarks:
        console().print(f"note: {clean(remark)}", markup=False, style="yellow")
    with refusing("keep the results elsewhere: --runs DIR"), naming(recipe):
        recipe.parent.mkdir(parents=True, exist_ok=True)
        write_text(recipe, found.recipe())
    asked = wanted.asked.of(recipe, seeds=wanted.seeds or _seeds(found))
    try:
        run(asked)
    finally:
        if not asked.dry_run:
            _compare(found, recipe, asked)


def _seeds(found: Reproduction) -> str:
    """Those of the claim; three of the fixed list where its logs do not say them."""
    return f"{','.join(map(str, found.seeds))}," if found.seeds else "3"


def _compare(found: Reproduction, recipe: Path, asked: Asked) -> None:
    try:
        run_path = prepare(recipe, asked.request).draft.run_path
    except UserError:  # which the launch has told
        return
    if read_if_whole(run_path) is not None:
        show(found, read_run(run_path))


def show(found: Reproduction, here: Run) -> None:
    """Print what the record claims, what its logs say, what was measured here, and whether the two can be one."""
    print_table(_table(found, here))
    console().print(verdict(found, here), markup=False)


def _table(found: Reproduction, here: Run) -> Table:
    (arm,) = here.arms
    logged = {
        one.seed: float(one.final.bpb.decimal)
        for one in found.record.claimed.seeds
        if one.final is not None and one.seed is not None
    }
    measured = {seed: result.val_bpb for seed, result in here.arms[arm].items()}
    rows = [
        (str(seed), *_cells(None, logged.get(seed), measured.get(seed))) for seed in dict.fromkeys([*logged, *measured])
    ]
    headline = found.record.headline
    claimed = None if headline is None else float(headline.figure.number.value)
    means = (fmean(of.values()) if of else None for of in (logged, measured))
    return Table(
        title=f"{found.record.name}: reproduced",
        columns=("Seed", "Claimed BPB", "Logged there", "Reproduced here", "Here - there"),
        rows=(*rows, ("Mean", *_cells(claimed, *means))),
        summary_rows=1,
    )


def _cells(claimed: float | None, there: float | None, here: float | None) -> tuple[str, ...]:
    difference = None if there is None or here is None else here - there
    numbers = [NOTHING if number is None else f"{number:.6f}" for number in (claimed, there, here)]
    return (*numbers, NOTHING if difference is None else f"{difference:+.6f}")


def verdict(found: Reproduction, here: Run) -> str:
    """Whether the two sets of seeds are compatible, and how much the test could have seen."""
    (arm,) = here.arms
    there, ours = found.record.score.bpb, tuple(result.val_bpb for result in here.arms[arm].values())
    machine = next((str(result.machine) for result in here.results), "no machine")
    where = f"{here.plan.scale}, {machine}; data {shown(here.plan.data_path)}"
    if len(there) < 2 or len(ours) < 2:
        return f"{len(there)} scores there and {len(ours)} here: two on each side are the least for a test ({where})"
    compared = welch(Scores(ours, BPB), Scores(tuple(there), BPB))
    if compared.p_two_sided is None or compared.standard_error is None or compared.df is None:
        return f"no test: {compared.note} ({where})"
    seen = compared.standard_error * (t_quantile(1 - ALPHA / 2, compared.df) + t_quantile(0.8, compared.df))
    said = "compatible" if compared.p_two_sided >= ALPHA else "NOT compatible"
    return (
        f"{said}: Welch t, two-sided p {compared.p_two_sided:.3g}, difference {-compared.gain:+.6f} BPB; with "
        f"{len(ours)} seeds here and {len(there)} there a difference of {seen:.6f} BPB would have been seen four times "
        f"in five ({where})"
    )
