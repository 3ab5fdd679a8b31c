"""Where a script reads environment variables: each place with the object that it reads from, however that is called.

Followed are other names (``env = os.environ``, ``E = os.environ.get``, ``from os import getenv``), copies
(``dict(os.environ)``) and what a function of the script is handed. Where the environment goes any other way, nobody can
tell by the text what is read of it: that is an escape.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .tree import Function, Tree, last_name

READING = ("get", "pop", "setdefault", "__getitem__", "__contains__")
WRITING = ("update", "clear", "__setitem__")
ALL_OF_IT = ("items", "keys", "values", "__iter__", "popitem")
# Starting another program, which inherits the environment anyway.
STARTING = ("run", "Popen", "call", "check_call", "check_output", "execve", "execvpe", "spawnve", "posix_spawn")
HARMLESS = ("print", "len", "id", "isinstance", "type", "bool", "pprint")
MOST_ROUNDS = 6  # of names for names


@dataclass(frozen=True)
class Read:
    """One place that reads a variable."""

    node: ast.expr  # the expression whose value is the variable's
    name: ast.expr
    default: ast.expr | None
    is_test: bool = False  # ``name in os.environ``


class Environment:
    """Finds what reads the environment in one script."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._modules = {"os"}  # what the module is called
        self._names: set[tuple[ast.AST, str]] = set()  # names for the environment, by scope
        self._getters: set[tuple[ast.AST, str]] = set()  # names for a function that reads a variable of it
        self._attributes: set[str] = set()  # of ``self``
        self._getter_attributes: set[str] = set()
        self._imports()
        known = -1
        for _ in range(MOST_ROUNDS):
            if known == self._known():
                break
            known = self._known()
            for node in tree.nodes:
                self._follow(node)

    def reads(self) -> Iterator[Read]:
        """Every place that reads a variable, in no order; one for each name that an ``if`` chooses from."""
        for read in self._places():
            todo = [read.name]
            while todo:
                name = todo.pop()
                if isinstance(name, ast.IfExp):
                    todo += [name.body, name.orelse]
                else:
                    yield replace(read, name=name)

    def _places(self) -> Iterator[Read]:
        for node in self._tree.nodes:
            match node:
                case ast.Call(func=func, args=[name, *rest]) if self._is_getter(func):
                    if not isinstance(name, ast.Starred):
                        given = rest[0] if rest else None
                        keywords = [one.value for one in node.keywords if one.arg == "default"]
                        yield Read(node, name, keywords[0] if keywords else given)
                case ast.Call(func=func, keywords=keywords) if self._is_getter(func):
                    named = {one.arg: one.value for one in keywords}
                    if "key" in named:
                        yield Read(node, named["key"], named.get("default"))
                case ast.Subscript(value=value, slice=name, ctx=ast.Load()) if self._is_it(value):
                    yield Read(node, name, None)
                case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]) if self._is_it(right):
                    yield Read(node, left, None, is_test=True)

    def escapes(self) -> Iterator[tuple[int, str]]:
        """Where the environment goes out of sight: line, and how."""
        for node in self._tree.nodes:
            if isinstance(node, ast.expr):
                parent = self._tree.parents[node]
                if self._is_it(node) and not (isinstance(parent, ast.expr) and self._is_it(parent)):
                    how = self._escape(node, parent)
                elif self._is_getter(node):
                    how = self._getter_escape(node, parent)
                else:
                    continue
                if how:
                    yield node.lineno, how

    def _known(self) -> int:
        return len(self._names) + len(self._getters) + len(self._attributes) + len(self._getter_attributes)

    def _imports(self) -> None:
        for node in self._tree.nodes:
            if isinstance(node, ast.Import):
                self._modules |= {one.asname for one in node.names if one.asname and one.name in ("os", "posix")}
            elif isinstance(node, ast.ImportFrom) and node.module in ("os", "posix"):
                scope = self._tree.scope(node)
                for one in node.names:
                    if one.name == "*":
                        self._names.add((scope, "environ"))
                        self._getters.add((scope, "getenv"))
                        self._tree.stored[scope] |= {"environ", "getenv"}
                    elif one.name in ("environ", "environb"):
                        self._names.add((scope, one.asname or one.name))
                    elif one.name in ("getenv", "getenvb"):
                        self._getters.add((scope, one.asname or one.name))

    def _is_module(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call) and last_name(node.func) in ("__import__", "import_module"):
            return bool(node.args) and getattr(node.args[0], "value", None) == "os"
        return isinstance(node, ast.Name) and node.id in self._modules

    def _is_it(self, node: ast.AST) -> bool:
        """Whether an expression is the environment, or a copy of it."""
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                return bool(self._names) and (self._tree.owner(name, node), name) in self._names
            case ast.Attribute(value=value, attr="environ" | "environb"):
                return self._is_module(value)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Load()):
                return name in self._attributes
            case ast.Call(func=ast.Name(id="dict"), args=[value]) if self._is_it(value):
                return True
            case ast.Call(func=ast.Name(id="dict"), keywords=[*_, ast.keyword(arg=None, value=value)]):
                return self._is_it(value)
            case ast.Call(func=ast.Attribute(value=value, attr="copy"), args=[]):
                return self._is_it(value)
            case ast.Call(func=ast.Name(id="copy" | "deepcopy"), args=[value]):
                return self._is_it(value)
            case ast.Call(func=ast.Name(id="getattr"), args=[module, ast.Constant(value="environ"), *_]):
                return self._is_module(module)
            case ast.Dict(keys=keys, values=values):
                return any(key is None and self._is_it(one) for key, one in zip(keys, values, strict=True))
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._is_it(left) or self._is_it(right)
        return False

    def _is_getter(self, node: ast.AST) -> bool:
        """Whether an expression is a function that reads a variable."""
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                return bool(self._getters) and (self._tree.owner(name, node), name) in self._getters
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if name in self._getter_attributes:
                return True
            case ast.Attribute(value=value, attr=name):
                if name in ("getenv", "getenvb"):
                    return self._is_module(value)
                return name in READING and self._is_it(value)
        return False

    def _follow(self, node: ast.AST) -> None:
        """Keep the names that ``node`` gives to the environment or to a function that reads it."""
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._name(target, value)
            case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value) if value:
                self._name(target, value)
            case ast.Call():
                for function in self._tree.named(node.func):
                    self._hand_over(function, node)
            case ast.arguments():
                positional = [*node.posonlyargs, *node.args]
                for parameter, default in zip(reversed(positional), reversed(node.defaults), strict=False):
                    self._keep(self._tree.parents[node], parameter.arg, default)
                for parameter, its in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                    if its is not None:
                        self._keep(self._tree.parents[node], parameter.arg, its)

    def _name(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its in zip(target.elts, value.elts, strict=False):
                self._name(one, its)
        elif isinstance(target, ast.Name):
            self._keep(self._tree.owner(target.id, target), target.id, value)
        elif isinstance(target, ast.Attribute) and last_name(target.value) in ("self", "cls"):
            if self._is_it(value):
                self._attributes.add(target.attr)
            elif self._is_getter(value):
                self._getter_attributes.add(target.attr)

    def _keep(self, scope: ast.AST, name: str, value: ast.expr) -> None:
        if self._is_it(value):
            self._names.add((scope, name))
        elif self._is_getter(value):
            self._getters.add((scope, name))

    def _hand_over(self, function: Function, call: ast.Call) -> None:
        positional = [*function.args.posonlyargs, *function.args.args]
        if self._tree.is_method(function) and isinstance(call.func, ast.Attribute):
            positional = positional[1:]
        for parameter, value in zip(positional, call.args, strict=False):
            self._keep(function, parameter.arg, value)
        for keyword in call.keywords:
            if keyword.arg is not None:
                self._keep(function, keyword.arg, keyword.value)

    def _escape(self, node: ast.expr, parent: ast.AST) -> str:
        """How the environment is handed on at ``node``; empty where it is used in a way that is followed."""
        match parent:
            case ast.Attribute(attr=name):
                return f"goes through all environment variables with .{name}" if name in ALL_OF_IT else ""
            case ast.Subscript(value=value) if value is node:
                return ""
            case ast.Tuple() if isinstance(self._tree.parents[parent], ast.Assign):
                return ""
            case ast.Compare() | ast.Expr() | ast.arguments() | ast.Delete():
                return ""
            case ast.Assign(targets=targets):
                plain = all(isinstance(one, ast.Name | ast.Attribute) for one in targets)
                return "" if plain else "keeps the environment in a table"
            case ast.AnnAssign() | ast.NamedExpr() | ast.AugAssign() | ast.BoolOp() | ast.UnaryOp():
                return ""
            case ast.Call(func=ast.Attribute(value=value, attr="update"), args=args) if node in args and self._is_it(
                value
            ):
                return ""
            case ast.Call(func=func):
                followed = last_name(func) in (*HARMLESS, *STARTING) or self._tree.named(func)
                return "" if followed else f"hands all environment variables to {last_name(func) or 'a call'}()"
            case ast.keyword(arg=name):
                call = self._tree.parents[parent]
                its = call.func if isinstance(call, ast.Call) else None
                if name is not None and (last_name(its) in STARTING or (its is not None and self._tree.named(its))):
                    return ""
                return f"hands all environment variables to {last_name(its) or 'a call'}()"
            case ast.For() | ast.comprehension():
                return "goes through all environment variables"
        return "hands all environment variables on"

    def _getter_escape(self, node: ast.expr, parent: ast.AST) -> str:
        match parent:
            case ast.Call(func=func) if func is node:
                spread = bool(parent.args) and isinstance(parent.args[0], ast.Starred)
                return "reads a variable whose name comes with a star" if spread else ""
            case ast.Call(func=func) if self._tree.named(func):
                return ""
            case ast.keyword() | ast.Assign() | ast.AnnAssign() | ast.NamedExpr() | ast.arguments() | ast.Expr():
                call = self._tree.parents.get(parent)
                known = not isinstance(parent, ast.keyword) or (
                    isinstance(call, ast.Call) and bool(self._tree.named(call.func))
                )
                return "" if known else "hands the function that reads variables on"
        return "hands the function that reads variables on"
