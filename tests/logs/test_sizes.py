"""Sizes in any form: in one line or several, in bytes or in megabytes, the total or its parts."""

from pathlib import Path

import pytest

from platform.logs.log import read_log

HEAD = "seed:7\nstep:10/10 val_loss:1.9 val_bpb:1.1300 train_time:598123ms step_avg:1.0ms\n"
SCORE = "final_int6_roundtrip_exact val_loss:1.89 val_bpb:1.12266503\n"
IN_BYTES = (
    "Code size: 60000 bytes\nSerialized model int6+zstd: 15800000 bytes",
    "Serialized model int6+zstd: 15800000 bytes\nTotal submission size int6+zstd: 15860000 bytes",
    "model:15800000 code:60000 total:15860000 (15.86 MB)",
    "artifact: model:15800000 code:60000 total:15860000",
    "[size] model=15,800,000 code=60,000 total=15,860,000 bytes",
    "sizes: model 15800000 B, code 60000 B, total 15860000 B",
    "Total size: 15860000 bytes (model: 15800000, code: 60000)",
    "Artifact size: 15,860,000 bytes",
    "total artifact bytes: 15_860_000",
)
IN_MEGABYTES = (
    "Total artifact: 15.86 MB (model 15.80 MB + code 0.06 MB)",
    "Total submission size: 0.01586 GB",
    "artifact 15860.0 KB in total",
    "  INT4+fp8+brotli: 15.80MB model + 0.060MB code = 15.86/16.00MB FITS",
)


def facts(folder: Path, said: str) -> dict[str, str]:
    (folder / "train.log").write_text(f"{HEAD}{said}\n{SCORE}", encoding="utf-8")
    run = read_log(folder / "train.log", "train.log").used
    assert run is not None and run.candidates[0].bpb.text == "1.12266503"
    return {name: fact.text for name, fact in run.facts.items()}


@pytest.mark.parametrize("said", IN_BYTES)
def test_in_bytes(tmp_path: Path, said: str) -> None:
    assert facts(tmp_path, said)["artifact_total_bytes"] == "15860000"


@pytest.mark.parametrize("said", IN_MEGABYTES)
def test_in_megabytes_that_are_no_bytes(tmp_path: Path, said: str) -> None:
    found = facts(tmp_path, said)
    assert "artifact_total_bytes" not in found and float(found["artifact_total_mb"]) == 15.86


@pytest.mark.parametrize("said", ["total_docs:50000 total:50000", "artifact 3 of 5", "total time 600.1s"])
def test_other_totals_are_no_sizes(tmp_path: Path, said: str) -> None:
    assert not {"artifact_total_bytes", "artifact_total_mb", "code_bytes"} & set(facts(tmp_path, said))
