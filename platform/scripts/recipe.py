"""A recipe whose program is somebody's own script: which file, what it is told, which arms.

    question: What does test-time training add to it?
    script: path/to/train_gpt.py        # relative to this file
    files: [helper.py]                  # that it needs beside it
    env: {NUM_LAYERS: 11}
    arms: {no_ttt: {TTT_ENABLED: 0}, ttt: {TTT_ENABLED: 1}}
    score: legal_ttt_exact              # the line that counts; without it the reader of logs chooses

``path/to/train_gpt.py`` by itself is the shortest such recipe: one arm, nothing set.
"""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..paths import shown
from ..program import recipe
from ..program.choices import ClusterSettings, Machine
from ..program.document import Node, read
from ..runs.script import DATA, SEED, TOKENIZER, Script
from .source import Source

ENTRIES = (
    *("question", "source", "published", "script", "files", "env", "arms", "seed_env", "data_env", "tokenizer_env"),
    *("score", "requirements", "shim"),
)
ONLY_ARM = "plain"  # of a script with no arms
SIZE_LIMIT_BYTES = 10_000_000  # of a script, and of each file beside it: none can be larger in an artifact of 16 MB
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a launch itself says to a job: which data and which process it is.
OURS = frozenset({"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PATH", "HOME"})


@dataclass(frozen=True, kw_only=True)
class ScriptRecipe:
    """A script recipe with its scale, and the bytes that it is made of."""

    path: Path  # of the recipe, or of the script where there is no recipe
    file: Path  # the script
    name: str
    question: str
    source: str | None
    published: str | None
    content: bytes  # of the script
    beside: Mapping[str, bytes]  # the files that it needs, by name
    script: Script
    requirements: tuple[str, ...]
    scale: str
    machine: Machine
    cluster: ClusterSettings

    @property
    def program_sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def not_installed(self, source: Source) -> tuple[str, ...]:
        """What it asks for or imports, and cannot import here."""
        own = {Path(name).parts[0].removesuffix(".py") for name in self.beside}
        own |= {Path(name).stem for name in self.script.shim}
        wanted = {*self.requirements, *source.imports} - own
        return tuple(sorted(name for name in wanted if not _can_be_imported(name)))

    def resolved_yaml(self) -> str:
        """What was launched, for readers: not to be launched, as the script lies elsewhere."""
        import yaml

        tree: dict[str, Any] = {"name": self.name, "scale": self.scale, "question": self.question}
        tree |= {key: value for key, value in (("source", self.source), ("published", self.published)) if value}
        told = {"seed_env": self.script.seed_env, "data_env": self.script.data_env}
        tree |= {"script": self.script.name, "env": dict(self.script.environment), "arms": self.script.arms}
        tree |= {**told, "tokenizer_env": self.script.tokenizer_env}
        if self.script.score:
            tree["score"] = self.script.score
        return f"# {self.name}: a script, and what it was told.\n{yaml.safe_dump(tree, sort_keys=False, width=120)}"


def is_script(path: Path) -> bool:
    """Whether this is a script, or a recipe that names one."""
    return path.suffix == ".py" or (path.suffix in (".yaml", ".yml") and path.is_file() and _names_script(path))


def load(path: Path, scale: str | None, settings: Mapping[str, str]) -> ScriptRecipe:
    """The script recipe at ``path``, or of the script at ``path``, with ``settings`` over what it says.

    Raises:
        UserError: something in it is wrong, or a file is not there; names file, line and what is possible.
    """
    if path.suffix == ".py":
        entries: dict[str, Node] = {}
        file, beside = path, dict[str, bytes]()
        shim: tuple[str, ...] = ()
    else:
        entries = read(path).entries("entries")
        for name, node in entries.items():
            if name not in ENTRIES:
                raise node.unknown(ENTRIES, "entry of a recipe with a script")
        file = path.parent / _text(entries["script"])
        beside = dict(_beside(node, file.parent) for node in _list(entries.get("files")))
        shim = tuple(name for name, _ in (_beside(node, path.parent) for node in _list(entries.get("shim"))))
        beside |= dict(_beside(node, path.parent) for node in _list(entries.get("shim")))
    if not recipe.RECIPE_NAME.fullmatch(path.stem):
        raise UserError(f"{shown(path)}: a recipe's name is letters, digits, _ and -: it names a folder of results")
    at, machine, cluster = recipe.machine_at(path, scale)
    content = _content(file)
    environment = {**(_variables(entries["env"]) if "env" in entries else {}), **settings}
    arms = {name: _variables(node) for name, node in _arms(entries)} or {ONLY_ARM: {}}
    names = {
        key: _text(entries[key]) if key in entries else default
        for key, default in (("seed_env", SEED), ("data_env", DATA), ("tokenizer_env", TOKENIZER))
    }
    _refuse_own({**environment, **{key: "" for said in arms.values() for key in said}}, names, path)
    return ScriptRecipe(
        path=path,
        file=file,
        name=path.stem if path.stem != "train_gpt" else f"{_folder_name(path)}",
        question=_text(entries["question"]) if "question" in entries else f"What does {shown(file)} score?",
        source=_text(entries["source"]) if "source" in entries else None,
        published=_text(entries["published"]) if "published" in entries else None,
        content=content,
        beside=beside,
        script=Script(
            name=file.name,
            files={name: hashlib.sha256(data).hexdigest() for name, data in beside.items()},
            environment=environment,
            arms=arms,
            score=_text(entries["score"]) if "score" in entries else None,
            shim=shim,
            seed_env=names["seed_env"],
            data_env=names["data_env"],
            tokenizer_env=names["tokenizer_env"],
        ),
        requirements=tuple(_text(node) for node in _list(entries.get("requirements"))),
        scale=at,
        machine=machine,
        cluster=cluster,
    )


