"""Files made to hurt: a clear outcome, nothing executed, bounded memory, no power over the terminal or a page."""

import base64
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from platform.logs.text import LINE_BYTES, raw_lines, safe
from platform.logs.unpack import MOST_UNPACKED_BYTES, look_inside, script
from platform.records.claim import claim_of
from platform.records.data import as_data, dumps
from platform.records.record import VERDICTS, examine
from platform.records.show import show
from platform.rules.claims import judge_all
from tests.records.written import narrow_readme, record, without_ttt
from tests.records.written_logs import baseline_log

ROOT = Path(__file__).parents[2]
SEEDS = without_ttt()
ONE = SEEDS[0]
MEASURED = """
import re, sys
from platform.verify import main
try:
    main([sys.argv[1], "--json"])
except SystemExit as end:
    peak = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
    print(end.code, int(peak) // 1024, file=sys.stderr)
"""


def verify(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "platform.verify", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)


def megabytes(folder: Path) -> tuple[int, int]:
    """Exit status and peak memory of a verification; not ru_maxrss, which knows the parent's memory too."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc to read the peak memory from")
    command = [sys.executable, "-c", MEASURED, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=900)
    status, used = done.stderr.split()[-2:]
    return int(status), int(used)


def submission(folder: Path) -> None:
    (folder / "submission.json").write_text(json.dumps({"val_bpb": ONE.score}), encoding="utf-8")


def test_a_line_of_50_megabytes(tmp_path: Path) -> None:
    with (tmp_path / "train.log").open("wb") as file:
        file.write(b"final_int6_sliding_window_exact " + b"val_bpb:" * (50 << 17) + b"\n")
        file.write(baseline_log(ONE).encode())
    submission(tmp_path)
    status, used = megabytes(tmp_path)
    assert status == 0 and used < 120


def test_a_million_lines_of_noise(tmp_path: Path) -> None:
    rng = random.Random(1)
    lines = [bytes(rng.choices(range(256), k=40)).replace(b"\n", b" ") for _ in range(2000)]
    lines += [b"step:%d/100 train_loss:x" % i for i in range(100)]
    lines += [b"final_x%d val_loss:1.5 val_bpb:0.9" % i for i in range(400)]
    with (tmp_path / "train.log").open("wb") as file:
        for _ in range(400):
            file.write(b"\n".join(lines) + b"\n")
    submission(tmp_path)
    status, used = megabytes(tmp_path)
    assert status == 1 and used < 120


def test_nuls_and_no_text_at_all(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"\0" * 3_000_000)
    (tmp_path / "other.log").write_bytes(os.urandom(200_000))
    (tmp_path / "README.md").write_bytes(b"\xff\xfe" + os.urandom(50_001))
    submission(tmp_path)
    assert examine(tmp_path).verdict == "no log"


def test_lines_are_cut_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"a" * (3 << 20) + b"\nb\r\n" + b"c" * 10)
    found = list(raw_lines(path))
    assert [(line.number, len(line.content), line.ended) for line in found] == [
        (1, LINE_BYTES, True),
        (2, 1, True),
        (3, 10, False),
    ]


def test_links_pipes_and_loops_are_not_followed(tmp_path: Path) -> None:
    folder = record(tmp_path / "record", SEEDS, README__md=narrow_readme(SEEDS))
    secret = tmp_path / "secret.log"
    secret.write_text(baseline_log(ONE), encoding="utf-8")
    (folder / "train_seed7.log").symlink_to(secret)
    (folder / "loop").symlink_to(folder)
    (folder / "device.log").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.log")
    found = examine(folder)
    assert found.verdict == "agrees" and len(found.runs) == 3
    assert {"train_seed7.log is a link; not followed", "pipe.log is a named pipe; not followed"} <= set(found.notes)


def packed(content: bytes, kind: str) -> str:
    """A script that unpacks and runs ``content``, in each way that records use."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    compressed, call = {
        "lzma": lambda: (lzma.compress(content), "lzma.decompress({})"),
        "zlib": lambda: (zlib.compress(content), "zlib.decompress({})"),
        "gzip": lambda: (gzip.compress(content), "gzip.decompress({})"),
        "zstd": lambda: (zstandard.compress(content), "zstandard.ZstdDecompressor().decompress({})"),
        "brotli": lambda: (brotli.compress(content), "brotli.decompress({})"),
        "raw lzma2": lambda: (
            lzma.compress(content, format=lzma.FORMAT_RAW, filters=filters),
            "lzma.decompress({},format=lzma.FORMAT_RAW,filters=[{{'id':lzma.FILTER_LZMA2}}])",
        ),
    }[kind]()
    literal = f'base64.b85decode("{base64.b85encode(compressed).decode()}")'
    return f"import base64,{call.partition('.')[0]}\nexec({call.format(literal)})\n"


