"""What an expression of a script is worth where its text alone says so. Nothing runs; the rest is unknown.

A world is one way in which a place of the script is reached: which call of the function around it, which turn of the
loop around it. So a helper that reads an environment variable is seen once for each name that it is called with.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .tree import COMPREHENSIONS, FUNCTIONS, Comprehension, Function, Tree, free_names, last_name, targets

MOST_NESTED = 50  # expressions in expressions
DEEPEST = 12  # calls and assignments that are followed from one place
MOST_WORLDS = 2_000  # of one place
MOST_STEPS = 400_000  # of evaluation in one script; after that all is unknown
LONGEST_TEXT = 10_000
LARGEST_NUMBER = 1 << 64

TYPES: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_PLAIN_FORMAT = re.compile(r"(?:[^%]|%[sd]){0,200}")  # a width could ask for any amount of memory
_TEXT_METHODS = ("upper", "lower", "strip", "lstrip", "rstrip", "replace", "removeprefix", "removesuffix", "title")
_TABLES = ("items", "keys", "values")
_AS_THEY_ARE = {"list": list, "tuple": tuple, "set": list, "sorted": list, "frozenset": list, "reversed": list}


class UnknownValue(Exception):
    """The text does not say what it is."""


@dataclass(frozen=True)
class Field:
    """A field of a class, as ``dataclasses.fields`` gives them."""

    name: str
    default: Any
    type: Any


@dataclass(frozen=True)
class World:
    """The values of names, and the call by which each function around was entered."""

    names: Mapping[str, Any] = field(default_factory=dict)
    calls: Mapping[ast.AST, tuple[ast.Call, "World"]] = field(default_factory=dict)

    def with_names(self, names: Mapping[str, Any]) -> "World":
        return World({**self.names, **names}, self.calls)


class Unknowable:
    """The value of a name in a world where the text does not say it."""


UNKNOWN = Unknowable()


class Values:
    """Evaluates expressions of one script."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._steps = 0
        self._busy: set[ast.expr] = set()  # what is being evaluated: one that is made of itself is unknown

    def of(self, node: ast.expr, world: World) -> Any:
        """The value of an expression. Raises UnknownValue."""
        self._steps += 1
        if node in self._busy or len(self._busy) > MOST_NESTED or self._steps > MOST_STEPS:
            raise UnknownValue
        self._busy.add(node)
        try:
            found = self._of(node, world)
        finally:
            self._busy.discard(node)
        if isinstance(found, Unknowable):
            raise UnknownValue
        if (isinstance(found, str | bytes | list | tuple | dict) and len(found) > LONGEST_TEXT) or (
            isinstance(found, int) and abs(found) > LARGEST_NUMBER
        ):
            raise UnknownValue
        return found

    def worlds(self, at: ast.AST, needed: set[str], depth: int = 0) -> list[World]:
        """Every way in which ``at`` is reached, as far as it matters to the names that are needed there."""
        needed = self._closed(needed, at)
        if not needed:
            return [World()]
        self._steps += 1
        if depth > DEEPEST or self._steps > MOST_STEPS:
            return [World(dict.fromkeys(needed, UNKNOWN))]
        below, binder = at, self._tree.parents.get(at)
        while binder is not None:
            bound = needed & self._bound_by(binder, below)
            if bound:
                found = self._through(binder, needed, bound, depth)
                cut = [World(dict.fromkeys(needed, UNKNOWN))] if len(found) > MOST_WORLDS else []
                return found[:MOST_WORLDS] + cut
            below, binder = binder, self._tree.parents.get(binder)
        return [World()]

    def _closed(self, names: set[str], at: ast.AST) -> set[str]:
        """``names`` and those that they are made of, by assignments in the scopes around."""
        found, todo = set(names), list(names)
        while todo:
            name = todo.pop()
            scope = self._tree.owner(name, at)
            value = self._tree.assigned(scope, name)
            if value is not None:
                more = free_names(value) - found
                found |= more
                todo += more
        return found

    def _bound_by(self, binder: ast.AST, below: ast.AST) -> set[str]:
        """The names that a loop, a comprehension or a function gives to what is inside it."""
        if isinstance(binder, ast.For | ast.AsyncFor) and below is not binder.iter:
            return set(targets(binder.target))
        if isinstance(binder, COMPREHENSIONS):
            return {name for one in binder.generators for name in targets(one.target)}
        if isinstance(binder, FUNCTIONS) and below is not binder.args:
            return {one.arg for one in _parameters(binder)}
        return set()

    def _through(self, binder: ast.AST, needed: set[str], bound: set[str], depth: int) -> list[World]:
        if isinstance(binder, FUNCTIONS):
            return self._through_function(binder, needed, bound, depth)
        if isinstance(binder, COMPREHENSIONS):
            loops = [(one.target, one.iter, one.ifs) for one in binder.generators]
        else:
            assert isinstance(binder, ast.For | ast.AsyncFor)
            loops = [(binder.target, binder.iter, [])]
        inside = needed - bound | free_names(*(iterated for _, iterated, _ in loops))
        found = self.worlds(binder, inside - bound if len(loops) == 1 else inside, depth + 1)
        for target, iterated, conditions in loops:
            found = self._all_turns(target, iterated, conditions, found)
        return found

    def _all_turns(
        self, target: ast.expr, iterated: ast.expr, conditions: list[ast.expr], worlds: list[World]
    ) -> list[World]:
        """A world for each turn of a loop in each of ``worlds``; at most one more than MOST_WORLDS."""
        turns = (one for world in worlds for one in self._turns(target, iterated, conditions, world))
        return list(islice(turns, MOST_WORLDS + 1))

    def _turns(self, target: ast.expr, iterated: ast.expr, conditions: list[ast.expr], world: World) -> list[World]:
        """A world for each turn of a loop; one in which its names are unknown, where what it goes over is."""
        try:
            turns = list(self.of(iterated, world))
        except (UnknownValue, TypeError):
            return [world.with_names(dict.fromkeys(targets(target), UNKNOWN))]
        found = []
        for turn in turns:
            one = world.with_names(_bound(target, turn))
            if all(self._may_hold(condition, one) for condition in conditions):
                found.append(one)
        return found

    def _may_hold(self, condition: ast.expr, world: World) -> bool:
        try:
            return bool(self.of(condition, world))
        except UnknownValue:
            return True

    def _through_function(self, function: Function, needed: set[str], bound: set[str], depth: int) -> list[World]:
        calls, complete = self._tree.calls(function)
        outer = needed - bound
        found: list[World] = []
        for call in calls:
            if len(found) > MOST_WORLDS:
                break
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            for world in self.worlds(call, free_names(*given), depth + 1):
                names = self._arguments(function, call, world)
                found.append(
                    World({**dict.fromkeys(bound, UNKNOWN), **names}, {**world.calls, function: (call, world)})
                )
        if not complete:
            found.append(World(dict.fromkeys(bound, UNKNOWN)))
        if outer:
            around = self.worlds(function, outer, depth + 1)
            found = [
                World({**other.names, **one.names}, {**other.calls, **one.calls}) for one in found for other in around
            ]
        return found

    def _arguments(self, function: Function, call: ast.Call, world: World) -> dict[str, Any]:
        """The parameters of a function in one call of it."""
        arguments = function.args
        positional = [*arguments.posonlyargs, *arguments.args]
        names: dict[str, Any] = {}
        for parameter, default in zip(reversed(positional), reversed(arguments.defaults), strict=False):
            names[parameter.arg] = self._or_unknown(default, World())
        for parameter, its_default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if its_default is not None:
                names[parameter.arg] = self._or_unknown(its_default, World())
        given = call.args[1:] if last_name(call.func) == "partial" else call.args
        if self._tree.is_method(function) and isinstance(call.func, ast.Attribute):
            positional = positional[1:]
        values: list[Any] = []
        for argument in given:
            if isinstance(argument, ast.Starred):
                spread = self._or_unknown(argument.value, world)
                if not isinstance(spread, list | tuple):
                    return dict.fromkeys((one.arg for one in _parameters(function)), UNKNOWN)
                values += spread
            else:
                values.append(self._or_unknown(argument, world))
        names |= {parameter.arg: value for parameter, value in zip(positional, values, strict=False)}
        for keyword in call.keywords:
            if keyword.arg is not None:
                names[keyword.arg] = self._or_unknown(keyword.value, world)
                continue
            spread = self._or_unknown(keyword.value, world)
            if not isinstance(spread, dict):
                return dict.fromkeys((one.arg for one in _parameters(function)), UNKNOWN)
            names |= spread
        return names

    def _or_unknown(self, node: ast.expr, world: World) -> Any:
        try:
            return self.of(node, world)
        except UnknownValue:
            return UNKNOWN

    def _of(self, node: ast.expr, world: World) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name():
                return self._name(node, world)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                return self._parts(parts, world)
            case ast.Dict(keys=keys, values=values):
                return self._dict(keys, values, world)
            case ast.JoinedStr(values=values):
                return "".join(str(self.of(one, world)) for one in values)
            case ast.FormattedValue(value=value, format_spec=spec):
                if spec is not None:
                    raise UnknownValue
                return str(self.of(value, world))
            case ast.BinOp():
                return self._operation(node, world)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -_number(self.of(operand, world))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.of(operand, world)
            case ast.Subscript(value=value, slice=index):
                return self._item(self.of(value, world), self.of(index, world))
            case ast.Attribute():
                return self._attribute(node, world)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node, world)
            case ast.Call():
                return self._call(node, world)
        raise UnknownValue

    def _name(self, node: ast.Name, world: World) -> Any:
        if node.id in world.names:
            return world.names[node.id]
        scope = self._tree.owner(node.id, node)
        value = self._tree.assigned(scope, node.id)
        if value is not None:
            return self.of(value, world)
        if node.id in TYPES and node.id not in self._tree.stored[scope]:
            return TYPES[node.id]
        raise UnknownValue

    def _parts(self, parts: Iterable[ast.expr], world: World) -> list[Any]:
        """The parts of a table; those that are not known stand in it as such."""
        found: list[Any] = []
        for part in parts:
            if isinstance(part, ast.Starred):
                found += self.of(part.value, world)
            else:
                found.append(self._or_unknown(part, world))
        return found

    def _dict(self, keys: list[ast.expr | None], values: list[ast.expr], world: World) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in zip(keys, values, strict=True):
            if key is None:
                spread = self.of(value, world)
                if not isinstance(spread, dict):
                    raise UnknownValue
                found |= spread
            else:
                found[_hashable(self.of(key, world))] = self._or_unknown(value, world)
        return found

    def _operation(self, node: ast.BinOp, world: World) -> Any:
        left, right = self.of(node.left, world), self.of(node.right, world)
        match node.op, left, right:
            case ast.Add(), str(), str():
                return left + right
            case ast.Add(), list(), list():
                return left + right
            case ast.BitOr(), dict(), dict():
                return left | right
            case ast.Mod(), str(), _ if _PLAIN_FORMAT.fullmatch(left):
                parts = tuple(right) if isinstance(right, list) else (right,)
                try:
                    return left % parts
                except (TypeError, ValueError):
                    raise UnknownValue from None
        a, b = _number(left), _number(right)
        try:
            match node.op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
                case ast.FloorDiv():
                    return a // b
                case ast.Pow() if abs(a) <= 1 << 20 and 0 <= b <= 64:
                    return a**b
                case ast.LShift() if isinstance(a, int) and isinstance(b, int) and 0 <= b <= 64:
                    return a << b
        except (ArithmeticError, ValueError):
            raise UnknownValue from None
        raise UnknownValue

    def _item(self, table: Any, index: Any) -> Any:
        try:
            return table[index]
        except (TypeError, KeyError, IndexError):
            raise UnknownValue from None

    def _attribute(self, node: ast.Attribute, world: World) -> Any:
        owner = self._tree.classes.get(last_name(node.value))
        if owner is not None and isinstance(node.value, ast.Name):
            if node.attr == "__dict__":
                return self._fields(owner, world)
            if node.attr in ("__annotations__", "__dataclass_fields__"):
                return {one.name: one for one in self._annotated(owner, world)}
            value = self._tree.assigned(owner, node.attr)
            if value is not None:
                return self.of(value, world)
            raise UnknownValue
        value = self.of(node.value, world)
        if isinstance(value, Field) and node.attr in ("name", "default", "type"):
            return getattr(value, node.attr)
        raise UnknownValue

    def _fields(self, owner: ast.AST, world: World) -> dict[str, Any]:
        """The names of a class or of the module with their values, as ``vars`` gives them."""
        return {
            name: UNKNOWN if value is None else self._or_unknown(value, world)
            for name, value in self._tree.fields(owner).items()
        }

    def _annotated(self, owner: ast.ClassDef, world: World) -> list[Field]:
        """The fields of a dataclass."""
        return [
            Field(
                line.target.id,
                UNKNOWN if line.value is None else self._or_unknown(line.value, world),
                TYPES.get(last_name(line.annotation), UNKNOWN),
            )
            for line in owner.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        ]

    def _comprehension(self, node: Comprehension, world: World) -> Any:
        found = [world]
        for one in node.generators:
            found = self._all_turns(one.target, one.iter, one.ifs, found)
        if len(found) > MOST_WORLDS:
            raise UnknownValue
        if isinstance(node, ast.DictComp):
            return {_hashable(self.of(node.key, one)): self._or_unknown(node.value, one) for one in found}
        return [self._or_unknown(node.elt, one) for one in found]

    def _call(self, node: ast.Call, world: World) -> Any:
        name = last_name(node.func)
        arguments = node.args
        if isinstance(node.func, ast.Attribute):
            if name in ("fields", "asdict") and len(arguments) == 1:
                return self._class_table(name, arguments[0], world)
            its = self.of(node.func.value, world)
            if isinstance(its, str):
                return self._of_text(its, name, [self.of(one, world) for one in arguments])
            if isinstance(its, dict) and name in _TABLES and not arguments:
                return [list(pair) for pair in its.items()] if name == "items" else list(getattr(its, name)())
            raise UnknownValue
        if name in ("vars", "dir", "fields", "globals", "locals", "asdict"):
            return self._class_table(name, arguments[0] if arguments else None, world)
        values = [self.of(one, world) for one in arguments if not isinstance(one, ast.Starred)]
        if len(values) != len(arguments):
            raise UnknownValue
        if name in ("str", "int", "float", "bool", "repr", "type", "len") and len(values) == 1:
            return _converted(name, values[0])
        if name in _AS_THEY_ARE and len(values) == 1 and isinstance(values[0], list | dict):
            return list(values[0])
        if name == "enumerate" and values and isinstance(values[0], list | dict):
            return [[index, one] for index, one in enumerate(values[0])]
        if name == "zip" and all(isinstance(one, list) for one in values):
            return [list(one) for one in zip(*values, strict=False)]
        if name == "range" and values and all(isinstance(one, int) for one in values) and max(values) <= 1_000:
            return list(range(*values))
        if name == "dict" and len(values) <= 1:
            found = dict(values[0]) if values and isinstance(values[0], dict) else {}
            if values and not isinstance(values[0], dict):
                raise UnknownValue
            return found | {one.arg: self._or_unknown(one.value, world) for one in node.keywords if one.arg}
        if name == "isinstance" and len(values) == 2:
            kinds = values[1] if isinstance(values[1], list) else [values[1]]
            if not all(isinstance(one, type) for one in kinds):
                raise UnknownValue
            return isinstance(values[0], tuple(kinds))
        raise UnknownValue

    def _class_table(self, name: str, of: ast.expr | None, world: World) -> Any:
        owner: ast.AST | None = self._tree.module
        if of is not None:
            named = of.func if isinstance(of, ast.Call) else of
            owner = self._tree.classes.get(last_name(named))
        if owner is None or (of is None) != (name in ("globals", "locals")):
            raise UnknownValue
        if name == "fields" and isinstance(owner, ast.ClassDef):
            return self._annotated(owner, world)
        table = self._fields(owner, world)
        return list(table) if name == "dir" else table

    def _of_text(self, text: str, method: str, arguments: list[Any]) -> Any:
        if method in ("startswith", "endswith") and len(arguments) == 1 and isinstance(arguments[0], str):
            return getattr(text, method)(arguments[0])
        if method == "format" and len(text) < 1_000 and ":" not in text and all(_plain(one) for one in arguments):
            try:
                return text.format(*arguments)
            except (LookupError, ValueError, AttributeError):
                raise UnknownValue from None
        if method == "join" and len(arguments) == 1 and _texts(arguments[0]):
            if len(text) * len(arguments[0]) + sum(map(len, arguments[0])) > LONGEST_TEXT:
                raise UnknownValue
            return text.join(arguments[0])
        if method == "split" and all(isinstance(one, str) for one in arguments) and arguments != [""]:
            return text.split(*arguments)
        if method in _TEXT_METHODS and all(isinstance(one, str) and len(one) < 100 for one in arguments):
            try:
                return getattr(text, method)(*arguments)
            except TypeError:
                raise UnknownValue from None
        raise UnknownValue


def _parameters(function: Function) -> list[ast.arg]:
    its = function.args
    return [one for one in (*its.posonlyargs, *its.args, *its.kwonlyargs, its.vararg, its.kwarg) if one is not None]


def _bound(target: ast.expr, value: Any) -> dict[str, Any]:
    """The names of a loop in one turn."""
    if isinstance(target, ast.Name):
        return {target.id: value}
    parts = getattr(target, "elts", [])
    if isinstance(value, list | tuple) and len(value) == len(parts):
        return {name: its for part, one in zip(parts, value, strict=True) for name, its in _bound(part, one).items()}
    return dict.fromkeys(targets(target), UNKNOWN)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _hashable(value: Any) -> Any:
    if isinstance(value, list | dict):
        raise UnknownValue
    return value


def _number(value: Any) -> int | float:
    if not isinstance(value, int | float):
        raise UnknownValue
    return value


def _converted(name: str, value: Any) -> Any:
    if isinstance(value, Unknowable):
        raise UnknownValue
    if name == "type":
        return type(value)
    try:
        return repr(value) if name == "repr" else len(value) if name == "len" else TYPES[name](value)
    except (TypeError, ValueError, OverflowError):
        raise UnknownValue from None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
