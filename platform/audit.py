"""Whether the score of each arm is legal, asked of the program itself: its own evaluation, made small, is put to tests.

    python -m platform.audit recipes/leaky_cosine.yaml                  every arm, with the figures behind each verdict
    python -m platform.audit recipes/leaky_cosine.yaml --arm sgd --json

A verdict is ``score_first`` (no token was learned before it was scored: a score that may be claimed), ``pre_eval`` (the
weights saw the stream before it was scored: a diagnostic) or ``violates`` and the detectors that fired. The evaluation
and the arms are those of the scale; the model is the recipe's at the scale smoke. No data are needed, no GPU, and some
seconds for each arm.

Exit status: 0 every verdict is what the arm's program declares, 1 some is not or an arm violates, 2 a wrong command.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from jobs.contract import PRE_EVAL, SCORE_FIRST

from .environment import kept
from .errors import RunFailed, UserError, explained
from .paths import ROOT, shown
from .program import entry, recipe
from .program.choices import Choices
from .program.inline import inline
from .runs.paths import RunPaths

SMALL_SCALE = "smoke"  # of the model
DEFAULT_SCALE = "laptop"  # of the evaluation and the arms
MAIN = "jobs.audit.command:audit"
FAILED = "failed"  # how the verdict of an arm begins whose evaluation came to no end
PROGRESS = "audited "  # how the program's lines of progress begin
ERROR_LINES = 12  # of a program that crashed


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit program said; ``arms`` is its JSON: verdict, declared, agrees and detectors of each arm."""

    program_sha256: str  # of the audit program: the recipe, the code of its arms, and that of the audit
    recipe: str
    scale: str
    sizes: Mapping[str, int]
    seconds: float
    arms: Mapping[str, Mapping[str, Any]]

    @property
    def unaudited(self) -> tuple[str, ...]:
        """The arms whose evaluation came to no end."""
        return tuple(name for name, arm in self.arms.items() if arm["verdict"].startswith(f"{FAILED}:"))

    @property
    def disagreeing(self) -> tuple[str, ...]:
        """The arms whose verdict is not what their program declares."""
        return tuple(name for name, arm in self.arms.items() if not arm["agrees"] and name not in self.unaudited)

    def said(self, arm: str) -> str:
        """The verdict in words."""
        found = self.arms[arm]
        declares = f", but its program declares {found['declared']}" if arm in self.disagreeing else ""
        return f"{arm}: {found['verdict']}{declares}"


def audited_choices(path: Path, scale: str, root: Path = ROOT) -> Choices:
    """What is audited of the recipe ``path``: its model at the small scale, its evaluation and arms at ``scale``.

    Raises:
        UserError: something in the recipe is wrong.
    """
    small, own = recipe.load(path, SMALL_SCALE, root), recipe.load(path, scale, root)
    picks = {**small.picks, "evaluation": own.picks["evaluation"]}
    return replace(small, scale=own.scale, picks=picks, arms=own.arms)


def audit_program(choices: Choices) -> str:
    """The text of the program that audits ``choices``."""
    return inline(entry.entry_program(choices, main=MAIN), choices.catalog.root)


def run(program: str, arms: tuple[str, ...] = ()) -> Audit:
    """Run an audit program for ``arms``, or all; its progress goes to standard error.

    Raises:
        UserError: the program refuses the recipe, or has no such arm.
        RunFailed: it crashed.
    """
    with tempfile.TemporaryDirectory(prefix="fairway-audit-") as folder:
        file = Path(folder) / "audit.py"
        file.write_text(program)
        environment = {
            **kept(os.environ),
            "ARMS": ",".join(arms),
            "CUDA_VISIBLE_DEVICES": "",  # bits are compared: on a CPU, with one thread
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
            "PYTHONSAFEPATH": "1",
            "TMPDIR": folder,
        }
        with (Path(folder) / "answer.json").open("w+") as answer:
            command = [sys.executable, str(file)]
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=answer,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for this command, which ends the other
            )
            assert process.stderr is not None
            said = []
            try:
                for line in process.stderr:
                    if line.startswith(PROGRESS):
                        print(line, end="", file=sys.stderr, flush=True)
                    else:
                        said.append(line)
                status = process.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # the ranks that it started, too
                process.wait()
            if status == 0:
                print("".join(said), end="", file=sys.stderr)  # what an arm that failed had to say
                answer.seek(0)
                return Audit(program_sha256=_sha256(program), **json.load(answer))
    if status == 2:
        raise UserError("".join(said[-1:]).strip() or "the audit refuses the recipe")
    raise RunFailed(f"the audit ended with status {status}:\n{''.join(said[-ERROR_LINES:])}".rstrip())


