"""The command: exit status, what it prints first, the fields of --json, and what it does not import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.records.written import mean, narrow_readme, record, std, without_ttt
from tests.records.written_logs import THREE

ROOT = Path(__file__).parents[2]
SEEDS = without_ttt()
README = narrow_readme(SEEDS)


def verify(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "platform.verify", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three records: one agrees, one is contradicted, one has no log."""
    record(tmp_path / "track_10min_16mb" / "2026-04-01_right", SEEDS, README__md=README)
    wrong = README.replace(f"{SEEDS[1].score:.5f}", "1.12300")
    record(tmp_path / "track_10min_16mb" / "2026-04-02_wrong one", SEEDS, README__md=wrong)
    nothing = tmp_path / "track_non_record_16mb" / "2026-04-03_nothing"
    nothing.mkdir(parents=True)
    (nothing / "submission.json").write_text('{"val_bpb": 1.1}', encoding="utf-8")
    (tmp_path / "README.md").write_text("# All records\n", encoding="utf-8")
    return tmp_path


def test_exit_status(tree: Path) -> None:
    right, wrong = tree / "track_10min_16mb" / "2026-04-01_right", tree / "track_10min_16mb" / "2026-04-02_wrong one"
    assert verify(right).returncode == 0
    assert verify(wrong).returncode == verify(right, wrong).returncode == verify(tree).returncode == 1


