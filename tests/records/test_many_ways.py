"""One honest record, written in many ways, keeps its verdict; with one wrong digit it loses it, each time."""

import bz2
import gzip
import itertools
import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from platform.records.record import examine
from tests.records.written import mean, narrow_readme, std, submission
from tests.records.written_logs import THREE, Numbers, baseline_log, compact_log, spaced_log

SEEDS = tuple(replace(n, ttt=None) for n in THREE)
WRONG = tuple(replace(n, sliding=1.12366503) if n.seed == 42 else n for n in SEEDS)  # the log of seed 42 has 1.12266503


@dataclass
class Folder:
    """A record's files before they are written: logs by the seed they are of, and what people wrote."""

    logs: dict[str, str | bytes]
    readme: str
    submission: str
    encodings: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        files: dict[str, str | bytes] = {**self.logs, "README.md": self.readme, "submission.json": self.submission}
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = self.encodings.get(name, "utf-8")
            path.write_bytes(content if isinstance(content, bytes) else content.encode(kind))


Way = Callable[[Folder, Sequence[Numbers]], Folder]
WAYS: dict[str, Way] = {}


def plain(told: Sequence[Numbers]) -> Folder:
    logs = {f"train_seed{n.seed}.log": baseline_log(n, dump=False) for n in SEEDS}
    return Folder(logs=dict(logs), readme=narrow_readme(told), submission=submission(told))


def changed_logs(change: Callable[[str, str], str | bytes]) -> Way:
    return lambda folder, told: replace(
        folder, logs={name: change(name, str(text)) for name, text in folder.logs.items()}
    )


def changed_names(name_of: Callable[[int], str]) -> Way:
    def change(folder: Folder, told: Sequence[Numbers]) -> Folder:
        return replace(folder, logs={name_of(n.seed): folder.logs[f"train_seed{n.seed}.log"] for n in SEEDS})

    return change


def behind(prefix: Callable[[int], str]) -> Way:
    return changed_logs(lambda name, text: "".join(f"{prefix(i)}{line}\n" for i, line in enumerate(text.splitlines())))


def told_in(readme: Callable[[Sequence[Numbers]], str]) -> Way:
    return lambda folder, told: replace(folder, readme=readme(told))


def given_as(data: Callable[[Sequence[Numbers]], object]) -> Way:
    def change(folder: Folder, told: Sequence[Numbers]) -> Folder:
        given = data(told)
        return replace(folder, submission=given if isinstance(given, str) else json.dumps(given))

    return change


