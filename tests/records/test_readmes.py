"""READMEs of all shapes: what agrees is called so, numbers of other runs are left alone, every place is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from platform.records.record import Examined, examine
from platform.statistics.significance import t_upper
from tests.records.written import mean, narrow_readme, std, without_ttt
from tests.records.written_logs import THREE, Numbers, baseline_log

SEEDS = without_ttt()
ONE = SEEDS[0]
LABEL = "final_int6_sliding_window_exact"
SCORES = [n.score for n in SEEDS]
MEAN, STD = mean(SCORES), std(SCORES)


@pytest.fixture
def examined(tmp_path: Path) -> Callable[..., Examined]:
    def write(readme: str, seeds: tuple[Numbers, ...] = SEEDS) -> Examined:
        for n in seeds:
            (tmp_path / f"train_seed{n.seed}.log").write_text(baseline_log(n), encoding="utf-8")
        (tmp_path / "README.md").write_text(readme, encoding="utf-8")
        return examine(tmp_path)

    return write


def table(header: str, rows: list[str]) -> str:
    names = header.count("|") - 1
    return "\n".join([header, "|" + "---|" * names, *rows, ""])


def per_seed(line: str) -> list[str]:
    return [
        line.format(n=n, mb=n.total_bytes / 1e6, loss=n.loss(n.score), left=16_000_000 - n.total_bytes) for n in SEEDS
    ]


AGREEING = {
    "narrow": (narrow_readme(SEEDS), 13),
    "unescaped and bold": (
        table(
            "| **Seed** | val\\_bpb | artifact\\_bytes | valid |",
            [
                *per_seed("| **{n.seed}** | **{n.score:.5f}** ✅ | {n.total_bytes:,} | yes |"),
                f"| **Mean** | {MEAN:.5f} | | |",
            ],
        ),
        7,
    ),
    "wide": (
        table(
            "| Seed | Steps | ms/step | val_loss (nats) | Sliding BPB (s64) | Post-EMA BPB | Quantized BPB | Eval (s) "
            "| Train (s) | Artifact (MB) | Headroom | Under cap? |",
            per_seed(
                "| {n.seed} | {n.steps} | {n.step_avg:.1f}ms | {loss:.4f} | {n.score:.4f} | {n.post_ema:.4f} "
                "| {n.roundtrip:.4f} | 97.7 | 600.1 | {mb:.2f} | {left:,} | ✓ |"
            ),
        ),
        30,
    ),
    "transposed": (
        table(
            "| Metric | Seed 1337 | Seed 42 | Seed 2025 | Mean | Std |",
            [
                "| Sliding val_bpb | " + " | ".join(f"{x:.4f}" for x in SCORES) + f" | **{MEAN:.4f}** | {STD:.4f} |",
                "| Steps | " + " | ".join(f"{n.steps:,}" for n in SEEDS) + " | | |",
                "| Artifact | " + " | ".join(f"{n.total_bytes:,} B" for n in SEEDS) + " | | |",
            ],
        ),
        11,
    ),
    "without outer pipes": (
        "Seed | val_bpb\n--- | ---\n" + "".join(f"{n.seed} | {n.score:.6f}\n" for n in SEEDS),
        3,
    ),
    "rows by log and remark": (
        table(
            "| Log | Score |",
            [
                f"| `train_seed1337.log` (submitted) | {SCORES[0]:.4f} |",
                f"| `train_seed42.log` | {SCORES[1]:.4f} |",
                f"| **Mean ± Std** | **{MEAN:.4f} (std {STD:.4f})** |",
            ],
        ),
        4,
    ),
    "metric and value": (
        table(
            "| Metric | Value |",
            [
                f"| Pre-quant val\\_bpb (last step) | {ONE.in_training:.4f} |",
                f"| int6 roundtrip val_bpb | {ONE.roundtrip:.4f} |",
                f"| **val_bpb (sliding, stride=64)** | **{ONE.sliding:.4f}** |",
                f"| Quantization penalty | {ONE.roundtrip - ONE.in_training:+.4f} BPB |",
                f"| Artifact size | {ONE.total_bytes:,} bytes ({ONE.total_bytes / 1e6:.2f} MB) |",
                "| Peak memory | 21,471 MiB |",
                "| Parameters | 26.9M |",
                "| Training time | 600s |",
                f"| Steps | {ONE.steps} |",
                "| Warmdown steps | 3500 |",
                "| Batch size | 524,288 |",
                "| GPU | 8xH100 |",
            ],
        ),
        9,
    ),
    "bullets": (
        f"""# A title