KINDS = ["lzma", "zlib", "gzip", "zstd", "brotli", "raw lzma2"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_script_is_measured_and_not_run(tmp_path: Path, kind: str) -> None:
    trace = tmp_path / "was_run"
    program = f"open({str(trace)!r}, 'w')\n" + "".join(f"x{i} = {i}\n" for i in range(900))
    (tmp_path / "train_gpt.py").write_text(packed(program.encode(), kind), encoding="utf-8")
    found = script(tmp_path / "train_gpt.py", "train_gpt.py")
    assert (found.unpacked_bytes, found.layers, found.problem) == (len(program), (f"b85+{kind}",), "")
    assert found.file_bytes == (tmp_path / "train_gpt.py").stat().st_size < len(program)
    record(tmp_path, SEEDS)
    assert verify(tmp_path).returncode in (0, 1) and not trace.exists()


@pytest.mark.parametrize("packs", [zlib.compress, bytes], ids=["zlib", "not compressed"])
@pytest.mark.parametrize("named", [True, False])
def test_other_ways_to_pack(packs: Callable[[bytes], bytes], named: bool) -> None:
    program = "".join(f"x{i} = {i}\n" for i in range(900)).encode()
    literal = f'"{base64.b64encode(packs(program)).decode()}"'
    call = f"base64.b64decode({'DATA' if named else literal})"
    call = f"zlib.decompress({call})" if packs is zlib.compress else call
    text = f"import base64, zlib\n{f'DATA = {literal}' if named else ''}\nexec({call})\n"
    inside = look_inside(text.encode())
    assert (inside.content, inside.problem) == (program, "") and len(inside.layers) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_script_that_is_cut_off_has_no_length(tmp_path: Path, kind: str) -> None:
    program = "".join(f"x{i} = {i**3}\n" for i in range(900))
    whole = packed(program.encode(), kind)
    end = whole.rindex('")')
    (tmp_path / "train_gpt.py").write_text(whole[: end - 50] + whole[end:], encoding="utf-8")
    found = script(tmp_path / "train_gpt.py", "x")
    assert found.unpacked_bytes is None and "its packed text cannot be decompressed" in found.problem


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_of_any_kind_is_not_unpacked(tmp_path: Path, kind: str) -> None:
    (tmp_path / "train_gpt.py").write_text(
        packed(random.Random(0).randbytes(1000) + bytes(64 << 20), kind), encoding="utf-8"
    )
    found = script(tmp_path / "train_gpt.py", "x")
    assert found.unpacked_bytes is None and f"more than {MOST_UNPACKED_BYTES:,} bytes" in found.problem


def test_a_bomb_in_base85(tmp_path: Path) -> None:
    bomb = lzma.compress(b"\0" * (300 << 20), preset=0)
    text = f'exec(__import__("lzma").decompress(__import__("base64").b85decode("{base64.b85encode(bomb).decode()}")))'
    (tmp_path / "train_gpt.py").write_text(text, encoding="utf-8")
    record(tmp_path, SEEDS, README__md=narrow_readme(SEEDS))
    status, used = megabytes(tmp_path)
    assert status == 0 and used < 150
    assert f"more than {MOST_UNPACKED_BYTES:,} bytes" in script(tmp_path / "train_gpt.py", "x").problem


@pytest.mark.parametrize("body", ["x" * 400, "A" * 400, "\\x00" * 200])
def test_a_packed_script_that_is_broken(tmp_path: Path, body: str) -> None:
    (tmp_path / "train_gpt.py").write_text(f'exec(d(b85decode("{body}")))', encoding="utf-8")
    assert (
        "its packed text cannot be" in script(tmp_path / "train_gpt.py", "x").problem
        or "format" in script(tmp_path / "train_gpt.py", "x").problem
    )


ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m<script>alert(1)</script>[red]`rm`[/red] & |"


def test_escapes_and_markup_have_no_power(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31mb<img src=x>"
    seeds = f"| Seed | BPB{ESCAPES.replace('|', '')} |\n|---|---|\n| 42 | 1.5 {ESCAPES.replace('|', '')} |\n"
    text = json.dumps({"val_bpb": SEEDS[1].score, "track": ESCAPES, f"bytes_total{ESCAPES}": 1, "author": ESCAPES})
    logs = baseline_log(SEEDS[1]) + f"final{ESCAPES} val_loss:2.0 val_bpb:1.2\n"
    record(folder, SEEDS, README__md=seeds, submission__json=text)
    (folder / "train_seed42.log").write_text(logs, encoding="utf-8")
    (folder / "x\x1b[2Jy.log").symlink_to("nowhere")
    for options in ([], ["--json"], ["--rules", "pg-2026-readme"]):
        shown = verify(folder, *options)
        assert shown.returncode == 1, shown.stderr
        printed = shown.stdout + shown.stderr
        assert not any(sign in printed for sign in ("\x1b", "\x9b", "\x07", "\u202e", "<script>", "<img"))
    found = json.loads(verify(folder, "--json").stdout)[0]
    assert found["mismatches"][0]["item"].startswith("seed 42")


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    record(tmp_path, SEEDS, README__md=narrow_readme(SEEDS))
    (tmp_path / os.fsdecode(b"bad\xff\xfe.log")).symlink_to("nowhere")
    for options in ([], ["--json"]):
        assert verify(tmp_path, *options).returncode == 0


def test_safe_text() -> None:
    assert safe("a\x1b[31mb") == "a\\x1b⟦31mb"
    assert safe("<b>|`x`|</b>") == "‹b›¦'x'¦‹/b›"
    assert safe("x" * 500, 10) == "xxxxxxxxx…"
    assert safe("1.1194 ± 0.0006, 15,977,386 bytes (8×H100)") == "1.1194 ± 0.0006, 15,977,386 bytes (8×H100)"


@pytest.mark.parametrize(
    "line",
    [
        "a" * 300_000,
        "| Seed |" + " " * 200_000 + "x|",
        "~" * 100_000,
        "<a" * 50_000,
        "`" * 100_000,
        "1," * 100_000,
        "|" * 100_000,
        "- mean " + "seed " * 20_000,
        "**" * 50_000,
        "t-test against " * 20_000,
        "1.5 BPB / " * 10_000,
    ],
    ids=lambda line: line[:10],
)
def test_lines_that_make_patterns_slow(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.log").write_text(baseline_log(ONE) + line + "\n", encoding="utf-8")
    text = f"| Seed | BPB |\n|---|---|\n{line}\n\n{line}\n# {line}\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    (tmp_path / "submission.json").write_text(json.dumps({"val_bpb": ONE.score, line[:50_000]: line}), encoding="utf-8")
    start = os.times().user
    assert examine(tmp_path).score.bpb == (ONE.score,)
    assert os.times().user - start < 5


MEGABYTES_OF_MARKDOWN = {
    "quotations and text by turns": "> |a|b|\n> |-|-|\nx\n",
    "a quotation in a quotation": ">" * 50 + " |a|b|\n",
    "rows that are wider than any table": "|1" * 200 + "|\n",
    "rows that are shorter than their header": "|1|\n",
    "rules that fit no header": "|a|b|\n|-|\n",
    "tables without end": "<table><tr>\n",
    "fences": "```\n",
    "pipes": "|" * 15_000 + "\n",
}


@pytest.mark.parametrize("piece", MEGABYTES_OF_MARKDOWN.values(), ids=MEGABYTES_OF_MARKDOWN)
def test_a_megabyte_of_markdown_takes_seconds_and_little_memory(tmp_path: Path, piece: str) -> None:
    header = "|a" * 64 + "|\n" + "|-" * 64 + "|\n"
    (tmp_path / "README.md").write_text(header + piece * ((1 << 20) // len(piece)), encoding="utf-8")
    (tmp_path / "train.log").write_text(baseline_log(ONE), encoding="utf-8")
    submission(tmp_path)
    start = os.times()
    status, used = megabytes(tmp_path)
    assert status in (0, 1) and used < 150
    assert os.times().children_user - start.children_user < 6  # 0.5 to 2 s; a quadratic reading takes 15 s and more


# Pieces of logs, READMEs and submission files; put together at random they are what a careless or unkind author writes.
PIECES = [
    *baseline_log(ONE, dump=False).splitlines()[-22:],
    *baseline_log(ONE).splitlines()[:20],
    *narrow_readme(SEEDS).splitlines(),
    "=" * 100,
    "--- Hyperparameters ---",
    "Hyperparameters:",
    "| Metric | Seed 1337 | 42 | Mean | Std |",
    "| Seed | Pre-TTT BPB | Post-TTT BPB | TTT gain | Eval time | Artifact (MB) | ms/step |",
    "| 42 | 1.1 | 1.0 | -0.1 | 410 | 15.9 | 83.3 |",
    "| **Mean ± Std** | | 1.0 ± 0.1 | | | | |",
    "|---|---|---|---|---|",
    "bpb: [1.1, 1.2, 1.1217]",
    "one-sample t-test against 1.2: t=3.0 with df=2, p=0.01",
    "- `final_int6_sliding_window_exact val_loss:1.1 val_bpb:1.1`",
    "-0.1 BPB / -0.2 nats",
    "0.0 BPB / 0.0 nats",
    "```",
    "SEED=42: 1.1227",
    "Inter-seed variance: 0.0",
    "std: 0",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=25),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=25),
    st.dictionaries(
        st.sampled_from(
            ["val_bpb", "seeds", "seed_results", "42", "seed", "bytes_total", "val_bpb_std", "x_nats", "x_bpb"]
        ),
        st.recursive(
            st.sampled_from([1.1217, 0, -1, 42, "", None, "1.1 (std 0.1)", 1e300]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["42", "seed", "val_bpb", "mean", "delta_nats", "delta_bpb"]), inner, max_size=3
                )
            ),
            max_leaves=8,
        ),
        max_size=5,
    ),
)
def test_nothing_that_is_put_together_at_random_breaks_the_judge(
    tmp_path: Path, log: list[str], readme: list[str], data: dict[str, object]
) -> None:
    (tmp_path / "train.log").write_bytes("\n".join(log).encode("utf-8", "surrogatepass"))
    (tmp_path / "README.md").write_bytes("\n".join(readme).encode("utf-8", "surrogatepass"))
    (tmp_path / "submission.json").write_text(json.dumps(data), encoding="utf-8")
    record = examine(tmp_path)
    claim = claim_of(record)
    told = dumps([as_data(record, judge_all(claim), claim, claim if claim.seeds else None)])
    assert json.loads(told)[0]["verdict"] in VERDICTS
    show(record, judge_all(claim), Console(file=io.StringIO(), width=120))
