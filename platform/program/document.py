"""A YAML file as a tree of nodes that know where they stand: small files, plain values, nothing executed or expanded.

Stricter than YAML: one document that is a mapping, no tabs, no key twice, no aliases, no tags. Unquoted values mean
what YAML 1.2 says (``1e-4`` is a number, ``no`` and ``2026-03-20`` are text), as people expect who never read 1.1.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..paths import shown

SIZE_LIMIT_BYTES = 100_000  # a recipe has some 2,000; checked before anything is read
DEPTH_LIMIT = 20
LONGEST_NUMBER = 30  # characters: every whole number of 64 bits has fewer, and every float has a shorter form

Scalar = bool | int | float | str | None

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A value of a YAML file and its place; an entry of a mapping stands where its key stands."""

    value: "Scalar | dict[str, Node] | list[Node]"
    path: Path
    line: int
    key: str  # dotted, from the top: feed_forward.leaky_relu_squared.slope

    def error(self, message: str) -> UserError:
        """The error to raise about this node: file, line, key, then ``message``."""
        return UserError(f"{shown(self.path)}:{self.line}: {self.key + ': ' if self.key else ''}{message}")

    def entries(self, what: str) -> "dict[str, Node]":
        """The entries of a mapping; none for an empty value.

        Raises:
            UserError: another kind of value, where ``what`` belongs.
        """
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.error(f"found {self.found()}, here belong {what}")
        return self.value

    def unknown(self, possible: Iterable[str], what: str) -> UserError:
        """The error to raise about this entry because of its key, which is none of ``possible``."""
        name, names = self.key.rpartition(".")[2], list(possible)
        listed = f"possible: {', '.join(names)}" if names else "there are none"
        return self.error(f"no such {what}; {listed}{nearest(name, names)}")

    def plain(self) -> Any:
        """The value without places: tuples for lists, dictionaries for mappings."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        return tuple(node.plain() for node in self.value) if isinstance(self.value, list) else self.value

    def found(self) -> str:
        """The value in words."""
        return described(self.plain())


def described(value: Any) -> str:
    """A value that was found, in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value if len(value) <= 60 else value[:57] + '...'!r}"
        case dict():
            return "a mapping" + (f" ({', '.join(map(str, list(value)[:4]))})" if value else "")
    return f"a list of {len(value)}"


