"""From a recipe, or from a run that is there, to a plan that could run: program, data, what is missing for it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.contract.shards import data_sha256, file_sha256

from .. import corpus
from ..corpus.older import ends_sha256
from ..corpus.preflight import vocabulary
from ..errors import UserError, naming, nearest, refusing
from ..paths import ROOT, RUNS, shown
from ..program import recipe, size
from ..program.choices import Choices, Machine
from ..program.size import Size
from ..program.squeeze import Form
from ..rules.challenge import whole_validation
from ..runs import plan, planning
from ..runs.paths import RunPaths
from ..runs.plan import Plan, Trial, machine_name
from ..scripts import recipe as scripts
from ..scripts.landing import unread
from ..scripts.recipe import ScriptRecipe
from ..scripts.source import Source, read_source

UNKNOWN = ""  # in place of a data hash, while there is no data

NOT_MADE_YET = "the embedded corpus is not made yet; a launch makes it, in some seconds"


@dataclass(frozen=True, kw_only=True)
class Request:
    """How experiments are made of what somebody names; None: as the recipe and its scale say."""

    scale: str | None = None
    arms: tuple[str, ...] = ()  # to be scored; none named: all
    runs: Path
    data: Path | None = None  # instead of the scale's; with its tokenizer
    tokenizer: Path | None = None
    make_data: bool = True  # make the embedded corpus where it is needed and not there yet
    form: Form = Form.READABLE  # how the program is written that runs, is hashed, counted and shipped
    settings: Mapping[str, str] = field(default_factory=dict)  # of a script, over what its recipe says
    allow_ignored: bool = False  # launch a script that does not read what it is told
    end_to_end: str | None = None  # make the program with this arm alone, and train for it, as a submission would run


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A program, ready to be planned."""

    path: Path  # of the recipe, or of the run that is continued
    question: str
    program: str  # the text that runs
    readable: str | None  # the program that it was made from, where it is squeezed
    draft: Plan  # without seeds
    arms: tuple[str, ...]  # that this launch scores
    missing: str | None  # what its data lacks, and the remedy
    choices: Choices | None  # what the program was made from; None: a run is continued, or the program is a script
    script: ScriptRecipe | None = None
    doubts: tuple[str, ...] = ()  # whether a script heeds what it is told

    @property
    def name(self) -> str:
        return self.draft.recipe

    @property
    def remarks(self) -> tuple[str, ...]:
        """What somebody should know who wrote the recipe."""
        return self.choices.overruled if self.choices else self.doubts

    @property
    def places(self) -> tuple[str, ...]:
        """Where nodes that do not see the data of the launch may find them."""
        made_from = self.choices or self.script
        return made_from.cluster.data if made_from else ()

    def trials(self, seeds: tuple[int, ...]) -> list[Trial]:
        """The trials of ``seeds``, each with the chosen arms."""
        return [self.draft.trial(seed, self.arms) for seed in seeds]

    def measured_size(self) -> Size | None:
        """What the recipe will weigh; counted once for each program, which takes seconds. None: it was launched before.

        Raises:
            UserError: the recipe's model cannot be built.
        """
        if self.choices is None:
            return None
        code_bytes = len(self.program.encode())
        return size.estimate(self.choices, code_bytes=code_bytes, processes=self.draft.processes)

    def planned(self, seeds: tuple[int, ...]) -> Plan:
        """Write ``seeds`` into the plan of the run, and the program and the recipe beside it.

        Raises:
            UserError: the run was started on other data or another machine, its program was edited, or its folder
                cannot be written.
        """
        paths = self.draft.paths
        if paths.program.exists() and not self._is_ours(paths.program.read_bytes()):
            raise UserError(
                f"{shown(paths.program)} is not the program that its folder is named after: was it edited? What ran "
                f"must stay what it was. Put a copy of it back, or remove the file and launch the recipe, which writes "
                f"it again; a change belongs into jobs/ or the recipe"
            )
        texts: dict[Path, str | bytes] = {paths.program: self.script.content if self.script else self.program}
        if self.choices is not None:
            texts[paths.recipe] = recipe.resolved_yaml(self.choices)
        if self.script is not None:
            texts[paths.recipe] = self.script.resolved_yaml()
            texts |= {paths.files / name: content for name, content in self.script.beside.items()}
        if self.readable is not None:
            texts[paths.readable] = self.readable
        arms = () if self.arms == self.draft.arms else self.arms
        with refusing("keep the results elsewhere: --runs DIR"), naming(paths.folder):
            return planning.extend(self.draft, seeds, arms, texts)

    def _is_ours(self, found: bytes) -> bool:
        """Whether this is the program, or as much of it as was written when the machine went down."""
        program = self.program.encode("utf-8")
        cut_off = self.choices is not None and program.startswith(found.rstrip(b"\0"))
        return cut_off or hashlib.sha256(found).hexdigest() == self.draft.program_sha256


