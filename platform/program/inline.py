"""A program that imports from jobs/, as one file that does not.

The modules are pasted in, once each, after what they import. Their text is not rewritten, only their top-level imports
are taken out. That means the same as the package only while jobs/ keeps six habits; whatever breaks one is refused:

1. ``from jobs.x import name`` at the top level: no alias, no star, no relative import, no ``import jobs.x``.
2. A top-level name means one thing in all modules, and hides no builtin. A module imports what it uses.
3. A module defines and does nothing else. An optional package is imported inside the function that needs it.
4. No import cycles.
5. No use of ``__name__``, ``__file__`` or the package, no ``global``: a variable would be shared where it was copied.
6. No ``from __future__``: it would change every other module.
"""

import ast
import builtins
import symtable
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import UserError, nearest
from ..paths import shown

LINE_LENGTH = 120
ENTRY = "entry"
BUILTINS = frozenset(dir(builtins))
OF_THE_MODULE = frozenset(
    f"__{word}__" for word in ["name", "file", "package", "spec", "loader", "path", "doc", "module"]
)
REFLECTION = frozenset({"globals", "__import__"})  # what they give depends on the module that asks
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.AnnAssign, ast.Import, ast.ImportFrom)

Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True, kw_only=True)
class _Module:
    name: str  # jobs.techniques.feed_forward.relu_squared, or ENTRY
    path: Path
    text: str
    tree: ast.Module
    table: symtable.SymbolTable
    imports: tuple[Import, ...]  # at the top level

    def refused(self, line: int, message: str) -> UserError:
        return UserError(f"{shown(self.path)}:{line}: {message}")


def inline(entry: str, root: Path) -> str:
    """``entry`` and the modules of ``root``/jobs that it needs, as one file that starts with its docstring.

    Raises:
        UserError: where the one file could mean something else than the package does; names file and line.
    """
    modules = _in_order_of_need(_checked(ENTRY, Path(ENTRY), entry.encode()), root)
    _refuse_two_meanings(modules)
    *_, main = modules.values()
    docstring = [main.tree.body[0]] if ast.get_docstring(main.tree, clean=False) is not None else []
    top = [ast.get_source_segment(main.text, node) or "" for node in docstring]
    pasted = [
        f"# {'-' * 20} {module.name} {'-' * 20}\n\n"
        f"{_without(module, [*module.imports, *(docstring if module is main else [])])}"
        for module in modules.values()
    ]
    imports = "\n".join(_shared_imports([node for module in modules.values() for node in module.imports]))
    return "\n\n".join(filter(None, [*top, imports])) + "\n\n\n" + "\n\n\n".join(pasted)


def _in_order_of_need(entry: _Module, root: Path) -> dict[str, _Module]:
    """The entry and what it imports, directly or not; each after what it imports.

    By the length of the longest chain of imports below, then by name: so what two programs share stands in the same
    order in both, and their difference shows what is different.
    """
    modules: dict[str, _Module] = {}
    heights: dict[str, int] = {}

    def collect(module: _Module, path: tuple[str, ...]) -> None:
        height = 0
        for node in module.imports:
            if not _is_ours(node):
                continue
            assert isinstance(node, ast.ImportFrom) and node.module, "any other form has been refused"
            if node.module in path:
                cycle = [*path[path.index(node.module) :], node.module]
                raise module.refused(
                    node.lineno, f"an import cycle: {' -> '.join(cycle)}; move what both need into a third"
                )
            if node.module not in modules:
                file = _file_of(node.module, root, module, node.lineno)
                collect(_checked(node.module, file, file.read_bytes()), (*path, node.module))
            height = max(height, heights[node.module] + 1)
        modules[module.name], heights[module.name] = module, height

    collect(entry, (entry.name,))
    return {name: modules[name] for name in sorted(modules, key=lambda name: (heights[name], name))}


def _file_of(name: str, root: Path, module: _Module, line: int) -> Path:
    """The file of module ``name``, which ``module`` imports."""
    file = root.joinpath(*name.split(".")).with_suffix(".py")
    if not file.is_file():
        beside = [f"{name.rpartition('.')[0]}.{path.stem}" for path in file.parent.glob("*.py")]
        is_folder = "a folder; import from a module in it" if file.with_suffix("").is_dir() else "no such module"
        raise module.refused(line, f"{name}: {is_folder}{nearest(name, beside)}")
    for folder in file.parents[: name.count(".")]:
        if (folder / "__init__.py").is_file() and (folder / "__init__.py").read_text().strip():
            raise module.refused(line, f"{shown(folder / '__init__.py')} would not be in the one file; empty it")
    return file


