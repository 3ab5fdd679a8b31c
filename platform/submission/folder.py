"""A candidate to a record folder: copies, README, submission file, figures, ledger; and the proof that it verifies.

The folder is made beside its place and moved there when everything in it is right: its ledger re-derives, a reader that
knows nothing of us finds every number in its logs, and its program starts in a clean interpreter.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunFailed, UserError
from ..ledger import ledger
from ..ledger.derivation import Expression, LedgerError
from ..ledger.ledger import README_FILE, SUBMISSION_FILE, Draft
from ..paths import shown
from ..processes import guarded
from ..processes.environment import bare
from ..records.provenance import PROVENANCE_FILE, provenance
from ..records.record import AGREES, examine
from ..records.to_beat import ToBeat
from ..reports import build, figures
from ..runs.results import Run
from .candidate import Candidate, Seed
from .files import AGAINST_FILE, LINEAGE_FILE, PLAN_FILE, PROGRAM_FILE, copy_all, result_file
from .page import Measured, Page, hardware
from .readme import readme_text

TRACK, NON_RECORD_TRACK = "10min_16mb", "non-record-16mb"
START_SECONDS = 120.0

# What a submission file has, in this order; the field's names where it has one.
SCHEMA: dict[str, type | tuple[type, ...]] = {
    "author": str,
    "github_id": str,
    "name": str,
    "blurb": str,
    "date": str,
    "track": str,
    "val_loss": float,
    "val_bpb": float,
    "val_loss_std": (float, type(None)),
    "val_bpb_std": (float, type(None)),
    "seeds": list,
    "seed_results": dict,
    "bytes_total": int,
    "bytes_code": int,
    "artifact_bytes_mean": float,
    "artifact_bytes_max": int,
    "step_avg_ms_mean": float,
    "hardware": str,
    "pytorch_version": str,
    "comparison": (dict, type(None)),
    "recipe": str,
    "scale": str,
    "arm": str,
    "adaptation": str,
    "protocol": str,
    "end_to_end": bool,
    "run": str,
    "fairway_commit": (str, type(None)),
    "fairway_diff": (str, type(None)),  # sha256; a key without digits, which the ledger would have to know
    "program_sha256": str,
    "data_sha256": str,
    "tokenizer_sha256": str,
}


@dataclass(frozen=True, kw_only=True)
class About:
    """What the author says; nothing of it is measured."""

    author: str
    github_id: str
    name: str | None = None  # None: the recipe and the arm


def write(found: Candidate, out: Path, about: About, *, ablation: Run, against: ToBeat | None, record: bool) -> Path:
    """Write the folder ``out``, which must not be there yet.

    Raises:
        UserError: something is there, or what the author gives or a file of the run holds cannot be printed.
        RunFailed: what was written does not verify, or its program does not start; it is kept for a look.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{shown(out)} is there already; name another place with --out, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _fill(part, found, about, ablation=ablation, against=against, record=record)
        problems = flaws(part)
    except LedgerError as error:
        shutil.rmtree(part)
        raise UserError(f"{shown(found.run.path)}, arm {found.arm}: {error}") from error
    except BaseException:
        shutil.rmtree(part)
        raise
    if problems:
        raise RunFailed("\n".join([f"what was written does not hold; it is in {shown(part)}:", *problems]))
    part.chmod(0o755)
    if out.exists():
        out.rmdir()
    part.rename(out)
    return out


def flaws(folder: Path) -> list[str]:
    """What is wrong with a folder that was written: by its ledger, by a reader of records, by starting its program."""
    problems = [str(problem) for problem in ledger.check(folder)]
    examined = examine(folder)
    if examined.verdict != AGREES:
        problems += [f"verify: {examined.verdict}"]
        problems += [
            f"{finding.figure.where}: {finding.figure.item}: {finding.figure.number.raw} "
            f"({finding.status}: {finding.measured} {finding.field})"
            for finding in (*examined.mismatches, *examined.roundings)
        ]
    return problems + [problem for problem in [_does_not_start(folder)] if problem]


def _fill(folder: Path, found: Candidate, about: About, *, ablation: Run, against: ToBeat | None, record: bool) -> None:
    origins = copy_all(found, ablation, against, folder)
    drawn = figures.draw(build.build(found.run), folder / "figures")
    pictures = tuple(path.relative_to(folder).as_posix() for path in drawn)
    draft = Draft(folder)
    title = _title(draft, found, about)
    page = Page(
        draft=draft, found=found, ablation=ablation, against=against, record=record, title=title, figures=pictures
    )
    readme, lines = draft.page(readme_text(page))
    document, values = draft.document(_submission(draft, found, about, title, against=against, record=record))
    (folder / README_FILE).write_text(readme, encoding="utf-8")
    (folder / SUBMISSION_FILE).write_text(document, encoding="utf-8")
    ledger.write(
        folder,
        {"run": found.run.path.name, "arm": found.arm, "program_sha256": found.run.plan.program_sha256},
        origins | dict.fromkeys(pictures, ""),
        {README_FILE: lines, SUBMISSION_FILE: values},
    )


def _title(draft: Draft, found: Candidate, about: About) -> str:
    if about.name is not None:
        return draft.given(about.name)
    first = result_file(found.first.result.seed, found.arm)
    return f"{draft.text(f'{first} recipe')}, {draft.text(f'{first} arm')}"


