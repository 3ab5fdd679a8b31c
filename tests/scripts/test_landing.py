"""Settings held against what a script reads and prints: what did not land is found, and nothing else is said."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from platform.scripts.landing import contradictions, unread
from platform.scripts.source import Source, read_source
from tests.scripts.written import BASELINE, COMPACT, SPACED, saved

RECORDS = Path(os.environ.get("GOLF_RECORDS", ""))

BASELINE_LOG = """logs/abc.txt
val_bpb:enabled tokenizer_kind=sentencepiece tokenizer_path=/data/tokenizers/fineweb_1024_bpe.model
train_loader:dataset:fineweb10B_sp1024 train_shards:80
model_params:17059912
world_size:8 grad_accum_steps:1
tie_embeddings:True embed_lr:0.05 matrix_lr:0.04
iterations:20000 max_wallclock_seconds:600.000
seed:1337
warmup_step:1/20
step:1/20000 train_loss:6.9357 train_time:59ms
step:2/20000 train_loss:6.1 seed:9 matrix_lr:0.01
"""
SPACED_LOG = """Hyperparameters:
  seed: 42
  num_layers: 11
  ema_decay: 0.997
  ttt_enabled: False
  data_dir: /somewhere/data
1/20000 train_loss: 9.0 train_time: 0.0m
  num_layers: 12
