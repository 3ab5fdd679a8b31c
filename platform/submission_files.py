"""What goes into a record folder beside its README: copies of what the run left, and what it is compared with.

Everything that a number is worked out from is copied, so that the folder needs no run beside it:

    train_gpt.py  train_gpt_readable.py     the program that ran, and what it was squeezed from
    train_seed42.log                        the arm's log
    plan.json  recipe.yaml                  the seeds as they were planned; every choice with its value
    audit.json                              what the audit of the evaluator found, where there was one
    results/seed_42/<arm>.json  trunk.json  what the job measured of each arm, and of the training
    ablation/seed_42/<arm>.json             the same, where the arms are of another run
    against.json  lineage.json              the scores to beat, and where they stand; recipes with their sources
    requirements.txt                        what the program imports
"""

import ast
import importlib.metadata
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.contract import file_sha256

from . import audit, document
from .errors import UserError, nearest
from .paths import RECIPES, RunPaths, shown
from .records.record import examine
from .results import Run, read_run
from .squeeze import unpacked
from .submission import Candidate

PROGRAM_FILE, READABLE_FILE = "train_gpt.py", "train_gpt_readable.py"
PLAN_FILE, RECIPE_FILE, LINEAGE_FILE = "plan.json", "recipe.yaml", "lineage.json"
AUDIT_FILE, AGAINST_FILE, REQUIREMENTS_FILE = "audit.json", "against.json", "requirements.txt"
ABLATION = "ablation"
LONGEST_LINEAGE = 50
SAME_TEXT = 0.001  # share; evaluators leave out up to 0.0004 of the challenge's text


def log_file(seed: int) -> str:
    return f"train_seed{seed}.log"


