"""The text of a script as a tree that knows its scopes: who binds a name, who calls a function, what encloses what."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
Scope = ast.Module | ast.ClassDef | Function | Comprehension

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
CHANGING = frozenset(("append", "extend", "insert", "add", "update", "setdefault", "pop", "remove", "clear"))
COMMON_METHODS = frozenset(("get", "pop", "setdefault", "update", "items", "keys", "values", "copy", "read", "load"))


class Tree:
    """A parsed script with indexes over it."""

    def __init__(self, module: ast.Module) -> None:
        self.module = module
        self.nodes = list(ast.walk(module))
        self.parents: dict[ast.AST, ast.AST] = {}
        for node in self.nodes:
            for child in ast.iter_child_nodes(node):
                if not isinstance(child, ast.expr_context | ast.operator | ast.cmpop | ast.boolop | ast.unaryop):
                    self.parents[child] = node
        self.classes: Mapping[str, ast.ClassDef] = {
            node.name: node for node in self.nodes if isinstance(node, ast.ClassDef)
        }
        self.stored: dict[ast.AST, set[str]] = defaultdict(set)  # names that a scope binds, parameters included
        self._assigned: dict[tuple[ast.AST, str], list[ast.expr | None]] = defaultdict(list)
        self.changed: set[str] = set()  # names of tables that are changed after they are made
        self._functions: dict[str, list[Function]] = defaultdict(list)
        self._calls: dict[str, list[ast.Call]] = defaultdict(list)  # by the last part of what is called
        self._mentions: dict[str, list[ast.expr]] = defaultdict(list)  # of names that are not called there
        self._instances: dict[str, set[str]] = defaultdict(set)  # names that were given an object of a class
        for node in self.nodes:
            self._index(node)

    def scope(self, node: ast.AST) -> Scope:
        """The innermost scope around ``node``, itself left out."""
        while True:
            below, node = node, self.parents[node]
            if isinstance(node, FUNCTIONS) and below is node.args:
                continue  # defaults and annotations are outside
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and below in node.decorator_list:
                continue
            if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS, *COMPREHENSIONS)):
                return node

    def owner(self, name: str, at: ast.AST) -> Scope:
        """The scope whose ``name`` is meant at ``at``."""
        scope: Scope = self.module
        node, inner = at, True
        while node is not self.module:
            scope = self.scope(node)
            if name in self.stored[scope] and (inner or not isinstance(scope, ast.ClassDef)):
                return scope
            inner = inner and isinstance(scope, COMPREHENSIONS)
            node = scope
        return self.module

    def assigned(self, scope: ast.AST, name: str) -> ast.expr | None:
        """What ``name`` is in ``scope``, where it is given one value by one plain assignment and never changed."""
        values = self._assigned.get((scope, name), [])
        return values[0] if len(values) == 1 and name not in self.changed else None

    def all_assigned(self, scope: ast.AST, name: str) -> list[ast.expr | None]:
        """Every value that ``name`` is given in ``scope``; None for one that no plain assignment gives."""
        return self._assigned.get((scope, name), [])

    def fields(self, scope: ast.AST) -> dict[str, ast.expr | None]:
        """The names without an underscore that a class or the module gives a value, in order."""
        return {
            name: values[0]
            for (owner, name), values in self._assigned.items()
            if owner is scope and not name.startswith("_")
        }

    def calls(self, function: Function) -> tuple[list[ast.Call], bool]:
        """Where ``function`` is called, and whether all such places are known."""
        found: list[ast.Call] = []
        complete = True
        names = self._names(function)
        for name in names:
            method = self._class_of(function)
            for call in self._calls[name]:
                if self._fits(call.func, name, method):
                    found.append(call)
            handed_on = any(self._fits(one, name, method) for one in self._mentions[name])
            complete = complete and not handed_on and (method is None or bool(found))
        return found, complete and bool(names)

    def named(self, function: ast.expr) -> list[Function]:
        """The functions of the script that ``function``, the called part of a call, may be."""
        last = last_name(function)
        found = []
        for one in self._functions.get(last, []):
            method = self._class_of(one)
            if self._fits(function, last, method):
                found.append(one)
        return found

    def is_method(self, function: Function) -> bool:
        """Whether its first parameter is the object itself."""
        if self._class_of(function) is None:
            return False
        decorators = getattr(function, "decorator_list", [])
        return not any(last_name(one) == "staticmethod" for one in decorators)

    def _index(self, node: ast.AST) -> None:
        match node:
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                parent = self.parents[node]
                is_partial = isinstance(parent, ast.Call) and last_name(parent.func) == "partial"
                if not (isinstance(parent, ast.Call) and (parent.func is node or is_partial)):
                    self._mentions[last_name(node)].append(node)
            case ast.Name():
                self.stored[self._binder(node)].add(node.id)
                if not self._is_plain(node):
                    self._assigned[self._binder(node), node.id].append(None)
            case ast.arg():
                function = self.parents[self.parents[node]]
                self.stored[function].add(node.arg)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.stored[self.scope(node)].add(node.name)
                if not isinstance(node, ast.ClassDef):
                    self._functions[node.name].append(node)
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    self.stored[self.scope(node)].add(alias.asname or alias.name.partition(".")[0])
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._assign(target, value)
            case ast.NamedExpr(target=target, value=value):
                self._assign(target, value)
            case ast.AugAssign(target=target):
                self.changed.add(last_name(target))
            case ast.Call(func=func):
                self._calls[last_name(func)].append(node)
                if last_name(func) == "partial" and node.args:  # partial(f, ...) is a call of f
                    self._calls[last_name(node.args[0])].append(node)
                if isinstance(func, ast.Attribute) and func.attr in CHANGING and isinstance(func.value, ast.Name):
                    self.changed.add(func.value.id)
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                self.changed.add(name)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, its in zip(target.elts, value.elts, strict=True):
                self._assign(one, its)
        if not isinstance(target, ast.Name | ast.Attribute):
            return
        name = last_name(target)
        if isinstance(target, ast.Name):
            self._assigned[self._binder(target), name].append(value)
        if isinstance(value, ast.Lambda):
            self._functions[name].append(value)
        if isinstance(value, ast.Call) and last_name(value.func) in self.classes:
            self._instances[last_name(value.func)].add(name)

    def _binder(self, node: ast.AST) -> Scope:
        """The scope that an assignment at ``node`` binds a name in."""
        scope = self.scope(node)
        parent = self.parents[node]
        while isinstance(parent, ast.Tuple | ast.List | ast.Starred):
            parent = self.parents[parent]
        if isinstance(parent, ast.comprehension):
            return scope
        while isinstance(scope, COMPREHENSIONS):
            scope = self.scope(scope)
        return scope

    def _is_plain(self, node: ast.Name) -> bool:
        """Whether ``node`` is bound by an assignment whose value ``_assign`` keeps."""
        parent = self.parents[node]
        if isinstance(parent, ast.Tuple):
            above = self.parents[parent]
            return isinstance(above, ast.Assign) and (
                isinstance(above.value, ast.Tuple) and len(above.value.elts) == len(parent.elts)
            )
        return isinstance(parent, ast.Assign | ast.AnnAssign | ast.NamedExpr)

    def _names(self, function: Function) -> list[str]:
        """What ``function`` is called by: its own name, and those that it is assigned to."""
        if isinstance(function, ast.Lambda):
            parent = self.parents[function]
            targets = parent.targets if isinstance(parent, ast.Assign) else [getattr(parent, "target", None)]
            return [last_name(one) for one in targets if isinstance(one, ast.Name | ast.Attribute)]
        return [function.name]

    def _class_of(self, function: Function) -> ast.ClassDef | None:
        if isinstance(function, ast.Lambda):
            parent = self.parents[function]
            targets = parent.targets if isinstance(parent, ast.Assign) else []
            if not any(isinstance(one, ast.Attribute) for one in targets):
                return None
        scope = self.scope(function)
        while not isinstance(scope, ast.ClassDef | ast.Module):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                return None
            scope = self.scope(scope)
        return scope if isinstance(scope, ast.ClassDef) else None

    def _fits(self, called: ast.expr, name: str, method: ast.ClassDef | None) -> bool:
        """Whether ``called``, ``name`` or ``x.name``, can be that function, or the method of that class."""
        if method is None or not isinstance(called, ast.Attribute):
            return method is None and not isinstance(called, ast.Attribute)
        if name not in COMMON_METHODS:
            return True
        receiver = called.value
        of = last_name(receiver.func if isinstance(receiver, ast.Call) else receiver)
        return of in ("self", "cls", method.name) or of in self._instances[method.name]


def last_name(node: ast.AST | None) -> str:
    """The last part of a dotted name; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def free_names(*nodes: ast.expr | None) -> set[str]:
    """The names that these expressions read."""
    return {one.id for node in nodes if node is not None for one in ast.walk(node) if isinstance(one, ast.Name)}


def targets(node: ast.AST) -> Iterator[str]:
    """The names that an assignment target binds."""
    return (one.id for one in ast.walk(node) if isinstance(one, ast.Name))