- Timed training stopped at `7179/9000` steps due to the wallclock cap.
- Pre-quant eval at stop: `val_loss:{ONE.loss(ONE.in_training):.4f}`, `val_bpb:{ONE.in_training:.4f}`
- Exact printed metric: `final_int6_sliding_window_exact val_bpb:{ONE.sliding:.8f}`
- Train time: `600128ms` (`step_avg:83.59ms`)
- Peak memory: `21471 MiB allocated`, `22000 MiB reserved`
- Code size: `{ONE.code_bytes} bytes`
- Total submission size int6+lzma: `{ONE.total_bytes} bytes`
- **Sliding BPB:** {ONE.sliding:.4f}
- `SEED=42`: `{SCORES[1]:.8f}`
- Training: {ONE.steps:,} steps at 83.59 ms/step
- Sample mean across the three runs: `{MEAN:.8f}`
- Sample standard deviation: `{STD:.8f}`
- Model size: 26.9M parameters
""",
        15,
    ),
    "a block of code": (
        f"```\nbpb: [{', '.join(f'{x:.4f}' for x in SCORES)}]\nmean: {MEAN:.4f}\nstd:  {STD:.4f}\n"
        f"seed=42: val_bpb={SCORES[1]:.4f}, artifact={SEEDS[1].total_bytes} bytes\n"
        "step:1000/9000 val_loss:2.2222 val_bpb:1.3333 train_time:88ms\n```\n",
        7,
    ),
    "headline of many parts": (
        f"**val_bpb: {MEAN:.4f}** (3-seed mean, std {STD:.4f}) | **{ONE.ratio * MEAN:.5f} nats** | **~15.9x MB** "
        "| 8×H100 80GB SXM, 600s train + ~98s eval\n",
        7,
    ),
}


@pytest.mark.parametrize("shape", AGREEING)
def test_what_agrees_is_called_so(examined: Callable[..., Examined], shape: str) -> None:
    readme, numbers = AGREEING[shape]
    record = examined(readme)
    assert (record.verdict, record.mismatches, record.unsupported) == ("agrees", [], [])
    assert len(record.checked) == numbers


OTHER_RUNS = f"""# Title — val_bpb {MEAN:.4f}, beats PR #1019 (1.1247) by 0.0029

