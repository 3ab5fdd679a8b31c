"""The README of a record folder, with the tables that people know.

Words are written here, numbers are not: each is a mark of the ledger's draft, and a digit that no mark stands for is
refused when the page is resolved.
"""

import ast
import re
from pathlib import Path

from ..ledger.ledger import LEDGER_FILE, SUBMISSION_FILE, Draft
from ..program.squeeze import unpacked
from ..records.provenance import PROVENANCE_FILE
from . import tables
from .files import (
    LINEAGE_FILE,
    PLAN_FILE,
    PROGRAM_FILE,
    READABLE_FILE,
    RECIPE_FILE,
    lineage,
    readable_text,
    result_file,
)
from .page import Measured, Page, hardware, planned, table

MILLION = 1_000_000


def readme_text(page: Page) -> str:
    """The text of the README, with marks in the place of numbers."""
    measured = Measured(page.found)
    parts = [
        f"# {page.title}",
        _headline(page, measured),
        None if page.record else _not_a_record(page),
        _question(page),
        tables.results(page, measured),
        tables.sizes(page, measured),
        tables.ablation(page),
        tables.comparison(page, measured),
        tables.timing(page, measured),
        _architecture(page),
        _run_command(page),
        _lineage(page),
        _files(page, measured),
        _check_it(),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _headline(page: Page, measured: Measured) -> str:
    draft, n = page.draft, measured.over("count", measured.bpb)
    mean = draft.number(measured.over("mean", measured.bpb), ".5f")
    spread = f"{draft.number(n, 'd')}-seed mean"
    if len(measured.seeds) > 1:
        spread += f", std {draft.number(measured.over('sample_std', measured.bpb), '.5f')}"
    else:
        spread = "one seed"
    megabytes = ["quotient", measured.over("max", measured.of_result("artifact_bytes")), MILLION]
    return (
        f"**val_bpb: {mean}** ({spread}) | **{draft.number(measured.over('mean', measured.loss), '.5f')} nats** | "
        f"**~{draft.number(megabytes, '.2f')} MB** | {hardware(draft, page.found)}"
    )


def _not_a_record(page: Page) -> str:
    draft, first = page.draft, result_file(page.found.first.result.seed, page.found.arm)
    lines = [
        "> **Not a record.** This folder shows what was measured; its score does not compare with the leaderboard:"
    ]
    apart = sum(not seed.result.end_to_end for seed in page.found.seeds.values())
    if apart:
        lines.append("> it was scored from trunks that were trained before, not by one process from start to score;")
    lines.append(
        f"> it ran at scale `{draft.text(f'{first} scale')}` on {hardware(draft, page.found)}, "
        f"where {draft.number(f'{first} scored_bytes', ',d')} bytes of text were scored."
    )
    return "\n".join(lines)


def _question(page: Page) -> str:
    question = lineage(page.found)[0].get("question")
    asked = f"{page.draft.text(f'{LINEAGE_FILE} 0.question')} " if question else ""
    return f"{asked}Every number on this page is worked out from the files beside it, see [Check it](#check-it)."


def _architecture(page: Page) -> str | None:
    """What the recipe chooses, in the program's own words, with the source that each technique names."""
    draft, text = page.draft, readable_text(page.found)
    file = READABLE_FILE if page.found.paths.readable.is_file() else PROGRAM_FILE
    if (draft.folder.path / file).read_text(encoding="utf-8") != text:
        return None  # packed, and what it was made of is lost
    tree = ast.parse(text)
    recipe = next((node.value for node in tree.body if isinstance(node, ast.Assign) and _names_recipe(node)), None)
    if not isinstance(recipe, ast.Call):
        return None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    rows = [["Component", "Setting", "Source"]]
    for field in recipe.keywords:
        if field.arg in ("name", "scale", "arms"):
            continue
        lines = f"{file}:{field.value.lineno}-{field.value.end_lineno}"
        parts = field.value.elts if isinstance(field.value, ast.Tuple) else [field.value]
        segments = (ast.get_source_segment(text, part) or "" for part in parts)
        setting = draft.quoted(_on_one_line(", ".join(segments)), lines)
        used = [node.id for node in ast.walk(field.value) if isinstance(node, ast.Name) and node.id in classes]
        sources = [_source(draft, classes[name], file) for name in used]
        rows.append([str(field.arg), f"`{setting}`", "; ".join(filter(None, sources))])
    note = f"What differs from the defaults; `{RECIPE_FILE}` has every value."
    return f"## Architecture\n\n{table(rows, left=3)}\n\n{note}"


def _names_recipe(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "RECIPE" for target in node.targets)


def _on_one_line(source: str) -> str:
    joined = re.sub(r"(?<=[(\[{]) | (?=[)\]}])", "", " ".join(source.split()))
    return re.sub(r",(?=[)\]}])", "", joined).replace("|", "\\|")


def _source(draft: Draft, node: ast.ClassDef, file: str) -> str:
    """The first sentence of what the class gives as its source."""
    docstring = ast.get_docstring(node) or ""
    paragraph = next((part for part in docstring.split("\n\n") if part.startswith("Source:")), "")
    words = " ".join(paragraph.removeprefix("Source:").split()).partition(". ")[0].rstrip(".")
    where = f"{file}:{node.body[0].lineno}-{node.body[0].end_lineno}"
    return draft.quoted(words.replace("``", "`").replace("|", "\\|"), where) if words else ""


def _run_command(page: Page) -> str:
    draft, plan = page.draft, page.found.run.plan
    seed = draft.number(f"{PLAN_FILE} planned.0.seeds.0", "d")
    seeds = ",".join(draft.number(f"{PLAN_FILE} planned.{at}.seeds.{of}", "d") for at, of in planned(page.found))
    data, tokenizer = (
        f"{name.upper()}={draft.quoted(_below_data(getattr(plan, name)), f'{PLAN_FILE} {name}')}"
        for name in ("data_path", "tokenizer_path")
    )
    recipe, scale = (draft.text(f"{PLAN_FILE} {name}") for name in ("recipe", "scale"))
    options = f"--scale {scale} --seeds {seeds}"
    if plan.end_to_end:
        options += f" --end-to-end {draft.text(f'{PLAN_FILE} arms.0')}"
    if plan.paths.readable.is_file():
        packed = unpacked(plan.paths.program.read_text(encoding="utf-8")) != plan.paths.program.read_text(
            encoding="utf-8"
        )
        options += " --packed" if packed else " --squeeze"
    processes = draft.number(f"{PLAN_FILE} processes", "d")
    return "\n".join(
        [
            "## Run Command",
            "",
            "One seed, from this folder, with the data where it lies on your machine:",
            "",
            "```bash",
            "pip install -r requirements.txt",
            f"SEED={seed} {data} {tokenizer} \\",
            f"  torchrun --standalone --nproc_per_node={processes} {PROGRAM_FILE}",
            "```",
            "",
            "Every seed, from a checkout of Fairway:",
            "",
            "```bash",
            f"python -m platform.launch recipes/{recipe}.yaml {options}",
            "```",
        ]
    )


def _below_data(path: Path) -> str:
    """``data/...`` as everybody has it; the last name alone where it lies elsewhere."""
    parts = path.parts
    at = max((index for index, part in enumerate(parts) if part == "data"), default=len(parts) - 1)
    return "/".join(parts[at:])


def _lineage(page: Page) -> str:
    lines = []
    for at, recipe in enumerate(lineage(page.found)):
        name = page.draft.text(f"{LINEAGE_FILE} {at}.name")
        source = f": {page.draft.text(f'{LINEAGE_FILE} {at}.source')}" if "source" in recipe else ""
        lines.append(f"- {'builds on ' if at else ''}`{name}`{source}")
    return "\n".join(["## Credits and Lineage", "", *lines])


def _files(page: Page, measured: Measured) -> str:
    seeds = [page.draft.number(measured.of_result("seed")(seed), "d") for seed in measured.seeds]
    logs = ", ".join(f"`train_seed{seed}.log`" for seed in seeds)
    twin = f"\n- `{READABLE_FILE}`: what it was squeezed from" if page.found.paths.readable.is_file() else ""
    pictures = "".join(f"\n\n![{Path(name).stem.replace('_', ' ')}]({name})" for name in page.figures)
    return (
        "## Included Files\n\n"
        f"- `{PROGRAM_FILE}`: the program that ran{twin}\n"
        f"- {logs}: its logs\n"
        f"- `{SUBMISSION_FILE}`; `results/`: what each job measured; `{PLAN_FILE}`: the seeds as they were planned; "
        f"`{RECIPE_FILE}`: every choice with its value; `{PROVENANCE_FILE}`: machines, code and attempts\n"
        f"- `{LEDGER_FILE}`: where each number of this page and of `{SUBMISSION_FILE}` comes from"
        f"{pictures}"
    )


def _check_it() -> str:
    return (
        "## Check it\n\nFrom a checkout of Fairway, with the path of this folder: every number is worked out again "
        "from the files that lie here, and held against the logs.\n\n"
        "```bash\npython -m platform.verify FOLDER\n```"
    )
