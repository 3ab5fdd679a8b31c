"""From a recipe file and the options of a launch to a plan that could run: program, data, what is missing for it."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.contract.shards import data_sha256, file_sha256

from .. import corpus
from ..corpus.preflight import vocabulary
from ..errors import UserError
from ..paths import ROOT, shown
from ..program import recipe, size
from ..program.choices import Choices
from ..program.size import Size
from ..program.squeeze import Form
from ..runs import plan
from ..runs.paths import RunPaths
from ..runs.plan import Plan, Trial

UNKNOWN = ""  # in place of a data hash, while there is no data


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A recipe at a scale, ready to be planned."""

    choices: Choices
    program: str  # the text that runs
    readable: str | None  # the program that it was made from, where it is squeezed
    draft: Plan  # without seeds
    arms: tuple[str, ...]  # that this launch scores
    missing: str | None  # what its data lacks, and the remedy

    def trials(self, seeds: tuple[int, ...]) -> list[Trial]:
        """The trials of ``seeds``, each with the chosen arms."""
        return [self.draft.trial(seed, self.arms) for seed in seeds]

    @property
    def size(self) -> Size:
        """What the recipe will weigh; counted once for each program, which takes seconds."""
        code_bytes = len(self.program.encode())
        return size.estimate(self.choices, code_bytes=code_bytes, processes=self.choices.machine.processes)

    def planned(self, seeds: tuple[int, ...]) -> Plan:
        """Write ``seeds`` into the plan of the run, and the program and the recipe beside it.

        Raises:
            UserError: the run was started on other data, or its program was edited.
        """
        paths = self.draft.paths
        try:
            paths.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{shown(paths.folder)}: cannot be made: {error.strerror}; keep the results elsewhere: --runs DIR"
            ) from None
        if paths.program.exists() and file_sha256(paths.program) != self.draft.program_sha256:
            raise UserError(
                f"{shown(paths.program)} is not the program that its folder is named after: was it edited? What ran "
                f"must stay what it was. Move {shown(paths.folder)} away, and put the change into jobs/ or the recipe"
            )
        texts = {paths.program: self.program, paths.recipe: recipe.resolved_yaml(self.choices)}
        if self.readable is not None:
            texts[paths.readable] = self.readable
        for path, text in texts.items():
            part = path.with_suffix(".part")
            part.write_text(text)
            part.replace(path)
        return plan.extend(self.draft, seeds)


def prepare(
    path: Path,
    scale: str | None,
    *,
    arms: tuple[str, ...] = (),
    runs: Path,
    data: Path | None = None,
    tokenizer: Path | None = None,
    make_data: bool,
    form: Form = Form.READABLE,
    end_to_end: str | None = None,
) -> Experiment:
    """The experiment that the recipe ``path`` at ``scale`` describes.

    Args:
        arms: to be scored; none named: all.
        data, tokenizer: instead of those that the scale names; both or neither.
        make_data: make the embedded corpus where it is needed and not there yet.
        form: how the program is written that runs, is hashed, counted and shipped.
        end_to_end: make the program with this arm alone, and train for it anew, as a submission would run.

    Raises:
        UserError: the recipe is wrong, an arm is unknown.
    """
    choices = recipe.load(path, scale)
    if end_to_end is not None:
        choices = recipe.with_arms(choices, (end_to_end,))
    wanted = tuple(recipe.with_arms(choices, arms).arms) if arms else tuple(choices.arms)
    readable = recipe.program(choices)
    program = form.of(readable)
    program_sha256 = hashlib.sha256(program.encode()).hexdigest()
    run = RunPaths.of(runs.resolve(), choices.name, program_sha256)
    data_path, tokenizer_path, missing = _data(choices, data, tokenizer, make=make_data)
    if missing is None:
        _require_vocabulary(choices, tokenizer_path)
    draft = Plan(
        run_path=run.folder,
        recipe=choices.name,
        scale=choices.scale,
        program_sha256=program_sha256,
        trunk_text_sha256=program_sha256 if end_to_end else _trunk_text_sha256(choices, form),
        arms=tuple(choices.arms),
        data_path=data_path,
        tokenizer_path=tokenizer_path,
        data_sha256=UNKNOWN if missing else data_sha256(data_path),
        tokenizer_sha256=UNKNOWN if missing else file_sha256(tokenizer_path),
        processes=choices.machine.processes,
        gpus=choices.machine.gpus,
        cpus=choices.machine.cpus,
        end_to_end=end_to_end is not None,
    )
    if run.plan.exists():
        known = plan.read(run.folder)
        if missing:  # a dry run can still tell what is done
            draft = replace(draft, data_sha256=known.data_sha256, tokenizer_sha256=known.tokenizer_sha256)
        if known.end_to_end:  # of a recipe with one arm both kinds of run are of one program: what began so goes on so
            draft = replace(draft, end_to_end=True, trunk_text_sha256=program_sha256)
    return Experiment(
        choices=choices,
        program=program,
        readable=None if form is Form.READABLE else readable,
        draft=draft,
        arms=wanted,
        missing=missing,
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


def _data(choices: Choices, data: Path | None, tokenizer: Path | None, *, make: bool) -> tuple[Path, Path, str | None]:
    """Shards, tokenizer, and what is wrong with them."""
    machine = choices.machine
    if (data is None) != (tokenizer is None):
        raise UserError("--data and --tokenizer belong together: token ids mean nothing without their tokenizer")
    if data is None and machine.corpus is not None:
        if machine.corpus != "embedded":
            raise UserError(f"scale {choices.scale}: machine: no corpus {machine.corpus!r}; possible: embedded")
        found = corpus.embedded() if make else corpus.embedded_if_cached()
        if found is None:
            nowhere = ROOT / "data" / "corpora"
            return nowhere, nowhere, "the embedded corpus is not made yet; a launch makes it, in some seconds"
        return found.data_path, found.tokenizer_path, None
    data_path = ROOT / (machine.data_path or "") if data is None else data.resolve()
    tokenizer_path = ROOT / (machine.tokenizer_path or "") if tokenizer is None else tokenizer.resolve()
    return data_path, tokenizer_path, corpus.missing(data_path, tokenizer_path)