def read(path: Path) -> Node:
    """The file as a mapping of nodes.

    Raises:
        UserError: no such file, too large, not UTF-8, not YAML as described above; names file and line.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UserError(f"{shown(path)}: not a file")
        if size > SIZE_LIMIT_BYTES:
            raise UserError(f"{shown(path)}: {size:,} bytes; a recipe has at most {SIZE_LIMIT_BYTES:,}: is this one?")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        beside = [other.name for other in path.parent.glob("*.yaml")]
        raise UserError(f"{shown(path)}: no such file{nearest(path.name, beside)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)}: not UTF-8 text at byte {error.start}: is this a recipe?") from None
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if "\t" in line:
            raise UserError(f"{shown(path)}:{number}: a tab in column {line.index(chr(9)) + 1}; YAML takes spaces")
    return _parsed(text, path)


def read_if_whole(path: Path) -> Node | None:
    """The file as ``read`` has it; None where it is not there, or was not written to its end."""
    try:
        return read(path)
    except UserError:
        return None


def literal(value: ast.expr, path: Path, key: str) -> Node:
    """A literal in a Python file as YAML would have it, so that whoever reads the one can read the other.

    Raises:
        UserError: something that is not written out: a name, a sum; names file and line.
    """
    here = Node(value=None, path=path, line=value.lineno, key=key)
    match value:
        case ast.Dict(keys=keys, values=values):
            entries: dict[str, Node] = {}
            for name, content in zip(keys, values, strict=True):
                if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                    raise here.error(f"found the key {ast.unparse(name) if name else '**'}, a key is a text")
                entry = replace(literal(content, path, f"{key}.{name.value}"), line=name.lineno)
                if name.value in entries:
                    raise entry.error(f"given twice, first in line {entries[name.value].line}; keep one")
                entries[name.value] = entry
            return replace(here, value=entries)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return replace(here, value=[literal(item, path, f"{key}[{at}]") for at, item in enumerate(items)])
    try:
        plain = ast.literal_eval(value)
    except ValueError:
        plain = ...
    if not isinstance(plain, bool | int | float | str | None):
        raise here.error(f"found {ast.unparse(value)}, which is no value written out; it is read without being run")
    return replace(here, value=plain)


def _parsed(text: str, path: Path) -> Node:
    import yaml  # 17 ms that --help does without

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = (event for event in yaml.parse(text, Loader=loader) if not isinstance(event, yaml.StreamStartEvent))
    try:
        first = next(events)
        if isinstance(first, yaml.StreamEndEvent):
            raise UserError(f"{shown(path)}: the file is empty; a recipe has at least a question and its arms")
        top = _Reader(events, path, text.splitlines()).node(next(events), line=1, key="", depth=0)
        if not isinstance(top.value, dict):
            raise top.error(f"found {top.found()}; a file of this kind is a mapping of names to values")
        next(events)  # end of the document
        if not isinstance(next(events), yaml.StreamEndEvent):
            raise UserError(f"{shown(path)}: a second document, after ---; a file has one")
        return top
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{shown(path)}{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{shown(path)}: not YAML: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class _Reader:
    """Takes the events of a file one after the other, and makes nodes of them."""

    events: Iterator[Any]
    path: Path
    lines: list[str]

    def node(self, event: Any, *, line: int, key: str, depth: int) -> Node:
        """The node that begins with ``event``; the events that belong to it are taken too."""
        import yaml

        def refused(message: str) -> UserError:
            return Node(value=None, path=self.path, line=event.start_mark.line + 1, key=key).error(message)

        value: Scalar | dict[str, Node] | list[Node]
        if isinstance(event, yaml.AliasEvent):
            raise refused(f"an alias (*{event.anchor}); write the value out, or put what is shared into a base recipe")
        if event.tag not in (None, "!"):
            raise refused(f"a tag ({event.tag}); values here are plain text, numbers, lists and mappings")
        if depth > DEPTH_LIMIT:
            raise refused(f"nested deeper than {DEPTH_LIMIT} levels")
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style in (None, "")
            if plain and (cut := self._cut_off(event)):
                raise refused(
                    f"the text ends before {cut!r}, for YAML takes that as a comment; put quotes around it all"
                )
            value = _scalar(event.value, refused) if plain else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                place = f"{key}[{len(value)}]"
                value.append(self.node(item, line=item.start_mark.line + 1, key=place, depth=depth + 1))
        else:
            value = self._entries(key, depth)
        return Node(value=value, path=self.path, line=line, key=key)

    def _entries(self, key: str, depth: int) -> "dict[str, Node]":
        import yaml

        value: dict[str, Node] = {}
        while not isinstance(item := next(self.events), yaml.MappingEndEvent):
            where = item.start_mark.line + 1
            name = item.value if isinstance(item, yaml.ScalarEvent) else None
            if not name:
                raise Node(value=None, path=self.path, line=where, key=key).error("a key must be a name")
            place = f"{key}.{name}" if key else name
            node = self.node(next(self.events), line=where, key=place, depth=depth + 1)
            if name in value:
                raise node.error(f"given twice, first in line {value[name].line}; keep one")
            value[name] = node
        return value

    def _cut_off(self, event: Any) -> str:
        """What a person meant as text behind an unquoted one, ``#462``; a comment has a space behind its sign."""
        mark = event.end_mark
        rest = self.lines[mark.line][mark.column :] if mark.line < len(self.lines) else ""
        return rest.strip() if re.match(r"\s+#[^\s#]", rest) else ""


def _scalar(text: str, refused: Callable[[str], UserError]) -> Scalar:
    """What an unquoted value means."""
    try:
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if len(text) > LONGEST_NUMBER and (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
            raise ValueError("too long")
        if _INT.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
    except ValueError:
        raise refused(f"a number of {len(text)} digits; {LONGEST_NUMBER} are the most") from None
    return text
