"""Learned before it was scored: whatever a log says of it, and however it spells it, score-first is never a pass."""

from dataclasses import replace
from pathlib import Path

import pytest

from platform.logs.learning import hints, is_setting, names_learning, order_in
from platform.records.claim import claim_of
from platform.records.record import examine
from platform.rules.claims import CANNOT_TELL, FAIL, PASS, Check, judge, load
from tests.records.written import narrow_readme, record, spaced_log, submission
from tests.records.written_logs import THREE, Numbers, baseline_log

FIXTURES = Path(__file__).parents[1] / "fixtures"
ONE = (replace(THREE[0], ttt=None),)
SPACED_ONE = tuple(replace(n, ratio=2.583104, tokens=40_540_160) for n in ONE)

KNOWN = {  # epochs over the whole text, under the names that they have in the field
    "ttt epoch": "ttt epoch:{i}/10 loss:1.98 lr:0.0004 steps:60 time:{t}s",
    "ttt_epoch": "ttt_epoch:{i}/10 loss:1.9801 time:{t}s",
    "brackets": "[TTT] epoch {i}/10 loss=1.98 elapsed {t}s",
    "words": "TTT Epoch {i} of 10: loss 1.98",
    "pre-quantization": "pre-quant TTT epoch {i}/10 val_loss_train:1.98 time:{t}s",
    "prequant": "prequant_ttt: epoch {i}/10 loss:1.98 elapsed:{t}s",
    "prequant, words": "Pre-quantization adaptation on val: epoch {i}/10 loss 1.98",
    "phases": "ttt:phase_1 epoch:{i}/10 loss:1.98 time:{t}s",
    "phase1": "ttt:phase1_norm:epoch:{i}/10 lr:0.001 loss:1.98",
    "behind a prefix of its own": ">> ttt epoch {i}/10 loss 1.98",
}
UNKNOWN = {
    "slot": "slot_eval:start steps=24 stride=96 lr=0.012",
    "SLOT": "SLOT: optimizing per-window delta, 24 steps, lr 0.012",
    "slot, done": "slot_eval:done steps=24 elapsed={t}s",
    "adapt": "adapt step {i}/10 loss 1.98 lr 0.001",
    "adaptation": "Adaptation finished, elapsed={t}s",
    "adapting": "adapting model on validation tokens...",
    "test-time training": "test-time training: pass {i}/10, loss 1.98",
    "test time": "Test Time Training done in {t}s",
    "tta": "tta: step {i} loss=1.98",
    "fine-tuning": "fine-tuning on val stream, epoch {i}/10",
    "finetune": "finetune: {i}0 steps, loss 1.98",
    "dynamic evaluation": "dynamic evaluation lr=0.002",
    "dyneval": "dyneval: lr 0.002 decay 0.02",
    "online": "online learning over eval tokens, lr 0.002",
    "online SGD": "online SGD step {i}: loss 1.98",
    "val epochs": "val epoch {i}/10: loss 1.98",
    "val train": "val_train pass {i} loss:1.98",
    "train on val": "training on val: {i}0/100 batches, loss 1.98",
    "learn from validation": "learning from the validation set ({i}/10)",
    "memorise": "memorizing validation shard {i}",
    "inner loop": "inner loop {i}: loss 1.98",
    "meta": "meta-step {i} loss 1.98",
    "lora": "lora rank=8 lr=0.01 epochs=2",
    "adamw": "AdamW over eval tokens: {i}0 updates",
    "optimizer steps": "optimizer steps on held-out text: {i}0",
    "gradient": "gradient step {i}, loss 1.9801",
    "backward": "backward pass {i} over val tokens",
    "lr": "post: lr 0.0004 batch 32",
    "learning rate": "learning rate 0.0004 -> 0, 60 steps",
    "epochs": "epochs: 3, batch 64, over 969,000 sequences",
    "loss of a pass": "pass {i} loss 1.9801",
    "loss of a round": "round {i}: mean loss 1.9801",
    "loss of an update": "update {i}0 loss=1.9801",
    "steps of another loop": "step:{i}/10 loss:1.9801",
    "n-gram cache": "ngram cache: order 7, 3,000,000 entries",
    "mixture": "hash cache mixing, lambda 0.2",
    "neural cache": "neural cache theta 0.3",
    "knn": "knn: 1,000,000 keys",
    "bias tuning": "logit bias tuning over val, 100 iterations",
    "temperature fit": "temperature fitted on val tokens: 0.92",
    "self-distillation": "self-distillation on scored text",
    "post-training": "post-training on eval shard {i}",
    "fast weights": "fast weights updated",
    "evaluation mode": "eval_mode:ttt_sliding",
    "a setting": "slot_steps: 24",
    "a switch": "ttt_enabled: True",
    "chunked epochs": "ttt chunk {i}/1893 epoch 1/3 loss 1.98",
}
HARMLESS = {  # what honest logs print there, and settings that are off
    "quantizer": "gptq:calibrating with 256 batches...",
    "Hessians": "GPTQ:collected 66 Hessians in 3.6s",
    "generated": "gptq: calibration on 64 generated sequences, temperature 0.8",
    "averages": "swa:applying averaged 24 checkpoints",
    "settings": "tie_embeddings:True embed_lr:0.035 head_lr:0.0 matrix_lr:0.02 scalar_lr:0.025",
    "off": "ttt_enabled: False",
    "zero": "ttt_epochs: 0",
    "none": "TTT: disabled",
    "skipped": "skipping TTT",
    "without": "no test-time training in this run",
    "slot off": "slot: off",
    "memory": "peak memory allocated: 21471 MiB reserved: 22000 MiB",
    "pruning": "selective_prune: 12,345 values of 27,000,000 set to 0",
    "progress": "  sliding_eval [  0.0%] 32/121136 windows running_bpb=1.208722",
    "sizes": "compression: lzma=15887928 zstd=15990000",
    "warning": "W0323 15:20:53.391000 134686 torch/distributed/run.py:803] ****",
}


