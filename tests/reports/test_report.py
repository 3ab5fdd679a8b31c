"""The report of a run: the numbers of its files, nothing else, and nothing left out."""

import csv
import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.contract.files import write_record
from jobs.contract.records import SCORE_FIRST, Machine
from platform import report as command
from platform.errors import UserError
from platform.reports import build, figures, files, tables
from platform.reports.data import as_data
from platform.reports.text_table import markdown
from platform.runs.node import Node
from platform.runs.reading import read_result
from platform.runs.results import read_run
from tests.history import History
from tests.nodes import CHECKOUT, node

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., Any]
SCORES = {
    "no_ttt": {1337: 2.3012, 42: 2.3050, 2024: 2.2991},
    "sgd": {1337: 2.2712, 42: 2.2761, 2024: 2.2683},
    "adamw": {1337: 2.2012, 42: 2.2030, 2024: 2.1999},
}


def test_json_has_the_numbers_of_the_result_files_to_the_last_digit(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    files.write(folder.path)
    found = json.loads((folder.path / "report.json").read_text())
    told = (found["recipe"], found["scale"], found["seeds"], found["failed"], found["open"], found["complete"])
    assert told == ("leaky_cosine", "laptop", [1337, 42, 2024], [], [], True)
    assert found["question"].startswith("What does test-time training add") and found["warnings"] == []
    assert found["trained_on"] == found["scored_on"] == ["world size 2 on cpu, torch 2.13.0"]
    assert found["phases"]["training"]["train"] == 45.25  # 50.5 s, warm-up inside
    for name, arm in found["arms"].items():
        assert arm["verdict"] == arm["protocol"] and arm["adaptation"]
        assert arm["gain"]["n"] == 3 and arm["gain"]["sliding"] == pytest.approx(0.02)
        for seed, numbers in arm["seeds"].items():
            result = json.loads((folder.path / numbers.pop("path")).read_text())
            assert (result["seed"], result["arm"]) == (int(seed), name)
            assert numbers.pop("step_ms") == result["trunk"]["step_ms_mean"]
            assert numbers.pop("scored_on") == result["machine"]
            assert numbers.pop("trained_on") == result["trunk"]["machine"]
            assert numbers == {key: {**result["trunk"], **result}[key] for key in numbers}
        values = list(SCORES[name].values())
        assert arm["val_bpb"]["n"] == 3
        assert arm["val_bpb"]["mean"] == statistics.mean(values)
        assert arm["val_bpb"]["std"] == statistics.stdev(values)
        half = 4.302652729911275 * statistics.stdev(values) / math.sqrt(3)  # t, 2 degrees of freedom
        assert arm["val_bpb"]["ci95"] == pytest.approx(
            [statistics.mean(values) - half, statistics.mean(values) + half], rel=1e-12
        )
    assert [found["arms"][name]["claimable"] for name in SCORES] == [True, False, False]
    assert found["arms"]["adamw"]["protocol"] == "pre_eval"


def test_deltas_are_paired_by_seed(make_run: MakeRun) -> None:
    from scipy import stats

    found = as_data(build.build(read_run(make_run(SCORES).path)))["deltas"]
    assert [(one["arm"], one["against"]) for one in found] == [
        ("sgd", "no_ttt"),
        ("adamw", "no_ttt"),
        ("adamw", "sgd"),
    ]
    for one in found:
        assert set(one) == {field.name for field in fields(build.Delta)}
        ours, theirs = (list(SCORES[one[side]].values()) for side in ("arm", "against"))
        truth = stats.ttest_rel(ours, theirs)
        low, high = truth.confidence_interval(0.95)
        assert one["paired"] and one["n"] == 3
        assert one["p"] == pytest.approx(truth.pvalue, rel=1e-6)
        assert one["mean"] == pytest.approx(statistics.mean(ours) - statistics.mean(theirs))
        assert one["ci95"] == pytest.approx([low, high])
    assert found[0]["mean"] < 0  # lower is better: sgd gains


def test_a_failed_seed_is_said_in_every_place(make_run: MakeRun) -> None:
    scores = {**SCORES, "adamw": {1337: 2.2012, 42: 2.2030}}
    folder = make_run(scores, seeds=(1337, 42, 2024, 7))
    folder.failure(2024, ("adamw",), reason="\x1b[31mboom\x1b[0m | `x` <b>", log_tail="long log")
    made = files.write(folder.path)
    text = (folder.path / "report.md").read_text()
    assert "| adamw | 2 of 4 |" in text and "| no_ttt | 3 of 4 |" in text
    assert r"seed 2024 failed in score (arm adamw): boom  \| \`x\` \<b\>" in text and "\x1b" not in text
    assert "| 2024 | 2.29910000 | 2.26830000 | failed |" in text and "| 7 | no result | no result | no result |" in text
    assert "seed 7, sgd: no result, no failure" in text
    assert "no_ttt 3, sgd 3, adamw 2" in text  # means over different seeds are warned of
    assert [(one["seed"], one["arms"]) for one in as_data(made)["failed"]] == [(2024, ["adamw"])]
    assert as_data(made)["seeds"] == [1337, 42, 2024, 7]
    deltas = {(one.arm, one.against): one.n for one in made.deltas}
    assert deltas == {("sgd", "no_ttt"): 3, ("adamw", "no_ttt"): 2, ("adamw", "sgd"): 2}


def test_one_seed_has_a_score_and_nothing_that_needs_two(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1337: 2.3}, "sgd": {1337: 2.2}, "adamw": {}}, seeds=(1337,))
    found = as_data(build.build(read_run(folder.path)))
    assert found["arms"]["no_ttt"]["val_bpb"] == {"n": 1, "mean": 2.3, "std": None, "ci95": None}
    assert found["arms"]["adamw"]["val_bpb"] == {"n": 0, "mean": None, "std": None, "ci95": None}
    assert (found["arms"]["adamw"]["claimable"], found["arms"]["adamw"]["seeds"]) == (None, {})
    (delta,) = found["deltas"]
    assert (delta["n"], delta["std"], delta["ci95"], delta["p"]) == (1, None, None, None)
    assert delta["mean"] == pytest.approx(-0.1)
    text = files.to_json(build.build(read_run(folder.path)))
    assert "NaN" not in text and "nan" not in tables.to_markdown(build.build(read_run(folder.path)))


