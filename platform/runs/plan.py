"""What will run and what is already done: the seeds of a run, written down before the first of them starts.

``plan.json`` remembers every seed that was ever planned, in order and with the time, so that "the best three of seven"
cannot look like three. It also holds what the seeds of a run have in common: program, data, tokenizer, machine.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from jobs.contract.files import write_record
from jobs.contract.records import ArmResult

from ..errors import UserError, naming
from ..paths import shown
from .paths import RunPaths, TrialPaths, TrunkPaths
from .reading import NotJson, read_record, read_result
from .script import Script

RECORD_PROCESSES = 8  # of the machine of the challenge
Stored = TypeVar("Stored")
LOST = (
    "Launch its recipe again, with the options that it had: that makes the plan again, with every seed that has a "
    "folder here. Or put a copy of it back"
)
NOT_STORED = ("run_path",)  # a run is where its folder is

# Fixed, so that nobody can choose the seeds that look best: ``--seeds 3`` always means the first three. The five in
# front are the ones the field uses.
SEEDS = (1337, 42, 2024, 7, 2025, 1, 2, 3, 5, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One program with one seed on one allocation: everything a worker needs to know, all paths absolute."""

    recipe: str
    scale: str
    seed: int
    arms: tuple[str, ...]  # to be scored, in this order
    program_sha256: str
    run_path: Path
    trunk_path: Path
    data_path: Path
    tokenizer_path: Path
    data_sha256: str
    tokenizer_sha256: str
    processes: int  # of torchrun, on all nodes together
    gpus: int
    cpus: int
    end_to_end: bool = False  # one process trains and scores, as a submission would; never from a trunk that is there
    force: bool = False  # score even an artifact above the limit
    kernel: str | None = None  # of attention, where one is forced
    script: Script | None = None  # what it runs, where that is not a program of this checkout
    nodes: int = 1  # that it spans, with an equal share of processes, GPUs and CPUs on each
    places: tuple[str, ...] = ()  # where a node that does not see ``data_path`` may find the data

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.recipe}/{self.seed}"

    @property
    def key(self) -> str:
        """For programs: two variants of a recipe may have one name."""
        return f"{self.run_path.name}/{self.seed}"

    @property
    def paths(self) -> TrialPaths:
        return RunPaths(self.run_path).seed(self.seed)

    @property
    def trunk(self) -> TrunkPaths:
        return TrunkPaths(self.trunk_path)

    @property
    def unscored_arms(self) -> tuple[str, ...]:
        """The arms of this trial that have no result yet that it would accept."""
        return tuple(arm for arm in self.arms if self.flaw(arm) is not None)

    @property
    def done(self) -> bool:
        return not self.unscored_arms

    def scores(self) -> dict[str, float]:
        """Bits per byte of each arm that has an acceptable result."""
        judged = {arm: self.judged(arm) for arm in self.arms}
        return {arm: result.val_bpb for arm, result in judged.items() if isinstance(result, ArmResult)}

    def flaw(self, arm: str) -> str | None:
        """Why the result of ``arm`` is not accepted; None when it is."""
        found = self.judged(arm)
        return found if isinstance(found, str) else None

    def judged(self, arm: str) -> ArmResult | str:
        """The result of ``arm``; why it is not accepted, where it is not."""
        path = self.paths.arm(arm).result
        if not path.exists():
            return f"no {path.name}"
        try:
            result = read_result(path)
        except ValueError as error:
            return str(error)
        if any(score is not None and score <= 0 for score in (result.val_bpb, result.val_loss_nats)):
            return f"{path.name} has val_bpb {result.val_bpb} and val_loss_nats {result.val_loss_nats}: no score"
        for name, wanted in (
            ("arm", arm),
            ("seed", self.seed),
            ("program_sha256", self.program_sha256),
            ("data_sha256", self.data_sha256),
            ("tokenizer_sha256", self.tokenizer_sha256),
            *((("end_to_end", True),) if self.end_to_end else ()),
        ):
            if (value := getattr(result, name)) != wanted:
                return f"{path.name} has {name} {value}, this trial is {wanted}"
        return result