def with_lines(n: Numbers, line: str, *, times: int, dialect: str = "baseline", after: bool = False) -> str:
    """A log with ``line`` between the last training step and the score, or after the score."""
    said = "".join(line.format(i=i + 1, t=f"{15.2 * (i + 1):.1f}") + "\n" for i in range(times))
    text = (
        baseline_log(n, dump=False, alias=False) if dialect == "baseline" else spaced_log(n, dump=False, phased=False)
    )
    if after:
        return text + said
    place = "final_int6_sliding_window" if dialect == "baseline" else "quantized_sliding_window"
    before, found, behind = text.partition(place)
    assert found, text
    return before + said + found + behind


def score_first(folder: Path, text: str, name: str = "train_seed1337.log", numbers: tuple[Numbers, ...] = ONE) -> Check:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(narrow_readme(numbers), encoding="utf-8")
    (folder / "submission.json").write_text(submission(numbers), encoding="utf-8")
    found = examine(folder)
    assert found.verdict == "agrees", found.mismatches
    return next(check for check in judge(claim_of(found), load("pg-2026-readme")).checks if check.rule == "score first")


@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.parametrize("name", KNOWN)
def test_epochs_over_the_text_fail_whatever_the_label_says(tmp_path: Path, name: str, times: int) -> None:
    check = score_first(tmp_path, with_lines(ONE[0], KNOWN[name], times=times))
    assert check.status == FAIL and check.source.startswith("train_seed1337.log:"), check


@pytest.mark.parametrize("name", ["ttt epoch", "slot"])
def test_the_last_step_told_again_hides_nothing(tmp_path: Path, name: str) -> None:
    text = with_lines(ONE[0], (KNOWN | UNKNOWN)[name], times=3)
    step = next(line for line in text.splitlines() if line.startswith("step:7179/"))
    again = text.replace("final_int6_sliding_window val", f"{step}\nfinal_int6_sliding_window val")
    assert again.count(step) == 2
    assert score_first(tmp_path, again).status == (FAIL if name in KNOWN else CANNOT_TELL)


@pytest.mark.parametrize("times", [1, 10])
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_only_looks_like_learning_is_never_a_pass(tmp_path: Path, name: str, times: int) -> None:
    check = score_first(tmp_path, with_lines(ONE[0], UNKNOWN[name], times=times))
    assert check.status in (CANNOT_TELL, FAIL), check
    line = int(check.source.rpartition(":")[2])
    said = (tmp_path / "train_seed1337.log").read_text().splitlines()[line - 1]
    assert said == UNKNOWN[name].format(i=1, t="15.2"), check


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_in_another_dialect_behind_a_prefix(tmp_path: Path, name: str) -> None:
    text = with_lines(SPACED_ONE[0], (KNOWN | UNKNOWN)[name], times=3, dialect="spaced")
    prefixed = "".join(f"(train pid=4711) {line}\n" for line in text.splitlines())
    assert score_first(tmp_path, prefixed, numbers=SPACED_ONE).status in (CANNOT_TELL, FAIL)