@lru_cache(maxsize=1024)  # of pure text: the recipes of one command share most modules
def _checked(name: str, path: Path, source: bytes) -> _Module:
    """The module, after refusing whatever could be different in one file as far as it alone can tell."""
    try:
        text = source.decode("utf-8-sig")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        tree = ast.parse(text)
        table = symtable.symtable(text, str(path), "exec")
    except SyntaxError as error:
        line = f":{error.lineno}" if error.lineno else ""
        raise UserError(f"{shown(path)}{line}: not Python: {error.msg}") from None
    except ValueError as error:
        raise UserError(f"{shown(path)}: not Python in UTF-8: {error}") from None
    imports = tuple(node for node in tree.body if isinstance(node, Import))
    module = _Module(name=name, path=path, text=text, tree=tree, table=table, imports=imports)
    _refuse_other_than_definitions(module)
    return module


def _refuse_other_than_definitions(module: _Module) -> None:
    """Refuse imports in another form, statements that do something, and names that are about the module."""
    for statement in module.imports:
        _refuse_other_forms(module, statement)
    defined = False
    for node in module.tree.body:
        is_import = isinstance(node, Import)
        if module.name == ENTRY and is_import and defined:
            raise module.refused(node.lineno, f"imports come first, and will in the one file: {ast.unparse(node)}")
        defined = defined or not (is_import or _is_text(node))
        if module.name != ENTRY and not (isinstance(node, _DEFINITIONS) or _is_text(node) or _is_constant(node)):
            hint = "; an import for types only has no place here" if "TYPE_CHECKING" in ast.unparse(node)[:40] else ""
            words = ast.unparse(node).partition("\n")[0][:60]
            raise module.refused(
                node.lineno, f"a module of jobs/ defines and does nothing else, this runs: {words}{hint}"
            )
    inner = [table for table in _tables(module.table) if table is not module.table or module.name == ENTRY]
    if any(symbol.is_imported() for table in inner for symbol in table.get_symbols()):
        for found in ast.walk(module.tree):
            if isinstance(found, Import):
                _refuse_other_forms(module, found)
    _refuse_names(module)


def _refuse_other_forms(module: _Module, node: Import) -> None:
    words = ast.unparse(node)
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        raise module.refused(node.lineno, f"{words}: it would change every other module of the one file")
    if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
        raise module.refused(node.lineno, f"{words}: name what you import")
    if not _is_ours(node):
        return
    is_from = isinstance(node, ast.ImportFrom) and not node.level and node.module != "jobs"
    if not is_from or node not in module.imports or any(alias.asname for alias in node.names):
        raise module.refused(node.lineno, f"write 'from jobs.x import name' at the top level, not {words!r}")