def prepare(path: Path, request: Request) -> Experiment:
    """The experiment that ``path`` is: a recipe, or the folder of a run that is to be continued.

    Raises:
        UserError: the recipe is wrong, an arm is unknown, or an option says what a run has decided already.
    """
    if path.is_dir():
        return _of_run(path, request)
    if scripts.is_script(path):
        return _of_script(path, request)
    if request.settings:
        raise UserError(f"{shown(path)}: --set sets environment variables of a script; a recipe says its knobs itself")
    return _of_recipe(path, request)


def _of_recipe(path: Path, request: Request) -> Experiment:
    choices = recipe.load(path, request.scale)
    form, end_to_end = request.form, request.end_to_end
    if end_to_end is not None:
        choices = recipe.with_arms(choices, (end_to_end,))
    arms = tuple(recipe.with_arms(choices, request.arms).arms) if request.arms else tuple(choices.arms)
    readable = recipe.program(choices)
    program = form.of(readable)
    program_sha256 = hashlib.sha256(program.encode()).hexdigest()
    run = RunPaths.of(request.runs.resolve(), choices.name, program_sha256)
    data_path, tokenizer_path, missing = _data(choices.machine, choices.scale, request)
    if missing is None:
        _require_vocabulary(choices, tokenizer_path)
    draft = _draft(
        run,
        choices.machine,
        missing,
        recipe=choices.name,
        scale=choices.scale,
        program_sha256=program_sha256,
        trunk_text_sha256=program_sha256 if end_to_end else _trunk_text_sha256(choices, form),
        arms=tuple(choices.arms),
        data_path=data_path,
        tokenizer_path=tokenizer_path,
        end_to_end=end_to_end is not None,
    )
    known = plan.read_if_whole(run.folder)
    if known is not None and known.end_to_end:
        # Of a recipe with one arm both kinds of run are of one program: what began so goes on so.
        draft = replace(draft, end_to_end=True, trunk_text_sha256=program_sha256)
    return Experiment(
        path=path,
        question=choices.question,
        program=program,
        readable=None if form is Form.READABLE else readable,
        draft=draft,
        arms=arms,
        missing=missing,
        choices=choices,
    )


def _draft(run: RunPaths, machine: Machine, missing: str | None, **decided: Any) -> Plan:
    """A plan without seeds. Where the data are missing, a run that is there still says what it was measured on."""
    hashes: dict[str, Any] = {"data_sha256": UNKNOWN, "tokenizer_sha256": UNKNOWN}
    if not missing:
        hashes["data_sha256"] = data_sha256(decided["data_path"])
        hashes["tokenizer_sha256"] = file_sha256(decided["tokenizer_path"])
    elif (known := plan.read_if_whole(run.folder)) is not None:
        hashes = {name: getattr(known, name) for name in hashes}
    return Plan(
        run_path=run.folder,
        processes=machine.processes,
        gpus=machine.gpus,
        cpus=machine.cpus,
        nodes=machine.nodes,
        machine=machine_name(machine.processes, machine.gpus, machine.nodes),
        **hashes,
        **decided,
    )


def _of_script(path: Path, request: Request) -> Experiment:
    """Somebody's script, as its recipe or the command has it."""
    found = scripts.load(path, request.scale, request.settings)
    if request.form is not Form.READABLE or request.end_to_end is not None:
        raise UserError(f"{shown(path)}: a script runs as it is, whole: no --end-to-end, --squeeze or --packed")
    if found.machine.nodes > 1:
        raise UserError(f"{shown(path)}: scale {found.scale} spans {found.machine.nodes} nodes; a script runs on one")
    for arm in request.arms:
        if arm not in found.script.arms:
            possible = f"possible: {', '.join(found.script.arms)}{nearest(arm, found.script.arms)}"
            raise UserError(f"{shown(path)}: arms: no arm {arm!r}; {possible}")
    source = read_source(found.file)
    if missing_packages := " ".join(found.not_installed(source)):
        how = f".venv/bin/python -m pip install {missing_packages}, or a stand-in under shim: in its recipe"
        raise UserError(f"{shown(path)}: it needs what is not installed here: {missing_packages}; {how}")
    doubts = _doubts(found, source, request)
    data_path, tokenizer_path, missing = _data(found.machine, found.scale, request)
    run = RunPaths.of(request.runs.resolve(), found.name, found.script.name_sha256(found.program_sha256))
    draft = _draft(
        run,
        found.machine,
        missing,
        recipe=found.name,
        scale=found.scale,
        program_sha256=found.program_sha256,
        trunk_text_sha256=found.program_sha256,
        arms=tuple(found.script.arms),
        data_path=data_path,
        tokenizer_path=tokenizer_path,
        end_to_end=True,
        script=replace(found.script, allow_ignored=request.allow_ignored),
    )
    if (known := plan.read_if_whole(run.folder)) is not None and known.script is not None:
        for arm, settings in known.script.arms.items():
            now = found.script.arms.get(arm, settings)
            if now != settings and any(run.folder.glob(f"seed_*/{arm}/result.json")):
                raise UserError(
                    f"{shown(path)}: arms: {arm} was {settings} when it was scored, it is {now} now; give what is new "
                    f"a name of its own"
                )
    return Experiment(
        path=path,
        question=found.question,
        program=found.content.decode("utf-8", "replace"),
        readable=None,
        draft=draft,
        arms=tuple(arm for arm in found.script.arms if arm in (request.arms or found.script.arms)),
        missing=missing,
        choices=None,
        script=found,
        doubts=doubts,
    )


