"""The tables of a README: seeds with mean and std, bytes, ablation, comparison, timing; every number a mark."""

from collections.abc import Callable, Sequence

from jobs.contract.labels import ADAPTED, EXACT, ROUNDTRIP, SLIDING
from jobs.contract.records import SCORE_FIRST

from ..ledger.derivation import Expression
from ..ledger.ledger import Draft
from ..logs.runs import Evaluation
from ..runs.results import Run
from .candidate import Seed
from .files import AGAINST_FILE, AUDIT_FILE, PLAN_FILE, PROGRAM_FILE, arms_of, result_file
from .page import Column, Measured, Page, hardware, planned, table

SCORE_NAMES = {ADAPTED: "Post-TTT BPB", SLIDING: "Sliding BPB", ROUNDTRIP: "Post-quant BPB"}  # by kind of evaluation
EVALUATION_PHASES = {"load": "reading the artifact", "adapt": "adapting", "pack": "packing", "score": "scoring"}


def results(page: Page, measured: Measured) -> str:
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
        Column(title=SCORE_NAMES.get(first.final.kind, "val_bpb"), of=measured.bpb, form=".8f", bold=True, std=True),
        Column(title="val_loss (nats)", of=measured.loss, form=".8f", std=True),
        Column(title="Train time", of=measured.train_seconds, form=".1f", unit="s"),
        Column(title="Eval time", of=measured.of_result("eval_seconds"), form=".1f", unit="s"),
        Column(title="Artifact", of=measured.of_result("artifact_bytes"), form=",d", mean=False),
    ]
    version = draft.text(f"{result_file(first.result.seed, page.found.arm)} machine.torch_version")
    seeds = ", ".join(draft.number(f"{PLAN_FILE} planned.{at}.seeds.{of}", "d") for at, of in planned(page.found))
    when = draft.text(f"{PLAN_FILE} planned.0.time")
    return "\n\n".join(
        [
            f"## Results ({hardware(draft, page.found)}, PyTorch {version})",
            _seed_table(draft, measured, columns),
            f"Seeds {seeds} are all that were ever planned, in this order; they were written down before they ran, the "
            f"first at {when} (`{PLAN_FILE}`). Mean and sample standard deviation are of the values in the logs."
            + _audited(page),
        ]
    )


def _audited(page: Page) -> str:
    """What the audit of the evaluator says of the arm; nothing where there was none."""
    if not (page.draft.folder.path / AUDIT_FILE).exists():
        return ""
    verdict = page.draft.text(f"{AUDIT_FILE} arms.{page.found.arm}.verdict")
    return f" The audit of the evaluator finds the arm to be `{verdict}` (`{AUDIT_FILE}`)."


def _before_packing(seed: Seed) -> Evaluation | None:
    """The weights that are packed: after averaging, where there is any, else after the last step."""
    return seed.log.post_ema or seed.log.in_training


def _roundtrip(seed: Seed) -> Evaluation | None:
    """The packed weights in disjoint windows, where that is not the score itself."""
    roundtrips = (
        evaluation
        for evaluation in seed.log.evaluations
        if ROUNDTRIP in evaluation.label and evaluation.label.endswith(EXACT)
    )
    return next((evaluation for evaluation in roundtrips if evaluation is not seed.final), None)


def _seed_table(draft: Draft, measured: Measured, columns: Sequence[Column]) -> str:
    def cell(column: Column, origin: Expression) -> str:
        text = f"{draft.number(origin, column.form)}{column.unit}"
        return f"**{text}**" if column.bold else text

    rows = [["Seed", *(f"**{column.title}**" if column.bold else column.title for column in columns)]]
    for seed in measured.seeds:
        name = draft.number(measured.of_result("seed")(seed), "d")
        rows.append([name, *(cell(column, column.of(seed)) for column in columns)])
    if len(measured.seeds) > 1:
        for title, statistic, wanted in (("Mean", "mean", "mean"), ("Std", "sample_std", "std")):
            cells = [
                cell(column, measured.over(statistic, column.of)) if getattr(column, wanted) else ""
                for column in columns
            ]
            rows.append([f"**{title}**", *cells])
    return table(rows)