def _refuse_names(module: _Module) -> None:
    """Refuse names that are looked up in the module, and would be found elsewhere or not at all in one file."""
    top = {symbol.get_name() for symbol in module.table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    for name in top:
        if name in BUILTINS or (name.startswith("__") and name.endswith("__")):
            of_all = "hides the builtin in every module" if name in BUILTINS else "speaks for a module"
            raise module.refused(_line_of(module, name), f"{name}: {of_all} of the one file; rename it or leave it out")
    for table in _tables(module.table):
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if symbol.is_declared_global():
                raise module.refused(_line_of(module, name), f"global {name}: pass it, or keep it in an object")
            if name in top or not (symbol.is_global() and symbol.is_referenced()):
                continue
            if name in REFLECTION or (name in OF_THE_MODULE and module.name != ENTRY):
                raise module.refused(_line_of(module, name), f"{name}: in the one file it is not about this module")
            if name not in BUILTINS and name not in OF_THE_MODULE and name != "__qualname__":
                hint = nearest(name, top)
                raise module.refused(_line_of(module, name), f"{name}: neither defined nor imported here{hint}")


def _refuse_two_meanings(modules: Mapping[str, _Module]) -> None:
    """Refuse a top-level name that is one thing here and another there, and an imported name that is not there."""
    meanings: dict[str, dict[str, str]] = {}  # of each module's top-level names; modules come after what they import
    first: dict[str, tuple[str, _Module]] = {}
    for module in modules.values():
        meanings[module.name] = {}
        for name, meaning in _bindings(module, meanings):
            meanings[module.name][name] = meaning
            other, where = first.setdefault(name, (meaning, module))
            if other != meaning:
                there = f"{shown(where.path)}:{_line_of(where, name)}"
                raise module.refused(_line_of(module, name), f"{name} is {meaning}, and {other} in {there}; rename one")


def _bindings(module: _Module, meanings: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """Each binding of a top-level name: the name, and what tells two meanings of it apart."""
    imported = set()
    for node in module.imports:
        for alias in node.names:
            name = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
            imported.add(name)
            if isinstance(node, ast.Import):
                yield name, alias.name if alias.asname else name
            elif not _is_ours(node):
                yield name, f"{node.module}.{alias.name}"
            elif meaning := meanings[node.module or ""].get(name):
                yield name, meaning
            else:
                hint = nearest(name, meanings[node.module or ""])
                raise module.refused(node.lineno, f"{node.module} has no {name}{hint}")
    for symbol in module.table.get_symbols():
        name = symbol.get_name()
        if symbol.is_assigned() or (symbol.is_imported() and name not in imported):
            yield name, f"{module.name}.{name}"


def _shared_imports(nodes: Sequence[Import]) -> list[str]:
    """The lines that import what ``nodes`` import from elsewhere than jobs/, each name once."""
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            plain |= {f"import {ast.unparse(alias)}" for alias in node.names}
        elif not _is_ours(node):
            named.setdefault(node.module or "", set()).update(ast.unparse(alias) for alias in node.names)
    lines = sorted(plain)
    for module, names in sorted(named.items()):
        line = f"from {module} import {', '.join(sorted(names))}"
        many = f"from {module} import (\n" + "".join(f"    {name},\n" for name in sorted(names)) + ")"
        lines.append(line if len(line) <= LINE_LENGTH else many)
    return lines


def _without(module: _Module, nodes: Sequence[ast.stmt]) -> str:
    """The module's text without these top-level statements, and without the comments behind them."""
    source = module.text.encode()
    starts = [0]  # of each line; columns of a tree count bytes
    for line in source.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        start, end = (
            starts[node.lineno - 1] + node.col_offset,
            starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0),
        )
        before = source[starts[node.lineno - 1] : start]
        after = source[end:].partition(b"\n")[0]
        rest = after.lstrip().removeprefix(b";").lstrip()
        if rest and after.lstrip().startswith(b";"):
            end += len(after) - len(rest)
        elif rest and not rest.startswith(b"#"):
            raise module.refused(node.lineno, "give this import lines of its own")
        elif before.strip():
            start -= len(before) - len(before.rstrip().removesuffix(b";").rstrip())
        else:
            start, end = starts[node.lineno - 1], min(end + len(after) + 1, len(source))
            if not source[:start].strip() or source[:start].endswith(b"\n\n"):
                end += len(source[end:]) - len(source[end:].lstrip(b"\n"))
        source = source[:start] + source[end:]
    return source.decode().strip("\n") + "\n"


def _is_ours(node: Import) -> bool:
    """Whether ``node`` imports from jobs/, in whatever form."""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == "jobs" for alias in node.names)
    return node.level > 0 or (node.module or "").partition(".")[0] == "jobs"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_constant(node: ast.stmt) -> bool:
    """``A = ...`` or ``A, B = ...``; where Python has it, ``type A = ...``."""
    if isinstance(node, ast.Assign):
        return all(
            isinstance(part, ast.Name | ast.Tuple | ast.expr_context) for at in node.targets for part in ast.walk(at)
        )
    return type(node).__name__ == "TypeAlias"


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for inner in table.get_children():
        yield from _tables(inner)


def _line_of(module: _Module, name: str) -> int:
    """Where ``name`` first stands in the module: as a name, a definition or an import."""
    for node in sorted(ast.walk(module.tree), key=lambda node: getattr(node, "lineno", 0)):
        names = {getattr(node, "id", None), getattr(node, "name", None), getattr(node, "asname", None)}
        if isinstance(node, ast.Global):
            names |= set(node.names)
        if name in names or (isinstance(node, ast.alias) and node.name.partition(".")[0] == name):
            return getattr(node, "lineno", 1)
    return 1