def _doubts(found: ScriptRecipe, source: Source, request: Request) -> tuple[str, ...]:
    """What cannot be told of whether the script reads what it is told.

    Raises:
        UserError: it never reads some of it, its seed for one.
    """
    told = {name: "" for arm in found.script.arms for name in found.script.settings(arm, 0)}
    lost = unread(source, told)
    never = [str(one) for one in lost if not one.unknown]
    if never and not request.allow_ignored:
        listed = "\n  ".join(never)
        raise UserError(
            f"{shown(found.file)}: it is told what it does not read:\n  {listed}\n"
            f"python -m platform.recipe {shown(found.file)} lists what it reads; --allow-ignored runs it all the same"
        )
    return tuple(str(one) for one in lost)


def _of_run(folder: Path, request: Request) -> Experiment:
    """A run as it was begun, by whichever version of Fairway: its program is the one that lies there."""
    known = plan.read(folder)
    decided = {"--scale": request.scale, "--end-to-end": request.end_to_end}
    if request.form is not Form.READABLE:
        decided[f"--{request.form}"] = str(request.form)
    for option, value in decided.items():
        if value is not None:
            raise UserError(f"{shown(folder)}: {option}: a run goes on as it was begun; a recipe can be launched so")
    if request.runs.resolve() not in (folder.resolve().parent, RUNS):
        raise UserError(f"{shown(folder)}: --runs {shown(request.runs)}: a run goes on where it lies")
    for arm in request.arms:
        if arm not in known.arms:
            possible = f"possible: {', '.join(known.arms)}{nearest(arm, known.arms)}"
            raise UserError(f"{shown(folder)}: arms: no arm {arm!r}; {possible}")
    paths = known.paths
    try:
        program = paths.program.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{shown(paths.program)}: the program of the run cannot be read: {error}; put a copy of it back, or launch "
            f"the recipe, which writes it again"
        ) from None
    data, tokenizer = _given(request) or (known.data_path, known.tokenizer_path)
    missing = corpus.missing(data, tokenizer, val_targets=whole_validation(data.name))
    draft = replace(known, data_path=data, tokenizer_path=tokenizer, planned=())
    if missing is None:
        as_begun = known.data_sha256 == ends_sha256(data)  # by a version that named data so, as its program does
        named = known.data_sha256 if as_begun else data_sha256(data)
        draft = replace(draft, data_sha256=named, tokenizer_sha256=file_sha256(tokenizer))
    return Experiment(
        path=folder,
        question=f"the run {shown(folder)}, continued with its own program",
        program=program,
        readable=None,
        draft=draft,
        arms=tuple(arm for arm in known.arms if arm in (request.arms or known.arms)),
        missing=missing,
        choices=None,
    )


def _trunk_text_sha256(choices: Choices, form: Form) -> str:
    """The name of the trunk; of each form another, because what is given up to fit depends on the bytes of the code."""
    text = recipe.trunk_text(choices)
    return hashlib.sha256((text if form is Form.READABLE else f"{form}\n{text}").encode()).hexdigest()


def _require_vocabulary(choices: Choices, tokenizer_path: Path) -> None:
    """Refuse a model whose table is too small for the tokenizer."""
    pieces, rows = vocabulary(tokenizer_path), choices.setting("shape", "vocab_size")
    if pieces > rows:
        raise UserError(
            f"{shown(tokenizer_path)} has {pieces} pieces, {choices.name} at scale {choices.scale} has "
            f"shape.vocab_size {rows}; a recipe for it says shape: {{vocab_size: {pieces}}}"
        )


def _given(request: Request) -> tuple[Path, Path] | None:
    """The shards and the tokenizer that the request names."""
    if (request.data is None) != (request.tokenizer is None):
        raise UserError("--data and --tokenizer belong together: token ids mean nothing without their tokenizer")
    if request.data is None or request.tokenizer is None:
        return None
    return request.data.resolve(), request.tokenizer.resolve()


def _data(machine: Machine, scale: str, request: Request) -> tuple[Path, Path, str | None]:
    """Shards, tokenizer, and what is wrong with them."""
    given = _given(request)
    if given is None and machine.corpus is not None:
        if machine.corpus != "embedded":
            raise UserError(f"scale {scale}: machine: no corpus {machine.corpus!r}; possible: embedded")
        with refusing("name data that is there: --data DIR --tokenizer FILE"):
            found = corpus.embedded() if request.make_data else corpus.embedded_if_cached()
        if found is None:
            nowhere = ROOT / "data" / "corpora"
            return nowhere, nowhere, NOT_MADE_YET
        return found.data_path, found.tokenizer_path, None
    data, tokenizer = given or (ROOT / (machine.data_path or ""), ROOT / (machine.tokenizer_path or ""))
    return data, tokenizer, corpus.missing(data, tokenizer, val_targets=whole_validation(data.name))