def of_run(path: Path, scale: str, arms: tuple[str, ...], run_path: Path) -> Audit:
    """The audit of ``arms`` that lies in the folder of a run, or is made now and put there.

    Raises:
        UserError, RunFailed: as ``run`` does.
    """
    program, file = audit_program(audited_choices(path, scale)), RunPaths(run_path).audit
    known = _read(file)
    if known is None or known.program_sha256 != _sha256(program):
        known = None
    missing = tuple(arm for arm in arms if known is None or arm not in known.arms)
    if not missing and known:
        return known
    made = run(program, missing)
    if known:
        made = replace(made, arms={**known.arms, **made.arms})
    part = file.with_suffix(".part")
    part.write_text(json.dumps(vars(made), indent=2) + "\n")
    part.replace(file)
    return made


def verdicts(run_path: Path) -> dict[str, str]:
    """The verdict of every arm of a run that has been audited."""
    known = _read(RunPaths(run_path).audit)
    return {name: arm["verdict"] for name, arm in known.arms.items()} if known else {}


def require_agreement(audit: Audit) -> None:
    """Raises RunFailed where the verdict of an arm is not what its program declares."""
    if audit.disagreeing:
        said = "\n  ".join(audit.said(arm) for arm in audit.disagreeing)
        raise RunFailed(f"the audit of {audit.recipe} disagrees with its program:\n  {said}")


def _read(file: Path) -> Audit | None:
    try:
        return Audit(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # none, or not one of this version: it is made again


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@click.command(help=(__doc__ or "").partition("\n")[0].replace("``", ""))
@click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
@click.option("--arm", "arms", multiple=True, metavar="NAME", help="Only this arm; may be given several times.")
@click.option("--scale", default=DEFAULT_SCALE, show_default=True, help="Whose evaluation and arms are audited.")
@click.option("--json", "as_json", is_flag=True, help="{recipe, arms: {name: {verdict, detectors: {D2: {passed, ...")
@explained()
def main(recipe_path: Path, arms: tuple[str, ...], scale: str, as_json: bool) -> None:
    choices = audited_choices(recipe_path, scale)
    found = run(audit_program(choices), tuple(recipe.with_arms(choices, arms).arms) if arms else ())
    if as_json:
        print(json.dumps(vars(found), indent=2))
    else:
        _print(found, recipe_path)
    require_agreement(found)
    if found.unaudited:
        raise RunFailed(f"{', '.join(found.unaudited)}: not audited, the evaluation came to no end")


def _print(found: Audit, path: Path) -> None:
    sizes = found.sizes
    print(f"{found.recipe} at scale {found.scale}, made small: {sizes['parameters']:,} parameters, ", end="")
    print(f"{sizes['vocab_size']} tokens, sequences of {sizes['sequence_length']}; ", end="")
    print(f"streams of {sizes['probe_targets']} and {sizes['canary_targets']:,} targets; {found.seconds:.1f} s")
    width = max(map(len, found.arms))
    for name, arm in found.arms.items():
        print(f"  {name:{width}}  {_in_words(arm)}")
    for name, arm in found.arms.items():
        print(f"\n{found.said(name)}")
        for detector, finding in arm["detectors"].items():
            figure = "none" if finding["figure"] is None else f"{finding['figure']:.6g}"
            mark = "passed" if finding["passed"] else "FIRED "
            print(f"  {detector:4}{mark} {figure:>12} of at most {finding['threshold']:<10.4g} {finding['about']}")
    print(f"\nwith all figures: python -m platform.audit {shown(path)} --scale {found.scale} --json")


def _in_words(arm: Mapping[str, Any]) -> str:
    """The verdict for somebody who does not know the words."""
    fired = ", ".join(name for name, finding in arm["detectors"].items() if not finding["passed"])
    if arm["verdict"] == SCORE_FIRST:
        return "may be claimed: no token was learned before it was scored"
    if arm["verdict"] == PRE_EVAL:
        return f"a diagnostic, no claim: the stream was learned before it was scored ({fired} fired)"
    return f"{arm['verdict']}" if arm["verdict"].startswith(f"{FAILED}:") else f"may not be claimed: {fired} fired"


if __name__ == "__main__":
    main()
