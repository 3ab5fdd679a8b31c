"""One card, measured in at most so many minutes: kernels, training steps, compilation, packing, scoring, adapting.

    python -m tests.benchmarks.gpu --json FILE [--minutes 8] [--parts kernels,sliding]

The most important comes first; what does not fit into the time any more is said to be left out. Parts are measured in a
process beside this one, so that one that crashes or hangs is told with its reason, and the rest goes on. The file is
written anew after each part. ``--scale smoke --device cpu`` runs the same where there is no card, as a test does.

Exit status: 0, all that was begun was measured; 1, a part failed; 2, a mistake in the command.
"""

import argparse
import gc
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from jobs.contract.files import write_text

from .card import FIRST_STEP, PARTS, Bench, Figures, about

SPAWN = multiprocessing.get_context("spawn")
CACHE = "TORCHINDUCTOR_CACHE_DIR"
ABOUT = "about"  # the card and versions, asked before the first part


class NotMeasured(Exception):
    """A part came to nothing; says why."""


@dataclass(kw_only=True)
class Outcome:
    """What became of one part."""

    part: str
    status: str = "measured"  # or "failed", "left out"
    reason: str = ""
    seconds: float = 0.0
    figures: Figures = field(default_factory=list)


class Bencher:
    """A process that measures parts, one after another, and is started anew when one has ended it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._process: Any = None
        self._pipe: Connection | None = None

    def measure(self, part: str, limit_seconds: float) -> Figures:
        """The figures of ``part``. Raises NotMeasured."""
        if self._process is None:
            self._pipe, theirs = SPAWN.Pipe()
            self._process = SPAWN.Process(target=serve, args=(theirs, self.bench))
            self._process.start()
            theirs.close()
        assert self._pipe is not None
        try:
            self._pipe.send(part)
            if not self._pipe.poll(max(0.0, limit_seconds)):
                self.end(patience_seconds=0)
                raise NotMeasured(f"it took more than the {limit_seconds:.0f} s that were left")
            figures, reason = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self.end()
            raise NotMeasured(f"its process ended with status {code}") from None
        if reason:
            raise NotMeasured(reason)
        return figures

    def end(self, *, patience_seconds: float = 10.0) -> None:
        """End the process, if there is one: it ends by itself when nothing can come any more, if it does not hang."""
        if self._process is None:
            return
        assert self._pipe is not None
        self._pipe.close()
        self._process.join(patience_seconds)
        self._process.kill()
        self._process.join()
        self._process = None


def serve(pipe: Connection, bench: Bench) -> None:
    """Measure each part that comes through ``pipe``, and send its figures, or what went wrong."""
    while True:
        try:
            part = pipe.recv()
        except EOFError:
            return
        figures: Figures = []
        reason = ""
        try:
            figures = about(bench) if part == ABOUT else PARTS[part].measure(bench)
        except Exception as error:  # whatever it is: the other parts are measured
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
        gc.collect()
        torch.compiler.reset()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
        pipe.send((figures, reason))


def first_steps(bench: Bench, left_seconds: Callable[[], float]) -> Figures:
    """The first step of two processes that have done nothing yet: with an empty cache of compiled code, and a full one.

    ``process_seconds`` are from the start of the process to the end of its first step, Python and torch included.
    """
    rows: Figures = []
    with tempfile.TemporaryDirectory() as folder, cache_in(folder):
        for cache in ("empty", "filled"):
            fresh = Bencher(bench)
            begun = time.perf_counter()
            try:
                figures = fresh.measure(FIRST_STEP, left_seconds())
                seconds = time.perf_counter() - begun
            finally:
                fresh.end()
            rows += [{"cache": cache, "process_seconds": seconds, **row} for row in figures]
    return rows


@contextmanager
def cache_in(folder: str) -> Iterator[None]:
    """Inside, processes that are started keep what they compile in ``folder``."""
    before = os.environ.get(CACHE)
    os.environ[CACHE] = folder
    try:
        yield
    finally:
        os.environ.pop(CACHE)
        if before is not None:
            os.environ[CACHE] = before


def measured(
    parts: list[str], bench: Bench, bencher: Bencher, *, seconds: float, told: Callable[[Outcome], None]
) -> list[Outcome]:
    """Each of ``parts`` measured, unless it needs more than what is left of ``seconds``."""
    end = time.perf_counter() + seconds
    outcomes = []
    for part in parts:
        begun = time.perf_counter()
        outcome = Outcome(part=part)
        needs, left = PARTS[part].needs_seconds, end - begun
        if needs > left:
            outcome.status = "left out"
            outcome.reason = f"it is taken to need {needs:.0f} s, and {max(0.0, left):.0f} s are left"
        else:
            try:
                if part == FIRST_STEP:
                    outcome.figures = first_steps(bench, lambda: end - time.perf_counter())
                else:
                    outcome.figures = bencher.measure(part, left)
            except NotMeasured as error:
                outcome.status, outcome.reason = "failed", str(error)
            outcome.seconds = time.perf_counter() - begun
        outcomes.append(outcome)
        told(outcome)
    return outcomes


def shown(outcome: Outcome) -> str:
    """A part on a few lines, for a person."""
    head = f"  {outcome.part}: {outcome.reason or f'{outcome.seconds:.1f} s'}"
    if outcome.status != "measured":
        head = f"  {outcome.part}: {outcome.status}: {outcome.reason}"
    rows = [
        "    " + ", ".join(f"{name} {_short(value)}" for name, value in row.items() if value not in (None, ""))
        for row in outcome.figures
    ]
    return "\n".join([head, *rows])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return f"[{len(value)}]"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--minutes", type=float, default=8.0, help="at most, altogether")
    parser.add_argument("--parts", default="", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--steps", type=int, default=20, help="timed, of each kind")
    parser.add_argument("--scale", default="eight_h100")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    parts = [part for part in options.parts.split(",") if part] or list(PARTS)
    for part in parts:
        if part not in PARTS:
            parser.error(f"--parts: there is no part {part!r}; possible: {', '.join(PARTS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        print("  no GPU here: nothing measured (--scale smoke --device cpu runs the same without one)")
        return 2 if options.json else 0
    begun = time.perf_counter()
    bench = Bench(scale=options.scale, device=torch.device(options.device), steps=options.steps)
    bencher = Bencher(bench)
    outcomes: list[Outcome] = []
    try:
        machine = bencher.measure(ABOUT, 60 * options.minutes)[0]
        print("  " + ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None), flush=True)

        def told(outcome: Outcome) -> None:
            print(shown(outcome), flush=True)
            outcomes.append(outcome)
            if options.json:
                content = {
                    "machine": machine,
                    "command": [sys.executable, "-m", "tests.benchmarks.gpu", *sys.argv[1:]],
                    "scale": options.scale,
                    "device": options.device,
                    "minutes": options.minutes,
                    "seconds": time.perf_counter() - begun,
                    "parts": [asdict(one) for one in outcomes],
                }
                write_text(options.json, json.dumps(content, indent=2) + "\n")

        left = 60 * options.minutes - (time.perf_counter() - begun)
        measured(parts, bench, bencher, seconds=left, told=told)
    except NotMeasured as error:
        print(f"  nothing measured: {error}", file=sys.stderr)
        return 1
    finally:
        bencher.end()
    return int(any(one.status == "failed" for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