PREFIXES: dict[str, Callable[[int], str]] = {
    "Ray": lambda i: "(train pid=1234) ",
    "Ray with an address": lambda i: "(RayTrainWorker pid=1234, ip=10.0.0.7) ",
    "unix time": lambda i: f"{1776144156 + i}.{i % 1000:03d} ",
    "ISO": lambda i: f"2026-04-01T10:{i // 60 % 60:02d}:{i % 60:02d}Z ",
    "ISO with a zone": lambda i: f"2026-04-01T10:{i // 60 % 60:02d}:{i % 60:02d}.123+02:00 ",
    "day and time": lambda i: f"2026-04-01 10:{i // 60 % 60:02d}:{i % 60:02d} ",
    "in brackets": lambda i: f"[2026-04-01 10:{i // 60 % 60:02d}:{i % 60:02d}] ",
    "time in brackets": lambda i: f"[10:{i // 60 % 60:02d}:{i % 60:02d}] ",
    "time": lambda i: f"10:{i // 60 % 60:02d}:{i % 60:02d} ",
    "American": lambda i: f"04/01/2026 10:{i // 60 % 60:02d}:{i % 60:02d} AM ",
    "logging": lambda i: f"2026-04-01 10:00:{i % 60:02d},{i % 1000:03d} - train - INFO - ",
    "logging, basic": lambda i: "INFO:root:",
    "logging, levels": lambda i: "WARNING:train:" if i % 7 == 0 else "INFO:train:",
    "loguru": lambda i: f"2026-04-01 10:00:{i % 60:02d}.123 | INFO     | __main__:log:{32} - ",
    "glog": lambda i: f"I0401 10:00:{i % 60:02d}.{i:06d} 4711 train.py:{45 + i % 3}] ",
    "syslog": lambda i: f"Apr  1 10:00:{i % 60:02d} gpu17 train[4711]: ",
    "Kubernetes": lambda i: f"2026-04-01T10:00:{i % 60:02d}.{i:09d}Z stdout F ",
    "pod": lambda i: "[pod/train-abc12-x/main] ",
    "srun -l": lambda i: "0: ",
    "mpirun": lambda i: "[1,0]<stdout>:",
    "torchrun": lambda i: "[default0]:",
    "rank": lambda i: "[rank0]: ",
    "grep -n": lambda i: f"{i + 1}:",
    "grep -nH": lambda i: f"train.log:{i + 1}:",
    "grep, coloured": lambda i: (
        f"\x1b[35m\x1b[Ktrain.log\x1b[m\x1b[K\x1b[36m\x1b[K:\x1b[m\x1b[K\x1b[32m\x1b[K{i}\x1b[m\x1b[K:"
    ),
    "host": lambda i: "gpu-node-17: ",
    "docker": lambda i: "trainer-1  | ",
    "quoted": lambda i: "> ",
    "logfmt": lambda i: f'time=2026-04-01T10:00:{i % 60:02d}Z level=info msg="',
    "indented": lambda i: "    ",
    "tab": lambda i: "\t",
    "two of them": lambda i: f"0: [10:00:{i % 60:02d}] ",
    "elapsed": lambda i: f"[+{i}.25s] ",
    "modal": lambda i: "[modal] ",
    "wandb": lambda i: "wandb: ",
}
WAYS |= {f"prefix: {name}": behind(prefix) for name, prefix in PREFIXES.items()}

BYTES: dict[str, Callable[[str, str], str | bytes]] = {
    "CRLF": lambda name, text: text.replace("\n", "\r\n").encode(),
    "CR": lambda name, text: text.replace("\n", "\r").encode(),
    "no end": lambda name, text: text.rstrip("\n"),
    "byte-order mark": lambda name, text: text.encode("utf-8-sig"),
    "UTF-16": lambda name, text: text.encode("utf-16"),
    "UTF-16, big end first": lambda name, text: b"\xfe\xff" + text.encode("utf-16-be"),
    "not UTF-8": lambda name, text: b"\xff\x80 \xc3\n" + text.encode(),
    "NULs": lambda name, text: text.encode() + b"\0" * 100,
    "colours": lambda name, text: text.replace("final", "\x1b[1;32mfinal").replace("val_bpb", "\x1b[0mval_bpb"),
    "progress bars": lambda name, text: text.replace("final", "  5%|█  | 1/20\r 90%|██  | 18/20\rfinal"),
    "a bar of 100 kB": lambda name, text: text.replace("final_int6_s", "x 1/9\r" * 20_000 + "final_int6_s"),
    "empty lines": lambda name, text: text.replace("\n", "\n\n"),
    "spaces at the end": lambda name, text: text.replace("\n", "   \n"),
    "a dump of the script": lambda name, text: baseline_log(next(n for n in SEEDS if str(n.seed) in name), dump=True),
    "few steps": lambda name, text: baseline_log(next(n for n in SEEDS if str(n.seed) in name), dump=False, every=3000),
    "warnings between": lambda name, text: text.replace("\n", "\n[W419 09:23:59.9 Utils.hpp:137] Warning: x\n"),
    "shell around": lambda name, text: f"$ torchrun train_gpt.py\nnohup: ignoring input\n{text}\nreal\t20m1.2s\n",
    "crashed before": lambda name, text: text.partition("stopping_early")[0] + text,
    "crashed after": lambda name, text: text + text.partition("stopping_early")[0],
    "running means": lambda name, text: text.replace(
        "final_int6_s",
        "".join(f"eval_chunk [{i}/700] val_bpb={1.2 - i / 1e4:.6f}\n" for i in range(700)) + "final_int6_s",
    ),
    "checkpoints": lambda name, text: text.replace("final_int6_s", "loaded checkpoint val_bpb=1.2345\nfinal_int6_s", 1),
    "one line of sizes": lambda name, text: text.replace(
        "Code size", "model:1 code:2 total:3 (a format)\nCode size"
    ).replace("model:1 code:2 total:3 (a format)\n", ""),
}
WAYS |= {f"log: {name}": changed_logs(change) for name, change in BYTES.items()}