- Previous best val_bpb: 1.1428
- Expected val_bpb: 1.10
- Target: 1.115 BPB
- Improvement over baseline: 0.1027 BPB
- val_bpb 1.1428 -> 1.1217
- Without SWA: val_bpb=1.1301
- At step 5000: val_bpb 1.2197
- Newton-Schulz steps: 5
- Vocab size: 1024
The public state has `Naive Baseline` at `1.2243657`; it takes `1.2193657` to beat it.
Current SOTA (PR #549, exact 3-seed mean): **1.11937967 BPB**.

| Seed | Baseline BPB | Ours BPB | Δ | PR #414 |
|---|---|---|---|---|
| 42 | 1.1250 | {SCORES[1]:.4f} | -0.0023 | 1.1260 |

| | Ours | SOTA |
|---|---|---|
| val_bpb | {MEAN:.4f} | 1.1247 |

## Ablation

| Seed | val_bpb |
|---|---|
| 1337 | 1.1301 |

| Change | Pre-TTT bpb | Delta |
|---|---|---|
| base | 1.1234 | - |

### Timing Budget

| Phase | Time |
|---|---|
| Training | 598s |
"""


def test_numbers_of_other_runs_are_left_alone(examined: Callable[..., Examined]) -> None:
    record = examined(OTHER_RUNS)
    assert (record.verdict, record.mismatches) == ("agrees", [])
    assert [one.figure.number.raw for one in record.checked] == [f"{MEAN:.4f}", f"{SCORES[1]:.4f}", f"{MEAN:.4f}"]
    wrong = examined(OTHER_RUNS.replace(f"| {SCORES[1]:.4f} |", "| 1.1300 |"))
    assert [one.figure.item for one in wrong.mismatches] == ["seed 42 · Ours BPB"], "a title names what it beats"


@pytest.mark.parametrize(
    ("readme", "item", "where"),
    [
        (table("| Seed | Steps |", ["| 42 | 7,183 |"]), "seed 42 · Steps", "README.md:3"),
        (table("| Seed | BPB |", ["| 42 | 1.1230 |"]), "seed 42 · BPB", "README.md:3"),
        (table("| Metric | Value |", ["| Code size | 89,459 bytes |"]), "Code size", "README.md:3"),
        ("# X\n\n**val_bpb: 1.1250** (3-seed mean)\n", "headline score", "README.md:3"),
        ("- Mean val_bpb: **1.1250**\n", "mean", "README.md:1"),
        ("- Std: 0.00100\n", "std", "README.md:1"),
        ("Standard error: 0.00100\n", "standard error", "README.md:1"),
        (table("| Seed | BPB |", ["| SEM | 0.0010 |", f"| 42 | {SCORES[1]:.4f} |"]), "SEM · BPB", "README.md:3"),
        ("- `SEED=42`: `1.12266600`\n", "seed 42", "README.md:1"),
        (f"- `{LABEL} val_bpb:1.12165099`\n", f"{LABEL} val_bpb", "README.md:1"),
        ("- Total submission size: `15977300 bytes`\n", "Total submission size", "README.md:1"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_found_with_its_place(
    examined: Callable[..., Examined], readme: str, item: str, where: str
) -> None:
    record = examined(readme + narrow_readme(SEEDS))
    assert record.verdict == "mismatch"
    assert [(one.figure.item, one.figure.where) for one in record.mismatches] == [(item, where)]
    assert record.mismatches[0].log.startswith(("train_seed", "3 logs"))


SEED_CELLS = ["#{}", "seed-{}", "{} ✓", "{}:", "🌱 {}", "Seed {}", "{} (best)", "[{}](train_seed{}.log)", "Seed 1 ({})"]


@pytest.mark.parametrize("cell", SEED_CELLS)
def test_a_seed_is_read_however_its_cell_looks(examined: Callable[..., Examined], cell: str) -> None:
    right = table("| Seed | BPB |", [f"| {cell.replace('{}', str(n.seed))} | {n.score:.4f} |" for n in SEEDS])
    record = examined(right)
    assert (record.verdict, sorted(record.score.seeds)) == ("agrees", [42, 1337, 2025])
    assert len(record.checked) == 3
    assert len(examined(narrow_readme(SEEDS) + "\n" + right.replace("| 1.12", "| 1.10")).mismatches) == 3


WRONG_TABLES = {
    "in a quotation": "> | Seed | BPB |\n> |---|---|\n> | 42 | 1.1000 |\n",
    "after a fence that holds a shorter one": "````\n```\n````\n\n" + table("| Seed | BPB |", ["| 42 | 1.1000 |"]),
    "in HTML": "<table>\n<tr><th>Seed</th><th>BPB</th></tr>\n<tr><td>42</td>\n<td>1.1000</td></tr>\n</table>\n",
    "aligned in a block of code": "```\nSeed    BPB      Steps\n----    ---      -----\n"
    f"1337    {SCORES[0]:.4f}   7179\n42      1.1000   7,182\n```\n",
    "seeds under a sign": table("| # | BPB |", ["| 42 | 1.1000 |", f"| 1337 | {SCORES[0]:.4f} |"]),
    "seeds under another name": table("| Config | BPB |", ["| seed 42 | 1.1000 |", f"| seed 1337 | {SCORES[0]:.4f} |"]),
    "transposed and counted": table(
        "| Metric | Seed 1 (1337) | Seed 2 (42) |", [f"| BPB | {SCORES[0]:.4f} | 1.1000 |", "| Steps | 7179 | 7182 |"]
    ),
    "transposed, under Experiments": "## Experiments\n\n"
    + table("| Metric | Seed 1337 | Seed 42 |", [f"| BPB | {SCORES[0]:.4f} | 1.1000 |"]),
    "two prints of one score": table("| Seed | val_bpb | BPB (8 digits) |", [f"| 42 | 1.1000 | {SCORES[1]:.8f} |"]),
    **{
        f"under {heading}": f"## {heading}\n\n"
        + table("| Seed | BPB |", ["| 42 | 1.1000 |", f"| 1337 | {SCORES[0]:.4f} |"])
        for heading in ("Experiments", "Performance and improvements", "Results compared with the previous record")
    },
    **{
        f"a column called {name}": table(f"| Seed | {name} |", ["| 42 | 1.1000 |"])
        for name in ("Bits/byte", "bits-per-byte", "Final", "Final score", "Result")
    },
}


@pytest.mark.parametrize("shape", WRONG_TABLES)
def test_a_wrong_score_is_found_in_a_table_of_any_shape(examined: Callable[..., Examined], shape: str) -> None:
    record = examined("# A title\n\n" + narrow_readme(SEEDS) + "\n" + WRONG_TABLES[shape])
    assert [(one.figure.seed, one.figure.number.raw) for one in record.mismatches] == [(42, "1.1000")]


STANDARD_ERROR = STD / 3**0.5
BESIDE_THE_CLAIM = {
    **{
        f"the row {row}": narrow_readme(SEEDS).rstrip() + f"\n{row}\n"
        for row in (
            "| Baseline mean | | 1.2244 | |",
            "| Previous best | | 1.1228 | |",
            "| Improvement over mean of SOTA | | 0.0034 | |",
            "| Baseline (seed 1337) | 13,780 | 1.2244 | 15,863,489 |",
            "| 1337 (baseline) | 13,780 | 1.2244 | |",
            "| PR #549 | | 1.1228 | |",
            f"| Std error | | {STANDARD_ERROR:.5f} | |",
            f"| Std of the mean | | {STANDARD_ERROR:.5f} | |",
            f"| Std | | {STD / MEAN:.3%} | |",
            f"| Std (ppm) | | {STD / MEAN * 1e6:.0f} | |",
            f"| Min/Max | | {min(SCORES):.4f}/{max(SCORES):.4f} | |",
            f"| Range | | {min(SCORES):.4f} - {max(SCORES):.4f} | |",
            f"| Mean (seed 1337/42/2025) | | {MEAN:.4f} | |",
        )
    },
    **{
        line: f"{line}\n"
        for line in (
            f"Std error: {STANDARD_ERROR:.5f}",
            f"Std of the mean: {STANDARD_ERROR:.5f}",
            f"Mean: {MEAN:.4f} ± {STANDARD_ERROR:.5f} (SEM, n=3)",
            "- `step:4000/9000 val_loss:2.0500 val_bpb:1.2141`",
            "- `4000/20000 val_loss: 2.0500 val_bpb: 1.2141`",
            "- val_bpb at step 4000: 1.2141",
            "- Raw model size: 106,158,518 bytes",
            "- Serialized model: 106,158,518 bytes",
        )
    },
    **{
        f"under {heading}": f"## {heading}\n\n- Seed 1337: 1.1300\n- Sliding BPB: 1.1301\n\n"
        + table("| Seed | BPB |", ["| 1337 | 1.2244 |", "| 42 | 1.2250 |"])
        + table("| Metric | Value |", ["| BPB | 1.1310 |"])
        for heading in ("Baseline results", "2. Ablation results", "Previous submission results")
    },
    "one experiment": "## Experiments\n\n" + table("| Seed | BPB |", ["| 1337 | 1.1300 |"]),
    "changes of one seed": table("| Config | Seed | BPB |", ["| no XSA | 42 | 1.1300 |", "| no EMA | 42 | 1.1310 |"]),
    "counted rows": table("| # | Change | BPB |", ["| 1 | no XSA | 1.1300 |", "| 2 | no EMA | 1.1310 |"]),
    "settings": table(
        "| Metric | Value |",
        [
            "| TTT | 3 epochs, lr 0.002 |",
            "| TTT | 1893 chunks |",
            "| Sliding window | 64 |",
            "| Quantized tensors | 66 |",
            "| TTT params | 26928220 |",
            "| Model size (uncompressed) | 106,158,518 bytes |",
            "| Total size limit | 16 MB |",
            f"| Artifact margin | {16_000_000 - max(n.total_bytes for n in SEEDS):,} bytes |",
            "| Old BPB | 1.1301 |",
            "| Init val_bpb | 4.1045 |",
        ],
    ),
}


@pytest.mark.parametrize("beside", BESIDE_THE_CLAIM)
def test_what_stands_beside_the_claim_is_no_contradiction(examined: Callable[..., Examined], beside: str) -> None:
    record = examined("# A title\n\n" + narrow_readme(SEEDS) + "\n" + BESIDE_THE_CLAIM[beside])
    assert (record.verdict, record.mismatches, record.claimed.missing) == ("agrees", [], ())
    assert len(record.checked) >= 13, "the table above still counts"


def test_both_conventions_of_a_std(examined: Callable[..., Examined]) -> None:
    population = STD * (2 / 3) ** 0.5
    for value, ddof, verdict in (
        (STD, "sample", "agrees"),
        (population, "population", "agrees"),
        (0.0009, "neither", "mismatch"),
    ):
        record = examined(f"**val_bpb: {MEAN:.5f}** (3-seed mean, std {value:.5f})\n")
        assert [(one.where, one.printed, one.ddof) for one in record.std_conventions] == [
            ("README std_bpb", f"{value:.5f}", ddof)
        ]
        assert record.verdict == verdict


def test_a_mean_of_rounded_values_is_rounding(examined: Callable[..., Examined]) -> None:
    rounded = mean([round(x, 3) for x in SCORES])
    rows = [f"| {n.seed} | {n.score:.3f} |" for n in SEEDS] + [f"| Mean | {rounded:.5f} |"]
    record = examined(table("| Seed | BPB |", rows))
    assert f"{rounded:.5f}" != f"{MEAN:.5f}"
    assert record.verdict == "rounding only" and [one.status.value for one in record.roundings] == ["mean_of_rounded"]


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("Net: -0.00644 BPB / -0.01087 nats", ""),
        ("Net: -0.00644 BPB / -0.01663 nats", "sp8192"),
        ("gain 0.0064 BPB (0.0064 nats)", "BPB under the name of nats"),
        ("gain 0.0064 BPB (0.0044 nats)", ""),  # nats per byte: another unit, and a right one
        ("0.01663 nats (0.00644 BPB) better than before", "sp8192"),
        ("this makes 1.12184 BPB / 1.89417 nats", ""),
    ],
)
def test_nats_and_bpb_of_one_difference(examined: Callable[..., Examined], sentence: str, wrong: str) -> None:
    record = examined(narrow_readme(SEEDS) + f"\n{sentence}\n")
    assert [wrong in one.note for one in record.mismatches] == ([True] if wrong else [])


def test_a_printed_t_test_is_worked_out_again(examined: Callable[..., Examined]) -> None:
    t = (1.13 - MEAN) / (STD / 3**0.5)
    sentence = "One-sided one-sample t-test against `1.1300000`: `t={:.2f}` with `df=2`, which gives `p={:.5f}`\n"
    assert examined(sentence.format(t, t_upper(t, 2))).verdict == "agrees"
    wrong = examined(sentence.format(t, t_upper(t, 2) / 2))
    assert [one.figure.item for one in wrong.mismatches] == ["p of the t test against 1.1300000"]
    assert examined(f"```\np-value < 1.13: {t_upper(t, 2):.8f}\n```\n").verdict == "agrees"


def test_more_seeds_than_logs_are_named(examined: Callable[..., Examined]) -> None:
    record = examined(f"**val_bpb: {MEAN:.5f}** (5-seed mean)\n")
    assert [one.note for one in record.unsupported] == ["3 of these seeds have a log"]


def test_a_readme_with_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "train_seed42.log").write_text(baseline_log(SEEDS[1]), encoding="utf-8")
    text = table("| Seed | BPB |", [f"| 42 | {SCORES[1]:.5f} |"]).replace("\n", "\r\n")
    (tmp_path / "README.md").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(examine(tmp_path).checked) == 1


def test_ttt_columns(tmp_path: Path) -> None:
    for n in THREE:
        (tmp_path / f"train_seed{n.seed}.log").write_text(baseline_log(n), encoding="utf-8")
    rows = [
        f"| {n.seed} | {n.sliding:.4f} | {n.ttt:.4f} | {(n.ttt or 0) - (n.sliding or 0):.4f} | 410 |" for n in THREE
    ]
    text = table("| Seed | Pre-TTT bpb | **Post-TTT bpb** | TTT gain | TTT time (s) |", rows[:1])
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert examine(tmp_path).verdict == "agrees"
    (tmp_path / "README.md").write_text(text.replace("-0.0024", "-0.0124"), encoding="utf-8")
    assert [one.figure.item for one in examine(tmp_path).mismatches] == ["seed 1337 · TTT gain"]
