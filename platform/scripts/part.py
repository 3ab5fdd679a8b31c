"""One file of a script, or one layer of a packed one: what it reads, imports, runs and prints."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import prints
from .environment import Environment, Read
from .prints import Shown
from .tree import FUNCTIONS, Tree, free_names, last_name
from .uses import Use, Uses, default_parameter
from .values import Unknowable, UnknownValue, Values, World

MOST_NODES = 400_000  # of a syntax tree; Fairway's own programs have some 35,000
MOST_VARIABLES = 5_000
OTHER_READERS = ("pydantic_settings", "environs", "decouple", "dynaconf", "hydra", "jsonargparse", "tyro", "fire")
PYTHON = ("python", "python3", "torchrun", "sys.executable")
STARTING = ("run", "Popen", "call", "check_call", "check_output", "system", "popen")
_DATA_TEXT = re.compile(r"[^\s]*(?:fineweb|datasets?/|tokenizers?/|\.bin$|\.model$)[^\s]*")


@dataclass(frozen=True, kw_only=True)
class Variable:
    """An environment variable that a script reads."""

    name: str
    default: str | None  # the text that the environment would hold for it; None: required, or no literal
    kind: str | None  # int, float, bool, str: what the script makes of it
    line: int  # of the (unpacked) program
    attributes: tuple[str, ...] = ()  # what the script calls its value
    derived: tuple[str, ...] = ()  # what the script calls something that it computes of it
    file: str = ""  # beside the script, where it is read there


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one file, or one layer of it, holds."""

    variables: tuple[Variable, ...]
    unknown: tuple[str, ...]
    runs_text: str  # why what it runs is not all in its text; empty where it is
    execs: int  # calls of exec and eval
    imports: frozenset[str]
    optional: frozenset[str]
    modules: frozenset[str]  # every dotted name that it imports
    prints: tuple[str, ...]
    flags: tuple[str, ...]
    shown: tuple[Shown, ...]
    dialect: str
    data: tuple[str, ...]

    @property
    def reasons(self) -> list[str]:
        return [*self.unknown, *([self.runs_text] if self.runs_text else [])]


def parsed(text: str) -> Tree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in foreign texts
        module = ast.parse(text)
    if sum(1 for _ in ast.walk(module)) > MOST_NODES:
        raise ValueError(f"it has more than {MOST_NODES:,} parts")
    return Tree(module)


def examined(tree: Tree, file: str) -> Part:
    """What the text says; ``file`` is its name beside the script, empty for the script itself."""
    environment, values = Environment(tree), Values(tree)
    uses = Uses(tree, values)
    variables: list[Variable] = []
    unknown = [f"it {how} (line {line})" for line, how in environment.escapes()]
    for read in environment.reads():
        found, reason = _variables(read, tree, values, uses, file)
        variables += found
        unknown += [reason] if reason else []
    lines = list(prints.printed_lines(tree.nodes))
    required, optional, modules = _imports(tree)
    unknown += [
        f"{name}, which it imports, may read variables for it" for name in sorted(required) if name in OTHER_READERS
    ]
    return Part(
        variables=tuple(variables[:MOST_VARIABLES]),
        unknown=tuple(unknown[:10]),
        runs_text=_runs_text(tree),
        execs=sum(isinstance(one, ast.Call) and _is_exec(one) for one in tree.nodes),
        imports=frozenset(required),
        optional=frozenset(optional),
        modules=frozenset(modules),
        prints=prints.labels(lines),
        flags=tuple(_flags(tree)),
        shown=prints.shown(lines),
        dialect=prints.dialect(lines) or prints.dialect(prints.texts(tree.nodes)),
        data=tuple(_data(tree)),
    )