def packed(ending: str, pack: Callable[[bytes], bytes]) -> Way:
    return lambda folder, told: replace(
        folder, logs={f"{name}.{ending}": pack(str(text).encode()) for name, text in folder.logs.items()}
    )


WAYS |= {
    "packed: gz": packed("gz", gzip.compress),
    "packed: bz2": packed("bz2", bz2.compress),
    "packed: xz": packed("xz", lzma.compress),
}

NAMES = (
    "seed{}.log", "seed_{}.txt", "log_seed{}.txt", "run_seed={}.log", "logs/train_seed{}.log", "train_logs/seed-{}.log",
    "{}.log", "train_{}.log", "train-{}.txt", "log_{}.txt", "s{}.log", "train_s{}.log", "SEED{}.LOG", "train.seed{}",
    "seed{}.stdout", "console seed {}.log", "slurm-8471_seed{}.out", "runs/{}/train_seed{}.log", "Training Seed {}.txt",
    "train_gpt_seed{}.log", "8xH100_seed{}_final.log", "v2_seed{}.txt", "train_seed{}",
)  # fmt: skip
WAYS |= {
    f"name: {pattern}": changed_names(lambda seed, pattern=pattern: pattern.replace("{}", str(seed)))  # type: ignore[misc]
    for pattern in NAMES
}


def one_file(order: Sequence[int], between: str = "") -> Way:
    def change(folder: Folder, told: Sequence[Numbers]) -> Folder:
        text = between.join(str(folder.logs[f"train_seed{SEEDS[i].seed}.log"]) for i in order)
        return replace(folder, logs={"train.log": text})

    return change


WAYS |= {f"one file: {order}": one_file(order) for order in itertools.permutations(range(3))}
WAYS["one file, a rule between"] = one_file((0, 1, 2), f"{'=' * 100}\n")
WAYS["one file, words between"] = one_file((0, 1, 2), "done\nstarting the next seed\n")


def beside(name: str, text: Callable[[Folder], str]) -> Way:
    return lambda folder, told: replace(folder, logs=folder.logs | {name: text(folder)})


OTHER = replace(SEEDS[0], sliding=1.13123456, roundtrip=1.15512345, model_bytes=15_123_456, steps=7001)
WAYS |= {
    "beside: a console copy": beside("console.log", lambda folder: f"$ bash run.sh\n{folder.logs['train_seed42.log']}"),
    "beside: a byte copy": beside("train.log", lambda folder: str(folder.logs["train_seed42.log"])),
    "beside: an ablation": beside("ablation_no_ema_seed1337.log", lambda folder: baseline_log(OTHER)),
    "beside: a baseline": beside("baseline.log", lambda folder: baseline_log(OTHER)),
    "beside: a smoke test": beside("smoke_seed1.log", lambda folder: baseline_log(replace(OTHER, seed=1))),
    "beside: a run that crashed": beside(
        "train_seed7.log", lambda folder: baseline_log(replace(OTHER, seed=7)).partition("stopping")[0]
    ),
    "beside: a list of packages": beside("requirements.txt", lambda folder: "torch==2.9.1\n"),
    "beside: another record's table": beside("notes.txt", lambda folder: "val_bpb of others: 1.5, 1.6\n"),
}


def apart(folder: Folder, told: Sequence[Numbers]) -> Folder:
    """Training and scoring in a log each."""
    logs: dict[str, str | bytes] = {}
    for n in SEEDS:
        training, found, scoring = str(folder.logs[f"train_seed{n.seed}.log"]).partition("final_int6_roundtrip ")
        logs[f"train_seed{n.seed}.log"] = training
        logs[f"eval_seed{n.seed}.log"] = f"seed:{n.seed}\nval_loader:x tokens:{n.tokens}\n{found}{scoring}"
    return replace(folder, logs=logs)


