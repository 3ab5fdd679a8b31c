"""Submission files of many spellings, nulls and mistakes, to the same claims."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.records.json_lines import MOST_DEPTH, Leaf, parse
from platform.records.record import Examined, examine
from platform.records.submission_file import read
from tests.records.written import mean, std, without_ttt
from tests.records.written_logs import baseline_log

SEEDS = without_ttt()
ONE = SEEDS[0]
SCORES, TOTALS = [n.score for n in SEEDS], [n.total_bytes for n in SEEDS]
MEAN, STD = round(mean(SCORES), 8), round(std(SCORES), 8)
LOSS = round(mean([round(n.loss(n.score), 8) for n in SEEDS]), 8)


def examined(folder: Path, data: dict[str, Any] | str) -> Examined:
    for n in SEEDS:
        (folder / f"train_seed{n.seed}.log").write_text(baseline_log(n), encoding="utf-8")
    text = data if isinstance(data, str) else json.dumps(data, indent=1)
    (folder / "submission.json").write_text(text, encoding="utf-8")
    return examine(folder)


SPELLINGS: dict[str, tuple[dict[str, Any], int]] = {
    "minimal": ({"val_loss": LOSS, "val_bpb": MEAN, "bytes_total": max(TOTALS), "bytes_code": ONE.code_bytes}, 4),
    "seeds as a dict of scores": ({"val_bpb": MEAN, "seeds": {str(n.seed): n.score for n in SEEDS}, "std_bpb": STD}, 5),
    "results as a dict of dicts": (
        {
            "val_bpb": MEAN,
            "seed_results": {str(n.seed): {"val_bpb": n.score, "artifact_bytes": n.total_bytes} for n in SEEDS},
        },
        7,
    ),
    "results as a list of dicts": (
        {
            "val_bpb": MEAN,
            "seed_results": [
                {"seed": n.seed, "val_bpb": n.score, "bytes_total": n.total_bytes, "ms_per_step": n.step_avg}
                for n in SEEDS
            ],
        },
        10,
    ),
    "scores beside their seeds": ({"val_bpb": MEAN, "seeds": [n.seed for n in SEEDS], "seed_bpbs": SCORES}, 4),
    "seeds in the keys": (
        {"mean_val_bpb": MEAN, "std_val_bpb": STD, **{f"val_bpb_seed{n.seed}": n.score for n in SEEDS}},
        5,
    ),
    "nested metrics": (
        {"metrics": {"val_bpb": {"mean": MEAN, "std": STD}, "artifact_bytes": {"max": max(TOTALS)}}},
        3,
    ),
    "suffixes": (
        {
            "val_bpb": MEAN,
            "val_bpb_std": STD,
            "artifact_bytes_mean": round(mean(TOTALS)),
            "artifact_bytes_max": max(TOTALS),
            "train_steps_mean": round(mean([n.steps for n in SEEDS]), 2),
            "train_time_s_mean": round(mean([n.train_ms / 1000 for n in SEEDS]), 2),
            "step_avg_ms_mean": round(mean([n.step_avg for n in SEEDS]), 2),
        },
        7,
    ),
    "one seed": (
        {
            "val_bpb": ONE.score,
            "pre_quant_val_bpb": ONE.in_training,
            "pre_quant_val_loss": round(ONE.loss(ONE.in_training), 4),
            "int6_lzma_val_bpb": ONE.roundtrip,
            "bytes_model_int6_lzma": ONE.model_bytes,
            "step_stop": ONE.steps,
            "wallclock_seconds": 600,
            "eval_time_ms": 97749,
            "eval_time_seconds": 97.7,
            "num_params": 26928220,
        },
        10,
    ),
    "text with numbers": ({"val_bpb": f"{MEAN:.4f}", "artifact_size": "15.98 MB", "hardware": "8xH100 80GB"}, 2),
    "a blurb": ({"val_bpb": MEAN, "blurb": f"3-seed mean: {MEAN:.4f} (std {STD:.4f}), beats PR 549's 1.1194"}, 3),
    "nulls": (
        {"val_bpb": MEAN, "val_loss": None, "bytes_total": None, "track": "", "val_bpb_std": "", "eval_time_s": None},
        1,
    ),
    "numbers of others": (
        {
            "val_bpb": MEAN,
            "baseline": {"val_bpb": 1.2244},
            "previous_val_bpb": 1.13,
            "val_bpb_baseline": 1.22,
            "hyperparameters": {"steps": 9000, "lr": 0.02},
            "delta_vs_sota_bpb": -0.01,
            "t_statistic": -11.8,
            "compliance": {"eval_time_s": 600},
            "margin_nats": 0.005,
            "max_artifact_bytes": 16_000_000,
            "ttt_params": 26_928_220,
            "ttt": 3,
            "old_bpb": 1.3,
            "base_bpb": 1.2,
            "leader_bpb": 1.1228,
            "val_bpb_std_err": 0.0001,
        },
        1,
    ),
    "lists beside the seeds": (
        {
            "val_bpb": MEAN,
            "seeds": [n.seed for n in SEEDS],
            "loop_layers": [3, 4, 5],
            "warmdown_fracs": [0.725, 0.751, 0.752],
            "seed_losses": [1.125, 1.751, 1.752],
            "run_hours": [1.2, 1.3, 1.1],
            "summary": {"mean": 83.5, "std": 5.3},
        },
        1,
    ),
    "a mean and a std at the top": ({"mean": MEAN, "std": STD, "n_steps": ONE.steps, "n_params": 26928220}, 4),
    "a mean of seeds": ({"three_seed_mean": MEAN, "results": {"mean": MEAN, "std": STD}}, 3),
    "a value in a dict": ({"val_bpb": {"value": MEAN}, "step_time": {"mean": 83.5}}, 2),
    "scores of seeds in a dict": ({"seeds": [n.seed for n in SEEDS], "val_bpb": {"mean": MEAN, "values": SCORES}}, 4),
    "a std in a text": ({"val_bpb": f"{MEAN:.5f} ± {STD:.5f}"}, 2),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling(tmp_path: Path, spelling: str) -> None:
    data, numbers = SPELLINGS[spelling]
    record = examined(tmp_path, data)
    assert (record.verdict, record.mismatches, record.unsupported) == ("agrees", [], [])
    assert len(record.checked) == numbers
    assert set(record.score.seeds) == ({1337} if spelling == "one seed" else {n.seed for n in SEEDS})


def test_one_line_and_no_final_newline(tmp_path: Path) -> None:
    text = json.dumps(SPELLINGS["results as a dict of dicts"][0], separators=(",", ":"))
    assert len(examined(tmp_path, text).checked) == 7


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        *(
            ({"val_bpb": MEAN, "seeds": [n.seed for n in SEEDS], name: [1.129, 1.1301, 1.15]}, 3)
            for name in ("seed_results", "results", "runs", "per_seed", "scores", "individual_runs")
        ),
        ({"seeds": [n.seed for n in SEEDS], "val_bpb": {"mean": MEAN, "values": [1.129, 1.1301, 1.129]}}, 3),
        ({"val_bpb": {"value": 1.1301}, "bytes_total": max(TOTALS)}, 1),
        ({"val_bpb": f"{MEAN:.4f} ± 0.03"}, 1),
        ({"val_bpb": MEAN, "std": 0.03}, 1),
        ({"val_bpb": MEAN, "three_seed_mean": 1.1301}, 1),
        ({"val_bpb": MEAN, "n_steps": 100, "num_steps": 100, "n_params": 12345678}, 3),
        ({"val_bpb": MEAN, "score": 0}, 1),
    ],
)
def test_a_wrong_number_is_found_under_any_name(tmp_path: Path, data: dict[str, Any], wrong: int) -> None:
    record = examined(tmp_path, data)
    assert record.verdict == "mismatch" and len(record.mismatches) == wrong


def test_a_bpb_under_the_name_of_a_loss(tmp_path: Path) -> None:
    record = examined(tmp_path, {"val_loss": round(MEAN, 5), "bytes_total": max(TOTALS)})
    assert record.verdict == "agrees" and "BPB value under the name of a loss" in record.notes[0]
    assert examined(tmp_path, {"val_loss": 1.09, "val_bpb": MEAN}).verdict == "mismatch"


def test_seeds_without_a_log(tmp_path: Path) -> None:
    record = examined(tmp_path, {"val_bpb": 1.1, "seeds": [1337, 42, 2025, 7], "seed_results": {"7": {"val_bpb": 1.1}}})
    assert record.claimed.missing == (7,)
    assert [one.note for one in record.unsupported if one.figure.seed == 7] == ["no log of seed 7"]


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    record = examined(tmp_path, {"author": "a\nb", "seed_results": {"42": {"val_bpb": 1.5}}, "val_bpb": MEAN})
    assert [one.figure.where for one in record.mismatches] == ["submission.json:5"]


@pytest.mark.parametrize(
    "broken",
    [
        '{"val_bpb": 1.1218,',
        '{"val_bpb": 1.1218} trailing',
        "",
        "[",
        '{"val_bpb": }',
        "not json",
        '{"val_bpb": 1.1218, "x": nul}',
    ],
)
def test_a_broken_file_is_named_and_read_as_far_as_it_goes(tmp_path: Path, broken: str) -> None:
    record = examined(tmp_path, broken)
    assert "no valid JSON" in record.notes[0]
    assert len(record.checked) == ("1.1218" in broken)


def test_nesting_without_end(tmp_path: Path) -> None:
    record = examined(tmp_path, '{"val_bpb": 1.12184, "a": ' + "[" * 100_000)
    assert f"nested deeper than {MOST_DEPTH}" in record.notes[0] and len(record.checked) == 1


def test_numbers_without_end(tmp_path: Path) -> None:
    long = "9" * 5000
    numbers = f'"val_bpb": 1e400, "bytes_total": {long}, "val_loss": 1e999999, "steps": -0.0'
    text = f'{{{numbers}, "seeds": ["{long}", "²", {long}]}}'
    assert examined(tmp_path, text).claimed.missing == ()
    (tmp_path / "README.md").write_text(
        "| Seed | Artifact |\n|-|-|\n| 42 | ~9" + ",999" * 3000 + " |\n", encoding="utf-8"
    )
    assert examine(tmp_path).verdict == "mismatch"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_the_reader_reads_what_json_writes(value: object) -> None:
    def plain(node: object) -> object:
        if isinstance(node, Leaf):
            return node.text if node.kind == "string" else json.loads(node.text)
        if isinstance(node, list):
            return [plain(one) for one in node]
        assert isinstance(node, dict)
        return {key: plain(one) for key, one in node.items()}

    document = parse(json.dumps(value))
    assert not document.mistake and repr(plain(document.root)) == repr(value)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300) | json_values.map(json.dumps))
def test_no_text_breaks_the_reader(text: str) -> None:
    read(text, "submission.json")
