"""Turn a program that imports from jobs/ into one file that does not."""

import ast
from pathlib import Path


def inline(entry: str, root: Path) -> str:
    """``entry`` with every ``from jobs.x import y`` replaced by the text of jobs/x.py, each module once, in import order.

    What ``entry`` does before its first import stays on top; all other imports follow, then the modules, then ``entry``.

    Raises:
        ValueError: where the one file could mean something else than the package: an import of jobs in any other
            form, a cycle, one top-level name bound to two things, or a module that does more than define.
    """
    order: dict[str, str] = {}
    _collect("entry", entry, root, order, ())
    bound: dict[str, tuple[str, str]] = {}
    header: list[str] = []
    imports: set[str] = set()
    bodies: list[str] = []
    for module, text in order.items():
        lines = text.splitlines()
        started = False
        for node in ast.parse(text).body:
            ours = _is_ours(node, module)
            for name, meaning in () if ours else _bindings(node, module):
                other = bound.setdefault(name, (meaning, module))
                if other[0] != meaning:
                    raise ValueError(f"{name!r} is one thing in {other[1]} and another in {module}; rename one")
            is_import = isinstance(node, ast.Import | ast.ImportFrom)
            if module == "entry" and not started and not ours and not ast.unparse(node).startswith(("'", '"')):
                started = ast.unparse(node).startswith("from")
                header += [] if started else lines[node.lineno - 1 : node.end_lineno]
            elif module != "entry" and not is_import and not _only_defines(node):
                raise ValueError(
                    f"{module}:{node.lineno}: a module of jobs/ only defines; this runs: {ast.unparse(node)[:60]}"
                )
            started = started or ours
            if is_import and not ours:
                imports.add(ast.unparse(node))
            if is_import or lines[node.lineno - 1 : node.end_lineno] == header[-1:]:
                lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        bodies.append(f"# {'-' * 20} {module} {'-' * 20}\n" + "\n".join(lines).strip() + "\n")
    return "\n".join([*header, *sorted(imports - set(header))]) + "\n\n\n" + "\n\n".join(bodies)


def _collect(module: str, text: str, root: Path, order: dict[str, str], path: tuple[str, ...]) -> None:
    if module in path:
        raise ValueError(f"import cycle: {' -> '.join([*path, module])}")
    if module in order:
        return
    for node in ast.walk(ast.parse(text)):
        if _is_ours(node, module):
            name = node.module
            _collect(name, (root / f"{name.replace('.', '/')}.py").read_text(), root, order, (*path, module))
    order[module] = text


def _is_ours(node: ast.AST, module: str) -> bool:
    """Whether ``node`` imports from jobs, in the one form allowed."""
    if isinstance(node, ast.Import) and any(a.name.split(".")[0] == "jobs" for a in node.names):
        raise ValueError(f"{module}: write 'from jobs.x import name', not {ast.unparse(node)!r}")
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        raise ValueError(f"{module}: 'from __future__' would change every other module of the file")
    if not isinstance(node, ast.ImportFrom) or ((node.module or "").split(".")[0] != "jobs" and not node.level):
        return False
    if node.level or node.module == "jobs" or node.col_offset or any(a.asname or a.name == "*" for a in node.names):
        raise ValueError(f"{module}: write 'from jobs.x import name' at the top level, not {ast.unparse(node)!r}")
    return True


def _only_defines(node: ast.stmt) -> bool:
    """Whether ``node`` is a definition, a constant or a docstring, and does not ask which module it is in."""
    if any(isinstance(n, ast.Name) and n.id in ("__name__", "__file__", "__package__") for n in ast.walk(node)):
        return False
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return all(isinstance(t, ast.Name) for t in node.targets)
    return isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign)


def _bindings(node: ast.stmt, module: str) -> list[tuple[str, str]]:
    """The top-level names ``node`` binds, each with what tells two bindings of it apart."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return [(node.name, f"{module}.{node.name}")]
        case ast.Assign():
            return [
                (n.id, f"{module}.{n.id}")
                for t in node.targets
                for n in ast.walk(t)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            ]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [(name, f"{module}.{name}")]
        case ast.Import():
            return [
                (a.asname or a.name.split(".")[0], a.name if a.asname else a.name.split(".")[0]) for a in node.names
            ]
        case ast.ImportFrom():
            return [(a.asname or a.name, f"{node.module}:{a.name}") for a in node.names]
    return []
