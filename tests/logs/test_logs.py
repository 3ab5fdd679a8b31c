"""Logs of every dialect and every trap, to the facts that are in them and to nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from platform.logs.grammar import parse
from platform.logs.log import LogFile, read_log
from platform.logs.runs import IN_TRAINING_LABEL, LogRun, described, kind_of
from tests.records.written import COMPACT, OTHER, SPACED
from tests.records.written_logs import (
    RULE,
    SCRIPT,
    THREE,
    Numbers,
    baseline_log,
    compact_log,
    other_log,
    spaced_log,
)

LINE = "final_int6_sliding_window_exact"


def read(folder: Path, text: str | bytes, name: str = "train.log") -> LogFile:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_log(path, name)


def used(folder: Path, text: str | bytes) -> LogRun:
    run = read(folder, text).used
    assert run is not None
    return run


def fields(run: LogRun) -> dict[str, object]:
    return described(run, run.candidates[0], seed=run.seed_logged, runs_in_file=1)


DIALECTS = {
    "baseline": (baseline_log, THREE[0], "legal_ttt_exact", "ttt", 8),
    "spaced": (spaced_log, SPACED[0], "quantized_ttt_phased", "ttt", 8),
    "compact": (compact_log, COMPACT[0], "final_sliding", "sliding", 4),
    "other": (other_log, OTHER[0], "final_INT7_zlib_roundtrip", "roundtrip", 4),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect(tmp_path: Path, dialect: str) -> None:
    log, n, label, kind, decimals = DIALECTS[dialect]
    run = used(tmp_path, log(n))
    found = fields(run)
    assert run.dialect == dialect
    assert (
        found
        | {
            "seed": n.seed,
            "seed_logged": n.seed,
            "iterations": n.iterations,
            "steps_done": n.steps,
            "train_time_ms": n.train_ms,
            "prequant_val_bpb": n.in_training,
            "prequant_val_loss": round(n.loss(n.in_training), 4),
            "final_label": label,
            "final_kind": kind,
            "final_decimals": decimals,
            "final_val_bpb": round(n.score, decimals),
            "final_val_loss": round(n.loss(n.score), decimals),
            "artifact_total_bytes": n.total_bytes,
        }
        == found
    )
    assert found["nats_per_bpb"] == pytest.approx(n.ratio, rel=1e-4)


def test_where_facts_of_a_dialect_differ(tmp_path: Path) -> None:
    spaced, compact = fields(used(tmp_path, spaced_log(SPACED[0]))), fields(used(tmp_path, compact_log(COMPACT[0])))
    baseline = fields(used(tmp_path, baseline_log(THREE[0])))
    assert (baseline["step_avg_ms"], spaced["step_avg_ms"], compact["step_avg_ms"]) == (83.59, None, None)
    assert (spaced["total_eval_time_s"], spaced["ttt_time_ms"]) == (410.3, 410268.0)
    assert (baseline["val_tokens"], compact["val_tokens"]) == (62_021_632, None)
    assert (baseline["artifact_model_bytes"], compact["artifact_model_bytes"]) == (15_887_928, None)
    assert spaced["code_bytes"] == 89_458, "the compressed figure where both are printed"
    assert baseline["quant_roundtrip_val_bpb"] == 1.14518023, "not the sliding score under the older label"
    assert baseline["final_eval_time_ms"] == 410268.0, "of the twin with four decimals"


def test_a_dump_of_the_script_says_nothing(tmp_path: Path) -> None:
    for log, n in ((baseline_log, THREE[0]), (spaced_log, SPACED[0])):
        assert fields(used(tmp_path, log(n, dump=True))) == fields(used(tmp_path, log(n, dump=False)))
    assert read(tmp_path, f"{SCRIPT}{RULE}\n").used is None


def test_format_strings_are_no_numbers() -> None:
    assert parse(1, 'log0(f"final_int8_zlib_roundtrip val_loss:{q_val_loss:.4f} val_bpb:{q_val_bpb:.4f}")') is None


@pytest.mark.parametrize(
    "prefix", ["1776144156.999 ", "1776144156 ", "2026-04-01T10:00:00.123Z ", "[2026-04-01 10:00:00] ", "[rank0]: "]
)
def test_clock_in_front_of_every_line(tmp_path: Path, prefix: str) -> None:
    text = "".join(f"{prefix}{line}\n" for line in spaced_log(SPACED[0]).splitlines())
    assert fields(used(tmp_path, text)) == fields(used(tmp_path, spaced_log(SPACED[0])))


@pytest.mark.parametrize(
    "mangled",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("legal_ttt", "\x1b[32mlegal_ttt").encode(),
        lambda text: text.replace("legal_ttt_exact", "  5%|█  | 1/20\r 90%|██\rlegal_ttt_exact").encode(),
        lambda text: b"\xff\xfe\x80 not utf-8 \xc3\n" + text.encode() + b"\x00\x00",
        lambda text: ("[W419 09:23:59.9 Utils.hpp:137] Warning: x\n" + text).encode(),
    ],
    ids=["crlf", "utf-16", "no end", "colours", "progress bar", "not utf-8", "warnings"],
)
def test_bytes_of_all_kinds(tmp_path: Path, mangled) -> None:  # type: ignore[no-untyped-def]
    assert fields(used(tmp_path, mangled(baseline_log(THREE[0])))) == fields(used(tmp_path, baseline_log(THREE[0])))


def test_the_last_complete_run_of_a_file_counts(tmp_path: Path) -> None:
    killed = baseline_log(THREE[2]).partition("stopping_early")[0]
    log = read(tmp_path, baseline_log(THREE[0]) + killed + baseline_log(THREE[1]) + killed)
    assert (len(log.runs), log.used and log.used.number, log.used and log.used.seed_logged) == (4, 3, 42)
    assert [run.complete for run in log.runs] == [True, False, True, False]


def test_a_restart_without_a_configuration_is_a_new_run(tmp_path: Path) -> None:
    steps = "".join(f"step:{i}/10 train_loss:3.0 train_time:{i}ms step_avg:1.00ms\n" for i in range(1, 11))
    assert len(read(tmp_path, steps + steps).runs) == 2


def test_a_line_cut_off_by_a_kill_says_nothing(tmp_path: Path) -> None:
    text = baseline_log(replace(THREE[0], ttt=None), alias=False)
    whole = used(tmp_path, text.rstrip("\n"))
    assert whole.candidates[0].bpb.text == "1.12165091"
    for cut in range(2, 40):
        candidate = used(tmp_path, text[: -1 - cut]).candidates[0]
        assert candidate.bpb.text in ("1.1217", "1.14518023"), text[-60 : -1 - cut]


def test_the_kind_is_not_in_the_label_alone(tmp_path: Path) -> None:
    text = baseline_log(replace(THREE[0], ttt=None, sliding=None)).replace("final_int6_", "final_int8_zlib_")
    assert used(tmp_path, text).candidates[0].kind == "roundtrip"
    slides = text.replace(
        "Serialized model: ", "final_eval_mode:sliding_window stride:64 batch_seqs:32\nSerialized model: "
    )
    assert used(tmp_path, slides).candidates[0].kind == "sliding"


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("final_int8_zlib_roundtrip_exact", "roundtrip"),
        ("final_int8_zlib_roundtrip_exact sliding", "sliding"),
        ("final_int6_sliding_window_s64_exact", "sliding"),
        ("final_sliding_window_eval_exact", "sliding"),
        ("quantized", "roundtrip"),
        ("quantized_ttt_lora", "ttt"),
        ("final_int8_ttt_lora", "ttt"),
        ("legal_ttt_exact", "ttt"),
        ("ttt_sliding:done", "progress"),
        ("final_xnor_roundtrip", "roundtrip"),
        ("final_INT7_zlib_roundtrip", "roundtrip"),
        ("pre-quantization post-ema", "before quantization"),
        ("DIAGNOSTIC post_ema", "before quantization"),
        ("final_no_ttt_sliding_window", "sliding"),
        ("", "report"),
    ],
)
def test_kinds_of_labels(label: str, kind: str) -> None:
    assert kind_of(label, sliding_mode=False) == kind


def test_neither_the_last_nor_the_best_line_wins(tmp_path: Path) -> None:
    n = replace(THREE[0], ttt=None)
    text = baseline_log(n) + "DIAGNOSTIC quantized_ttt val_loss:1.00000000 val_bpb:0.60000000 eval_time:1ms\n"
    assert used(tmp_path, text).candidates[0].bpb.text == "1.12165091"


def test_only_the_last_validation_where_nothing_else_was_scored(tmp_path: Path) -> None:
    run = used(tmp_path, baseline_log(THREE[0]).partition("peak memory")[0])
    assert [one.label for one in run.candidates] == [IN_TRAINING_LABEL]
    assert run.candidates[0].bpb.text == "1.1379"


def test_sizes_in_megabytes_are_no_bytes(tmp_path: Path) -> None:
    text = compact_log(COMPACT[0]).replace(
        "budget:", "  INT4+fp8+brotli: 15.67MB model + 0.077MB code = 15.75/16.00MB FITS\n#"
    )
    run = used(tmp_path, text)
    assert fields(run)["artifact_total_bytes"] is None and run.facts["artifact_total_mb"].text == "15.75"


def test_a_report_block_is_the_least_likely_score(tmp_path: Path) -> None:
    tail = (
        "---\nval_bpb:          1.121651\nartifact_bytes:   15977386\nline_count:       1402\nvalid:            True\n"
    )
    assert used(tmp_path, baseline_log(THREE[0]) + tail).candidates[0].label == "legal_ttt_exact"
    alone = used(tmp_path, tail)
    assert alone.candidates[0].kind == "report" and fields(alone)["artifact_total_bytes"] == 15_977_386


def test_lines_of_evidence(tmp_path: Path) -> None:
    run = used(tmp_path, baseline_log(THREE[0], dump=False))
    text = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    for name in ("steps_done", "train_time_ms", "artifact_total_bytes", "prequant_val_bpb", "seed_logged"):
        assert run.facts[name].text in text[run.facts[name].line - 1]
    for one in run.evaluations:
        assert one.bpb.text in text[one.line - 1] and one.label.split()[0] in text[one.line - 1]


@pytest.mark.parametrize(
    ("printed", "read"),
    [("15,990,006", "15990006"), ("990,006", "990006"), ("15990006", "15990006"), ("1,1194", None), ("1,2,3", None)],
)
def test_commas_part_thousands_or_make_no_number(printed: str, read: str | None) -> None:
    line = parse(1, f"Total submission size int6+lzma: {printed} bytes")
    assert (line and line.values["int6+lzma"].text) == read


def test_progress_with_thousands() -> None:
    line = parse(1, "step:7,179/9,000 val_loss:1.9 val_bpb:1.1")
    assert line and (line.values["step"].text, line.values["step"].of) == ("7179", 9000)


@pytest.mark.parametrize("quoted", ["import warnings\n", "from x import y\nimport warnings\n"])
@pytest.mark.parametrize("before", ["stopping_early", "seed:1337"])
def test_a_line_of_code_in_a_log_is_no_dump(tmp_path: Path, quoted: str, before: str) -> None:
    text = baseline_log(THREE[0], dump=False)
    start = text.index(before)
    found = fields(used(tmp_path, f"{text[:start]}{quoted}{text[start:]}{RULE}\n"))
    assert found == fields(used(tmp_path, text))


def test_a_log_of_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "").runs == () and read(tmp_path, "hello\nworld\n").used is None


def test_numbers_of_no_score_are_left_out(tmp_path: Path) -> None:
    text = (
        f"seed:1\n{LINE} val_loss:1e99 val_bpb:1e99\n{LINE} val_loss:nan val_bpb:nan\n{LINE} val_loss:0.0 val_bpb:0.0\n"
    )
    assert read(tmp_path, text).used is None


def test_numbers_know_their_defaults() -> None:
    assert Numbers().total_bytes == Numbers().model_bytes + Numbers().code_bytes