def _variables(read: Read, tree: Tree, values: Values, uses: Uses, file: str) -> tuple[list[Variable], str]:
    """The variables that one place reads, and why not all of them can be told."""
    found, reason = [], ""
    function: ast.AST = read.node
    while not isinstance(function, FUNCTIONS) and function in tree.parents:
        function = tree.parents[function]
    needed = free_names(read.name)
    extra = free_names(read.default, *_around(read.node, tree)) if needed else set()
    for world in values.worlds(read.node, needed | extra if needed else set()):
        try:
            name = values.of(read.name, world)
        except UnknownValue:
            name = None
        name = name.decode(errors="replace") if isinstance(name, bytes) else name
        if not isinstance(name, str) or not name or "\0" in name:
            reason = f"the name of a variable that it reads is made at run time (line {read.node.lineno})"
            continue
        use = Use() if read.is_test else uses.of(read.node, world)
        found.append(
            Variable(
                name=name,
                default=None if read.is_test else _default(read, values, world, use, function),
                kind=use.kind,
                line=read.node.lineno,
                attributes=tuple(sorted(use.names)),
                derived=tuple(sorted(use.derived - use.names)),
                file=file,
            )
        )
    return found, reason


def _around(node: ast.AST, tree: Tree) -> list[ast.expr]:
    """The expressions around a read, up to its statement: types and keys that say what becomes of it."""
    found: list[ast.expr] = []
    while node in tree.parents and len(found) < 20:
        node = tree.parents[node]
        if isinstance(node, ast.Call):
            found.append(node.func)
        elif isinstance(node, ast.Assign):
            found += [one.slice for one in node.targets if isinstance(one, ast.Subscript)]
            break
        elif isinstance(node, ast.DictComp):
            found.append(node.key)
        elif isinstance(node, ast.stmt):
            break
    return found


def _default(read: Read, values: Values, world: World, use: Use, function: ast.AST) -> str | None:
    try:
        if read.default is not None:
            value = values.of(read.default, world)
            value = use.default if value is None and use.has_default else value
        else:
            value = use.default if use.has_default else default_parameter(function, read.name, world.names)
    except UnknownValue:
        return None
    return _as_text(value)


def _as_text(value: Any) -> str | None:
    """A default as the environment would hold it."""
    if value is None or isinstance(value, Unknowable | list | dict | type):
        return None
    return str(value)


def _imports(tree: Tree) -> tuple[set[str], set[str], set[str]]:
    """Packages that are imported always, those that are not, and every dotted name."""
    required: set[str] = set()
    optional: set[str] = set()
    modules: set[str] = set()
    for node in tree.nodes:
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [one.name for one in node.names]
        else:
            continue
        above, is_always = tree.parents[node], True
        while above is not tree.module:
            is_always = is_always and isinstance(above, ast.ClassDef)
            above = tree.parents[above]
        modules |= set(names)
        if isinstance(node, ast.Import) or not node.level:
            (required if is_always else optional).update(name.partition(".")[0] for name in names)
    return required - {"__future__"}, optional - {"__future__"}, modules


def _runs_text(tree: Tree) -> str:
    """Why what the script runs is not all in its text; empty where it is."""
    for node in tree.nodes:
        if not isinstance(node, ast.Call):
            continue
        if _is_exec(node):
            return f"it runs a text that is made at run time (line {node.lineno})"
        if last_name(node.func) in ("run_path", "run_module"):
            return f"it runs another program (line {node.lineno})"
        if last_name(node.func) in STARTING:
            words = {
                word
                for one in ast.walk(node)
                for word in (
                    str(one.value).split()[:1]
                    if isinstance(one, ast.Constant)
                    else ["sys.executable"]
                    if isinstance(one, ast.Attribute) and one.attr == "executable"
                    else []
                )
            }
            if words & set(PYTHON):
                return f"it starts another program of Python (line {node.lineno})"
    return ""


def _is_exec(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id in ("exec", "eval")


def _flags(tree: Tree) -> Iterator[str]:
    for node in tree.nodes:
        if isinstance(node, ast.Call) and last_name(node.func) == "add_argument":
            for one in node.args:
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.startswith("-"):
                    yield one.value


def _data(tree: Tree) -> Iterator[str]:
    """Texts of the script that are paths or patterns of data."""
    for node in tree.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _DATA_TEXT.fullmatch(node.value[:300]):
            yield node.value[:300]
