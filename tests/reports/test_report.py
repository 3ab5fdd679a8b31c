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
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.contract.records import SCORE_FIRST, Machine
from platform import report as command
from platform.errors import UserError
from platform.reports import build, files, tables
from platform.reports.data import as_data
from platform.runs.results import read_run

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
