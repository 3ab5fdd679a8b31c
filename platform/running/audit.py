"""Whether the score of each arm is legal, asked of the program: its own evaluation, made small, is put to tests."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..errors import RunFailed, UserError
from ..paths import ROOT
from ..program import entry, recipe, sizes
from ..program.choices import Choices
from ..program.inline import inline
from ..runs import audits
from ..runs.audits import Audit
from ..runs.paths import RunPaths
from .environment import kept

SMALL_SCALE = "smoke"  # of the model
MAIN = "jobs.audit.command:audit"
PROGRESS = "audited "  # how the program's lines of progress begin
ERROR_LINES = 12  # of a program that crashed


def audited_choices(path: Path, scale: str, root: Path = ROOT) -> Choices:
    """What is audited of the recipe ``path``: its model at the small scale, its evaluation and arms at ``scale``.

    Raises:
        UserError: something in the recipe is wrong, or a technique does not say how small it is in an audit.
    """
    small, own = recipe.load(path, SMALL_SCALE, root), recipe.load(path, scale, root)
    sizes.refuse_unsized([own.picks["evaluation"], *own.arms.values()])
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
    known = audits.read(file)
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


def require_agreement(audit: Audit) -> None:
    """Raises RunFailed where the verdict of an arm is not what its program declares."""
    if audit.disagreeing:
        said = "\n  ".join(audit.said(arm) for arm in audit.disagreeing)
        raise RunFailed(f"the audit of {audit.recipe} disagrees with its program:\n  {said}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