def _submission(
    draft: Draft, found: Candidate, about: About, title: str, *, against: ToBeat | None, record: bool
) -> dict[str, Any]:
    """The submission file, with marks in the place of numbers."""
    measured, plan = Measured(found), found.run.plan
    first = result_file(found.first.result.seed, found.arm)
    of, step_ms = measured.of_result, measured.of_log("step_avg_ms", "step_avg")
    total = of("artifact_bytes")

    def everywhere(name: str) -> list[Expression]:
        return [of(name)(seed) for seed in measured.seeds]

    def spread(values: Callable[[Seed], Expression]) -> str | None:
        return draft.number(measured.over("sample_std", values), ".8f") if len(measured.seeds) > 1 else None

    seeds = {seed.result.seed: draft.number(of("seed")(seed), "d") for seed in measured.seeds}
    tree = {
        "author": draft.given(about.author),
        "github_id": draft.given(about.github_id),
        "name": title,
        "blurb": draft.text(f"{LINEAGE_FILE} 0.question"),
        "date": draft.quoted(plan.created[:10], f"{PLAN_FILE} planned.0.time"),
        "track": draft.given(TRACK if record else NON_RECORD_TRACK),
        "val_loss": draft.number(measured.over("mean", measured.loss), ".8f"),
        "val_bpb": draft.number(measured.over("mean", measured.bpb), ".8f"),
        "val_loss_std": spread(measured.loss),
        "val_bpb_std": spread(measured.bpb),
        "seeds": list(seeds.values()),
        "seed_results": {
            seeds[seed.result.seed]: {
                "val_loss": draft.number(["confirmed", measured.loss(seed), of("val_loss_nats")(seed)], ".8f"),
                "val_bpb": draft.number(["confirmed", measured.bpb(seed), of("val_bpb")(seed)], ".8f"),
                "artifact_bytes": draft.number(total(seed), "d"),
                "steps": draft.number(measured.of_log("steps_done", "step")(seed), "d"),
                "step_avg_ms": draft.number(step_ms(seed), ".2f"),
                "train_time_s": draft.number(measured.train_seconds(seed), ".3f"),
                "eval_time_s": draft.number(of("eval_seconds")(seed), ".3f"),
            }
            for seed in measured.seeds
        },
        "bytes_total": draft.number(measured.over("max", total), "d"),
        "bytes_code": draft.number(["bytes", PROGRAM_FILE], "d"),
        "artifact_bytes_mean": draft.number(measured.over("mean", total), ".1f"),
        "artifact_bytes_max": draft.number(measured.over("max", total), "d"),
        "step_avg_ms_mean": draft.number(measured.over("mean", step_ms), ".2f"),
        "hardware": hardware(draft, found),
        "pytorch_version": draft.text(f"{first} machine.torch_version"),
        "comparison": _comparison(draft, measured, against) if against else None,
        **{name: draft.text(f"{first} {name}") for name in ("recipe", "scale", "arm", "adaptation", "protocol")},
        "end_to_end": all(seed.result.end_to_end for seed in measured.seeds),
        "run": draft.given(found.run.path.name),
        "fairway_commit": _of_checkout(draft, found, "commit"),
        "fairway_diff": _of_checkout(draft, found, "diff_sha256"),
        "program_sha256": draft.text(["same", ["sha256", PROGRAM_FILE], *everywhere("program_sha256")]),
        **{name: draft.text(["same", *everywhere(name)]) for name in ("data_sha256", "tokenizer_sha256")},
    }
    assert list(tree) == list(SCHEMA)
    return tree


def _of_checkout(draft: Draft, found: Candidate, name: str) -> str | None:
    """A fact of the Fairway that measured, of several each; None where no file tells, or nothing differs."""
    told = provenance(found.run, found.arm)["fairway"]
    each = [draft.text(f"{PROVENANCE_FILE} fairway.{at}.{name}") for at, one in enumerate(told) if one[name]]
    return "; ".join(each) or None


def _comparison(draft: Draft, measured: Measured, against: ToBeat) -> dict[str, Any]:
    theirs = [f"{AGAINST_FILE} scores.{at}.val_bpb" for at in range(len(against.scores))]
    gain: Expression = ["difference", ["mean", *theirs], measured.over("mean", measured.bpb)]
    return {
        "against": draft.text(f"{AGAINST_FILE} name"),
        "seeds": draft.number(["count", *theirs], "d"),
        "mean_bpb": draft.number(["mean", *theirs], ".8f"),
        "gain_bpb": draft.number(gain, ".8f"),
        "gain_nats": draft.number(["product", gain, measured.nats_per_bpb], ".8f"),
    }


def _does_not_start(folder: Path) -> str | None:
    """Why the program does not get as far as looking for its data, alone in its folder; None where it does."""
    nowhere = "no_data_on_purpose"
    environment = {
        **bare(os.environ),
        "DATA_PATH": nowhere,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-P", PROGRAM_FILE]
    done = guarded.run(command, environment=environment, folder=folder, seconds=START_SECONDS)
    if done.timed_out:
        return f"{PROGRAM_FILE} did not ask for its data within {START_SECONDS:.0f} s"
    if done.status == 2 and nowhere in done.stderr:
        return None
    last = (done.stderr.strip() or "no word").splitlines()[-1]
    return f"{PROGRAM_FILE} does not start in a clean interpreter, exit status {done.status}: {last}"