def test_markdown_tables_are_whole_and_their_numbers_have_an_address(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    files.write(folder.path)
    text = (folder.path / "report.md").read_text()
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 6
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    assert "| 1337 | 2.30120000 | 2.27120000 | 2.20120000 |" in text
    assert "| **Mean** | **2.30176667** |" in text
    assert "`seed_<seed>/<arm>/result.json`" in text
    times = text.split("## Where the seconds went")[1]
    assert "| train | 45.2 | – | – | – |\n| warmup | 5.2 |" in times  # 50.5 s, warm-up inside
    assert "| **Sum** | **55.2** |" in times
    for name in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (folder.path / name).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (folder.path / "figures").iterdir()} == {
        "scores.png",
        "deltas.png",
        "training.png",
        "running_score.png",
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 20, 21, 200])
def test_figures_of_many_seeds_have_room(make_run: MakeRun, count: int) -> None:
    """Legends that name each of 200 seeds left none; the area where the points are is most of the picture."""
    seeds = range(1, count + 1)
    scores = {"no_ttt": {seed: 2.30 + seed / 1e4 for seed in seeds}, "sgd": {seed: 2.27 + seed / 1e4 for seed in seeds}}
    report = build.build(read_run(make_run(scores).path))
    for draw in (figures._scores, figures._deltas, figures._training, figures._running):
        figure = draw(report)
        if figure is None:  # one seed has no difference that could be drawn
            assert count == 1
            continue
        figure.savefig(BytesIO(), format="png")
        (axes,) = figure.axes
        box = axes.get_position()
        assert box.width > 0.5 and box.height > 0.5, draw.__name__
        legend = axes.get_legend()
        assert len(legend.get_texts() if legend else []) <= 22


def test_holm_counts_all_deltas(make_run: MakeRun) -> None:
    made = build.build(read_run(make_run(SCORES).path))
    p = sorted(one.p for one in made.deltas if one.p is not None)
    assert min(one.p_holm for one in made.deltas if one.p_holm is not None) == pytest.approx(3 * p[0])