"""
COMPACT_LOG = """--- Hyperparameters ---
adam_wd=0.05 head_lr=0.02 muon_momentum=0.95 muon_wd=0.0 seed=7
params:73685840 L:10 d:768 h:8 kv:4 ws:8 ga:1 s:7
step:1000/10000 loss:3.3114 t:91476ms avg:91.5ms
"""


@pytest.fixture
def baseline(tmp_path: Path) -> Source:
    return read_source(saved(tmp_path, BASELINE))


def told(source: Source, log: str, **settings: str) -> list[tuple[str, str, str, int]]:
    return [(one.name, one.asked, one.printed, one.line) for one in contradictions(source, log, settings)]


def one(tmp_path: Path, read: str, **settings: str) -> Source:
    return read_source(saved(tmp_path, f"import os\nclass H:\n    x = {read}\n"))


def test_what_is_never_read(baseline: Source) -> None:
    (found,) = unread(baseline, {"SEED": "1", "MATRIX_RL": "0.1", "OMP_NUM_THREADS": "1", "NCCL_DEBUG": "INFO"})
    assert (found.name, found.unknown, found.hint) == ("MATRIX_RL", False, "; did you mean 'MATRIX_LR'?")
    assert str(found) == "MATRIX_RL: the script never reads it; did you mean 'MATRIX_LR'?"
    (lower,) = unread(baseline, {"seed": "1"})
    assert lower.hint == "; did you mean 'SEED'?"


def test_what_may_be_read_is_unknown(tmp_path: Path) -> None:
    source = read_source(saved(tmp_path, BASELINE + "\nexec(open('more.py').read())\n"))
    (found,) = unread(source, {"SEED": "1", "TTT_ENABLED": "1"})
    assert found.unknown and "cannot be told, since it runs a text" in str(found)


def test_an_option_of_the_command_line_is_pointed_at(tmp_path: Path) -> None:
    text = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--warmup-steps', type=int)\n"
    (found,) = unread(read_source(saved(tmp_path, text)), {"WARMUP_STEPS": "3"})
    assert found.hint == "; it takes --warmup-steps on its command line"


def test_settings_that_landed(tmp_path: Path, baseline: Source) -> None:
    landed = {"SEED": "1337", "MATRIX_LR": "4e-2", "ITERATIONS": "20000.0", "TIE_EMBEDDINGS": "1"}
    landed |= {"MAX_WALLCLOCK_SECONDS": "599.9999", "TOKENIZER_PATH": "/elsewhere/fineweb_1024_bpe.model"}
    assert told(baseline, BASELINE_LOG, **landed) == []
    spaced = read_source(saved(tmp_path, SPACED))
    assert told(spaced, SPACED_LOG, SEED="42", NUM_LAYERS="11", TTT_ENABLED="0", DATA_DIR="./other/data/") == []
    assert told(spaced, SPACED_LOG, TTT_ENABLED="no", EMA_DECAY="0.9970") == []
    assert told(read_source(saved(tmp_path, COMPACT)), COMPACT_LOG, SEED="7", ADAM_WD=".05", MUON_WD="0") == []


def test_settings_that_did_not_land(tmp_path: Path, baseline: Source) -> None:
    asked = {"SEED": "42", "MATRIX_LR": "0.02", "TIE_EMBEDDINGS": "0", "MAX_WALLCLOCK_SECONDS": "60"}
    assert told(baseline, BASELINE_LOG, **asked) == [
        ("TIE_EMBEDDINGS", "0", "True", 6),
        ("MATRIX_LR", "0.02", "0.04", 6),
        ("MAX_WALLCLOCK_SECONDS", "60", "600.000", 7),
        ("SEED", "42", "1337", 8),
    ]
    (seed,) = contradictions(baseline, BASELINE_LOG, {"SEED": "42"})
    assert str(seed) == "SEED: asked for 42, and the script prints 1337 (line 8: seed:1337)"
    spaced = read_source(saved(tmp_path, SPACED))
    asked = {"SEED": "43", "NUM_LAYERS": "12", "TTT_ENABLED": "1", "DATA_DIR": "./other"}
    assert [name for name, *_ in told(spaced, SPACED_LOG, **asked)] == ["SEED", "NUM_LAYERS", "TTT_ENABLED", "DATA_DIR"]
    compact = read_source(saved(tmp_path, COMPACT))
    assert told(compact, COMPACT_LOG, SEED="8", ADAM_WD="0.5") == [
        ("ADAM_WD", "0.5", "0.05", 2),
        ("SEED", "8", "7", 2),
    ]


def test_a_label_for_something_else_contradicts_nothing(baseline: Source) -> None:
    """The baseline prints the rate of tied embeddings as ``embed_lr``, whatever EMBED_LR is."""
    assert told(baseline, BASELINE_LOG, EMBED_LR="0.6") == []


def test_a_number_that_is_made_of_a_setting_contradicts_nothing(tmp_path: Path) -> None:
    made = read_source(saved(tmp_path, "import os\nbatch = int(os.environ.get('BATCH', 1)) * 1024\n"))
    assert told(made, "batch:524288\n", BATCH="512") == []
    itself = read_source(saved(tmp_path, "import os\nbatch = int(os.environ.get('BATCH', 1))\n"))
    assert told(itself, "batch:524288\n", BATCH="512") != []


def test_only_lines_before_the_first_step_count(baseline: Source) -> None:
    assert told(baseline, "step:0/20000 train_loss:6.9\nseed:9\n", SEED="1") == []
    assert told(baseline, "1/20000 train_loss: 6.9\n  seed: 9\n", SEED="1") == []
    assert told(baseline, "step 10 | loss 3.2\nseed:9\n", SEED="1") == []
    assert told(baseline, "warmup_step:1/20\nseed:9\n", SEED="1") != []


FORMS = [
    "seed:9",
    "seed: 9",
    "seed=9",
    "  seed = 9",
    "SEED: 9",
    "seed    9",
    "args.seed: 9",
    "hparams.seed=9",
    "--seed=9",
    "lr:0.1 seed:9 wd:0.2",
    "lr=0.1, seed=9, wd=0.2",
    "lr: 0.1 | seed: 9",
    "Hyperparameters(lr=0.1, seed=9, name='x y')",
    "Namespace(lr=0.1, seed=9)",
    "args = {'lr': 0.1, 'seed': 9}",
    "Config: lr=0.1 seed=9",
    '{"lr": 0.1, "seed": 9}',
    '  "seed": 9,',
    "{'lr': 0.1,\n 'seed': 9,\n 'wd': 0.2}",
    "{'lr': 0.1,\n 'seed': 9}",
    "args = {'seed': 9,\n 'lr': 0.1}",
    "Config(path=PosixPath('/a b'), kind=<class 'int'>, betas=(0.9, 0.95), seed=9)",
    "[rank0] seed:9",
    "[12:00:01] seed:9",
    "INFO: seed=9 lr=0.1",
]


@pytest.mark.parametrize("line", FORMS)
def test_forms_of_a_printed_setting(baseline: Source, line: str) -> None:
    assert [found[:3] for found in told(baseline, f"begins\n{line}\n", SEED="1337")] == [("SEED", "1337", "9")]
    assert told(baseline, f"begins\n{line}\n", SEED="9") == []


HARMLESS = [
    "shuffling the shards with seed: 9",
    "data loader: seed=9",
    "seed: 9 is what the shards are shuffled with",
    "ttt.seed: 9",
    "Shuffler(seed=9)",
    "muon:lr=0.02 seed:9",
    "val_seed:9",
    "seeds:9",
    "seed:9s",
    "seed: [9, 10]",
    "seed:",
    "seed:9\nseed:1337",
    "import os\nimport sys\ndef main():\nseed = 9\n",
    "seed:9 (unended)",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_contradicts_nothing(baseline: Source, text: str) -> None:
    assert told(baseline, f"begins\n{text}\n", SEED="1337") == []


def test_a_line_that_has_not_ended_says_nothing(baseline: Source) -> None:
    assert told(baseline, "seed:133", SEED="1337") == [] and told(baseline, "seed:133\n", SEED="1337") != []


def test_a_dump_of_the_script_says_nothing_and_what_follows_it_does(baseline: Source) -> None:
    log = f"{BASELINE}\nseed = 5\n{'=' * 100}\nseed:9\n"
    assert [found[2] for found in told(baseline, log, SEED="1337")] == ["9"]


def test_what_a_launcher_puts_in_front(baseline: Source) -> None:
    lines = ["seed:9", "world_size:8 grad_accum_steps:1", "model_params:26100200", "iterations:20000"]
    log = "".join(f"2026-04-05 12:00:00,123 - INFO - {line}\n" for line in lines)
    assert [found[2] for found in told(baseline, log, SEED="1337")] == ["9"]


VALUES = [
    ("bool(int(os.environ.get('X', '0')))", "1", "True", True),
    ("bool(int(os.environ.get('X', '0')))", "0", "False", True),
    ("bool(int(os.environ.get('X', '0')))", "2", "True", True),
    ("bool(int(os.environ.get('X', '0')))", "1", "False", False),
    ("os.environ.get('X', '0') == '1'", "true", "False", False),
    ("float(os.environ.get('X', 1))", "0", "0.0", True),
    ("float(os.environ.get('X', 1))", "1e-8", "1e-08", True),
    ("float(os.environ.get('X', 1))", "0.02", "0.0", False),
    ("float(os.environ.get('X', 1))", "0.12345", "0.123", True),
    ("float(os.environ.get('X', 1))", "0.12345", "0.124", False),
    ("int(os.environ.get('X', 1))", "786432", "786,432", True),
    ("int(os.environ.get('X', 1))", "786432", "786,433", False),
    ("int(os.environ.get('X') or 0)", "", "0", True),
    ("os.environ.get('X') or None", "", "None", True),
    ("str(os.environ.get('X'))", "007", "7", False),
    ("os.environ.get('X', 'brotli')", "lzma", "brotli", False),
    ("os.environ.get('X', 'brotli')", "brotli", "'brotli'", True),
    ("os.environ.get('X', 'brotli')", "lzma", "brotli at level 11", True),
]


@pytest.mark.parametrize(("read", "asked", "printed", "landed"), VALUES)
def test_values_are_compared_as_what_they_are(
    tmp_path: Path, read: str, asked: str, printed: str, landed: bool
) -> None:
    assert (told(one(tmp_path, read), f"x: {printed}\n", X=asked) == []) is landed


def test_hostile_lines_take_no_time(baseline: Source) -> None:
    lines = [" " * 100_000 + "x", "a" * 100_000, "seed:" * 20_000, "(" * 100_000, "a b " * 30_000, '"' * 99_999]
    assert told(baseline, "\n".join(lines) + "\nseed:9\n", SEED="1337")[0][2] == "9"


def logged() -> list[dict[str, Any]]:
    """The runs of public records whose log prints the seed, with the file."""
    if not (RECORDS / "expected.json").is_file():
        return []
    records = json.loads((RECORDS / "expected.json").read_text(encoding="utf-8"))
    return [
        {**run, "path": RECORDS / entry["track"] / entry["record"] / run["file"]}
        for entry in records
        for run in entry["logs"]
        if run["seed_logged"] is not None and run["runs_in_file"] == 1
    ]


@pytest.mark.skipif(not logged(), reason="GOLF_RECORDS does not name a folder with records and expected.json")
@pytest.mark.parametrize("run", logged(), ids=lambda run: str(run["path"].relative_to(RECORDS)))
def test_public_logs_contradict_another_seed_and_no_other_setting(tmp_path: Path, run: dict[str, Any]) -> None:
    """What a log prints first for each name is what was asked: only the seed is asked otherwise."""
    text = run["path"].read_text(encoding="utf-8", errors="replace")
    pairs = re.findall(r"(?:^|\s)([a-z]\w*)[:=] ?(\S+)(?=\s|$)", text.partition("step:1/")[0], re.MULTILINE)
    settings = {name.upper(): value for name, value in reversed(pairs)}
    reads = "".join(f"    {name.lower()} = os.environ.get({name!r})\n" for name in settings)
    source = read_source(saved(tmp_path, f"import os\nclass H:\n{reads}"))
    assert len(settings) > 8 and settings["SEED"] == str(run["seed_logged"])
    assert contradictions(source, text, settings) == ()
    (found,) = contradictions(source, text, settings | {"SEED": str(run["seed_logged"] + 1)})
    assert (found.name, found.printed) == ("SEED", str(run["seed_logged"]))
