"""Records whose measurements are tables: autoresearch's results.tsv, JSON lines, CSV, a W&B summary."""

import json
from pathlib import Path

import pytest

from platform.records.record import Examined, examine

AGENT = (
    "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
    "a1b2c3d\t0.997900\t44.0\tkeep\tbaseline\n"
    "b2c3d4e\t0.993200\t44.2\tkeep\tincrease LR to 0.04\n"
    "c3d4e5f\t1.005000\t44.0\tdiscard\tswitch to GeLU\n"
    "d4e5f6g\t0.000000\t0.0\tcrash\tdouble model width\n"
)
SEEDS = {42: 1.12266503, 1337: 1.12165091, 2025: 1.12119033}
README = "# Three\n\n**val_bpb: {mean}** (3-seed mean)\n\n| Seed | BPB | Steps |\n|---|---|---|\n{rows}"


def folder(path: Path, table: str, text: str, readme: str, submission: dict[str, object]) -> Examined:
    (path / table).write_text(text, encoding="utf-8")
    (path / "README.md").write_text(readme, encoding="utf-8")
    (path / "submission.json").write_text(json.dumps(submission), encoding="utf-8")
    return examine(path)


def test_an_agent_s_table_of_runs(tmp_path: Path) -> None:
    record = folder(tmp_path, "results.tsv", AGENT, "Best val_bpb: 0.993200\n", {"val_bpb": 0.9932})
    assert (record.verdict, record.score.bpb, record.counts) == ("agrees", (0.9932,), (1, 1, 1))
    assert record.findings[0].log == "results.tsv:3"
    wrong = folder(tmp_path, "results.tsv", AGENT, "", {"val_bpb": 0.9832})
    assert wrong.verdict in ("no log", "mismatch")


def _lines() -> str:
    return "".join(
        json.dumps({"seed": seed, "val_bpb": bpb, "steps": 7000 + seed}) + "\n" for seed, bpb in SEEDS.items()
    )


def _csv() -> str:
    return "seed,val_bpb,steps\n" + "".join(f"{seed},{bpb},{7000 + seed}\n" for seed, bpb in SEEDS.items())


@pytest.mark.parametrize(("table", "text"), [("runs.jsonl", _lines()), ("results.csv", _csv())])
def test_a_row_for_each_seed(tmp_path: Path, table: str, text: str) -> None:
    rows = "".join(f"| {seed} | {bpb:.5f} | {7000 + seed:,} |\n" for seed, bpb in SEEDS.items())
    claim = {"val_bpb": 1.12183542, "seeds": list(SEEDS)}
    record = folder(tmp_path, table, text, README.format(mean="1.12184", rows=rows), claim)
    assert record.verdict == "agrees" and sorted(str(seed) for seed in record.score.seeds) == ["1337", "2025", "42"]
    wrong = folder(tmp_path, table, text, README.format(mean="1.12184", rows=rows.replace("1.12267", "1.12167")), claim)
    assert wrong.verdict == "mismatch" and wrong.mismatches[0].log.startswith(f"{table}:")


def test_a_line_for_each_validation(tmp_path: Path) -> None:
    steps = [{"step": step, "val_loss": 3 - step / 1000, "val_bpb": 1.8 - step / 2000} for step in (250, 500, 750)]
    text = "".join(json.dumps(row) + "\n" for row in [*steps, {"final_val_bpb": 1.4123, "artifact_bytes": 15_000_000}])
    record = folder(tmp_path, "metrics.jsonl", text, "val_bpb: 1.4123\n", {"val_bpb": 1.4123, "step_stop": 750})
    assert record.verdict == "agrees" and record.score.bpb == (1.4123,)
    assert {one.status.value for one in record.findings} == {"exact"}


def test_a_table_beside_logs_is_no_second_seed(tmp_path: Path) -> None:
    log = "seed:42\nstep:10/10 val_loss:1.9 val_bpb:1.1 train_time:1ms\n"
    log += "final_int6_roundtrip_exact val_loss:1.89 val_bpb:1.12266503\n"
    (tmp_path / "train_seed42.log").write_text(log)
    record = folder(tmp_path, "results.csv", _csv(), "", {"val_bpb": 1.12266503})
    assert (record.verdict, record.score.seeds) == ("agrees", (42,))


def test_a_summary_of_weights_and_biases(tmp_path: Path) -> None:
    lines = ["", "Run summary:", "  train/loss 2.1", "     val/bpb 1.08234", "    val/loss 2.79", ""]
    log = "".join(f"wandb: {line}\n" for line in lines)
    record = folder(tmp_path, "run.log", log, "val_bpb: 1.08234\n", {"val_bpb": 1.08234})
    assert (record.verdict, record.score.bpb) == ("agrees", (1.08234,))


def test_tables_of_other_things_are_no_logs(tmp_path: Path) -> None:
    record = folder(tmp_path, "tokens.csv", "id,piece\n1,the\n2,of\n", "val_bpb: 1.08234\n", {"val_bpb": 1.08234})
    assert (record.verdict, record.counts) == ("no log", (0, 0, 0))
