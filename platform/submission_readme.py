"""The README of a record folder, with the tables that people know; every number in it is a mark of the ledger's draft.

Words are written here, numbers are not: a digit that no mark stands for is refused when the page is resolved. The field
reads scores off the logs, so scores, losses, steps and training times are taken from them; the rest from the results.
"""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import SCORE_FIRST

from .derivation import Expression
from .ledger import LEDGER_FILE, SUBMISSION_FILE, Draft
from .records.runs import Evaluation
from .results import Run
from .squeeze import unpacked
from .submission import Candidate, Seed
from .submission_files import (
    AGAINST_FILE,
    LINEAGE_FILE,
    PLAN_FILE,
    PROGRAM_FILE,
    READABLE_FILE,
    RECIPE_FILE,
    Against,
    arms_of,
    lineage,
    log_file,
    readable_text,
    result_file,
)

SCORE_NAMES = {"ttt": "Post-TTT BPB", "sliding": "Sliding BPB", "roundtrip": "Post-quant BPB"}  # by kind of evaluation
EVALUATION_PHASES = {"load": "reading the artifact", "adapt": "adapting", "pack": "packing", "score": "scoring"}
MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the seed table: what it is of a seed, and which rows below have it too."""

    title: str
    of: Callable[[Seed], Expression]
    form: str
    unit: str = ""
    bold: bool = False
    mean: bool = True
    std: bool = False


class Measured:
    """The expressions of what was measured, by what it is."""

    def __init__(self, found: Candidate) -> None:
        self.found = found
        self.seeds = tuple(found.seeds.values())

    def of_result(self, key: str) -> Callable[[Seed], Expression]:
        return lambda seed: f"{result_file(seed.result.seed, self.found.arm)} {key}"

    def of_log(self, fact: str, key: str) -> Callable[[Seed], Expression]:
        """``key`` in the line where the log states the fact."""
        return lambda seed: f"{log_file(seed.result.seed)}:{seed.log.facts[fact].line} {key}"

    def of_line(self, evaluation: Callable[[Seed], Evaluation | None], key: str) -> Callable[[Seed], Expression]:
        def at(seed: Seed) -> Expression:
            found = evaluation(seed)
            assert found is not None, "asked of every seed before"
            return f"{log_file(seed.result.seed)}:{found.line} {key}"

        return at

    def bpb(self, seed: Seed) -> Expression:
        return f"{log_file(seed.result.seed)}:{seed.final.line} val_bpb"

    def loss(self, seed: Seed) -> Expression:
        return f"{log_file(seed.result.seed)}:{seed.final.line} val_loss"

    def train_seconds(self, seed: Seed) -> Expression:
        return ["quotient", self.of_log("train_time_ms", "train_time")(seed), 1000]

    def over(self, statistic: str, of: Callable[[Seed], Expression]) -> Expression:
        """A statistic over the seeds; of one seed its value."""
        values = [of(seed) for seed in self.seeds]
        return [statistic, *values]

    def every(self, evaluation: Callable[[Seed], Evaluation | None]) -> bool:
        return all(evaluation(seed) is not None for seed in self.seeds)

    @property
    def nats_per_bpb(self) -> Expression:
        return ["quotient", self.over("mean", self.loss), self.over("mean", self.bpb)]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a README is written from."""

    draft: Draft
    found: Candidate
    ablation: Run
    against: Against | None
    record: bool
    title: str  # a mark or more
    figures: tuple[str, ...]


