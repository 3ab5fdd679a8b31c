"""Which logs are those of the claim, and which line is its score, in folders that make it hard."""

import bz2
import gzip
import json
import lzma
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from platform.records.claim import claim_of
from platform.records.folder import seed_in_name
from platform.records.record import Examined, examine
from platform.rules.claims import judge, load
from tests.records.written import COMPACT, mean, narrow_readme, record, without_ttt
from tests.records.written_logs import THREE, Numbers, baseline_log, compact_log

SEEDS = without_ttt()
ONE = SEEDS[0]
MEAN = mean([n.score for n in SEEDS])
NAMED = {f"train_seed{n.seed}.log": baseline_log(n) for n in SEEDS}
TUNED = {f"train_seed{n.seed}.log": baseline_log(n) for n in THREE}


def examined(folder: Path, logs: Mapping[str, str], submission: dict[str, Any], readme: str = "") -> Examined:
    for name, text in logs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "submission.json").write_text(json.dumps(submission), encoding="utf-8")
    if readme:
        (folder / "README.md").write_text(readme, encoding="utf-8")
    return examine(folder)


def training_only(n: Numbers) -> str:
    return baseline_log(n).partition("final_int6_roundtrip")[0]


def scoring_only(n: Numbers) -> str:
    assert n.ttt is not None
    return (
        f"seed:{n.seed}\nval_loader:shards pattern=x tokens:{n.tokens}\nttt_sliding:start chunks=1893\n"
        f"legal_ttt_exact val_loss:{n.loss(n.ttt):.8f} val_bpb:{n.ttt:.8f} eval_time:{n.eval_ms}ms\n"
    )


def test_a_copy_counts_once(tmp_path: Path) -> None:
    found = examined(tmp_path, NAMED | {"train.log": baseline_log(ONE)}, {"val_bpb": round(MEAN, 6)})
    assert found.score.seeds == (1337, 2025, 42) and found.read.copies == {"train.log": "train_seed1337.log"}
    assert {run["file"]: run["copy_of"] for run in found.runs}["train.log"] == "train_seed1337.log"


def test_a_copy_of_a_log_with_few_digits_counts_once(tmp_path: Path) -> None:
    logs = {f"ternary_log_{n.seed}.txt": compact_log(n) for n in COMPACT}
    claim = {"val_bpb": round(mean([n.score for n in COMPACT]), 5)}
    found = examined(tmp_path, logs | {"log.txt": compact_log(COMPACT[0])}, claim)
    assert found.score.files == tuple(sorted(logs))
    assert found.read.copies == {"log.txt": "ternary_log_1337.txt"}


def test_the_console_log_of_a_run_is_no_second_seed(tmp_path: Path) -> None:
    console = "nohup: ignoring input\n" + baseline_log(ONE, dump=False)
    found = examined(tmp_path, NAMED | {"console.log": console}, {"val_bpb": round(MEAN, 6)})
    assert found.score.files == tuple(sorted(NAMED)) and "the same run" in " ".join(found.notes)


def test_no_log_of_the_claimed_run(tmp_path: Path) -> None:
    for logs in (NAMED, {"notes.txt": "hello\n"}, {}):
        folder = tmp_path / str(len(logs))
        folder.mkdir()
        found = examined(folder, logs, {"val_bpb": 1.06321, "bytes_total": 15_912_345}, "**val_bpb: 1.0632**\n")
        assert (found.verdict, found.score.mean_bpb, found.mismatches) == ("no log", None, [])


def test_a_wrong_headline_of_the_right_run_is_a_mismatch(tmp_path: Path) -> None:
    found = examined(tmp_path, {"train.log": baseline_log(ONE)}, {"val_bpb": 1.06321, "bytes_total": ONE.total_bytes})
    assert found.verdict == "mismatch" and [one.figure.item for one in found.mismatches] == ["val_bpb"]