def sizes(page: Page, measured: Measured) -> str:
    draft, limit = page.draft, ["limit", "artifact_bytes"]
    total = measured.of_result("artifact_bytes")
    columns = [
        Column(title="Code size", of=measured.of_result("code_bytes"), form=",d"),
        Column(title="Compressed model", of=measured.of_result("model_bytes"), form=",d"),
        Column(title="Total", of=total, form=",d", bold=True),
        Column(title="Headroom", of=lambda seed: ["difference", limit, total(seed)], form=",d"),
    ]
    rows = [["Seed", *(column.title for column in columns)]]
    for seed in measured.seeds:
        name = draft.number(measured.of_result("seed")(seed), "d")
        rows.append([name, *(draft.number(column.of(seed), column.form) for column in columns)])
    return (
        f"### Bytes\n\n{table(rows)}\n\nBytes, against {draft.number(limit, ',d')}. The code is `{PROGRAM_FILE}` as it "
        f"lies here, {draft.number(['bytes', PROGRAM_FILE], ',d')} bytes: the file that ran."
    )


def ablation(page: Page) -> str | None:
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
            for seed, result in run.arms[arm].items()
            if seed in run.arms[base] and run.arms[base][seed].trunk_sha256 == result.trunk_sha256
        ]
        for arm in arms
        if arm != base
    }
    tested = [arm for arm, pairs in differences.items() if draft.has(["t_p", *pairs])]
    rows = [["Arm", "May be claimed", *(f"seed {_seed_mark(draft, names, run, seed)}" for seed in seeds)]]
    interval = f"{draft.number(['limit', 'confidence_percent'], 'd')} % interval"
    rows[0] += ["Mean", f"Delta to `{_arm_mark(page, base)}`", interval, "p (Holm)"]
    for arm in arms:
        by_seed = run.arms[arm]
        scores = [f"{names[seed, arm]} val_bpb" for seed in by_seed]
        claimable = all(result.protocol == SCORE_FIRST for result in by_seed.values())
        row = [f"`{_arm_mark(page, arm)}`", "yes" if claimable else "no, a diagnostic"]
        row += [draft.number(f"{names[seed, arm]} val_bpb", ".6f") if seed in by_seed else "" for seed in seeds]
        row.append(draft.number(["mean", *scores], ".6f"))
        pairs = differences.get(arm, [])
        row.append(draft.number(["mean", *pairs], "+.6f") if pairs else "")
        if arm in tested:
            low, high = (draft.number([f"t_{end}", *pairs], "+.6f") for end in ("low", "high"))
            p_values = [["t_p", *differences[other]] for other in tested]
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


def comparison(page: Page, measured: Measured) -> str | None:
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


def timing(page: Page, measured: Measured) -> str:
    draft = page.draft

    def slowest(of: Callable[[Seed], Expression]) -> str:
        return f"{draft.number(measured.over('max', of), '.1f')}s"

    train_cap, eval_cap = (f"{draft.number(['limit', f'{what}_seconds'], 'd')}s" for what in ("train", "eval"))
    rows = [["Phase", "Slowest seed", "Cap"]]
    rows.append(
        ["Training: optimizer steps and their data", slowest(measured.of_result("trunk.train_seconds")), train_cap]
    )
    rows.append(["Evaluation: from the artifact to the score", slowest(measured.of_result("eval_seconds")), eval_cap])
    for phase, words in EVALUATION_PHASES.items():
        if all(phase in seed.result.phases for seed in measured.seeds):
            rows.append([f"· {words}", slowest(measured.of_result(f"phases.{phase}")), ""])
    if all("pack" in seed.result.trunk.phases for seed in measured.seeds):
        packing = slowest(measured.of_result("trunk.phases.pack"))
        rows.append(["Quantizing and packing", packing, ""])
    note = "" if page.record else " The caps are meant for the challenge's machine."
    return f"## Timing Budget\n\n{table(rows)}\n\nWall seconds.{note}"