def test_rounding_is_no_disagreement(tmp_path: Path) -> None:
    cut = f"{int(SEEDS[0].score * 1000) / 1000:.3f}"
    record(tmp_path, SEEDS, README__md=f"| Seed | BPB |\n|-|-|\n| 1337 | {cut} |\n")
    done = verify(tmp_path)
    assert done.returncode == 0 and "rounding only" in done.stdout and "truncated" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "error: nowhere is not there"),
        (("pyproject.toml",), "is a file; name the folder that it is in"),
        (("platform/rules",), "platform/rules holds no record: no submission.json, no README, no log"),
        (("platform/rules", "--rules", "readme"), "there are no rules 'readme'"),
        (("platform/rules", "--against", "nowhere"), "nowhere is not there"),
        ((), "Missing argument 'FOLDER...'"),
    ],
)
def test_what_cannot_be_read_ends_with_2_and_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    done = verify(*arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_what_disagrees_stands_first_with_both_places(tree: Path) -> None:
    lines = verify(tree / "track_10min_16mb" / "2026-04-02_wrong one").stdout.splitlines()
    assert lines[0].startswith("2026-04-02_wrong one  mismatch  1 of ")
    assert lines[1].strip() == "3 logs read, 3 with a score, 3 used"
    assert "mean of 3 seeds (1337, 2025, 42)" in lines[2]
    row = lines[4].split()
    assert row[:2] == ["1.12300", "1.12266503"] and "README.md:6" in row
    assert any(cell.startswith("train_seed42.log:") for cell in row)
    place = next(cell for cell in row if cell.startswith("train_seed42.log:"))
    log = (tree / "track_10min_16mb" / "2026-04-02_wrong one" / "train_seed42.log").read_text(encoding="utf-8")
    assert "1.12266503" in log.splitlines()[int(place.partition(":")[2]) - 1]
    assert len(lines) < 30, "one screen"


def test_a_tree_ends_with_a_sum(tree: Path) -> None:
    assert "3 records: 1 agrees, 1 mismatch, 1 no log" in verify(tree).stdout


def test_the_fields_of_json(tree: Path) -> None:
    found = json.loads(verify(tree, "--json").stdout)
    assert [one["record"] for one in found] == ["2026-04-01_right", "2026-04-02_wrong one", "2026-04-03_nothing"]
    assert [one["verdict"] for one in found] == ["agrees", "mismatch", "no log"]
    right, wrong, nothing = found
    assert (
        right["score"]
        | {
            "seeds": [1337, 2025, 42],
            "n": 3,
            "mean_bpb": round(mean([n.score for n in SEEDS]), 8),
            "sample_std_bpb": round(std([n.score for n in SEEDS]), 8),
        }
        == right["score"]
    )
    assert right["std_convention"][0]["ddof"] == "sample" and right["track"] == "track_10min_16mb"
    assert {"file", "seed", "seed_logged", "steps_done", "final_label", "final_val_bpb", "artifact_total_bytes"} <= set(
        right["runs"][0]
    )
    (mismatch,) = wrong["mismatches"]
    assert (
        mismatch
        | {
            "where": "README.md:6",
            "item": "seed 42 · Sliding BPB",
            "printed": "1.12300",
            "measured": 1.12266503,
            "status": "mismatch",
        }
        == mismatch
    )
    assert nothing["score"] == {**nothing["score"], "n": 0, "mean_bpb": None, "seeds": []}
    for one in found:
        assert set(one["rules"]) == {"known-sigma", "modded-nanogpt-track1", "pg-2026-leaderboard", "pg-2026-readme"}
        for rules in one["rules"].values():
            assert rules["verdict"] in ("pass", "fail", "cannot tell")
            assert all({"rule", "status", "figure", "source"} <= set(check) for check in rules["checks"])


def test_the_record_to_beat(tmp_path: Path) -> None:
    before = record(tmp_path / "before", SEEDS, README__md=README)
    after = record(tmp_path / "after", THREE)
    (found,) = json.loads(verify(after, "--against", before, "--json", "--rules", "pg-2026-readme").stdout)
    told = found["significance"]
    gain = mean([n.score for n in SEEDS]) - mean([n.score for n in THREE])
    assert told["previous"] == "before" and told["previous_n"] == 3
    assert told["delta_bpb"] == pytest.approx(gain, abs=1e-7)
    assert {"one_sample", "one_sample_margin0", "welch", "welch_margin0"} <= set(told)
    assert list(found["rules"]) == ["pg-2026-readme"]
    shown = verify(after, "--against", before).stdout
    assert f"gain {gain:+.5f} BPB" in shown and "1.12183542 BPB to beat" in shown


def test_rules_by_name_show_every_check(tree: Path) -> None:
    shown = verify(tree / "track_10min_16mb" / "2026-04-01_right", "--rules", "pg-2026-readme").stdout
    for rule in ("artifact bytes", "training time", "score first", "read as BPB"):
        assert rule in shown


def test_logs_in_a_folder_of_their_own_belong_to_the_readme_above(tmp_path: Path) -> None:
    folder = tmp_path / "records" / "mine"
    record(folder / "logs", SEEDS)
    for name in ("README.md", "submission.json"):
        (folder / "logs" / name).unlink()
    (folder / "README.md").write_text(README, encoding="utf-8")
    for given in (folder, tmp_path / "records"):
        (found,) = json.loads(verify(given, "--json").stdout)
        assert (found["record"], found["verdict"], found["checked"]) == ("mine", "agrees", 13)


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    record(tmp_path, SEEDS, README__md=README)
    code = (
        "import sys; from platform.verify import main\n"
        "try: main([sys.argv[1]])\nexcept SystemExit: pass\n"
        "print(sorted({'ray', 'mlflow', 'torch', 'pandas', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def in_terminal(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{START}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, env={**os.environ, **environment}, check=False)


START = """
import platform
from pathlib import Path
platform.__path__ = [str(Path(sys.path[0]) / "platform")]
from platform.verify import main
main(sys.argv[1:])
"""


def test_a_terminal_of_plain_letters(tmp_path: Path) -> None:
    folder = record(tmp_path / "a record", SEEDS, README__md=README)
    done = in_terminal(folder, ".", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.isascii() and b"+ artifact bytes, training time" in done.stdout


def test_the_folder_that_one_is_in_has_a_name(tmp_path: Path) -> None:
    folder = record(tmp_path / "my record", SEEDS, README__md=README)
    assert in_terminal(folder, ".").stdout.decode().startswith("my record  agrees  ")


def test_nothing_claimed_has_an_exit_status_of_its_own(tmp_path: Path, tree: Path) -> None:
    folder = tmp_path / "track_non_record_16mb" / "crashed"
    folder.mkdir()
    (folder / "train.log").write_text("seed:1\nstep:0/10 val_loss:6.9 val_bpb:4.1 train_time:0ms\nKilled\n")
    done = verify(folder)
    assert done.returncode == 3 and "nothing claimed" in done.stdout and "agrees" not in done.stdout
    assert "1 log read, 0 with a score, 0 used" in done.stdout
    right = tree / "track_10min_16mb" / "2026-04-01_right"
    assert verify(right, folder).returncode == 3
    assert verify(right, folder, tree / "track_10min_16mb" / "2026-04-02_wrong one").returncode == 1
