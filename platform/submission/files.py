"""What goes into a record folder beside its README: copies of what the run left, and what it is compared with.

Everything that a number is worked out from is copied, so that the folder needs no run beside it:

    train_gpt.py  train_gpt_readable.py     the program that ran, and what it was squeezed from
    train_seed42.log                        the arm's log
    plan.json  recipe.yaml                  the seeds as they were planned; every choice with its value
    audit.json                              what the audit of the evaluator found, where there was one
    results/seed_42/<arm>.json              what the job measured of each arm, and of the training it was scored from
    ablation/seed_42/<arm>.json             the same, where the arms are of another run
    provenance.json                         machines, code and attempts of each seed, as far as files tell
    against.json  lineage.json              the scores to beat, and where they stand; recipes with their sources
    requirements.txt                        what the program imports
"""

import ast
import importlib.metadata
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.contract.files import SCHEMA_VERSION, write_record
from jobs.contract.records import ArmResult

from ..paths import RECIPES
from ..program import document
from ..program.squeeze import unpacked
from ..records.provenance import PROVENANCE_FILE, provenance
from ..records.to_beat import ToBeat
from ..runs import audits
from ..runs.results import Run
from .candidate import Candidate

PROGRAM_FILE, READABLE_FILE = "train_gpt.py", "train_gpt_readable.py"
PLAN_FILE, RECIPE_FILE, LINEAGE_FILE = "plan.json", "recipe.yaml", "lineage.json"
AUDIT_FILE, AGAINST_FILE, REQUIREMENTS_FILE = "audit.json", "against.json", "requirements.txt"
ABLATION = "ablation"
LONGEST_LINEAGE = 50


def log_file(seed: int) -> str:
    return f"train_seed{seed}.log"


def result_file(seed: int, arm: str, folder: str = "results") -> str:
    return f"{folder}/seed_{seed}/{arm}.json"


def copy_all(found: Candidate, ablation: Run, other: ToBeat | None, folder: Path) -> dict[str, str]:
    """Write every file into ``folder``; the name of each, and the file of the run that it is a copy of, or ""."""
    paths, origins = found.paths, dict[str, str]()

    def copied(source: Path, name: str, root: Path, record: ArmResult | None = None) -> None:
        """With ``record``, as that is written now: a file of an older schema has its numbers at other places."""
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if record is None or json.loads(source.read_text()).get("schema_version") == SCHEMA_VERSION:
            shutil.copyfile(source, folder / name)
        else:
            write_record(folder / name, record)
        inside = source.is_relative_to(root)
        origins[name] = source.relative_to(root).as_posix() if inside else source.relative_to(root.parent).as_posix()

    copied(paths.program, PROGRAM_FILE, paths.folder)
    if paths.readable.is_file():
        copied(paths.readable, READABLE_FILE, paths.folder)
    copied(paths.plan, PLAN_FILE, paths.folder)
    copied(paths.recipe, RECIPE_FILE, paths.folder)
    if found.arm in audits.of_run(paths.folder):
        copied(paths.audit, AUDIT_FILE, paths.folder)
    for seed, scored in found.seeds.items():
        copied(scored.paths.log, log_file(seed), paths.folder)
        copied(scored.paths.result, result_file(seed, found.arm), paths.folder, scored.result)
    for seed, arm, name in arms_of(found, ablation):
        if name not in origins:
            copied(ablation.plan.paths.seed(seed).arm(arm).result, name, ablation.path, ablation.arms[arm][seed])
    written = {LINEAGE_FILE: _json(lineage(found)), REQUIREMENTS_FILE: requirements(found)}
    written[PROVENANCE_FILE] = _json(provenance(found.run, found.arm))
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
    names = ("name", "question", "source", "published", "base", "against")

    def described(path: Path, name: str) -> dict[str, str]:
        top = document.read(path).entries("a recipe")
        values = {key: top[key].value for key in names[1:] if key in top}
        said = {key: str(value) for key, value in values.items() if value not in (None, "", "none")}
        if "base" not in top and "against" in said:  # a run from before the two were told apart
            said["base"] = said["against"]
        return {"name": name} | said

    chain = [described(found.paths.recipe, found.run.plan.recipe)]
    while base := chain[-1].get("base"):
        path = RECIPES / f"{base}.yaml"
        if not path.is_file() or len(chain) > LONGEST_LINEAGE:
            break
        chain.append(described(path, base))
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
            lines.append(f"torch=={found.first.result.machine.torch_version.partition('+')[0]}")
        elif names:
            lines.append(f"{names[0]}=={importlib.metadata.version(names[0])}")
        else:
            lines.append(f"# {root}: used where it is installed; it was not here")
    return "\n".join(["# What train_gpt.py imports.", *lines, ""])


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
