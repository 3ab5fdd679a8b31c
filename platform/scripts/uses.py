"""What becomes of the value of a variable: the type it is made, the name it gets, the default that stands in for it."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .tree import FUNCTIONS, Tree, last_name
from .values import TYPES, UnknownValue, Values, World

MOST_STEPS = 60  # from a read to the name that its value gets
MOST_WALKED = 3_000_000  # nodes of one script; after that no more is said of the kinds of its variables
MOST_LOADS = 12  # of one name in a function
PASSING = ("strip", "lstrip", "rstrip", "lower", "upper", "casefold")  # methods of a text that stays the same setting
SAME = ("min", "max", "abs", "expanduser", "abspath", "realpath", "expandvars", "Path", "fspath")
DEFAULTS = ("default", "fallback", "dflt", "d", "default_value")
LISTS = ("split", "loads", "literal_eval")


@dataclass(frozen=True, kw_only=True)
class Use:
    """What is known of one value."""

    kind: str | None = None
    names: frozenset[str] = frozenset()  # that get the value itself, a type or a bound apart
    derived: frozenset[str] = frozenset()  # that get something computed of it
    default: Any = None  # that stands in for it, where the reading function is given none
    has_default: bool = False

    def joined(self, other: "Use") -> "Use":
        return Use(
            kind=self.kind or other.kind,
            names=self.names | other.names,
            derived=self.derived | other.derived,
            default=self.default if self.has_default else other.default,
            has_default=self.has_default or other.has_default,
        )


class Uses:
    """Follows values upwards through the tree of one script."""

    def __init__(self, tree: Tree, values: Values) -> None:
        self._tree = tree
        self._values = values
        self._walked = 0  # nodes, in search of a name

    def of(self, node: ast.AST, world: World, steps: int = 0) -> Use:
        """What becomes of the value of ``node`` in ``world``."""
        use, is_it = Use(), True

        def named(*names: str) -> Use:
            kept = frozenset(name for name in names if name)
            return use.joined(Use(names=kept) if is_it else Use(derived=kept))

        while steps < MOST_STEPS:
            steps += 1
            below, node = node, self._tree.parents.get(node)  # type: ignore[assignment]
            match node:
                case ast.Attribute(attr=method):
                    call = self._tree.parents[node]
                    if not isinstance(call, ast.Call) or call.func is not node:
                        return use
                    is_it = is_it and method in PASSING
                    use = replace(use, kind="str") if method in LISTS else use
                    node = call
                case ast.Call(func=func, args=args) if below in args:
                    if last_name(func) == "setattr" and len(args) == 3:
                        return named(self._text(args[1], world))
                    kind = self._type(func, world)
                    if kind is not None:
                        use = replace(use, kind=kind)
                    elif "bool" in last_name(func).lower():
                        use = replace(use, kind="bool")
                    elif last_name(func) not in SAME:
                        is_it = False
                        use = replace(use, kind="str") if last_name(func) in LISTS else use
                case ast.Call():
                    return use
                case ast.keyword(arg=name):
                    call = self._tree.parents[node]
                    assert isinstance(call, ast.Call | ast.ClassDef)
                    if isinstance(call, ast.ClassDef):
                        return use
                    if last_name(call.func) == "field":
                        node = call
                    elif last_name(call.func) == "add_argument":
                        its = next((one.value for one in call.keywords if one.arg == "type"), None)
                        kind = None if its is None else self._type(its, world)
                        return named(_destination(call)).joined(Use(kind=kind))
                    else:
                        return named(name or "")
                case ast.Compare(left=left, ops=[operator], comparators=[other]) if left is below:
                    if isinstance(operator, ast.Is | ast.IsNot):
                        return use
                    use, is_it = replace(use, kind="bool"), is_it and isinstance(operator, ast.Eq | ast.In | ast.Gt)
                    is_it = is_it or (isinstance(operator, ast.NotEq | ast.NotIn) and _is_false(other))
                case ast.Compare():
                    return use
                case ast.UnaryOp(op=ast.Not()):
                    use, is_it = replace(use, kind="bool"), False
                case ast.BoolOp(op=ast.Or(), values=[first, *_, last]) if first is below:
                    use = self._with_default(use, last, world)
                case ast.IfExp(test=test, body=body, orelse=orelse):
                    if below is test:
                        return use
                    use = self._with_default(use, orelse if below is body else body, world)
                case ast.Lambda() | ast.Return():
                    function = node if isinstance(node, ast.Lambda) else self._function(node)
                    if function in world.calls:
                        node, world = world.calls[function]
                    elif isinstance(node, ast.Lambda) and isinstance(self._tree.parents[node], ast.keyword):
                        continue
                    else:
                        return self._of_calls(function, use, is_it, steps)
                case ast.Assign(targets=targets):
                    found = use
                    for target in targets:
                        found = found.joined(self._assigned(target, named, world, steps))
                    return found
                case ast.AnnAssign(target=target):
                    return self._assigned(target, named, world, steps)
                case ast.NamedExpr(target=target):
                    use = use.joined(named(target.id))
                case ast.Dict(keys=keys, values=values):
                    key = next((one for one, its in zip(keys, values, strict=True) if its is below and one), None)
                    return named(self._text(key, world)) if key is not None else use
                case ast.DictComp(key=key):
                    return named(self._text(key, world))
                case ast.Tuple(elts=parts) if isinstance(assign := self._tree.parents[node], ast.Assign):
                    for target in assign.targets:
                        if isinstance(target, ast.Tuple) and len(target.elts) == len(parts):
                            return self._assigned(
                                target.elts[[id(one) for one in parts].index(id(below))], named, world, steps
                            )
                    return use
                case ast.BinOp() | ast.UnaryOp() | ast.JoinedStr() | ast.FormattedValue() | ast.Subscript():
                    is_it = False
                case ast.Tuple() | ast.List() | ast.BoolOp():
                    is_it = False
                case _:
                    return use
        return use

    def _assigned(self, target: ast.expr, named: Callable[..., Use], world: World, steps: int) -> Use:
        """Of a value that is assigned to ``target``; of a helper's own name for it, what the helper gives back."""
        if isinstance(target, ast.Subscript):
            return named(self._text(target.slice, world))
        if not isinstance(target, ast.Name):
            return named(last_name(target))
        scope = self._tree.owner(target.id, target)
        if not isinstance(scope, FUNCTIONS) or steps > MOST_STEPS // 2:
            return named(target.id)
        of_helper = scope in world.calls
        found = named() if of_helper else named(target.id)
        for one in self._loads(scope, target.id) if of_helper or found.kind is None else ():
            use = self.of(one, world, steps + 20)
            found = found.joined(use if of_helper else Use(kind=use.kind))
        return found

    def _loads(self, scope: ast.AST, name: str) -> list[ast.Name]:
        """Where a function reads a name, the first places of it."""
        found: list[ast.Name] = []
        for one in ast.walk(scope):
            self._walked += 1
            if self._walked > MOST_WALKED or len(found) == MOST_LOADS:
                break
            if isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load):
                found.append(one)
        return found

    def _of_calls(self, function: ast.AST, use: Use, is_it: bool, steps: int) -> Use:
        """Of a value that a function without parameters for it gives back."""
        if not isinstance(function, FUNCTIONS):
            return use
        for call in self._tree.calls(function)[0][:4]:
            found = self.of(call, World(), steps + 10)
            use = use.joined(found if is_it else replace(found, names=frozenset(), derived=found.names | found.derived))
        return use

    def _with_default(self, use: Use, node: ast.expr, world: World) -> Use:
        try:
            return use.joined(Use(default=self._values.of(node, world), has_default=True))
        except UnknownValue:
            return use

    def _function(self, node: ast.AST) -> ast.AST:
        while not isinstance(node, FUNCTIONS) and node in self._tree.parents:
            node = self._tree.parents[node]
        return node

    def _type(self, function: ast.expr, world: World) -> str | None:
        """The type that a call makes of its argument: ``int(x)``, ``cast(x)``, ``type(default)(x)``."""
        try:
            found = self._values.of(function, world)
        except UnknownValue:
            return None
        return next((name for name, its in TYPES.items() if its is found), None)

    def _text(self, node: ast.expr, world: World) -> str:
        try:
            found = self._values.of(node, world)
        except UnknownValue:
            return ""
        return found if isinstance(found, str) else ""