# Whose fault it is, which decides whether to try again: the machine's, its network's or that of whoever ended a process
# ("infrastructure"), that of a disk without room, which has none the next time either ("disk"), the program's, the
# recipe's or the data's ("refused"), a limit of bytes, a training that came to nothing, or a job that said nothing for
# too long.
Cause = Literal["infrastructure", "disk", "program", "refused", "over a limit", "diverged", "hung"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a trial failed, as ``failure.json`` holds it until the arms it names have been scored."""

    seed: int
    phase: str  # "start", "train", "score" or "teardown"
    arm: str | None  # the one that failed first; None where the failure lies before the arms
    reason: str
    log_tail: str  # the end of what the job printed
    arms: tuple[str, ...]  # all that are without a result, because of it or of what ``also`` says
    also: tuple[str, ...] = ()  # how others of them failed, each with its phase and arm
    cause: Cause | None = None  # an older version did not tell
    blameless: tuple[str, ...] = ()  # of ``arms``, those lost to the infrastructure: they are worth another attempt
    node: str = ""  # the machine it happened on; not known where its worker never spoke, nor to older versions
    attempt: int = 1  # of this launch

    @property
    def said(self) -> str:
        """Every reason, in one line; of what the infrastructure lost, also where and after how many attempts."""
        said = "; also ".join((self.reason, *self.also))
        if not self.blameless:
            return said
        return f"{said} [infrastructure{f', on {self.node}' if self.node else ''}, attempt {self.attempt}]"

    @property
    def where(self) -> str:
        """The phase, and the arm where there is one, in words."""
        return f"{self.phase} {self.arm}" if self.arm else self.phase


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """Why the seeds of a run that are left are not run, as ``given_up.json`` holds it."""

    time: str  # UTC, ISO 8601
    bpb: float  # to beat
    name: str  # what scored it
    margin: float  # BPB by which it has to be beaten
    alpha: float  # of the test at the end, one-sided
    sigma: float  # std over seeds, BPB, that the chance assumes
    arm: str  # the one with the best chance
    chance: float  # of that arm to pass once all planned seeds are there
    scored: int  # seeds of that arm so far
    planned: int

    def __str__(self) -> str:
        return (
            f"given up after {self.scored} of {self.planned} seeds: the chance to beat {self.name} "
            f"({self.bpb:.5f} BPB) by {self.margin:.5f} at p < {self.alpha:g} is {self.chance:.1%} for the "
            f"best arm, {self.arm}"
        )


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What was added to a plan at one time: seeds, or arms of seeds that were planned before."""

    time: str  # UTC, ISO 8601
    seeds: tuple[int, ...]
    arms: tuple[str, ...] = ()  # that were asked for; none named: all


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run: what its seeds have in common, and every seed that was ever planned."""

    run_path: Path
    recipe: str
    scale: str
    program_sha256: str
    trunk_text_sha256: str
    arms: tuple[str, ...]  # all that the program has, in its order
    data_path: Path
    tokenizer_path: Path
    data_sha256: str
    tokenizer_sha256: str
    processes: int
    gpus: int
    cpus: int
    nodes: int = 1  # that a job spans
    machine: str  # what trained its trunks, as ``machine_name`` has it; "" in a plan of schema 1, which did not tell
    end_to_end: bool = False
    script: Script | None = None  # None: the program is made of a recipe, by this checkout or another one
    planned: tuple[Planned, ...] = ()

    @staticmethod
    def upgraded(found: dict[str, Any], version: int) -> dict[str, Any]:
        """The content of an older ``plan.json`` as it is now: its trunks lie where schema 1 put them."""
        return {**found, "machine": ""}

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.run_path)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed ever planned, in the order of planning."""
        return tuple(dict.fromkeys(seed for planned in self.planned for seed in planned.seeds))

    def asked(self, seed: int) -> tuple[str, ...]:
        """The arms that were ever asked for of this seed, in the program's order."""
        batches = [planned for planned in self.planned if seed in planned.seeds]
        wanted = {arm for planned in batches for arm in planned.arms or self.arms}
        return tuple(arm for arm in self.arms if arm in wanted)

    @property
    def created(self) -> str:
        """When the first seeds were planned: UTC, ISO 8601."""
        return self.planned[0].time

    @property
    def trials(self) -> tuple[Trial, ...]:
        """One trial for each seed ever planned, with all arms."""
        return tuple(self.trial(seed) for seed in self.seeds)

    def trial(self, seed: int, arms: tuple[str, ...] | None = None) -> Trial:
        """The trial of ``seed``, with the chosen ``arms`` or all."""
        trunk = TrunkPaths.of(self.run_path.parent, self.trunk_text_sha256, self.data_sha256, self.machine, seed)
        return Trial(
            recipe=self.recipe,
            scale=self.scale,
            seed=seed,
            arms=arms or self.arms,
            program_sha256=self.program_sha256,
            run_path=self.run_path,
            trunk_path=trunk.folder,
            data_path=self.data_path,
            tokenizer_path=self.tokenizer_path,
            data_sha256=self.data_sha256,
            tokenizer_sha256=self.tokenizer_sha256,
            processes=self.processes,
            gpus=self.gpus,
            cpus=self.cpus,
            nodes=self.nodes,
            end_to_end=self.end_to_end,
            script=self.script,
        )

    def with_seeds(self, seeds: tuple[int, ...], time: str, arms: tuple[str, ...] = ()) -> "Plan":
        """This plan and those of ``seeds`` that it does not have yet with all these ``arms``; none named: all."""
        wanted = set(arms or self.arms)
        new = tuple(seed for seed in seeds if not wanted <= set(self.asked(seed)))
        return replace(self, planned=(*self.planned, Planned(time=time, seeds=new, arms=arms))) if new else self


def machine_name(processes: int, gpus: int, nodes: int = 1) -> str:
    """What a trunk's folder says of the machine that trained it: ``8xgpu``, ``2xcpu``, ``16xgpu-on-2``.

    The card is in its record.
    """
    return f"{processes}x{'gpu' if gpus else 'cpu'}{f'-on-{nodes}' if nodes > 1 else ''}"


def seeds_from(text: str) -> tuple[int, ...]:
    """The seeds that ``--seeds text`` means: a number of them from the fixed list, or exactly those named.

    Raises:
        UserError: not a number, none, too many, the same one twice.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--seeds {text}: neither a number of seeds (3) nor seeds (1337,7)") from None
    if "," not in text and len(numbers) == 1:
        if 1 <= numbers[0] <= len(SEEDS):
            return SEEDS[: numbers[0]]
        raise UserError(
            f"--seeds {text}: a number of seeds is 1 to {len(SEEDS)}; for the one seed {text} write --seeds {text},"
        )
    if not numbers:
        raise UserError(f"--seeds {text!r}: no seed; write a number of seeds (3) or seeds (1337,7)")
    if twice := sorted({seed for seed in numbers if numbers.count(seed) > 1}):
        raise UserError(f"--seeds {text}: {twice[0]} stands there twice")
    if wrong := [seed for seed in numbers if not 0 <= seed < 2**32]:
        raise UserError(f"--seeds {text}: {wrong[0]} is no seed; a seed is 0 to {2**32 - 1}")
    return tuple(numbers)


def read(run_path: Path) -> Plan:
    """The plan of the run in this folder, wherever the folder is now.

    Raises:
        UserError: no plan there, or not one of this version.
    """
    path = RunPaths(run_path).plan
    try:
        return read_record(Plan, path, run_path=run_path.resolve())
    except FileNotFoundError:
        begun = f"\n{LOST}" if seeds_begun(run_path) else "; a run is a folder like runs/leaky_cosine-991bb5f2"
        raise UserError(f"{shown(path)}: no such file{begun}") from None
    except NotJson as error:
        raise UserError(f"{error}\n{LOST}") from None
    except ValueError as error:
        raise UserError(
            f"{error}\nPut a copy of it back, or move the folder away and launch anew, which finds the trunks that are "
            f"trained"
        ) from None


def read_if_whole(run_path: Path) -> Plan | None:
    """The plan of the run in this folder; None where there is none, or one that was not written to its end.

    Raises:
        UserError: it is of another version, or somebody changed it.
    """
    try:
        return read_record(Plan, RunPaths(run_path).plan, run_path=run_path.resolve())
    except (FileNotFoundError, NotJson):
        return None
    except ValueError:
        return read(run_path)


def seeds_begun(run_path: Path) -> tuple[int, ...]:
    """The seeds that have a folder in this run, in the order of the fixed list, others behind it."""
    found = [path.name.removeprefix("seed_") for path in run_path.glob("seed_*") if path.is_dir()]
    seeds = {int(name) for name in found if name.isdecimal()}
    return (*(seed for seed in SEEDS if seed in seeds), *sorted(seeds - set(SEEDS)))


def read_failure(path: Path) -> Failure | None:
    """What ``failure.json`` says; None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    return _read(Failure, path)


def read_given_up(run_path: Path) -> GivenUp | None:
    """Why the seeds of this run that are left are not run; None where they are.

    Raises:
        UserError: the file that says it cannot be read.
    """
    return _read(GivenUp, RunPaths(run_path).given_up)


def write_given_up(run_path: Path, given_up: GivenUp | None) -> None:
    """Write it; None: the run is not given up (any more)."""
    path = RunPaths(run_path).given_up
    if given_up is not None:
        with naming(path):
            write_record(path, given_up)
    elif path.exists():  # a disk that is read-only does not even say that there is nothing to remove
        path.unlink(missing_ok=True)


def write_failure(path: Path, failure: Failure) -> None:
    """Write it so that a reader sees all of it or none of it."""
    with naming(path):
        write_record(path, failure)


def clear_given_up(run_path: Path) -> None:
    """Remove a note of giving up that cannot be read: whoever asks for one decides again."""
    try:
        read_given_up(run_path)
    except UserError:
        with suppress(OSError):
            write_given_up(run_path, None)


def clear_failure(trial: Trial) -> None:
    """Remove a failure that is none any more: every arm that it names, or where it cannot be read every one, is scored.

    Where it cannot be removed it stays; nobody counts it.
    """
    path = trial.paths.failure
    if not path.exists():
        return
    try:
        failure = read_failure(path)
        arms = failure.arms if failure else ()
    except UserError:
        arms = trial.arms
    if replace(trial, arms=arms).done:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _read(kind: type[Stored], path: Path) -> Stored | None:
    try:
        return read_record(kind, path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{error}\nRemove {shown(path)}: a launch writes it again where it is still true") from None
