"""A record folder to a script recipe that does again what the record says was done.

Three sources say what the script was told: the commands in the README, what the logs print, and the script's own
defaults. A log is of what ran, so it goes over the README; where they differ both are shown. Nothing is run here.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..logs.text import safe
from ..records.record import Examined, examine
from ..runs.script import DATA, SEED, TOKENIZER
from .landing import contradictions
from .recipe import OURS
from .source import Source, read_source

README_BYTES = 2_000_000
LOG_BYTES = 2**22  # read of a log: its configuration stands in front
_STARTER = re.compile(r"(?:^|[\s/;&|])(?:torchrun|python[\d.]*|accelerate)(?:\s|$)")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.S)
_PROMPT = re.compile(r"^\s*(?:[-*]\s+)?[`$>%#]*\s*")
_OF_TASK = ("TRAIN_FILES", "VAL_FILES", "DATA_DIR", "TOKENIZER")


@dataclass(frozen=True, kw_only=True)
class Said:
    """A variable with its value, and who says it."""

    value: str
    where: str  # "README.md:41", "train_seed42.log:7"


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a record can be run again."""

    record: Examined
    script: Path
    source: Source
    settings: Mapping[str, Said]
    seeds: tuple[int, ...]  # of the claim
    score: str | None  # the label of the line that the claim rests on
    remarks: tuple[str, ...]  # where the sources differ, and what was left out

    @property
    def name(self) -> str:
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", self.record.folder.resolve().name).strip("-_")
        return (name or "record")[:60]

    def recipe(self) -> str:
        """The recipe, to be launched from anywhere: the script is named by its absolute path."""
        import yaml

        tree: dict[str, object] = {
            "question": f"Does {self.record.name} reproduce?",
            "source": f"the record folder {self.record.folder.resolve()}",
            "script": str(self.script.resolve()),
            "env": {name: said.value for name, said in sorted(self.settings.items())},
        }
        names = {one.name for one in self.source.variables}
        tree |= {key: name for key, name in self._names().items() if name in names}
        if self.source.beside:
            tree["files"] = list(self.source.beside)
        if self.score:
            tree["score"] = self.score
        where = "\n".join(f"#   {name}={said.value}  {said.where}" for name, said in sorted(self.settings.items()))
        head = f"# {self.name}: what its folder says was run.\n{where}\n" if where else f"# {self.name}\n"
        return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)

    def _names(self) -> dict[str, str]:
        return {"seed_env": SEED, "data_env": DATA, "tokenizer_env": TOKENIZER}


def reproduction_of(folder: Path) -> Reproduction:
    """How the record in ``folder`` can be run again.

    Raises:
        UserError: there is no record, or no script in it that could be the one.
    """
    if not folder.is_dir():
        raise UserError(f"{safe(str(folder))}: not a folder; name the folder of a record")
    record = examine(folder)
    script = _script(folder)
    source = read_source(script)
    variables = {one.name: one for one in source.variables}
    given = {SEED, DATA, TOKENIZER, "RUN_ID", *OURS, *source.data_variables, *_OF_TASK}
    remarks: list[str] = []
    in_readme = _of_readme(folder, record, remarks)
    in_logs = _of_logs(folder, record, source, remarks)
    settings: dict[str, Said] = {}
    for name in sorted({*in_readme, *in_logs} - given):
        says, ran = in_readme.get(name), in_logs.get(name)
        if says is not None and name not in variables:
            remarks.append(f"{says.where} sets {name}={says.value}, which the script does not read: left out")
            continue
        if says and ran and not _same(says.value, ran.value):
            remarks.append(f"{name}: {says.where} says {says.value}, {ran.where} says {ran.value}: the log counts")
        settings[name] = _counting(says, ran)
    seeds = tuple(dict.fromkeys(one.seed for one in record.claimed.seeds if one.seed is not None))
    finals = [one.final for one in record.claimed.seeds if one.final is not None]
    return Reproduction(
        record=record,
        script=script,
        source=source,
        settings=settings,
        seeds=seeds,
        score=finals[0].label if finals and finals[0].label else None,
        remarks=tuple(remarks),
    )


def _script(folder: Path) -> Path:
    """The program of the record: its train_gpt.py, or the only script that it has."""
    usual = folder / "train_gpt.py"
    if usual.is_file():
        return usual
    found = sorted(folder.glob("*.py"))
    if len(found) == 1:
        return found[0]
    there = ", ".join(path.name for path in found) or "no .py file"
    raise UserError(f"{safe(str(folder))}: no train_gpt.py, and {there}: which script is it? A recipe can name it")


def _of_readme(folder: Path, record: Examined, remarks: list[str]) -> dict[str, Said]:
    """What its commands set, where all of them that set a variable agree."""
    name = record.read.files.readme
    if name is None:
        return {}
    text = (folder / name).read_bytes()[:README_BYTES].decode("utf-8", "replace")
    found: dict[str, Said] = {}
    differing: set[str] = set()
    for line, variable, value in _assignments(text):
        said = Said(value=value, where=f"{name}:{line}")
        if variable in found and found[variable].value != value:
            differing.add(variable)
        found.setdefault(variable, said)
    for variable in sorted(differing - {SEED}):
        remarks.append(f"{name} sets {variable} in several ways; the first, {found[variable].value}, is taken")
    return found


def _assignments(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, variable, value) of every command that starts a script, and of every ``export`` in front of one."""
    exported: list[tuple[int, str, str]] = []
    whole, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun or number
        whole += _PROMPT.sub("", line) if not whole else f" {line.strip()}"
        if whole.endswith("\\"):
            whole = whole[:-1].rstrip()
            continue
        command, at, whole, begun = whole.strip().strip("`"), begun, "", 0
        try:
            words = shlex.split(command, comments=True)
        except ValueError:
            continue
        if words[:1] == ["export"]:
            exported += [(at, name, value) for name, value in map(_assigned, words[1:]) if name]
            continue
        if not (start := _STARTER.search(command)) or ".py" not in command[start.start() :]:
            continue
        yield from exported
        exported = []
        for word in words[1:] if words[0] == "env" else words:
            name, value = _assigned(word)
            if not name:
                break
            yield at, name, value


def _assigned(word: str) -> tuple[str, str]:
    """The name and the value of ``NAME=VALUE``; of another word, and of one that the shell would fill in, none."""
    match = _ASSIGNMENT.fullmatch(word)
    return (match[1], match[2]) if match and "$" not in match[2] else ("", "")


def _of_logs(folder: Path, record: Examined, source: Source, remarks: list[str]) -> dict[str, Said]:
    """What the logs of the claim print otherwise than the script's defaults."""
    defaults = {one.name: one.default for one in source.variables if one.default is not None}
    found: dict[str, Said] = {}
    for seed in record.claimed.seeds:
        with (folder / seed.run.file).open("rb") as file:
            text = file.read(LOG_BYTES).decode("utf-8", "replace")
        for one in contradictions(source, text, defaults):
            said = Said(value=one.printed, where=f"{seed.run.file}:{one.line}")
            if one.name in found and found[one.name].value != one.printed and one.name != SEED:
                remarks.append(f"{one.name}: {found[one.name].where} and {said.where} differ; the first is taken")
            found.setdefault(one.name, said)
    return found


def _counting(says: Said | None, ran: Said | None) -> Said:
    """The README's word, in its own digits, unless a log has another."""
    if says is not None and (ran is None or _same(says.value, ran.value)):
        return says
    assert ran is not None, "one of the two says something"
    return ran


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one.strip().lower() == other.strip().lower()