def test_memorisation_and_limits_are_warned_of(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    assert build.build(read_run(folder.path)).warnings == ()
    folder.result(42, "adamw", 2.2030, aligned_val_bpb=2.1905, artifact_bytes=16_000_001, eval_seconds=600.5)
    folder.result(42, "no_ttt", 2.3050, aligned_val_bpb=2.3049)  # nothing adapted: no memory to speak of
    warnings = build.build(read_run(folder.path)).warnings
    assert len(warnings) == 3 and all(one.startswith("adamw") for one in warnings)
    assert "in 1 of 3 seeds" in warnings[0] and "0.012500 BPB" in warnings[0]
    assert "16,000,001 bytes, 1 over" in warnings[1] and "eval_seconds 600.5, over the cap of 600 s" in warnings[2]


def test_a_step_that_crosses_the_cap_is_within_the_tolerance_of_the_rules(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    folder.result(42, "no_ttt", 2.3050, train_seconds=600.13)
    assert build.build(read_run(folder.path)).warnings == ()
    folder.result(42, "no_ttt", 2.3050, train_seconds=600.3)
    (warning,) = build.build(read_run(folder.path)).warnings
    assert "train_seconds 600.3, over the cap of 600 s" in warning


def test_what_sliding_windows_give_is_kept_apart_from_what_adapting_gives(make_run: MakeRun) -> None:
    """Every result of the fixture has 0.02 BPB more in disjoint windows than in its own."""
    made = build.build(read_run(make_run({"no_ttt": {1337: 2.30, 42: 2.32}, "sgd": {1337: 2.27, 42: 2.25}}).path))
    plain, adapted = (arm.gain for arm in made.arms)
    assert plain is not None and adapted is not None
    assert plain.total == plain.sliding == pytest.approx(0.02) and plain.sliding_share == 1
    assert adapted.n == 2 and adapted.plain == pytest.approx(2.33)
    assert adapted.total == pytest.approx(0.07) and adapted.sliding_share == pytest.approx(0.02 / 0.07)
    assert "| sgd | 2.28000000 | 2.26000000 | -0.02000000 | +0.07000000 | 28.6% |" in tables.to_markdown(made)
    assert as_data(made)["arms"]["sgd"]["gain"]["sliding_share"] == adapted.sliding_share


def test_an_arm_that_is_worse_than_plain_has_no_share(make_run: MakeRun) -> None:
    made = build.build(read_run(make_run({"no_ttt": {1337: 2.30}, "sgd": {1337: 2.40}}).path))
    gain = made.arms[1].gain
    assert gain is not None and gain.total < 0 and gain.sliding_share is None
    alone = build.build(read_run(make_run({"sgd": {1337: 2.40}}, recipe="alone").path))
    assert alone.arms[0].gain is None, "without the same trunk unadapted there is nothing to compare with"


def test_one_recipe_against_another(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    old = read_run(make_run({"no_ttt": {1: 2.30, 2: 2.31, 3: 2.32}, "sgd": {1: 2.2}}, recipe="old").path)
    new = read_run(make_run({"no_ttt": {4: 2.25, 5: 2.27, 6: 2.26}, "adamw": {4: 2.1}}, recipe="new").path)
    compared = new.compare_with(old, "no_ttt")
    assert compared is not None and compared.test == "Welch t" and compared.gain == pytest.approx(0.05)
    assert new.compare_with(old, "adamw") is None
    same = read_run(make_run({"no_ttt": {1: 2.29, 2: 2.31, 3: 2.30}}, recipe="same").path)
    assert getattr(same.compare_with(old, "no_ttt"), "test", None) == "paired t", "scored from the same trunks"
    tables.show_comparison([old, new, same])
    shown = capsys.readouterr().out
    assert "Against old" in shown and re.search(r"new +no_ttt +3 +3 +-0.050000 .* Welch t", shown)
    elsewhere = replace(new, plan=replace(new.plan, data_sha256="9" * 64))
    with pytest.raises(UserError, match="scores of different texts"):
        elsewhere.compare_with(old, "no_ttt")


def test_seeds_of_unequal_speed_are_told(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    folder.result(42, "no_ttt", 2.3050, steps=42)
    assert build.build(read_run(folder.path)).warnings == ()  # 40 and 42: within 5 %
    folder.result(42, "no_ttt", 2.3050, steps=43)
    (warning,) = build.build(read_run(folder.path)).warnings
    assert warning.startswith("The seeds made 40 to 43 steps")


H100 = Machine(world_size=8, device="8x NVIDIA H100", torch_version="2.13.0")


def test_no_machine_s_times_stand_under_another_s_name(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    folder.result(42, "no_ttt", 2.3050, machine=H100)
    (warning,) = build.build(read_run(folder.path)).warnings
    assert warning.startswith("The seeds were scored on different machines") and "8x NVIDIA H100" in warning
    for seed in (1337, 42, 2024):
        for arm, by_seed in SCORES.items():
            folder.result(seed, arm, by_seed[seed], machine=H100)
    made = build.build(read_run(folder.path))
    (warning,) = made.warnings
    assert warning.startswith("Trained on world size 2 on cpu, torch 2.13.0, scored on world size 8 on 8x NVIDIA H100")
    text = tables.to_markdown(made)
    assert "- trained on world size 2 on cpu" in text and "- scored on world size 8 on 8x NVIDIA H100" in text


@pytest.mark.parametrize("verdict", ["failed: the audit ended with status 1", "not audited: too large", None])
def test_an_arm_that_adapts_and_was_not_audited_may_not_be_claimed(make_run: MakeRun, verdict: str | None) -> None:
    folder = make_run({"no_ttt": {1: 2.3}, "legal": {1: 2.2}}, audited=False)
    folder.result(1, "legal", 2.2, protocol=SCORE_FIRST, adaptation="score_first")
    if verdict:
        folder.audit(no_ttt=verdict, legal=verdict)
    made = build.build(read_run(folder.path))
    assert [arm.claimable for arm in made.arms] == [True, False], "nothing is learned in the first"
    text = tables.to_markdown(made)
    assert "| no: not audited |" in text and "It adapts, so it may not be claimed before it is audited" in text
    folder.audit(legal=SCORE_FIRST)
    assert [arm.claimable for arm in build.build(read_run(folder.path)).arms] == [True, True]


def test_a_run_without_any_result_is_reported_too(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {}, "sgd": {}}, seeds=(1337, 42))
    folder.failure(1337, ("no_ttt", "sgd"), phase="train", arm=None, reason="no memory")
    made = files.write(folder.path)
    text = (folder.path / "report.md").read_text()
    assert "| no_ttt | 0 of 2 | – | – | – | – | – | – |" in text and "![" not in text
    assert "seed 1337 failed in train (arms no_ttt, sgd): no memory" in text
    assert as_data(made)["deltas"] == [] and not (folder.path / "figures").exists()


def test_the_report_says_what_the_run_has_cost_and_what_a_claim_did(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1337: 2.3, 42: 2.31}, "late": {1337: 2.29, 42: 2.3}, "sgd": {1337: 2.2, 42: 2.21}})
    assert as_data(build.build(read_run(folder.path)))["cost"] is None, "no launch wrote down what it did"
    assert "- cost" not in tables.to_markdown(build.build(read_run(folder.path)))
    folder.audit(late=SCORE_FIRST)
    for seed, score in ((1337, 2.29), (42, 2.3)):
        folder.result(seed, "late", score, protocol=SCORE_FIRST, adaptation="score_first")
    history = History(folder.path)
    for seed in (1337, 42):
        history.begun(seed, at=0)
        history.ended(seed, at=1800)
    made = build.build(read_run(folder.path))
    cost = as_data(made)["cost"]
    assert (cost["node_seconds"], cost["usd"], cost["attempts"], cost["at_least"]) == (3600, 24, 2, False)
    assert (cost["claims"], cost["per_claim"]) == (2, {"node_seconds": 1800, "usd": 12}), "sgd is a diagnostic"
    text = tables.to_markdown(made)
    assert "- cost: 1.000 node-hours, 24.00 USD at 24 USD an hour; 2 attempts, failed ones included" in text
    assert (
        "- cost per claim: 0.500 node-hours, 12.00 USD: the whole of it, divided by 2 arms that a record may claim and "
        "that all planned seeds have scored" in text
    )
    History(folder.path, "b").begun(7, at=4000, usd=None)
    late = folder.plan.paths.seed(42).arm("late").result
    late.unlink()
    made = build.build(read_run(folder.path))
    assert as_data(made)["cost"]["claims"] == 1, "of late, a planned seed has no score"
    assert "cost per claim: at least 1.000 node-hours, 24.00 USD: " in tables.to_markdown(made)


def test_the_report_says_what_the_seconds_were_for(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run({"no_ttt": {}}, seeds=(1337,))
    trunk = replace(folder.trunk_record(1337), phases={"train": 56.0, "pack": 3.0, "data": 2.0})
    folder.result(1337, "no_ttt", 2.3, trunk=trunk, phases={"score": 10.0})
    made = build.build(read_run(folder.path))
    text = tables.to_markdown(made)
    assert (
        "- seconds of the node: training 56, adapting 0, scoring 10, compiling 0, packing 3, other 2, waiting" in text
    )
    assert (
        "| waiting | – | – |\n| **Sum of what is known** | **71.0** | **–** |" in text and "Not known: of seed" in text
    )
    assert as_data(made)["usage"]["seconds"]["waiting"] is None
    history = History(folder.path)
    history.begun(1337, at=0)
    history.ended(1337, at=100)
    made = build.build(read_run(folder.path))
    text = tables.to_markdown(made)
    line = "seconds of the node: training 56 (0.37 USD), adapting 0 (0.00 USD), scoring 10 (0.07 USD)"
    assert re.search(rf"- cost: .*\n- {re.escape(line)}, .*waiting 29 \(0.19 USD\)\n", text), "beside the cost"
    assert (
        "## Seconds of the node\n" in text and "| waiting | 29.0 | 0.19 |\n| **Sum** | **100.0** | **0.67** |" in text
    )
    found = as_data(made)["usage"]
    assert (found["unit"], found["seconds"]["waiting"], found["unknown"]) == ("seconds of the node", 29.0, ())
    tables.show(made)
    shown = " ".join(capsys.readouterr().out.split())
    assert line in shown and "Seconds of the node" not in shown, "on a terminal one line"
    History(folder.path, "b").begun(1337, at=200)
    text = tables.to_markdown(build.build(read_run(folder.path)))
    assert "| waiting | at least 30.0 | at least 0.20 |\n| **Sum** | **at least 101.0** | **at least 0.67** |" in text


def test_what_a_budget_left_out_is_told_with_the_reason(make_run: MakeRun) -> None:
    folder = make_run({"no_ttt": {1337: 2.3}}, seeds=(1337, 42))
    assert "seed 42, no_ttt: no result, no failure" in tables.to_markdown(build.build(read_run(folder.path)))
    History(folder.path).over_budget(42, at=0, reason="1 of 1 node-hours are spent")
    text = tables.to_markdown(build.build(read_run(folder.path)))
    assert "- seed 42 not run: budget: 1 of 1 node-hours are spent" in text and "no result, no failure" not in text
    folder.result(42, "no_ttt", 2.31)
    made = build.build(read_run(folder.path))
    assert "budget" not in tables.to_markdown(made) and as_data(made)["not_run_for_budget"] == {}, "it ran after all"


def test_csv_has_one_line_a_result_with_its_file(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    files.write(folder.path)
    rows = list(csv.DictReader((folder.path / "results.csv").open()))
    assert len(rows) == 9
    for row in rows:
        assert float(row["val_bpb"]) == json.loads((folder.path / row["path"]).read_text())["val_bpb"]


def test_writing_again_changes_no_byte(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    files.write(folder.path)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    files.write(folder.path)
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_command_prints_without_writing(make_run: MakeRun) -> None:
    folder = make_run(SCORES)
    done = CliRunner().invoke(command.main, [str(folder.path)])
    assert done.exit_code == 0, done.output
    assert "2.301767" in done.output and "3 of 3" in done.output and "paired t" in done.output
    assert not (folder.path / "report.md").exists()
    as_json = CliRunner().invoke(command.main, [str(folder.path), "--json"])
    assert json.loads(as_json.output)["arms"]["sgd"]["val_bpb"]["n"] == 3


def test_a_wrong_folder_is_one_message_and_exit_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "platform.report", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no such file" in done.stderr and "Traceback" not in done.stderr


def _on(folder: Any, seeds: dict[int, Node]) -> None:
    for seed, machine in seeds.items():
        write_record(folder.plan.trial(seed).trunk.node, machine)
        for arm in folder.plan.arms:
            write_record(folder.plan.paths.seed(seed).arm(arm).node, machine)


def test_the_machines_and_the_code_are_named(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(SCORES)
    _on(folder, dict.fromkeys((1337, 42, 2024), node("a")))
    made = files.write(folder.path)
    text = (folder.path / "report.md").read_text()
    machine = "machines: a (a processor, 16 cores), probe 800 TFLOP/s ±1%, 3,000 GB/s"
    assert machine in text and "code: commit 991bb5f2991b" in text and made.warnings == ()
    tables.show(made)
    assert machine in capsys.readouterr().out
    found = json.loads((folder.path / "report.json").read_text())
    assert found["step_times_comparable"] is True and found["nodes"]["trained"]["42"]["hostname"] == "a"
    assert found["nodes"]["scored"]["sgd"]["2024"]["checkout"]["commit"] == "991bb5f2" * 5
    _on(folder, {42: replace(node("a"), checkout=replace(CHECKOUT, diff_sha256="d" * 64, changed_files=2))})
    assert "code: commit 991bb5f2991b; commit 991bb5f2991b + 2 changed files" in tables.to_markdown(
        build.build(read_run(folder.path))
    )


def test_step_times_of_machines_that_are_not_equally_fast_are_marked(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(SCORES)
    assert as_data(build.build(read_run(folder.path)))["step_times_comparable"] is None, "an older run"
    _on(folder, {1337: node("a", 800), 42: node("a", 800), 2024: node("b", 830)})
    assert build.build(read_run(folder.path)).times.comparable is True
    _on(folder, {2024: node("b", 700)})
    made = files.write(folder.path)
    (warning,) = made.warnings
    assert "14% apart by their probes, so step times do not compare: a, probe 800" in warning
    assert "(seeds 1337, 42); b, probe 700 TFLOP/s ±1%, 3,000 GB/s (seed 2024)" in warning
    text = (folder.path / "report.md").read_text()
    assert "| 105.50 (mixed) |" in text and "Mixed: the machines that trained are 14% apart" in text
    tables.show(made)
    shown = capsys.readouterr().out
    assert "105.50 (mixed)" in shown and "14% apart" in shown
    _on(folder, {2024: node("b", None)})
    assert "Nobody knows whether" in build.build(read_run(folder.path)).warnings[0]


def test_step_times_of_two_runs_are_compared_only_with_a_word(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = make_run(SCORES), make_run(SCORES, recipe="another", runs=tmp_path / "others")
    for seed in SCORES["sgd"]:
        for arm in SCORES:
            other.result(seed, arm, SCORES[arm][seed], step_ms_mean=110.75)

    def compared() -> str:
        tables.show_comparison([read_run(one.path), read_run(other.path)])
        return capsys.readouterr().out

    assert "+5.25 (machines unknown)" in compared()
    _on(one, dict.fromkeys((1337, 42, 2024), node("a", 800)))
    _on(other, dict.fromkeys((1337, 42, 2024), node("b", 810)))
    assert "+5.25" in (shown := compared()) and "+5.25 (" not in shown and "do not compare" not in shown
    _on(other, dict.fromkeys((1337, 42, 2024), node("b", 900)))
    shown = compared()
    assert "+5.25 (not comparable)" in shown
    assert "12% apart by their probes, so step times do not compare: a, probe 800" in shown
    assert "(leaky_cosine seeds 1337, 42, 2024); b, probe 900" in shown and "(another seeds 1337, 42, 2024)." in shown
    _on(other, dict.fromkeys((1337, 42, 2024), node("a", 800)))
    elsewhere = Machine(world_size=8, device="8x H100", torch_version="2.13.0")
    write_record(other.plan.trial(42).trunk.record, replace(other.trunk_record(42), machine=elsewhere))
    for arm in SCORES:
        other.result(42, arm, SCORES[arm][42], step_ms_mean=110.75, machine=elsewhere)
        path = other.plan.paths.seed(42).arm(arm).result
        result = read_result(path)
        write_record(path, replace(result, trunk=replace(result.trunk, machine=elsewhere)))
    assert "+5.25 (not comparable)" in (shown := compared()) and "Trained on different machines, so step" in shown


def test_a_seed_that_was_tried_again_says_why(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(SCORES)
    common = {"time": "2026-04-01T10:00:00", "launch": "one", "seed": 42}
    died = {"phase": "train", "arm": None, "reason": "its Ray worker died", "arms": ["sgd"], "seconds": 10.0}
    lines = [
        {"event": "started", **common},
        {"event": "retried", **common, **died, "cause": "infrastructure", "node": "a", "attempt": 1},
        {"event": "started", **common},
        {"event": "ended", **common, "val_bpb": {"sgd": 2.2}},
    ]
    folder.plan.paths.events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = files.write(folder.path)
    said = "seed 42: attempt 2; attempt 1: its Ray worker died [infrastructure, on a]"
    assert f"- {markdown(said)}\n" in (folder.path / "report.md").read_text()
    tables.show(made)
    assert said in capsys.readouterr().out
    (first, second) = as_data(made)["attempts"]["42"]
    assert (first["cause"], first["ended"], second["ended"]) == ("infrastructure", "failed", "scored")
