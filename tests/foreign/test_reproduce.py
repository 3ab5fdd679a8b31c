"""A record folder run again: what it says it was told, and whether the same comes out."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.foreign.running import HERE, Ran, run

from platform import reproduce
from platform.scripts.reproduction import reproduction_of

STYLE = HERE / "baseline_style.py"
SEEDS = (1337, 42)
README = """# A small one

Mean val_bpb **{mean:.4f}** over two seeds.

```bash
export ITERATIONS=12
SEED=1337 MATRIX_LR=0.03 \\
  TRAIN_BATCH_TOKENS=1024 NEVER_READ=1 torchrun --standalone --nproc_per_node=8 train_gpt.py
```
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, tiny_data: tuple[Path, Path]) -> Path:
    """The folder of somebody who ran it with other learning rates than the README says."""
    folder = tmp_path_factory.mktemp("records") / "2026-05-01_small"
    folder.mkdir()
    shutil.copyfile(STYLE, folder / "train_gpt.py")
    scores = []
    for seed in SEEDS:
        told = {"ITERATIONS": 12, "TRAIN_BATCH_TOKENS": 1024, "MATRIX_LR": 0.05}
        done: Ran = run(STYLE, folder.parent / f"work {seed}", tiny_data, processes=2, SEED=seed, **told)
        assert done.returncode == 0, done.errors
        shutil.copyfile(done.log, folder / f"train_seed{seed}.log")
        scores.append(float(done.printed(r"roundtrip_exact .*val_bpb:(\S+)")))
    (folder / "README.md").write_text(README.format(mean=sum(scores) / 2))
    (folder / "submission.json").write_text(json.dumps({"val_bpb": round(sum(scores) / 2, 4), "seeds": list(SEEDS)}))
    return folder


def test_what_it_was_told_is_read_from_commands_and_logs(record: Path) -> None:
    found = reproduction_of(record)
    told = {name: said.value for name, said in found.settings.items()}
    assert told["ITERATIONS"] == "12" and told["TRAIN_BATCH_TOKENS"] == "1024"
    assert "SEED" not in told and "NEVER_READ" not in told and "DATA_PATH" not in told
    assert set(found.seeds) == set(SEEDS) and found.score == "final_int8_zlib_roundtrip_exact"
    remarks = "\n".join(found.remarks)
    assert "README.md:7 sets NEVER_READ=1, which the script does not read" in remarks
    assert told["MATRIX_LR"] == "0.05" and "MATRIX_LR: README.md:7 says 0.03, " in remarks, remarks


def test_the_same_comes_out(record: Path, tmp_path: Path, tiny_data: tuple[Path, Path]) -> None:
    words = [str(record), "--scale", "laptop", "--runs", str(tmp_path / "runs")]
    words += ["--data", str(tiny_data[0]), "--tokenizer", str(tiny_data[1]), "--set", "MATRIX_LR=0.05"]
    dry = CliRunner().invoke(reproduce.main, [*words, "--dry-run"])
    assert dry.exit_code == 0 and "\nquestion: Does 2026-05-01_small reproduce?\n" in dry.stdout, dry.output
    assert "seed 42" in dry.stdout
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "recipes"]
    recipe = yaml.safe_load((tmp_path / "runs" / "recipes" / "2026-05-01_small.yaml").read_text())
    assert recipe["env"]["ITERATIONS"] == "12" and recipe["script"] == str(record / "train_gpt.py")
    done = CliRunner().invoke(reproduce.main, words)
    assert done.exit_code == 0, done.output
    table = done.stdout.split("reproduced")[-1]
    for seed in SEEDS:
        (line,) = [line for line in table.splitlines() if line.startswith(f"{seed} ")]
        assert abs(float(line.split()[-1])) < 2e-6, line
    assert "compatible: Welch t" in table and "NOT" not in table


def test_a_folder_without_a_script_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# nothing\n")
    done = CliRunner().invoke(reproduce.main, [str(tmp_path), "--dry-run"])
    assert done.exit_code == 2 and "no train_gpt.py, and no .py file: which script is it?" in done.output