def test_a_mean_over_seeds_without_logs_has_no_log(tmp_path: Path) -> None:
    found = examined(tmp_path, {"train.log": baseline_log(ONE)}, {"val_bpb": round(MEAN, 5)}, narrow_readme(SEEDS))
    assert found.verdict == "no log" and found.claimed.missing == (42, 2025)
    wrong = narrow_readme(SEEDS).replace(f"{SEEDS[1].score:.5f}", "1.19999")
    told = examined(tmp_path, {}, {"val_bpb": round(MEAN, 5)}, wrong)
    assert (told.verdict, told.mismatches) == ("no log", []), "printed numbers contradict nothing"


def test_one_seed_of_several_is_submitted(tmp_path: Path) -> None:
    found = examined(tmp_path, NAMED, {"val_bpb": ONE.score, "bytes_total": ONE.total_bytes}, narrow_readme(SEEDS))
    assert (found.verdict, len(found.score.bpb)) == ("agrees", 3)


def test_scores_in_logs_of_their_own(tmp_path: Path) -> None:
    seeds, after = THREE, mean([n.score for n in THREE])
    rows = "".join(f"| {n.seed} | {n.steps} | {n.ttt:.5f} | {n.total_bytes} |\n" for n in seeds)
    readme = f"**val_bpb: {after:.5f}** (3-seed mean)\n\n| Seed | Steps | BPB | Artifact |\n|-|-|-|-|\n{rows}"
    for trained in (training_only, lambda n: baseline_log(replace(n, ttt=None))):
        folder = tmp_path / trained.__name__
        folder.mkdir()
        logs = {f"logs/train_seed{n.seed}.log": trained(n) for n in seeds}
        logs |= {f"logs/ttt_eval_seed{n.seed}.log": scoring_only(n) for n in seeds}
        found = examined(folder, logs, {"val_bpb": round(after, 5)}, readme)
        assert found.verdict == "agrees" and found.claimed.label == "legal_ttt_exact"
        assert found.unsupported == [] and len(found.checked) == 12, "steps and bytes are in the training logs"


def test_scores_after_training_in_one_file(tmp_path: Path) -> None:
    found = examined(
        tmp_path,
        {"train.log": training_only(THREE[0]) + scoring_only(THREE[0])},
        {"val_bpb": THREE[0].ttt, "bytes_total": THREE[0].total_bytes, "step_stop": THREE[0].steps},
    )
    assert (found.verdict, len(found.checked)) == ("agrees", 3)


def test_the_claim_decides_between_evaluators(tmp_path: Path) -> None:
    diverged = "final_int6_ttt val_loss:3.07421378 val_bpb:1.82072600 eval_time:405410ms\n"
    log = {"train.log": baseline_log(ONE) + diverged}
    found = examined(tmp_path, log, {"val_bpb": ONE.score})
    assert (found.verdict, found.claimed.label) == ("agrees", "final_int6_sliding_window_exact")
    assert examined(tmp_path, log, {"val_bpb": 1.820726}).claimed.label == "final_int6_ttt"
    assert examined(tmp_path, log, {"val_bpb": ONE.roundtrip}).claimed.label == "final_int6_roundtrip_exact"


def test_the_claim_decides_between_strides(tmp_path: Path) -> None:
    log = (
        "seed:1\nstep:10/10 val_loss:2.0 val_bpb:1.2 train_time:1ms step_avg:0.1ms\n"
        "final_sliding_window_eval_exact stride:64 val_loss:1.96369923 val_bpb:1.16301431\n"
        "final_sliding_window_eval_exact stride:256 val_loss:1.97369923 val_bpb:1.16893696\n"
    )
    assert examined(tmp_path, {"train.log": log}, {"val_bpb": 1.16301431}).score.bpb == (1.16301431,)


def test_logs_of_other_runs_beside(tmp_path: Path) -> None:
    others = {
        "ablation_no_ema_seed42.log": baseline_log(replace(SEEDS[1], sliding=1.13)),
        "baseline.log": baseline_log(replace(SEEDS[1], sliding=1.22, seed=7)),
    }
    assert examined(tmp_path, NAMED | others, {"val_bpb": round(MEAN, 6)}).score.files == tuple(sorted(NAMED))


