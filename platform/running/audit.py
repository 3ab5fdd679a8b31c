"""Whether the score of each arm is legal, asked of the program: its own evaluation, made small, is put to tests."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobs.contract.files import write_record

from ..errors import RunFailed, UserError, naming, refusing
from ..paths import ROOT
from ..processes import guarded
from ..processes.environment import kept
from ..program import entry, recipe, sizes
from ..program.choices import Choices
from ..program.inline import inline
from ..runs import audits
from ..runs.audits import FAILED, UNAUDITED, ArmAudit, Audit
from ..runs.reading import from_data
from .experiment import Experiment

SMALL_SCALE = "smoke"  # of the model
MAIN = "jobs.audit.command:audit"
PROGRESS = "audited "  # how the program's lines of progress begin
ERROR_LINES = 12  # of a program that crashed
# On two shared cores an arm takes 3 to 6 s, and all else, torch and the toy's packing, up to 17 s. These limits tell a
# slow machine from an arm that loops for ever: without them it would hold the launch before the first trial.
START_SECONDS = 300.0
ARM_SECONDS = 180.0


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


def run(program: str, arms: tuple[str, ...] = (), *, seconds: float | None = None) -> Audit:
    """Run an audit program for ``arms``, or all; its progress goes to standard error.

    Args:
        seconds: it may take; None: what as many arms may take, one where they are not named.

    Raises:
        UserError: the program refuses the recipe, or has no such arm.
        RunFailed: it crashed, or came to no end.
    """
    seconds = START_SECONDS + ARM_SECONDS * max(1, len(arms)) if seconds is None else seconds
    said: list[str] = []

    def tell(line: str) -> None:
        if line.startswith(PROGRESS):
            print(line, file=sys.stderr, flush=True)
        else:
            said.append(line)

    ended = guarded.run(
        [sys.executable, "audit.py"],
        environment={
            **kept(os.environ),
            "ARMS": ",".join(arms),
            "CUDA_VISIBLE_DEVICES": "",  # bits are compared: on a CPU, with one thread
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
            "PYTHONSAFEPATH": "1",
        },
        seconds=seconds,
        files={"audit.py": program},
        tell=tell,
    )
    last = "\n".join(said[-ERROR_LINES:])
    if ended.timed_out:
        raise RunFailed(
            f"the audit did not come to an end within {seconds:g} s and was ended: an arm that was not audited by "
            f"then loops for ever, or is far too slow\n{last}".rstrip()
        )
    if ended.status == 2:
        raise UserError("".join(said[-1:]).strip() or "the audit refuses the recipe")
    if ended.status != 0:
        raise RunFailed(f"the audit ended with status {ended.status}:\n{last}".rstrip())
    for line in said:  # what an arm that failed had to say
        print(line, file=sys.stderr)
    return from_data(Audit, {**json.loads(ended.stdout), "program_sha256": _sha256(program)})


def of_experiment(experiment: Experiment) -> Audit:
    """The audit that lies in the folder of the experiment's run, or is made now and put there; whatever came of it.

    An arm that could not be put to the tests is there too, with the reason as its verdict; it is tried again next time.
    """
    file, arms = experiment.draft.paths.audit, experiment.arms
    known = audits.read(file)
    if experiment.choices is None:  # a program of its own time: what was found then stands
        found = known or _nothing(experiment, "")
        return _with(found, dict.fromkeys(set(arms) - set(found.arms), "its program is not made of this checkout"))
    program = audit_program(audited_choices(experiment.path, experiment.draft.scale))
    if known is None or known.program_sha256 != _sha256(program):
        known = None
    missing = tuple(arm for arm in arms if known is None or arm not in known.arms or not known.arms[arm].audited)
    if known is not None and not missing:
        return known
    try:
        made = run(program, missing)
    except UserError as error:  # it cannot be made small enough
        made = _with(_nothing(experiment, program), dict.fromkeys(missing, str(error)))
    except RunFailed as error:
        made = _with(_nothing(experiment, program), dict.fromkeys(missing, str(error)), FAILED)
    if known is not None:
        made = replace(made, arms={**known.arms, **made.arms})
    with refusing("keep the results elsewhere: --runs DIR"), naming(file):
        write_record(file, made)
    return made


def _nothing(experiment: Experiment, program: str) -> Audit:
    """An audit of no arm."""
    draft = experiment.draft
    return Audit(
        program_sha256=_sha256(program), recipe=draft.recipe, scale=draft.scale, sizes={}, seconds=0.0, arms={}
    )


def _with(audit: Audit, reasons: Mapping[str, str], kind: str = UNAUDITED) -> Audit:
    """``audit`` with arms that were not put to the tests, and why."""
    arms = {
        arm: ArmAudit(verdict=f"{kind}: {' '.join(reason.split())}", declared=None, agrees=False, detectors={})
        for arm, reason in reasons.items()
    }
    return replace(audit, arms={**audit.arms, **arms})


def require_agreement(audit: Audit) -> None:
    """Raises RunFailed where the verdict of an arm is not what its program declares."""
    if audit.disagreeing:
        said = "\n  ".join(audit.said(arm) for arm in audit.disagreeing)
        raise RunFailed(f"the audit of {audit.recipe} disagrees with its program:\n  {said}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
