"""Every signal to every process of a launch in every phase of a trial, and what came of it.

    python -m tests.faults.matrix --write docs/faults.md     # all of it, an hour on two cores; --minutes bounds it

A case passes where nothing is left of the job after 15 s, nothing that was finished is lost or done again, no failure
stays, and the numbers in the end are those of an undisturbed run. Faults of trials share a launch, a seed each; it has
to end well by itself. A fault of the driver has a launch of its own, and then the same command, undisturbed.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platform.runs.events import LAUNCH_EVENTS, Reader, Retried
from platform.runs.plan import SEEDS
from tests.faults.gated import PHASES, Gated
from tests.faults.launched import Launched, proc
from tests.finished import small_data

LEFT_SECONDS = 15.0
PATIENCE_SECONDS = 900.0
STOPPED_SECONDS = 3.0
OF_TRIALS, OF_LAUNCHES = ("rank", "torchrun", "guard", "worker"), ("driver",)
SIGNALS = ("INT", "TERM", "HUP", "KILL", "STOP")
A_LAUNCH = 8  # faults of trials that share one


@dataclass(frozen=True)
class Case:
    """One fault."""

    signal: str
    process: str
    phase: str

    def __str__(self) -> str:
        return f"{self.signal} {self.process} {self.phase}"

    @property
    def number(self) -> signal.Signals:
        return signal.Signals[f"SIG{self.signal}"]


@dataclass
class Found:
    """What came of a case; ``problems`` is empty where all is as it should be."""

    case: Case
    left: list[str] = field(default_factory=list)
    gone_after: float | None = None  # seconds until nothing of the job, or of the launch, was left
    status: int | None = None
    attempts: int = 1
    problems: list[str] = field(default_factory=list)


def all_cases() -> list[Case]:
    return [Case(name, process, phase) for name in SIGNALS for process in OF_TRIALS + OF_LAUNCHES for phase in PHASES]


def disturb_trials(gated: Gated, cases: Sequence[Case]) -> list[Found]:
    """One launch; each case is done to the trial of a seed of its own, and the launch has to bring all to their end."""
    seeds = SEEDS[: len(cases)]
    found = {seed: Found(case) for seed, case in zip(seeds, cases, strict=True)}
    victims: dict[int, tuple[float, set[int]]] = {}
    to_continue: dict[int, tuple[float, int]] = {}
    for seed, case in zip(seeds, cases, strict=True):
        for before in PHASES[: PHASES.index(case.phase)]:
            (gated.gates / f"{seed}.{before}.open").touch()
    with gated.launch(seeds) as launched:
        while launched.goes_on(PATIENCE_SECONDS):
            for seed, one in found.items():
                if seed not in victims and gated.is_at(one.case.phase, seed):
                    pid = target(gated, launched, one.case.process, seed)
                    job = {other for other in launched.pids() if f"gated/{seed}.".encode() in proc(other, "environ")}
                    os.kill(pid, one.case.number)
                    if one.case.signal == "STOP":
                        to_continue[seed] = (time.monotonic() + STOPPED_SECONDS, pid)
                        job = set()
                    victims[seed] = (time.monotonic(), job)
                    if one.case.signal != "STOP":
                        (gated.gates / f"{seed}.open").touch()
            for seed, (when, pid) in list(to_continue.items()):
                if time.monotonic() > when:
                    os.kill(pid, signal.SIGCONT)
                    (gated.gates / f"{seed}.open").touch()
                    del to_continue[seed]
            for seed, (since, job) in victims.items():
                one, seconds = found[seed], time.monotonic() - since
                if one.gone_after is None and not job & launched.pids():
                    one.gone_after = round(seconds, 1)
                elif one.gone_after is None and seconds > LEFT_SECONDS and not one.left:
                    one.left = sorted(launched.role(pid) for pid in job & launched.pids())
        status, said = launched.process.returncode, launched.stderr
        left = launched.left(LEFT_SECONDS)
    scores, expected = gated.scores(), gated.expected(seeds)
    retried = [event.seed for event in Reader(gated.plan.paths.events, LAUNCH_EVENTS).new() if type(event) is Retried]
    for seed, one in found.items():
        one.status, one.attempts = status, 1 + retried.count(seed)
        problems = {
            "it was not hit": seed not in victims,
            f"left after {LEFT_SECONDS:.0f} s: {one.left}": one.left,
            f"left behind the launch: {left}": left,
            f"the launch ended with {status}: {said[-2000:]}": status != 0,
            "other numbers": any(scores.get(key) != expected[key] for key in gated.expected([seed])),
            "a failure stays": gated.plan.paths.seed(seed).failure.exists(),
            "a pause ended it": one.case.signal == "STOP" and one.attempts > 1,
            "all was there, and yet it was tried again": one.case.phase == "end" and one.attempts > 1,
        }
        one.problems = [problem for problem, is_there in problems.items() if is_there]
    return list(found.values())


def disturb_driver(gated: Gated, case: Case) -> Found:
    """One launch of one seed whose driver is hit; then the same command."""
    found, seed = Found(case), SEEDS[0]
    with gated.launch([seed]) as launched:
        gated.wait_at(case.phase, seed, launched)
        before = written(gated)
        os.kill(launched.process.pid, case.number)
        hit = time.monotonic()
        if case.signal == "STOP":
            time.sleep(STOPPED_SECONDS)
            os.kill(launched.process.pid, signal.SIGCONT)
            gated.open()
        found.status = launched.ended(PATIENCE_SECONDS)
        found.left = launched.left(LEFT_SECONDS)
        found.gone_after = round(time.monotonic() - hit, 1)
        said = launched.stderr
    wanted = {"INT": 130, "TERM": 143, "HUP": 129, "KILL": -9, "STOP": 0}[case.signal]
    gated.open()
    with gated.launch([seed]) as again:
        status, second = again.ended(PATIENCE_SECONDS), again.stderr
        left = again.left(LEFT_SECONDS)
    after = written(gated)
    problems = {
        f"it ended with {found.status}, not {wanted}: {said[-2000:]}": found.status != wanted,
        f"left after {LEFT_SECONDS:.0f} s: {found.left}": found.left,
        "it does not say how to go on": wanted > 1 and "The same command continues" not in said,
        f"the same command ended with {status}: {second[-2000:]}": status != 0,
        f"left behind the same command: {left}": left,
        "other numbers": gated.scores() != gated.expected([seed]),
        "done again": any(after[path] != before[path] for path in before),
        "a failure stays": gated.plan.paths.seed(seed).failure.exists(),
    }
    found.problems = [problem for problem, is_there in problems.items() if is_there]
    return found


def target(gated: Gated, launched: Launched, process: str, seed: int) -> int:
    """The process to be hit."""
    if process == "worker":
        return int(gated.plan.paths.seed(seed).lock.read_text().split()[1])
    return launched.of(process, f"gated/{seed}.")[0]


def written(gated: Gated) -> dict[Path, int]:
    """What is finished, and when it was written."""
    runs = gated.plan.run_path.parent
    records = [*runs.glob("trunks/*/seed_*/trunk.json"), *runs.glob("gated-*/seed_*/*/result.json")]
    return {path: path.stat().st_mtime_ns for path in records}


def table(found: Iterable[Found]) -> str:
    """The matrix, a row a process and signal."""
    cells = {(one.case.process, one.case.signal, one.case.phase): one for one in found}
    rows = [f"| process | signal | {' | '.join(PHASES)} |", f"|---|---|{'---|' * len(PHASES)}"]
    for process in OF_TRIALS + OF_LAUNCHES:
        for name in SIGNALS:
            row = [cells.get((process, name, phase)) for phase in PHASES]
            if any(row):
                rows.append(f"| {process} | {name} | {' | '.join(_cell(one) for one in row)} |")
    return "\n".join(rows)


def _cell(one: Found | None) -> str:
    if one is None:
        return "not run"
    if one.problems:
        return f"**{one.problems[0].splitlines()[0]}**"
    again = f", attempt {one.attempts}" if one.attempts > 1 else ""
    return f"0 left{f' after {one.gone_after} s' if one.gone_after is not None else ''}{again}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--only", default="", help="cases whose name has this in it: 'KILL worker'")
    parser.add_argument("--write", type=Path, help="the page whose table is made anew")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    cases = [case for case in all_cases() if options.only in str(case)]
    of_trials = [case for case in cases if case.process in OF_TRIALS]
    groups = [of_trials[at : at + A_LAUNCH] for at in range(0, len(of_trials), A_LAUNCH)]
    done: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        data = small_data(Path(name) / "data")
        for number, group in enumerate([*groups, *([case] for case in cases if case.process in OF_LAUNCHES)]):
            if time.monotonic() > deadline:
                break
            gated = Gated(Path(name) / f"run {number}", *data)
            trials = group[0].process in OF_TRIALS
            for one in disturb_trials(gated, group) if trials else [disturb_driver(gated, group[0])]:
                done.append(one)
                print("FAIL" if one.problems else "ok  ", one.case, _cell(one), *one.problems, flush=True)
    failed = [one for one in done if one.problems]
    print(f"{len(done)} cases, {len(failed)} with problems, {len(cases) - len(done)} not run")
    if options.write:
        text = options.write.read_text()
        begin, end = "<!-- the matrix -->\n", "<!-- its end -->"
        head, _, rest = text.partition(begin)
        options.write.write_text(f"{head}{begin}{table(done)}\n{end}{rest.partition(end)[2]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