def settings_from(words: tuple[str, ...]) -> dict[str, str]:
    """What ``--set NAME=VALUE`` says, each time that it is given. Raises UserError where it is not that."""
    settings: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not VARIABLE.fullmatch(name):
            raise UserError(f"--set {word}: it takes NAME=VALUE, an environment variable of the script")
        if name in settings:
            raise UserError(f"--set {word}: {name} is set twice; once is enough")
        settings[name] = value
    return settings


def _folder_name(path: Path) -> str:
    """A name for the runs of a ``train_gpt.py``: that of its folder, where it has one that can be a name."""
    parent = re.sub(r"[^A-Za-z0-9_-]+", "-", path.resolve().parent.name).strip("-_")
    return parent[:60] or "train_gpt"


def _names_script(path: Path) -> bool:
    return re.search(r"(?m)^script\s*:", path.read_bytes()[:100_000].decode("utf-8", "replace")) is not None


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > SIZE_LIMIT_BYTES:
            raise UserError(
                f"{shown(file)}: {file.stat().st_size:,} bytes; at most {SIZE_LIMIT_BYTES:,}: is it a script?"
            )
        return file.read_bytes()
    except FileNotFoundError:
        there = [other.name for other in file.parent.glob("*.py")] if file.parent.is_dir() else []
        raise UserError(f"{shown(file)}: no such file{nearest(file.name, there)}") from None
    except OSError as error:
        raise UserError(f"{shown(file)}: cannot be read: {error.strerror}") from None


def _beside(node: Node, folder: Path) -> tuple[str, bytes]:
    name = _text(node)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise node.error(f"found {node.found()}; a file beside the script, named relative to its folder")
    return Path(name).as_posix(), _content(folder / name)


def _arms(entries: Mapping[str, Node]) -> list[tuple[str, Node]]:
    if "arms" not in entries:
        return []
    found = entries["arms"].entries("arms by name, each with the variables that it sets")
    for name, node in found.items():
        if not recipe.RECIPE_NAME.fullmatch(name):
            raise node.error(f"an arm's name is letters, digits, _ and -, not {name!r}: it names a folder")
    return list(found.items())


def _can_be_imported(name: str) -> bool:
    if name in sys.stdlib_module_names:  # of which the one that is called platform would find this checkout
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _variables(node: Node) -> dict[str, str]:
    """Environment variables as a mapping has them; true and false are 1 and 0, as scripts read them."""
    found: dict[str, str] = {}
    for name, value in node.entries("variables with their values").items():
        if not VARIABLE.fullmatch(name):
            raise value.error(f"{name!r} is no name of an environment variable")
        if isinstance(value.value, dict | list) or value.value is None:
            raise value.error(f"found {value.found()}, a variable takes a number or a text")
        found[name] = str(int(value.value)) if isinstance(value.value, bool) else str(value.value)
    return found


def _refuse_own(variables: Mapping[str, str], names: Mapping[str, str], path: Path) -> None:
    for name in variables:
        if name in OURS or name in names.values():
            raise UserError(
                f"{shown(path)}: {name} is set by the launch itself; seeds are --seeds, data are --data and "
                f"--tokenizer, processes are the scale's"
            )


def _list(node: Node | None) -> list[Node]:
    if node is None or node.value is None:
        return []
    if not isinstance(node.value, list):
        raise node.error(f"found {node.found()}, here belongs a list")
    return node.value


def _text(node: Node) -> str:
    if not isinstance(node.value, str) or not node.value.strip():
        raise node.error(f"found {node.found()}, it takes text")
    return " ".join(node.value.split())
