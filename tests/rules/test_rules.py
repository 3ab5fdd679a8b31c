"""Rules as data: a claim under each set, with the figure and its source, and never more than the evidence says."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from platform.errors import UserError
from platform.logs.forensics import memorised, scored_bytes
from platform.records.claim import claim_of
from platform.records.record import examine
from platform.rules import claims
from platform.rules.claims import (
    CANNOT_TELL,
    FAIL,
    PASS,
    Attempts,
    Claim,
    Judgement,
    ScoredText,
    SeedFacts,
    judge,
    load,
    names,
)
from tests.records.written import SPACED, mean, narrow_readme, record, without_ttt
from tests.records.written_logs import SP1024, SP8192, Numbers, baseline_log, spaced_log

README, LEADERBOARD, KNOWN, SPEED_RUN = "pg-2026-readme", "pg-2026-leaderboard", "known-sigma", "modded-nanogpt-track1"
RULES = (KNOWN, SPEED_RUN, LEADERBOARD, README)


def a_claim(scores: tuple[float, ...], ratio: float = SP1024, name: str = "new", **facts: object) -> Claim:
    seeds = tuple(
        SeedFacts(
            seed=index,
            source=f"train_seed{index}.log:9",
            bpb=bpb,
            loss=bpb * ratio,
            artifact_bytes=15_900_000,
            train_seconds=599.9,
            eval_seconds=100.0,
            all_eval_seconds=120.0,
            score_first="no adaptation",
            score_first_source=f"train_seed{index}.log:9",
            text=ScoredText(figure="the whole split", usual=True, too_many=False),
        )
        for index, bpb in enumerate(scores)
    )
    seeds = tuple(replace(one, **facts) for one in seeds)  # type: ignore[arg-type]
    return Claim(name=name, track="track_10min_16mb", seeds=seeds, nats_per_bpb=ratio)


NEW = a_claim((1.1150, 1.1144, 1.1147))
OLD = a_claim((1.1192, 1.1189, 1.1200), name="old")


def statuses(judgement: Judgement) -> dict[str, str]:
    return {check.rule: check.status for check in judgement.checks}


def the(judgement: Judgement, word: str) -> claims.Check:
    return next(check for check in judgement.checks if word in check.rule)


def test_the_sets_of_rules_are_all_there_with_version_and_source() -> None:
    assert names() == list(RULES)
    for name in RULES:
        rules = load(name)
        assert rules.title and rules.version and rules.source and rules.checks


def test_a_better_record_passes_what_it_can() -> None:
    found = {one.name: one.verdict for one in claims.judge_all(NEW, OLD)}
    assert found == {README: PASS, LEADERBOARD: PASS, KNOWN: PASS, SPEED_RUN: CANNOT_TELL}


def test_the_readings_of_0_005_stand_side_by_side_and_one_counts() -> None:
    found = judge(a_claim((1.11600, 1.11597, 1.11594)), load(README), OLD)
    assert the(found, "per token, p").status == PASS and the(found, "per token, p").counts
    others = [check for check in found.checks if not check.counts and check.is_test]
    assert [check.status for check in others] == [FAIL, FAIL, FAIL], "Welch, per byte, BPB"
    assert found.verdict == PASS


def test_a_gain_that_is_within_the_margin_fails() -> None:
    found = judge(a_claim((1.1180, 1.1179, 1.1181)), load(README), OLD)
    assert the(found, "per token, p").status == FAIL and found.verdict == FAIL
    assert judge(a_claim((1.1180, 1.1179, 1.1181)), load(LEADERBOARD), OLD).verdict == PASS
    check = the(found, "per token, p")
    assert "gain 0.00231 - 0.00500 nats per token, t " in check.figure and check.source == "old, one-sample t"


def test_without_a_record_to_beat_nothing_is_known() -> None:
    for one in claims.judge_all(NEW):
        assert one.verdict == CANNOT_TELL
        assert {check.status for check in one.checks if check.is_test} == {CANNOT_TELL}


def test_one_seed_has_no_spread_and_a_known_sigma_needs_none() -> None:
    single = a_claim((1.1140,))
    assert the(judge(single, load(README), OLD), "per token, p").status == CANNOT_TELL
    assert judge(single, load(KNOWN), OLD).verdict == PASS
    assert the(judge(a_claim((1.1300,)), load(README), OLD), "per token, p").status == FAIL, (
        "no test can save a worse mean"
    )


def test_another_tokenizer_is_converted_by_way_of_bpb() -> None:
    other = a_claim((1.1150, 1.1144, 1.1147), SP8192)
    check = the(judge(other, load(README), OLD), "per token, p")
    gain = (mean([1.1192, 1.1189, 1.1200]) - mean([1.1150, 1.1144, 1.1147])) * SP8192
    assert f"gain {gain:.5f} - 0.00500" in check.figure


def test_no_losses_in_the_logs_no_nats() -> None:
    found = judge(replace(NEW, nats_per_bpb=None), load(README), OLD)
    assert the(found, "per token, p").status == CANNOT_TELL
    assert the(found, "read as BPB").status == FAIL
    assert judge(replace(NEW, nats_per_bpb=None), load(LEADERBOARD), OLD).verdict == PASS


@pytest.mark.parametrize(
    ("facts", "rule", "status", "figure"),
    [
        ({"artifact_bytes": 16_000_000}, "artifact bytes", PASS, "16,000,000 of 16,000,000 bytes"),
        ({"artifact_bytes": 16_000_001}, "artifact bytes", FAIL, "16,000,001 of 16,000,000 bytes, 1 over"),
        ({"artifact_bytes": None}, "artifact bytes", CANNOT_TELL, "no log prints it"),
        ({"train_seconds": 600.137}, "training time", PASS, "0.137 s over, within the tolerance"),
        ({"train_seconds": 601.2}, "training time", FAIL, "1.200 over"),
        ({"eval_seconds": 610.0}, "evaluation time", FAIL, "10.000 over"),
        ({"all_eval_seconds": 700.0}, "evaluation time", CANNOT_TELL, "all evaluations of the log together 700.0 s"),
        ({"score_first": "learned before it was scored"}, "score first", FAIL, "learned before it was scored"),
        ({"score_first": "score first"}, "score first", CANNOT_TELL, "a log cannot prove the order"),
        ({"score_first": ""}, "score first", CANNOT_TELL, "does not say"),
    ],
)
def test_limits_and_order(facts: dict[str, object], rule: str, status: str, figure: str) -> None:
    check = the(judge(a_claim((1.1150, 1.1144, 1.1147), **facts), load(README), OLD), rule)
    assert check.status == status and figure in check.figure
    assert check.source.startswith("train_seed") or status == CANNOT_TELL


def test_missing_seeds_and_no_log_at_all() -> None:
    missing = replace(NEW, missing_seeds=(7,))
    assert the(judge(missing, load(README), OLD), "a log").figure == "no log of seed 7"
    assert the(judge(missing, load(README), OLD), "artifact").status == CANNOT_TELL
    nothing = replace(NEW, seeds=())
    assert statuses(judge(nothing, load(SPEED_RUN), OLD))["a log for every seed"] == FAIL
    assert nothing.losses is None


def test_rules_of_another_track_cannot_tell() -> None:
    for track, told in (("track_non_record_16mb", True), ("10min_16mb", False), ("10min-16mb", False), ("", False)):
        found = judge(replace(NEW, track=track), load(README), OLD)
        assert ("track" in statuses(found)) is told


def test_a_wrong_name_of_rules_is_explained() -> None:
    with pytest.raises(UserError, match=r"'pg-2026-reame'; did you mean 'pg-2026-readme'\?; possible: known-sigma"):
        load("pg-2026-reame")


def test_a_wrong_kind_of_check_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = yaml.safe_load((claims.RULES / f"{README}.yaml").read_text(encoding="utf-8"))
    data["checks"][0]["kind"] = "at_mst"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    monkeypatch.setattr(claims, "RULES", tmp_path)
    with pytest.raises(UserError, match="no kind of check 'at_mst'; did you mean 'at_most'"):
        load("mine")


# --- a record as a claim ---------------------------------------------------------------------------------------------


def test_what_a_record_claims(tmp_path: Path) -> None:
    claim = claim_of(examine(record(tmp_path)))
    first = claim.seeds[0]
    assert (first.seed, first.bpb, first.artifact_bytes, first.train_seconds) == (1337, 1.11922988, 15_977_386, 600.128)
    assert (first.eval_seconds, first.all_eval_seconds) == (410.268, pytest.approx(410.268 + 97.749 + 20.43))
    assert first.score_first == "score first" and first.score_first_source.startswith("train_seed1337.log:")
    assert claim.track == "10min_16mb" and claim.nats_per_bpb == pytest.approx(SP1024, rel=1e-6)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("artifact bytes", "Total submission size int6"),
        ("training time", "stopping_early"),
        ("evaluation time", "legal_ttt "),
    ],
)
def test_the_source_of_a_check_is_the_line_that_has_its_figure(tmp_path: Path, rule: str, words: str) -> None:
    name, _, line = the(judge(claim_of(examine(record(tmp_path))), load(README)), rule).source.partition(":")
    assert (tmp_path / name).read_text(encoding="utf-8").splitlines()[int(line) - 1].startswith(words)


def test_no_adaptation_and_phased_adaptation(tmp_path: Path) -> None:
    plain = record(tmp_path / "plain", without_ttt(), README__md=narrow_readme(without_ttt()))
    assert {one.score_first for one in claim_of(examine(plain)).seeds} == {"no adaptation"}
    phased = record(tmp_path / "phased", SPACED, log=spaced_log, README__md="")
    assert {one.score_first for one in claim_of(examine(phased)).seeds} == {"score first"}


def test_epochs_over_the_validation_text_before_it_is_scored(tmp_path: Path) -> None:
    def log(n: Numbers) -> str:
        return baseline_log(n).replace("Serialized model: ", "ttt_epoch:1/30 loss:1.9 time:3.1s\nSerialized model: ")

    claim = claim_of(examine(record(tmp_path, without_ttt(), log=log, README__md="")))
    assert {one.score_first for one in claim.seeds} == {"learned before it was scored"}


def test_the_signature_of_memorised_text(tmp_path: Path) -> None:
    learned = tuple(replace(n, roundtrip=1.0413, sliding=1.06222173, ttt=None) for n in without_ttt())
    found = examine(record(tmp_path, learned, README__md=""))
    assert any("learned before it was scored" in note for note in found.notes)
    assert judge(claim_of(found), load(README)).verdict == FAIL
    assert memorised(examine(record(tmp_path / "healthy")).claimed.seeds[0].run) is None


def test_bytes_give_the_validation_text_and_the_evaluator_away(tmp_path: Path) -> None:
    known = {
        "aligned": (2.03588345, 1.20576485, 62_021_632, 151_080_363, "every token once", True),
        "sliding": (1.88976776, 1.11922988, 62_021_632, 151_079_963, "score the last 64 tokens 32 times", True),
        "older split": (2.07269931, 1.22436570, 63_779_840, 155_769_746, "older validation split", False),
        "another": (2.00000000, 1.22436570, 62_021_632, 146_162_704, "no known validation split", False),
    }
    for name, (loss, bpb, tokens, count, reading, usual) in known.items():
        folder = tmp_path / name
        folder.mkdir()
        scores = f"final_x_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}"
        text = f"seed:1\nval_loader:shards pattern=x tokens:{tokens}\n{scores}\n"
        (folder / "train.log").write_text(text, encoding="utf-8")
        found = examine(folder)
        scored = scored_bytes(found.claimed.seeds[0].run, found.claimed.seeds[0].final)  # type: ignore[arg-type]
        assert scored is not None and abs(scored.scored_bytes - count) <= scored.margin
        assert reading in scored.reading and scored.usual is usual
        assert any("divides by" in note for note in found.notes) is not usual


def test_sizes_that_do_not_add_up_are_noted(tmp_path: Path) -> None:
    def log(n: Numbers) -> str:
        return baseline_log(n).replace(f"Code size: {n.code_bytes}", "Code size: 89000")

    found = examine(record(tmp_path, log=log, submission__json="{}"))
    assert any("15,887,928 model + 89,000 code bytes make 15,976,928" in note for note in found.notes)


def test_attempts_are_a_note_and_never_a_failure() -> None:
    older = judge(NEW, load(README), OLD)
    assert (the(older, "attempts").status, older.verdict) == (CANNOT_TELL, PASS)
    for blameless, status in ((True, PASS), (False, CANNOT_TELL)):
        told = Attempts(figure="seed 42: attempt 2; attempt 1: program", blameless=blameless, source="a file")
        found = judge(replace(NEW, attempts=told), load(README), OLD)
        assert (the(found, "attempts").status, found.verdict) == (status, PASS)
        assert the(found, "attempts").figure == told.figure and not the(found, "attempts").counts