def test_seeds_that_were_run_and_are_not_claimed(tmp_path: Path) -> None:
    more = {f"train_seed{seed}.log": baseline_log(replace(ONE, seed=seed, sliding=1.123)) for seed in (7, 999)}
    found = examined(tmp_path, NAMED | more, {"val_bpb": round(MEAN, 6)}, narrow_readme(SEEDS))
    assert found.score.seeds == (1337, 2025, 42) and found.verdict == "agrees"


def test_several_logs_of_one_seed(tmp_path: Path) -> None:
    logs = {f"train_v{index}.txt": baseline_log(replace(n, seed=1337)) for index, n in enumerate(SEEDS)}
    readme = f"**val_bpb: {MEAN:.4f}** (mean of 3 runs)\n"
    found = examined(tmp_path, logs, {"val_bpb": round(MEAN, 6), "seed": 1337}, readme)
    assert (found.verdict, found.score.seeds) == ("agrees", (1337, 1337, 1337))


def test_a_seed_in_the_name_and_another_in_the_text(tmp_path: Path) -> None:
    found = examined(tmp_path, {"train_seed42.log": baseline_log(ONE)}, {"val_bpb": ONE.score})
    assert (found.runs[0]["seed"], found.runs[0]["seed_logged"]) == (42, 1337)
    assert "train_seed42.log prints seed 1337" in found.notes


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("train_s64_seed42.log", 42),
        ("h100_s64_42.log", None),
        ("log_s7.txt", 7),
        ("s42_train.log", 42),
        ("seed=7_s64.log", 7),
        ("lr0.02_steps64.log", None),
    ],
)
def test_a_stride_in_a_name_is_no_seed(name: str, seed: int | None) -> None:
    assert seed_in_name(name) == seed


@pytest.mark.parametrize("name", ["train_seed42", "log.42", "train-seed42.stdout", "seed42.err", "runs/seed42/console"])
def test_logs_under_other_names(tmp_path: Path, name: str) -> None:
    found = examined(tmp_path, {name: baseline_log(SEEDS[1])}, {"val_bpb": SEEDS[1].score})
    assert (found.verdict, found.score.files, found.score.seeds) == ("agrees", (name,), (42,))


def test_a_file_without_a_suffix_is_not_just_any_text(tmp_path: Path) -> None:
    others = {"Makefile": "all:\n", "notes": "val_bpb: 1.1\n", "nothing": ""}
    found = examined(tmp_path, NAMED | others, {"val_bpb": round(MEAN, 6)})
    assert found.score.files == tuple(sorted(NAMED)) and set(others) <= set(found.read.files.others)


def test_packed_logs_are_read_or_named(tmp_path: Path) -> None:
    found = examined(tmp_path, {"train_seed42.log.zip": ""}, {"val_bpb": 1.1})
    assert found.verdict == "no log" and "train_seed42.log.zip is packed; not read" in found.notes
    (tmp_path / "train_seed42.log.zip").unlink()
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        (tmp_path / f"train_seed1337.log.{name}").write_bytes(pack(baseline_log(ONE).encode()))
        found = examined(tmp_path, {}, {"val_bpb": ONE.score})
        assert (found.verdict, found.score.seeds) == ("agrees", (1337,))
        (tmp_path / f"train_seed1337.log.{name}").write_bytes(b"no such thing")
        found = examined(tmp_path, {}, {"val_bpb": ONE.score})
        assert found.verdict == "no log" and any("cannot be read" in note for note in found.notes)
        (tmp_path / f"train_seed1337.log.{name}").unlink()


def test_seeds_that_were_run_and_left_out_are_named(tmp_path: Path) -> None:
    found = examined(tmp_path, NAMED, {"val_bpb": ONE.score})
    assert (found.verdict, found.score.seeds) == ("agrees", (1337,))
    assert f"seeds run and not claimed: 2025, 42; with them the mean is {MEAN:.8f}" in found.notes
    whole = examined(tmp_path, {}, {"val_bpb": round(MEAN, 6)})
    assert not any("not claimed" in note for note in whole.notes)