WAYS["training and scoring apart"] = apart


def dialect(log: Callable[[Numbers], str], decimals: int = 8) -> Way:
    def change(folder: Folder, told: Sequence[Numbers]) -> Folder:
        coarse = [n.coarse() for n in told] if decimals == 4 else told
        logs: dict[str, str | bytes] = {
            f"train_seed{n.seed}.log": log(n.coarse() if decimals == 4 else n) for n in SEEDS
        }
        readme = narrow_readme(coarse, 4 if decimals == 4 else 5)
        return replace(folder, logs=logs, readme=readme, submission=submission(coarse, decimals))

    return change


WAYS |= {
    "dialect: spaced": dialect(lambda n: spaced_log(n, phased=False)),
    "dialect: spaced, with a clock": dialect(lambda n: spaced_log(n, phased=False, clock=True)),
    "dialect: compact": dialect(compact_log, 4),
}


# --- what people write


def table(
    told: Sequence[Numbers],
    *,
    score: str = "BPB",
    decimals: int = 5,
    seed: Callable[[int], str] = str,
    size: Callable[[int], str] = "{:,}".format,
    time: Callable[[int], str] = lambda ms: f"{ms / 1000:.1f}s",
    mark: str = "",
    headline: str = "**val_bpb: {:.5f}** (3-seed mean)",
    columns: Sequence[str] = ("Seed", "Steps", "Train time", "Score", "Artifact"),
) -> str:
    """A README whose numbers are those of ``told``."""
    cells = {
        "Seed": lambda n: seed(n.seed),
        "Steps": lambda n: f"{n.steps:,}",
        "Train time": lambda n: time(n.train_ms),
        "Score": lambda n: f"{mark}{n.score:.{decimals}f}{mark}",
        "Artifact": lambda n: size(n.total_bytes),
    }
    names = {"Score": score}
    return "\n".join(
        [
            "# A record",
            "",
            headline.format(mean([n.score for n in told])),
            "",
            "| " + " | ".join(names.get(column, column) for column in columns) + " |",
            "|" + "---|" * len(columns),
            *("| " + " | ".join(cells[column](n) for column in columns) + " |" for n in told),
            "",
        ]
    )


def told_as(**options: object) -> Way:
    return told_in(lambda told: table(told, **options))  # type: ignore[arg-type]


