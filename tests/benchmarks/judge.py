"""How long the judge takes for a tree of records as large as the public one: ``python -m tests.benchmarks.judge``.

60 folders, 165 logs, 183,000 lines, every other log with a dump of its script, as in the public corpus; and one log of
1.5 million step lines. Measured is the time of the processor, the start of Python included, so a busy machine matters
little. Targets: 2 s of one core and 300 MB for the folders, 10 s and 60 MB for the log.
"""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.records import written, written_logs

FOLDERS, LOGS, LINES = 60, 165, 183_000
TARGET_SECONDS, TARGET_MEGABYTES = 2.0, 300
STEPS, STEPS_SECONDS, STEPS_MEGABYTES = 1_500_000, 10.0, 60
REPEATS = 5
KINDS = (
    (written_logs.baseline_log, written_logs.THREE),
    (written_logs.spaced_log, written.SPACED),
    (written_logs.compact_log, written.COMPACT),
)

_CODE = "    x = self.norm(x) + self.scale[layer].to(dtype=x.dtype) * self.attention(x, mask=None)  # {}"
_PROGRESS = "tttg: c{}/95 lr:0.001000 t:0.3s"
_MEASURE = """
import re, resource, sys
from platform.verify import main
try:
    main(["--json", sys.argv[1]])
except SystemExit:
    pass
used = resource.getrusage(resource.RUSAGE_SELF)
peak = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())  # ru_maxrss knows the parent's too
print(used.ru_utime + used.ru_stime, int(peak[1]) / 1024, file=sys.stderr)
heavy = {"ray", "mlflow", "torch", "pandas", "scipy"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def write_tree(root: Path, rng: random.Random) -> int:
    """The records; returns how many lines their logs have."""
    logs_of = [3] * 50 + [2] * 5 + [1] * 5
    assert len(logs_of) == FOLDERS and sum(logs_of) == LOGS
    written_lines = 0
    left = LOGS
    for index, count in enumerate(logs_of):
        writer, measured = KINDS[index % len(KINDS)]
        base = measured[:count]
        seeds = tuple(replace(n, steps=n.steps - index, model_bytes=n.model_bytes - index) for n in base)
        folder = root / "track_10min_16mb" / f"2026-04-{index:02d}_record"
        if count > 1:
            written.record(folder, seeds, log=writer)
        else:
            _one_seed(folder, seeds, writer)
        for path in sorted(folder.glob("*.log")):
            want = (LINES - written_lines) // left
            text = path.read_text(encoding="utf-8")
            path.write_text(_padded(text, want, dump=left % 2 == 0, rng=rng), encoding="utf-8")
            written_lines += path.read_text(encoding="utf-8").count("\n")
            left -= 1
    return written_lines


def _one_seed(
    folder: Path, seeds: tuple[written_logs.Numbers, ...], writer: Callable[[written_logs.Numbers], str]
) -> None:
    n = seeds[0]
    text = f'{{"val_bpb": {n.score}, "bytes_total": {n.total_bytes}}}'
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(f"**val_bpb: {n.score:.4f}**\n", encoding="utf-8")
    (folder / "submission.json").write_text(text, encoding="utf-8")
    (folder / "train.log").write_text(writer(n), encoding="utf-8")


def _padded(text: str, lines: int, *, dump: bool, rng: random.Random) -> str:
    """``text`` with a long script in front, or with lines of progress before its last two."""
    missing = lines - text.count("\n")
    if missing <= 2:
        return text
    if dump:
        code = ["import torch", *(_CODE.format(rng.random()) for _ in range(missing - 2)), "=" * 100]
        return "\n".join(code) + "\n" + text
    body = text.splitlines()
    progress = [_PROGRESS.format(i) for i in range(missing)]
    return "\n".join([*body[:-2], *progress, *body[-2:]]) + "\n"


def write_long(folder: Path) -> int:
    """A record of one log with STEPS step lines; returns how many bytes it has."""
    with (folder / "train.log").open("w", encoding="utf-8") as log:
        log.write("seed:1337\nworld_size:8 grad_accum_steps:1\n")
        for step in range(1, STEPS + 1):
            log.write(f"step:{step}/{STEPS} train_loss:{2 + 1 / step:.4f} train_time:{step * 52}ms step_avg:52.13ms\n")
        log.write("final_int8_zlib_roundtrip_exact val_loss:2.07269931 val_bpb:1.22436570\n")
    (folder / "submission.json").write_text('{"val_bpb": 1.2243657}', encoding="utf-8")
    return (folder / "train.log").stat().st_size


def measured(folder: str, repeats: int) -> list[tuple[float, float]]:
    """Seconds of the processor and megabytes of memory of each of several runs of the judge."""
    results = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", _MEASURE, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"verify failed: {done.stderr[-2000:]}")
        seconds, megabytes = done.stderr.split()[-2:]
        results.append((float(seconds), float(megabytes)))
    return sorted(results)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = write_tree(Path(folder), random.Random(1337))
        results = measured(folder, REPEATS)
    print(f"judge: {FOLDERS} folders, {LOGS} logs, {lines:,} lines")
    print(f"       {results[REPEATS // 2][0]:.2f} s of one core ({results[0][0]:.2f} to {results[-1][0]:.2f})", end="")
    print(f", target {TARGET_SECONDS} s")
    print(f"       {max(megabytes for _, megabytes in results):.0f} MB, target {TARGET_MEGABYTES} MB")
    with tempfile.TemporaryDirectory() as folder:
        size = write_long(Path(folder))
        ((seconds, megabytes),) = measured(folder, 1)
    print(f"judge: one log of {STEPS:,} step lines, {size / 1e6:.0f} MB")
    print(f"       {seconds:.1f} s of one core, target {STEPS_SECONDS} s")
    print(f"       {megabytes:.0f} MB of memory, target {STEPS_MEGABYTES} MB")


if __name__ == "__main__":
    main()