def test_a_seed_told_of_in_prose_is_not_claimed_beside_a_list(tmp_path: Path) -> None:
    aside = "- Seed 7: 1.1250 (crashed once, discarded)\n"
    for submission, table in (({"seeds": [1337, 42, 2025]}, ""), ({}, narrow_readme(SEEDS))):
        found = examined(tmp_path, NAMED, {"val_bpb": round(MEAN, 6)} | submission, f"{table}\n{aside}")
        assert (found.verdict, found.claimed.missing) == ("agrees", ())
    alone = examined(tmp_path, NAMED, {"val_bpb": round(MEAN, 6)}, "- Seed 7: 1.1250\n")
    assert alone.claimed.missing == (7,)
    assert examined(tmp_path, {}, {"val_bpb": round(MEAN, 6)}, aside).claimed.missing == ()


def test_a_killed_log_costs_the_others_no_digits(tmp_path: Path) -> None:
    cut = TUNED["train_seed42.log"].partition("legal_ttt_exact")[0]
    found = examined(tmp_path, TUNED | {"train_seed42.log": cut}, {"val_bpb": round(mean([n.score for n in THREE]), 4)})
    assert (found.verdict, found.claimed.label) == ("agrees", "legal_ttt_exact")
    assert found.score.bpb == (THREE[0].ttt, THREE[2].ttt, 1.12)


def test_names_with_spaces_dates_and_folders(tmp_path: Path) -> None:
    names = ("my logs/run 2026-04-01.log", "deep/er/log_s7.txt", "ternary_log_42.txt")
    logs = dict(zip(names, (baseline_log(n).replace(f"seed:{n.seed}\n", "") for n in SEEDS), strict=True))
    found = examined(tmp_path / "a record", logs, {"val_bpb": round(MEAN, 6)})
    assert {run["file"]: run["seed"] for run in found.runs} == {names[0]: None, names[1]: 7, names[2]: 42}
    assert found.verdict == "agrees"


def test_nothing_claimed(tmp_path: Path) -> None:
    found = examined(tmp_path, {"train.log": baseline_log(ONE)}, {})
    assert (found.verdict, found.checked, found.score.bpb) == ("nothing claimed", [], (ONE.score,))


UNFIT = {
    "before quantization": (ONE.post_ema, "DIAGNOSTIC post_ema val_bpb (train.log:"),
    "in training": (ONE.in_training, "prequant_val_bpb (train.log:"),
}


@pytest.mark.parametrize("printed_in", ["submission", "headline", "table"])
@pytest.mark.parametrize("name", UNFIT)
def test_a_score_that_no_claim_may_be_about(tmp_path: Path, name: str, printed_in: str) -> None:
    score, place = UNFIT[name]
    submission = {"val_bpb": round(score, 4), "bytes_total": ONE.total_bytes}
    readme = {"headline": f"**val_bpb: {score:.4f}**\n", "table": f"| Seed | BPB |\n|-|-|\n| 1337 | {score:.4f} |\n"}
    if printed_in != "submission":
        submission = {"bytes_total": ONE.total_bytes}
    found = examined(tmp_path, {"train.log": baseline_log(ONE)}, submission, readme.get(printed_in, ""))
    assert found.verdict == "mismatch" and found.score.bpb == (ONE.score,)
    assert [one.note.startswith(place) for one in found.mismatches] == [True]


def test_a_score_before_quantization_in_its_own_place(tmp_path: Path) -> None:
    """A column beside that of the score, a row or line that names the training, a quoted line of the log."""
    readme = (
        f"**val_bpb: {ONE.score:.4f}**\n\n| Seed | Sliding BPB | val_bpb |\n|-|-|-|\n"
        f"| 1337 | {ONE.score:.4f} | {ONE.in_training:.4f} |\n\n"
        f"| Metric | Value |\n|-|-|\n| val_bpb of the last step | {ONE.in_training:.4f} |\n\n"
        f"- `val_bpb:{ONE.post_ema:.4f}`\n"
    )
    submission = {"val_bpb": ONE.score, "training": {"val_bpb": ONE.in_training}}
    found = examined(tmp_path, {"train.log": baseline_log(ONE)}, submission, readme)
    assert (found.verdict, found.mismatches) == ("agrees", [])