WAYS |= {f"decimals: {decimals}": told_as(decimals=decimals) for decimals in (4, 5, 6, 7, 8)}
WAYS |= {
    f"column: {name}": told_as(score=name)
    for name in (
        "val_bpb",
        "val bpb",
        "**BPB**",
        "BPP",
        "bits per byte",
        "Sliding BPB",
        "sliding_bpb",
        "Val BPB (s64)",
        "Score",
        "Final BPB",
        "`val_bpb`",
        "val\\_bpb",
        "BPB ↓",
        "Sliding window BPB",
        "bpb (exact)",
    )
}
WAYS |= {
    f"seed: {pattern}": told_as(seed=pattern.format)
    for pattern in ("seed {}", "Seed {}", "`{}`", "**{}**", "#{}", "seed={}", "{} ", "SEED={}", "s{}", "{}*")
}
WAYS |= {
    f"size: {name}": told_as(size=size)
    for name, size in {
        "plain": str,
        "bytes": "{:,} bytes".format,
        "B": "{:,} B".format,
        "MB": lambda size: f"{size / 1e6:.2f} MB",
        "MB, three decimals": lambda size: f"{size / 1e6:.3f}MB",
        "MB, not known": lambda size: f"{size / 1e6:.2f}",
        "MiB": lambda size: f"{size / 2**20:.2f} MiB",
        "MiB called MB": lambda size: f"{size / 2**20:.3f} MB",
        "KB": lambda size: f"{size / 1000:,.0f} KB",
        "about": lambda size: f"~{size / 1e6:.1f} MB",
        "at most": lambda size: "≤16.0 MB",
        "apostrophes": lambda size: f"{size:_}",
        "ticked": lambda size: f"{size:,} ✓",
    }.items()
}
WAYS |= {
    f"time: {name}": told_as(time=time)
    for name, time in {
        "ms": lambda ms: f"{ms}ms",
        "ms, parted": lambda ms: f"{ms:,} ms",
        "s": lambda ms: f"{ms / 1000:.3f} s",
        "seconds": lambda ms: f"{ms / 1000:.0f} seconds",
        "min": lambda ms: f"{ms / 60_000:.1f} min",
        "m and s": lambda ms: f"{ms // 60_000}m {ms // 1000 % 60}s",
        "the limit": lambda ms: "600s",
    }.items()
}
WAYS |= {f"mark: {mark}": told_as(mark=mark) for mark in ("**", "`", "_", "***", "**`")[:3]}
WAYS |= {
    f"headline: {text}": told_as(headline=text)
    for text in (
        "val_bpb: {:.5f}",
        "# val_bpb {:.5f}",
        "**{:.5f} BPB** (mean of 3 seeds)",
        "## Result: {:.5f} val_bpb",
        "Mean val_bpb: {:.5f}",
        "- Mean BPB: **{:.6f}**",
        "**Score: {:.5f}**",
        "3-seed mean val_bpb = {:.5f}",
        "",
        "Final val_bpb: {:.5f}",
    )
}
WAYS |= {
    f"order: {' '.join(columns)}": told_as(columns=columns)
    for columns in (
        ("Seed", "Score"),
        ("Seed", "Score", "Artifact", "Steps"),
        ("Score", "Seed"),
        ("Steps", "Seed", "Score"),
    )
}


def html(told: Sequence[Numbers]) -> str:
    rows = "".join(f"<tr><td>{n.seed}</td><td>{n.steps}</td><td>{n.score:.6f}</td></tr>\n" for n in told)
    return f"# HTML\n\n<table>\n<tr><th>Seed</th><th>Steps</th><th>BPB</th></tr>\n{rows}</table>\n"


def aligned(told: Sequence[Numbers]) -> str:
    rows = "".join(f"{n.seed:<6}  {n.steps:<6}  {n.score:.6f}\n" for n in told)
    return f"# Aligned\n\n```\nseed    steps   val_bpb\n{rows}```\n"


def transposed(told: Sequence[Numbers]) -> str:
    seeds = " | ".join(f"seed {n.seed}" for n in told)
    scores = " | ".join(f"{n.score:.6f}" for n in told)
    average = f"{mean([n.score for n in told]):.6f}"
    return f"# Across\n\n| Metric | {seeds} | Mean |\n|---|---|---|---|---|\n| val_bpb | {scores} | {average} |\n"


WAYS |= {
    "README: HTML": told_in(html),
    "README: a block of columns": told_in(aligned),
    "README: across": told_in(transposed),
    "README: prose": told_in(lambda told: "".join(f"- Seed {n.seed}: {n.score:.6f}\n" for n in told)),
    "README: a list": told_in(
        lambda told: f"- Mean val_bpb: {mean([n.score for n in told]):.6f}\n- Std: {std([n.score for n in told]):.6f}\n"
    ),
    "README: none": told_in(lambda told: ""),
    "README: rows the other way round": told_in(lambda told: table(told[::-1])),
    "README: named after the logs": told_in(
        lambda told: (
            "| Log | BPB |\n|---|---|\n" + "".join(f"| train_seed{n.seed}.log | {n.score:.6f} |\n" for n in told)
        )
    ),
}
for kind in ("utf-8-sig", "utf-16", "latin-1"):
    WAYS[f"README: {kind}"] = lambda folder, told, kind=kind: replace(folder, encodings={"README.md": kind})  # type: ignore[misc]
