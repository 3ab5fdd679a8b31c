"""Small folders that were judged wrongly once, each of one kind of fault, where GOLF_FIELD_CASES says they are."""

import os
from pathlib import Path

import pytest

from platform.records.claim import claim_of
from platform.records.judge import exit_status
from platform.records.record import Examined, examine
from platform.rules.claims import CANNOT_TELL, FAIL, PASS, Check, judge, load

CASES = Path(os.environ.get("GOLF_FIELD_CASES", ""))
pytestmark = pytest.mark.skipif(
    not (os.environ.get("GOLF_FIELD_CASES") and CASES.is_dir()), reason="GOLF_FIELD_CASES does not name the folder"
)


def case(number: str, inside: str = "") -> Examined:
    (folder,) = CASES.glob(f"{number}_*")
    return examine(folder / inside)


def rule(record: Examined, name: str, rules: str = "pg-2026-readme") -> Check:
    return next(check for check in judge(claim_of(record), load(rules)).checks if check.rule.startswith(name))


def printed(record: Examined, raw: str) -> list[tuple[str, str]]:
    """How a printed number stands: status and the log line, at each place."""
    return [(one.status.value, one.log) for one in record.findings if one.figure.number.raw.strip("*`") == raw]


def test_a01_learned_before_it_was_scored() -> None:
    record = case("a01")
    assert record.verdict == "agrees" and record.claimed.label == "final_int6_sliding_window_exact"
    assert record.score.mean_bpb == pytest.approx(1.07055181, abs=1e-8)
    score_first = rule(record, "score first")
    assert score_first.status == FAIL and score_first.source == "train_seed11.log:19"
    assert all(seed.eval_seconds == pytest.approx(550.21, abs=0.1) for seed in claim_of(record).seeds)
    assert {status for status, _ in printed(record, "456s")} == {"exact"}
    assert sum("sliding windows bring 0.012 to 0.032" in note for note in record.notes) == 3


def test_a03_all_sizes_in_one_line() -> None:
    record = case("a03")
    assert record.verdict == "agrees" and rule(record, "artifact bytes").status == PASS
    assert [seed.artifact_bytes for seed in claim_of(record).seeds] == [15_762_001, 15_911_002, 15_661_003]
    assert printed(record, "15911002") == [("exact", "train_seed32.log:12")]


def test_a05_no_log_contradicts_nothing() -> None:
    record = case("a05")
    assert record.verdict == "no log" and exit_status([record]) == 1 and record.mismatches == []
    assert any("printed for seed 51 too" in one.note for one in record.unsupported)


def test_a06_a_time_under_a_label() -> None:
    record = case("a06")
    assert record.verdict == "agrees" and record.score.mean_bpb == 0.98211234
    assert printed(record, "955123ms") == [("exact", "train.log:14")]
    assert rule(record, "score first").status == CANNOT_TELL


def test_a07_the_claimed_line_is_not_the_last() -> None:
    record = case("a07")
    assert (record.verdict, record.score.mean_bpb) == ("agrees", 1.18926001)
    assert printed(record, "13.727") == [("exact", "train.log:19")] and printed(record, "1.1861")[0][0] == "exact"


def test_a08_a_checkpoint_is_no_score() -> None:
    record = case("a08")
    assert record.verdict == "agrees" and record.score.mean_bpb == 1.0912 and record.mismatches == []
    assert {printed(record, number)[0][0] for number in ("1.3612", "1.6412")} == {"exact", "rounded"}
    assert rule(record, "score first").status == CANNOT_TELL
    assert any("50 documents" in note for note in record.notes)


def test_a09_losses_alone() -> None:
    record = case("a09")
    assert record.verdict == "agrees" and record.score.bpb == () and record.score.seeds == (0, 1, 2)
    assert record.score.mean_loss == pytest.approx(3.278297, abs=5e-7)
    assert rule(record, "a log for every seed").figure == "3 (0, 1, 2)"
    below = rule(record, "the mean is below", "modded-nanogpt-track1")
    assert below.figure.startswith("mean loss 3.27830, target 3.28, t ") and below.status == FAIL
    assert any("no bits per byte" in note for note in record.notes)