def default_parameter(function: ast.AST, name: ast.expr, names: Mapping[str, Any]) -> Any:
    """What a helper that is called with these values falls back to, by its parameters. Raises UnknownValue."""
    if not isinstance(function, FUNCTIONS):
        raise UnknownValue
    read = {one.id for one in ast.walk(name) if isinstance(one, ast.Name)}
    others = [
        one.arg
        for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if one.arg not in read and one.arg not in ("self", "cls")
    ]
    chosen = [one for one in others if one in DEFAULTS] or (others if len(others) == 1 else [])
    if not chosen or chosen[0] not in names:
        raise UnknownValue
    return names[chosen[0]]


def _destination(call: ast.Call) -> str:
    """The attribute that ``add_argument`` gives a value to."""
    for keyword in call.keywords:
        if keyword.arg == "dest" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    options = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    long = [one for one in options if one.startswith("--")] or options
    return long[0].lstrip("-").replace("-", "_") if long else ""


def _is_false(node: ast.expr) -> bool:
    """Whether a comparison with this, ``!= "0"`` or ``not in ("0", "false")``, means that the setting is on."""
    values = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return all(
        isinstance(one, ast.Constant) and str(one.value).lower() in ("0", "false", "no", "off", "", "none", "n", "f")
        for one in values
    )