@pytest.mark.parametrize("name", [*KNOWN, *UNKNOWN])
def test_after_the_score_it_is_no_matter(tmp_path: Path, name: str) -> None:
    check = score_first(tmp_path, with_lines(ONE[0], (KNOWN | UNKNOWN)[name], times=3, after=True))
    assert check.status == PASS, check


@pytest.mark.parametrize(("file", "speaks"), [("learning_lines.txt", True), ("honest_lines.txt", False)])
def test_lines_by_people_who_did_not_know_the_tables(file: str, speaks: bool) -> None:
    lines = (FIXTURES / file).read_text(encoding="utf-8").splitlines()
    assert len(lines) > 280
    wrong = [line for line in lines if _speaks(line.strip()) is not speaks]
    assert wrong == []


def _speaks(line: str) -> bool:
    if not hints(line.encode()):
        return False
    return names_learning(line) if is_setting(line) else order_in(line) is not None


@pytest.mark.parametrize("name", HARMLESS)
def test_honest_logs_pass(tmp_path: Path, name: str) -> None:
    assert score_first(tmp_path, with_lines(ONE[0], HARMLESS[name], times=3)).status == PASS


def test_a_line_of_code_before_does_not_hide_it(tmp_path: Path) -> None:
    text = with_lines(ONE[0], UNKNOWN["slot"], times=2)
    assert score_first(tmp_path, f"import warnings\n{text}").status == CANNOT_TELL


def test_the_time_of_learning_is_a_part_of_the_evaluation(tmp_path: Path) -> None:
    record(tmp_path, ONE, README__md=narrow_readme(ONE))
    (tmp_path / "train_seed1337.log").write_text(with_lines(ONE[0], KNOWN["ttt epoch"], times=30))
    (seed,) = claim_of(examine(tmp_path)).seeds
    assert seed.eval_seconds == pytest.approx(30 * 15.2 + 97.749)


def test_a_score_whose_label_names_the_learning_holds_its_time(tmp_path: Path) -> None:
    """Its clock and that of the learning differ by a second: they are no two times."""
    n = THREE[0]
    text = baseline_log(n, dump=False).replace("elapsed=409.8s", "elapsed=411.3s")
    assert "elapsed=411.3s" in text
    record(tmp_path, (n,))
    (tmp_path / "train_seed1337.log").write_text(text)
    (seed,) = claim_of(examine(tmp_path)).seeds
    assert seed.eval_seconds == 411.3


@pytest.mark.parametrize("name", ["lora_ttt_seed1337.log", "eval_slot_seed1337.log"])
def test_the_name_of_a_log_that_says_no_more(tmp_path: Path, name: str) -> None:
    text = with_lines(ONE[0], "", times=0)
    assert score_first(tmp_path, text, name=name).status == CANNOT_TELL
    (tmp_path / name).unlink()
    assert score_first(tmp_path, text, name="no_ttt_seed1337.log").status == PASS


def test_a_setting_that_is_on_and_never_seen_at_work(tmp_path: Path) -> None:
    text = with_lines(ONE[0], "", times=0)
    switched = text.replace("seed:1337\n", "seed:1337\nttt_enabled: True\n")
    assert score_first(tmp_path, switched).status == CANNOT_TELL
    assert score_first(tmp_path, switched.replace("True", "False")).status == PASS


def test_a_time_of_nothing_is_no_pass(tmp_path: Path) -> None:
    text = with_lines(ONE[0], "", times=0).replace("eval_time:97749ms", "eval_time:0ms")
    record(tmp_path, ONE, README__md=narrow_readme(ONE))
    (tmp_path / "train_seed1337.log").write_text(text)
    checks = judge(claim_of(examine(tmp_path)), load("pg-2026-readme")).checks
    assert next(check for check in checks if check.rule == "evaluation time").status == CANNOT_TELL


def test_gains_beyond_what_is_known_are_told(tmp_path: Path) -> None:
    n = replace(ONE[0], sliding=ONE[0].roundtrip - 0.074)
    record(tmp_path, (n,), README__md=narrow_readme((n,)))
    assert any("sliding windows bring 0.012 to 0.032" in note for note in examine(tmp_path).notes)
    record(tmp_path, ONE, README__md=narrow_readme(ONE))
    assert not any("windows bring" in note for note in examine(tmp_path).notes)