def result_file(seed: int, arm: str, folder: str = "results") -> str:
    return f"{folder}/seed_{seed}/{arm}.json"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score to beat, and where it stands."""

    seed: int | None
    val_bpb: float
    val_loss: float | None
    file: str
    line: int | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Against:
    """A record or an arm of a run to be compared with."""

    name: str
    scores: tuple[Score, ...]
    scored_bytes: int | None  # of the text; None where its logs do not tell

    def require_same_text(self, scored_bytes: int) -> None:
        """Raises UserError where the scores are of another text: bits per byte of two texts say nothing together."""
        theirs = self.scored_bytes
        if theirs is not None and abs(theirs - scored_bytes) > SAME_TEXT * scored_bytes:
            raise UserError(
                f"--against {self.name}: its scores are of another text, {theirs:,} bytes, here {scored_bytes:,} were "
                "scored; compare what ran on the same data"
            )

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "scores": [asdict(one) for one in self.scores]}


def against(path: Path, arm: str) -> Against:
    """The scores of a record folder, from its logs; or of a run's ``arm``, or the only arm that it has.

    Raises:
        UserError: it is neither, or has no score.
    """
    if RunPaths(path).plan.is_file() and not (path / "submission.json").exists():
        return _of_run(read_run(path), arm)
    if not path.is_dir():
        raise UserError(f"--against {shown(path)}: no such folder; a run, or a record with its logs")
    record = examine(path)
    sha256 = {log.file: log.sha256 for log in record.read.logs}
    scores = tuple(
        Score(
            seed=one.seed,
            val_bpb=float(one.final.bpb.text),
            val_loss=float(one.final.loss.text) if one.final.loss else None,
            file=one.run.file,
            line=one.final.line,
            sha256=sha256.get(one.run.file, ""),
        )
        for one in record.claimed.seeds
        if one.final
    )
    if not scores:
        raise UserError(f"--against {shown(path)}: there is neither a run nor a record whose logs give a score")
    scored = next((one.scored_bytes for _, one in record.bytes), None)
    return Against(name=path.resolve().name, scores=scores, scored_bytes=scored)


def _of_run(run: Run, arm: str) -> Against:
    if arm not in run.arms and len(run.arms) > 1:
        possible = f"it has {', '.join(run.arms)}{nearest(arm, run.arms)}"
        raise UserError(f"--against {shown(run.path)}: no arm {arm}; {possible}; --against-arm says which")
    arm = arm if arm in run.arms else next(iter(run.arms))
    scores = []
    for seed, one in run.arms[arm].items():
        path = run.plan.paths.seed(seed).arm(arm).result
        scores.append(
            Score(
                seed=seed,
                val_bpb=one.val_bpb,
                val_loss=one.val_loss_nats,
                file=path.relative_to(run.path).as_posix(),
                line=None,
                sha256=file_sha256(path),
            )
        )
    if not scores:
        raise UserError(f"--against {shown(run.path)}: its arm {arm} has no score yet")
    scored = next(iter(run.arms[arm].values())).scored_bytes
    return Against(name=f"{run.path.name}, {arm}", scores=tuple(scores), scored_bytes=scored)


def copy_all(found: Candidate, ablation: Run, other: Against | None, folder: Path) -> dict[str, str]:
    """Write every file into ``folder``; the name of each, and the file of the run that it is a copy of, or ""."""
    paths, origins = found.paths, dict[str, str]()

    def copied(source: Path, name: str, root: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
        inside = source.is_relative_to(root)
        origins[name] = source.relative_to(root).as_posix() if inside else source.relative_to(root.parent).as_posix()

    copied(paths.program, PROGRAM_FILE, paths.folder)
    if paths.readable.is_file():
        copied(paths.readable, READABLE_FILE, paths.folder)
    copied(paths.plan, PLAN_FILE, paths.folder)
    copied(paths.recipe, RECIPE_FILE, paths.folder)
    if found.arm in audit.verdicts(paths.folder):
        copied(paths.audit, AUDIT_FILE, paths.folder)
    for seed, one in found.seeds.items():
        copied(one.paths.log, log_file(seed), paths.folder)
        copied(one.paths.result, result_file(seed, found.arm), paths.folder)
        if one.trunk is not None:
            copied(found.run.plan.trial(seed).trunk.record, result_file(seed, "trunk"), paths.folder)
    for seed, arm, name in arms_of(found, ablation):
        if name not in origins:
            copied(ablation.plan.paths.seed(seed).arm(arm).result, name, ablation.path)
    written = {LINEAGE_FILE: _json(lineage(found)), REQUIREMENTS_FILE: requirements(found)}
    if other is not None:
        written[AGAINST_FILE] = _json(other.as_json())
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
        origins[name] = ""
    return origins


def arms_of(found: Candidate, ablation: Run) -> Iterator[tuple[int, str, str]]:
    """Every result of the ablation: seed, arm, and the name of its copy."""
    own = ablation.path == found.run.path
    for arm, by_seed in ablation.arms.items():
        for seed in by_seed:
            yield seed, arm, result_file(seed, arm) if own else result_file(seed, arm, ABLATION)


def lineage(found: Candidate) -> list[dict[str, str]]:
    """The recipe and those that it builds on, as far as their files are there: name, question, source."""
    names = ("name", "question", "source", "published", "against")

    def described(path: Path, name: str) -> dict[str, str]:
        top = document.read(path).entries("a recipe")
        return {"name": name} | {one: str(top[one].value) for one in names[1:] if one in top and top[one].value}

    chain = [described(found.paths.recipe, found.run.plan.recipe)]
    while parent := chain[-1].get("against"):
        path = RECIPES / f"{parent}.yaml"
        if not path.is_file() or len(chain) > LONGEST_LINEAGE:
            break
        chain.append(described(path, parent))
    return chain


def readable_text(found: Candidate) -> str:
    """The program as people read it: with its docstrings where they were kept."""
    path = found.paths.readable if found.paths.readable.is_file() else found.paths.program
    return unpacked(path.read_text(encoding="utf-8"))


def requirements(found: Candidate) -> str:
    """The packages that the program imports, in the versions that are installed here; torch in the one that ran."""
    roots = set()
    for node in ast.walk(ast.parse(readable_text(found))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.partition(".")[0])
    distributions = importlib.metadata.packages_distributions()
    lines = []
    for root in sorted(roots - sys.stdlib_module_names):
        names = distributions.get(root, [])
        if root == "torch":
            lines.append(f"torch=={found.first.result.torch_version.partition('+')[0]}")
        elif names:
            lines.append(f"{names[0]}=={importlib.metadata.version(names[0])}")
        else:
            lines.append(f"# {root}: used where it is installed; it was not here")
    return "\n".join(["# What train_gpt.py imports.", *lines, ""])


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