@pytest.mark.parametrize("key", ["seeds", "n_seeds", "num_seeds", "seed_count"])
def test_a_submission_that_counts_more_seeds_than_logs(tmp_path: Path, key: str) -> None:
    assert examined(tmp_path, NAMED, {"val_bpb": round(MEAN, 6), key: 3}).verdict == "agrees"
    assert examined(tmp_path, NAMED, {"val_bpb": round(MEAN, 6), key: 5}).verdict == "no log"


def test_a_seed_under_the_name_of_seeds(tmp_path: Path) -> None:
    found = examined(
        tmp_path, {"train_seed42.log": NAMED["train_seed42.log"]}, {"val_bpb": SEEDS[1].score, "seeds": 42}
    )
    assert found.verdict == "agrees"


SENTENCES = [
    "Final val_bpb: {}",
    "Mean val_bpb **{}** over 3 seeds.",
    "We reach {} BPB (3-seed mean).",
    "## Results: {} ± 0.0008 BPB",
    "> **{} bits per byte**",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_score_in_a_sentence(tmp_path: Path, sentence: str) -> None:
    submission = {"bytes_total": ONE.total_bytes}
    right = examined(tmp_path, NAMED, submission, sentence.format(f"{MEAN:.4f}") + "\n")
    assert (right.verdict, len(right.roundings)) == ("agrees", 0)
    assert "no printed score was compared with these logs" not in right.notes
    assert examined(tmp_path, {}, submission, sentence.format("1.1000") + "\n").verdict == "mismatch"


@pytest.mark.parametrize(
    "aside", ["We reach 1.1000 BPB in the baseline.", "Final val_bpb 1.2000 at step 4,000.", "We get 1.2 BPB."]
)
def test_a_sentence_that_is_not_about_the_score(tmp_path: Path, aside: str) -> None:
    assert examined(tmp_path, NAMED, {"val_bpb": round(MEAN, 6)}, aside + "\n").verdict == "agrees"


SHORT: dict[str, tuple[dict[str, Any], str, str]] = {
    "listed": ({"seeds": [1337, 42, 2025]}, "", "no log of seed 42, 2025"),
    "headline": ({}, f"**val_bpb: {ONE.score:.4f}** (3-seed mean)\n", "1 of 3 seeds have a log"),
}


@pytest.mark.parametrize("name", SHORT)
def test_fewer_logs_than_seeds_is_no_agreement(tmp_path: Path, name: str) -> None:
    submission, readme, told = SHORT[name]
    logs = {f"train_seed{seed}.log": baseline_log(ONE) for seed in (1337, 42, 2025)}  # one run under three names
    found = examined(tmp_path, logs, {"val_bpb": ONE.score} | submission, readme)
    assert (found.verdict, found.mismatches, found.score.bpb) == ("no log", [], (ONE.score,))
    checks = {check.rule: check for check in judge(claim_of(found), load("pg-2026-readme")).checks}
    assert (checks["a log for every seed"].status, checks["a log for every seed"].figure) == ("fail", told)
    assert checks["artifact bytes"].status == "cannot tell"
    wrong = examined(tmp_path, {}, {"val_bpb": ONE.score, "bytes_total": 15_000_000} | submission, readme)
    assert (wrong.verdict, wrong.mismatches) == ("no log", []), "it may be that of a seed without a log"


@pytest.mark.parametrize(
    "text",
    [
        *('{"val_bpb": NaN}', '{"val_bpb": true}', '{"val_bpb": 1e999}', "{'val_bpb': 1.1}", ""),
        *('{"val_bpb": "TBD"}', '{"val_bpb": "x.xxxx"}', '{"val_bpb": "<score>"}', '{"val_bpb": "n/a"}'),
    ],
)
def test_a_submission_whose_score_cannot_be_read_agrees_with_nothing(tmp_path: Path, text: str) -> None:
    found = examine(record(tmp_path, SEEDS, submission__json=text, README__md=narrow_readme(SEEDS)))
    assert found.verdict == "mismatch"
    assert [(one.figure.where, one.note) for one in found.mismatches] == [
        ("submission.json:1", "its score cannot be read")
    ]


@pytest.mark.parametrize("text", ["{}", '{"val_bpb": null}', '{"val_bpb": ""}'])
def test_a_submission_without_a_score_is_no_contradiction(tmp_path: Path, text: str) -> None:
    found = examine(record(tmp_path, SEEDS, submission__json=text, README__md=""))
    assert found.verdict == "nothing claimed" and "no printed score was compared with these logs" in found.notes


def test_a_log_that_does_not_say_its_seed_may_be_of_the_listed_one(tmp_path: Path) -> None:
    log = baseline_log(ONE, dump=False).replace("seed:1337\n", "")
    claim = {"val_bpb": ONE.score}
    found = examined(tmp_path, {"train.log": log}, claim | {"seed": 1337})
    assert (found.verdict, found.claimed.missing) == ("agrees", ())
    assert examined(tmp_path, {}, claim | {"seeds": [1337, 42]}).verdict == "no log"


def test_bytes_of_the_script_in_the_folder(tmp_path: Path) -> None:
    script = "print(1)\n" * 1000
    found = examine(record(tmp_path, SEEDS, train_gpt__py=script, README__md="- Code size: 9,000 bytes\n"))
    assert found.verdict == "agrees" and "train_gpt.py has 9,000 bytes; the logs counted 89,458" in " ".join(
        found.notes
    )


def test_a_seed_that_only_its_score_gives_away(tmp_path: Path) -> None:
    logs = {f"train_run{index}.log": baseline_log(replace(n, seed=1337)) for index, n in enumerate(SEEDS)}
    found = examined(tmp_path, logs, {"val_bpb": round(MEAN, 6)}, narrow_readme(SEEDS))
    assert (found.verdict, found.score.seeds, found.claimed.missing) == ("agrees", (1337, 42, 2025), ())
    assert "the score of seed 42 is in train_run1.log, which prints seed 1337" in found.notes


def test_the_limit_of_time_is_no_measurement(tmp_path: Path) -> None:
    readme = f"**val_bpb: {MEAN:.4f}** | 600s train\n\n| Seed | Train time |\n|-|-|\n| 42 | 600s |\n| 1337 | 598s |\n"
    logs = {f"train_seed{n.seed}.log": baseline_log(replace(n, train_ms=588_041)) for n in SEEDS}
    found = examined(tmp_path, logs, {"val_bpb": round(MEAN, 6)}, readme)
    assert [one.figure.number.raw for one in found.mismatches] == ["598s"]


@pytest.mark.parametrize("validates", [True, False])
@pytest.mark.parametrize("names", [("train.log", "eval.log"), ("train_a.log", "eval_a.log")])
def test_a_scoring_log_without_a_seed_joins_its_training_log(
    tmp_path: Path, names: tuple[str, str], validates: bool
) -> None:
    training, found, scoring = baseline_log(ONE, dump=False).partition("final_int6_roundtrip ")
    if not validates:
        training = "".join(line + "\n" for line in training.splitlines() if "val_bpb:" not in line or "enabled" in line)
    claim = {"val_bpb": ONE.score, "seed": ONE.seed, "bytes_total": ONE.total_bytes, "step_stop": ONE.steps}
    record = examined(tmp_path, dict(zip(names, (training, found + scoring), strict=True)), claim)
    assert (record.verdict, record.score.seeds) == ("agrees", (ONE.seed,))
    assert {one.status.value for one in record.findings} == {"exact"} and len(record.findings) == 3