def test_a12_nothing_is_claimed() -> None:
    record = case("a12", "crashed")
    assert record.verdict == "nothing claimed" and exit_status([record]) == 3 and record.score.bpb == ()
    assert rule(record, "a log for every seed").status == FAIL


def test_a14_a_part_of_the_text() -> None:
    record = case("a14")
    text = rule(record, "the whole validation text")
    assert record.verdict == "agrees" and text.status == CANNOT_TELL and text.figure.startswith("30,505,853 bytes: ")
    assert "another text, a part of it" in text.figure


def test_a16_cut_before_the_score() -> None:
    record = case("a16")
    assert record.verdict == "no log" and record.score.bpb == () and record.mismatches == []
    assert (
        sum("ends before an evaluation of the shipped model; its last line: GPTQ:" in note for note in record.notes)
        == 2
    )
    assert rule(record, "a log for every seed").figure == "no score in the log of seed 161, 162"


def test_a17_three_seeds_in_one_log() -> None:
    record = case("a17")
    assert record.verdict == "agrees" and record.score.seeds == (171, 172, 173) and record.unsupported == []
    assert record.score.mean_bpb == pytest.approx(1.12460490, abs=1e-8)
    assert rule(record, "a log for every seed").status == PASS


@pytest.mark.parametrize("prefix", ["hms", "k8s", "offset", "pylog", "ray", "srun"])
def test_a18_prefixes(prefix: str) -> None:
    record = case("a18", prefix)
    assert record.verdict == "agrees" and record.unsupported == [] and record.score.seeds == (181, 182)
    assert [seed.artifact_bytes for seed in claim_of(record).seeds] == [15_830_000, 15_819_000]
    assert rule(record, "artifact bytes").status == PASS


def test_a19_the_artifact_without_the_code() -> None:
    record = case("a19")
    assert rule(record, "artifact bytes").figure.startswith("16,034,000 of 16,000,000 bytes, 34,000 over")
    assert record.verdict == "mismatch" and all("with it 16,034,000" in one.note for one in record.mismatches)


def test_a21_rows_that_are_called_after_logs() -> None:
    record = case("a21")
    (wrong,) = record.mismatches
    assert (wrong.figure.where, wrong.figure.number.raw, str(wrong.measured)) == (
        "README.md:5",
        "`1.35411234`",
        "1.35491234",
    )
    assert [printed(record, number)[0][0] for number in ("1.3190", "6650", "15,988,000")] == ["exact"] * 3


def test_a22_progress_lines() -> None:
    record = case("a22")
    assert (record.verdict, record.score.mean_bpb) == ("agrees", 1.12412345)
    assert claim_of(record).seeds[0].eval_seconds == 140.0


def test_a24_fitted_windows() -> None:
    record = case("a24")
    assert (record.verdict, record.score.mean_bpb) == ("agrees", 0.94512345)
    assert rule(record, "score first").status == CANNOT_TELL
    assert any("0.17797655 BPB below" in note for note in record.notes)
    assert not any("aligned" in note for note in record.notes)


def test_a25_sections_with_their_own_logs() -> None:
    record = case("a25")
    assert record.verdict == "agrees" and record.score.seeds == (251, 252, 253)
    assert record.score.mean_bpb == pytest.approx(1.22107901, abs=1e-8)
    assert printed(record, "1.256843") == [("explained", "diag_small.log:15")]


def test_a27_a_scoring_log_without_a_seed() -> None:
    record = case("a27")
    assert (record.verdict, record.score.mean_bpb, record.score.seeds) == ("agrees", 1.31234567, (271,))
    assert {one.status.value for one in record.findings} == {"exact"} and len(record.findings) >= 6
    assert [rule(record, name).status for name in ("artifact bytes", "training time", "evaluation time")] == [PASS] * 3


def test_a29_learned_after_the_claim() -> None:
    record = case("a29")
    assert (record.verdict, record.score.mean_bpb) == ("agrees", 1.09812345)
    assert rule(record, "score first").status == PASS
    assert any("after the score, gives 1.33600000" in note for note in record.notes)