WAYS["submission: utf-8-sig"] = lambda folder, told: replace(folder, encodings={"submission.json": "utf-8-sig"})
WAYS["README: CRLF"] = lambda folder, told: replace(folder, readme=folder.readme.replace("\n", "\r\n"))

WAYS |= {
    f"submission: {name}": given_as(data)
    for name, data in {
        "the mean alone": lambda told: {"val_bpb": round(mean([n.score for n in told]), 8)},
        "four decimals": lambda told: {"val_bpb": round(mean([n.score for n in told]), 4)},
        "a text": lambda told: {"val_bpb": f"{mean([n.score for n in told]):.8f}"},
        "seeds in a text": lambda told: {"val_bpb": round(mean([n.score for n in told]), 8), "seeds": "1337, 42, 2025"},
        "a list of results": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8),
            "seed_results": [{"seed": n.seed, "val_bpb": n.score, "steps": n.steps} for n in told],
        },
        "scores by seed": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8),
            "seed_results": {str(n.seed): n.score for n in told},
        },
        "named seeds": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8)
        } | {f"seed_{n.seed}_val_bpb": n.score for n in told},
        "mean and std": lambda told: {
            "val_bpb_mean": round(mean([n.score for n in told]), 8),
            "val_bpb_std": round(std([n.score for n in told]), 8),
        },
        "the largest artifact": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8), "bytes_total": max(n.total_bytes for n in told)
        },
        "the mean artifact": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8),
            "artifact_bytes_mean": round(mean([n.total_bytes for n in told]), 2),
        },
        "the sum of steps": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8), "steps": sum(n.steps for n in told)
        },
        "nulls": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8), "val_loss": None, "bytes_total": None, "blurb": ""
        },
        "on one line": lambda told: json.dumps(json.loads(submission(told))),
        "other things": lambda told: {
            "val_bpb": round(mean([n.score for n in told]), 8),
            "baseline_val_bpb": 1.2244, "compliance": {"artifact_under_16mb": True}, "smoke": {"val_bpb": 2.2},
        },
    }.items()
}  # fmt: skip


def test_there_are_enough_ways() -> None:
    assert len(WAYS) >= 150


@pytest.mark.parametrize("name", WAYS)
def test_an_honest_record_agrees_however_it_is_written(tmp_path: Path, name: str) -> None:
    WAYS[name](plain(SEEDS), SEEDS).write(tmp_path)
    found = examine(tmp_path)
    assert found.verdict == "agrees", (found.verdict, found.mismatches, found.roundings, found.notes)
    assert sorted(str(seed) for seed in found.score.seeds) == ["1337", "2025", "42"], found.notes
    assert found.score.bpb and {round(bpb, 4) for bpb in found.score.bpb} == {round(n.score, 4) for n in SEEDS}


@pytest.mark.parametrize("name", WAYS)
def test_one_wrong_digit_is_found_however_it_is_written(tmp_path: Path, name: str) -> None:
    """The digit is wrong in one of the two files alone: in the one that is written in this way."""
    honest = plain(SEEDS)
    in_submission = name.startswith("submission: ") or name == "README: none"
    folder = replace(honest, submission=submission(WRONG)) if in_submission else replace(honest, readme=table(WRONG))
    WAYS[name](folder, WRONG).write(tmp_path)
    found = examine(tmp_path)
    assert found.verdict == "mismatch", (found.verdict, found.notes)
    assert {one.figure.file for one in found.mismatches} <= {"submission.json", "README.md"}


@pytest.mark.parametrize("name", [name for name in WAYS if name.startswith(("size: ", "time: "))])
def test_a_wrong_size_or_time_is_found_in_any_unit(tmp_path: Path, name: str) -> None:
    changed = {"model_bytes": 15_187_052} if name.startswith("size: ") else {"train_ms": 580_110}
    wrong = tuple(replace(n, **changed) if n.seed == 42 else n for n in SEEDS)  # type: ignore[arg-type]
    WAYS[name](plain(SEEDS), wrong).write(tmp_path)
    says_nothing = name in ("size: at most", "time: the limit")
    assert examine(tmp_path).verdict == ("agrees" if says_nothing else "mismatch")