def write(page: Page) -> str:
    """The text of the README, with marks in the place of numbers."""
    measured = Measured(page.found)
    parts = [
        f"# {page.title}",
        _headline(page, measured),
        None if page.record else _not_a_record(page),
        _question(page),
        _results(page, measured),
        _sizes(page, measured),
        _ablation(page),
        _comparison(page, measured),
        _timing(page, measured),
        _architecture(page),
        _run_command(page),
        _lineage(page),
        _files(page, measured),
        _check_it(),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def score_name(final: Evaluation) -> str:
    return SCORE_NAMES.get(final.kind, "val_bpb")


def hardware(page_draft: Draft, found: Candidate) -> str:
    """The machine, as its job names it."""
    return page_draft.text(f"{result_file(found.first.result.seed, found.arm)} device")


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
    apart = sum(not one.result.end_to_end for one in page.found.seeds.values())
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


def _results(page: Page, measured: Measured) -> str:
    draft, first = page.draft, page.found.first
    columns = [
        Column(title="Steps", of=measured.of_log("steps_done", "step"), form=",d"),
        Column(title="ms/step", of=measured.of_log("step_avg_ms", "step_avg"), form=".2f"),
    ]
    if measured.every(_before_packing):
        pre_quant = measured.of_line(_before_packing, "val_bpb")
        columns.append(Column(title="Pre-quant BPB", of=pre_quant, form=".4f", std=True))
    if measured.every(_roundtrip):
        columns.append(Column(title="Post-quant BPB", of=measured.of_line(_roundtrip, "val_bpb"), form=".8f", std=True))
    columns += [
        Column(title=score_name(first.final), of=measured.bpb, form=".8f", bold=True, std=True),
        Column(title="val_loss (nats)", of=measured.loss, form=".8f", std=True),
        Column(title="Train time", of=measured.train_seconds, form=".1f", unit="s"),
        Column(title="Eval time", of=measured.of_result("eval_seconds"), form=".1f", unit="s"),
        Column(title="Artifact", of=measured.of_result("artifact_bytes"), form=",d", mean=False),
    ]
    version = draft.text(f"{result_file(first.result.seed, page.found.arm)} torch_version")
    seeds = ", ".join(draft.number(f"{PLAN_FILE} planned.{at}.seeds.{of}", "d") for at, of in _planned(page.found))
    when = draft.text(f"{PLAN_FILE} planned.0.time")
    return "\n\n".join(
        [
            f"## Results ({hardware(draft, page.found)}, PyTorch {version})",
            _seed_table(draft, measured, columns),
            f"Seeds {seeds} are all that were ever planned, in this order; they were written down before they ran, the "
            f"first at {when} (`{PLAN_FILE}`). Mean and sample standard deviation are of the values in the logs.",
        ]
    )


def _before_packing(seed: Seed) -> Evaluation | None:
    """The weights that are packed: after averaging, where there is any, else after the last step."""
    return seed.log.post_ema or seed.log.in_training


def _roundtrip(seed: Seed) -> Evaluation | None:
    """The packed weights in disjoint windows, where that is not the score itself."""
    found = (one for one in seed.log.evaluations if "roundtrip" in one.label and one.label.endswith("_exact"))
    return next((one for one in found if one is not seed.final), None)


def _planned(found: Candidate) -> list[tuple[int, int]]:
    return [(at, of) for at, one in enumerate(found.run.plan.planned) for of in range(len(one.seeds))]


def _seed_table(draft: Draft, measured: Measured, columns: Sequence[Column]) -> str:
    def cell(column: Column, origin: Expression) -> str:
        text = f"{draft.number(origin, column.form)}{column.unit}"
        return f"**{text}**" if column.bold else text

    rows = [["Seed", *(f"**{one.title}**" if one.bold else one.title for one in columns)]]
    for seed in measured.seeds:
        name = draft.number(measured.of_result("seed")(seed), "d")
        rows.append([name, *(cell(one, one.of(seed)) for one in columns)])
    if len(measured.seeds) > 1:
        for title, statistic, wanted in (("Mean", "mean", "mean"), ("Std", "sample_std", "std")):
            cells = [cell(one, measured.over(statistic, one.of)) if getattr(one, wanted) else "" for one in columns]
            rows.append([f"**{title}**", *cells])
    return table(rows)


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns are words."""
    rule = ["---" if at < left else "---:" for at in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def _sizes(page: Page, measured: Measured) -> str:
    draft, limit = page.draft, ["limit", "artifact_bytes"]
    total = measured.of_result("artifact_bytes")
    columns = [
        Column(title="Code size", of=measured.of_result("code_bytes"), form=",d"),
        Column(title="Compressed model", of=measured.of_result("model_bytes"), form=",d"),
        Column(title="Total", of=total, form=",d", bold=True),
        Column(title="Headroom", of=lambda seed: ["difference", limit, total(seed)], form=",d"),
    ]
    rows = [["Seed", *(one.title for one in columns)]]
    for seed in measured.seeds:
        name = draft.number(measured.of_result("seed")(seed), "d")
        rows.append([name, *(draft.number(one.of(seed), one.form) for one in columns)])
    return (
        f"### Bytes\n\n{table(rows)}\n\nBytes, against {draft.number(limit, ',d')}. The code is `{PROGRAM_FILE}` as it "
        f"lies here, {draft.number(['bytes', PROGRAM_FILE], ',d')} bytes: the file that ran."
    )


def _ablation(page: Page) -> str | None:
    """Arms of one training run per seed, with their paired differences; None where there is but one arm."""
    run, draft = page.ablation, page.draft
    arms = [arm for arm, by_seed in run.arms.items() if by_seed]
    if len(arms) < 2:
        return None
    base = next((arm for arm in arms if next(iter(run.arms[arm].values())).adaptation == "no_adaptation"), arms[0])
    names = {(seed, arm): name for seed, arm, name in arms_of(page.found, run)}
    seeds = [seed for seed in run.plan.seeds if any(seed in run.arms[arm] for arm in arms)]
    differences = {
        arm: [
            ["difference", f"{names[seed, arm]} val_bpb", f"{names[seed, base]} val_bpb"]
            for seed, one in run.arms[arm].items()
            if seed in run.arms[base] and run.arms[base][seed].trunk_sha256 == one.trunk_sha256
        ]
        for arm in arms
        if arm != base
    }
    tested = [arm for arm, found in differences.items() if draft.has(["t_p", *found])]
    rows = [["Arm", "May be claimed", *(f"seed {_seed_mark(draft, names, run, seed)}" for seed in seeds)]]
    interval = f"{draft.number(['limit', 'confidence_percent'], 'd')} % interval"
    rows[0] += ["Mean", f"Delta to `{_arm_mark(page, base)}`", interval, "p (Holm)"]
    for arm in arms:
        by_seed = run.arms[arm]
        scores = [f"{names[seed, arm]} val_bpb" for seed in by_seed]
        claimable = all(one.protocol == SCORE_FIRST for one in by_seed.values())
        row = [f"`{_arm_mark(page, arm)}`", "yes" if claimable else "no, a diagnostic"]
        row += [draft.number(f"{names[seed, arm]} val_bpb", ".6f") if seed in by_seed else "" for seed in seeds]
        row.append(draft.number(["mean", *scores], ".6f"))
        found = differences.get(arm, [])
        row.append(draft.number(["mean", *found], "+.6f") if found else "")
        if arm in tested:
            low, high = (draft.number([f"t_{end}", *found], "+.6f") for end in ("low", "high"))
            p_values = [["t_p", *differences[one]] for one in tested]
            row += [f"{low} to {high}", draft.number(["holm", tested.index(arm), *p_values], ".4g")]
        else:
            row += ["", ""]
        rows.append(row)
    return (
        f"## Ablation\n\n{table(rows, left=2)}\n\nBits per byte. Every arm of a seed scored the same trained weights, "
        "so the differences are paired: mean, t interval and two-sided p, corrected by Holm for the arms of this table."
    )


def _seed_mark(draft: Draft, names: dict[tuple[int, str], str], run: Run, seed: int) -> str:
    arm = next(arm for arm, by_seed in run.arms.items() if seed in by_seed)
    return draft.number(f"{names[seed, arm]} seed", "d")


def _arm_mark(page: Page, arm: str) -> str:
    name = next(name for _, of, name in arms_of(page.found, page.ablation) if of == arm)
    return page.draft.text(f"{name} arm")


def _comparison(page: Page, measured: Measured) -> str | None:
    """Against the scores of another record or run; None where none was named."""
    if page.against is None:
        return None
    draft, other = page.draft, page.against
    ours = [measured.bpb(seed) for seed in measured.seeds]
    theirs = [f"{AGAINST_FILE} scores.{at}.val_bpb" for at in range(len(other.scores))]
    name = draft.text(f"{AGAINST_FILE} name")
    rows = [["", "n", "Mean BPB", "Std"]]
    for label, scores in (("this", ours), (name, theirs)):
        std = draft.number(["sample_std", *scores], ".8f") if len(scores) > 1 else ""
        rows.append([label, draft.number(["count", *scores], "d"), draft.number(["mean", *scores], ".8f"), std])
    gain = ["difference", ["mean", *theirs], ["mean", *ours]]
    text = (
        f"Gain: {draft.number(gain, '+.6f')} BPB, which are "
        f"{draft.number(['product', gain, measured.nats_per_bpb], '+.6f')} nats per token of this tokenizer."
    )
    groups = [["list", *ours], ["list", *theirs]]
    if draft.has(["welch_t", *groups]):
        margin = ["quotient", ["limit", "margin_nats"], measured.nats_per_bpb]
        text += (
            f" Welch's one-sided test: t = {draft.number(['welch_t', *groups], '.4f')} with "
            f"{draft.number(['welch_df', *groups], '.2f')} degrees of freedom, "
            f"p = {draft.number(['welch_p', *groups], '.4g')}; for a gain above "
            f"{draft.number(['limit', 'margin_nats'], 'g')} nats per token "
            f"p = {draft.number(['welch_p', *groups, margin], '.4g')}."
        )
    where = "its files" if other.scores[0].line is None else "its logs"
    return f"## Comparison with {name}\n\n{table(rows)}\n\n{text} The other scores are from {where}: `{AGAINST_FILE}`."


def _timing(page: Page, measured: Measured) -> str:
    draft = page.draft

    def slowest(of: Callable[[Seed], Expression]) -> str:
        return f"{draft.number(measured.over('max', of), '.1f')}s"

    train_cap, eval_cap = (f"{draft.number(['limit', f'{what}_seconds'], 'd')}s" for what in ("train", "eval"))
    rows = [["Phase", "Slowest seed", "Cap"]]
    rows.append(["Training: optimizer steps and their data", slowest(measured.of_result("train_seconds")), train_cap])
    rows.append(["Evaluation: from the artifact to the score", slowest(measured.of_result("eval_seconds")), eval_cap])
    for phase, words in EVALUATION_PHASES.items():
        if all(phase in seed.result.phases for seed in measured.seeds):
            rows.append([f"· {words}", slowest(measured.of_result(f"phases.{phase}")), ""])
    if all(seed.trunk and "pack" in seed.trunk.phases for seed in measured.seeds):
        packing = slowest(lambda seed: f"{result_file(seed.result.seed, 'trunk')} phases.pack")
        rows.append(["Quantizing and packing", packing, ""])
    note = "" if page.record else " The caps are meant for the challenge's machine."
    return f"## Timing Budget\n\n{table(rows)}\n\nWall seconds.{note}"


def _architecture(page: Page) -> str | None:
    """What the recipe chooses, in the program's own words, with the source that each technique names."""
    draft, text = page.draft, readable_text(page.found)
    file = READABLE_FILE if page.found.paths.readable.is_file() else PROGRAM_FILE
    if (draft.folder.path / file).read_text(encoding="utf-8") != text:
        return None  # packed, and what it was made of is lost
    tree = ast.parse(text)
    recipe = next((one.value for one in tree.body if isinstance(one, ast.Assign) and _names_recipe(one)), None)
    if not isinstance(recipe, ast.Call):
        return None
    classes = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}
    rows = [["Component", "Setting", "Source"]]
    for field in recipe.keywords:
        if field.arg in ("name", "scale", "arms"):
            continue
        lines = f"{file}:{field.value.lineno}-{field.value.end_lineno}"
        parts = field.value.elts if isinstance(field.value, ast.Tuple) else [field.value]
        segments = (ast.get_source_segment(text, part) or "" for part in parts)
        setting = draft.quoted(_on_one_line(", ".join(segments)), lines)
        used = [one.id for one in ast.walk(field.value) if isinstance(one, ast.Name) and one.id in classes]
        sources = [_source(draft, classes[name], file) for name in used]
        rows.append([str(field.arg), f"`{setting}`", "; ".join(filter(None, sources))])
    note = f"What differs from the defaults; `{RECIPE_FILE}` has every value."
    return f"## Architecture\n\n{table(rows, left=3)}\n\n{note}"


def _names_recipe(node: ast.Assign) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "RECIPE" for one in node.targets)


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
    seeds = ",".join(draft.number(f"{PLAN_FILE} planned.{at}.seeds.{of}", "d") for at, of in _planned(page.found))
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
    for at, one in enumerate(lineage(page.found)):
        name = page.draft.text(f"{LINEAGE_FILE} {at}.name")
        source = f": {page.draft.text(f'{LINEAGE_FILE} {at}.source')}" if "source" in one else ""
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
        f"`{RECIPE_FILE}`: every choice with its value\n"
        f"- `{LEDGER_FILE}`: where each number of this page and of `{SUBMISSION_FILE}` comes from"
        f"{pictures}"
    )


def _check_it() -> str:
    return (
        "## Check it\n\nFrom a checkout of Fairway, with the path of this folder: every number is worked out again "
        "from the files that lie here, and held against the logs.\n\n"
        "```bash\npython -m platform.verify FOLDER\n```"
    )
