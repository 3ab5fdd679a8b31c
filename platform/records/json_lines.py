"""A JSON file as a tree whose scalars know their digits as written and their line.

Bounded in depth and size, and tolerant of a file that is cut: what could be read before the mistake is kept, and the
mistake is named.
"""

import json.decoder
import re
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_DEPTH = 40
MOST_VALUES = 20_000

_SPACE = re.compile(r"[ \t\n\r\ufeff]*")
_SCALAR = re.compile(r"(?P<number>-?\d{1,400}(?:\.\d{1,400})?(?:[eE][-+]?\d{1,6})?)|NaN|-?Infinity|true|false|null")
_scanstring: Callable[[str, int, bool], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A scalar: the text of a string, the digits of a number as written, or ``null``, ``true``, ``NaN``."""

    text: str
    kind: str  # string, number or word
    line: int


Node = Leaf | list["Node"] | dict[str, "Node"]


@dataclass
class Document:
    """The tree, as far as it could be read."""

    root: Node = field(default_factory=dict)
    mistake: str = ""  # "" where the whole text is JSON


class _Mistake(Exception):
    pass


def parse(text: str) -> Document:
    """The tree of ``text``. Of a key that is there twice the last counts, as everywhere."""
    reader = _Reader(text)
    try:
        reader.fill(0, reader.take)
        if text[reader.space(reader.at) :]:
            raise _Mistake("there is more text after its end")
    except _Mistake as error:
        return Document(reader.root, f"line {reader.line_at(reader.at)}: {error}")
    return Document(reader.root)


class _Reader:
    """Hangs every container into its parent before it is filled, so that a mistake loses nothing before it."""

    def __init__(self, text: str) -> None:
        self.root: Node = {}
        self.at = 0
        self._text = text
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._line = 0
        self._count = 0

    def take(self, node: Node) -> None:
        self.root = node

    def line_at(self, position: int) -> int:
        while self._line < len(self._ends) and self._ends[self._line] < position:
            self._line += 1
        return self._line + 1

    def space(self, position: int) -> int:
        match = _SPACE.match(self._text, position)
        return match.end() if match else position

    def fill(self, depth: int, put: Callable[[Node], None]) -> None:
        """Read one value and ``put`` it where it belongs."""
        if depth > MOST_DEPTH:
            raise _Mistake(f"nested deeper than {MOST_DEPTH}")
        self._count += 1
        if self._count > MOST_VALUES:
            raise _Mistake(f"more than {MOST_VALUES:,} values")
        self.at = self.space(self.at)
        first = self._text[self.at : self.at + 1]
        if first == "{":
            members: dict[str, Node] = {}
            put(members)
            self._members(depth, members)
        elif first == "[":
            items: list[Node] = []
            put(items)
            self._items(depth, items)
        elif first == '"':
            line = self.line_at(self.at)
            put(Leaf(text=self._string(), kind="string", line=line))
        elif match := _SCALAR.match(self._text, self.at):
            line = self.line_at(self.at)
            self.at = match.end()
            put(Leaf(text=match[0], kind="number" if match["number"] else "word", line=line))
        else:
            raise _Mistake(f"a value was expected, found {first!r}" if first else "the file ends in the middle")

    def _members(self, depth: int, members: dict[str, Node]) -> None:
        self.at = self.space(self.at + 1)
        while not self._text.startswith("}", self.at):
            if not self._text.startswith('"', self.at):
                raise _Mistake("a key in double quotes was expected")
            key = self._string()
            self.at = self.space(self.at)
            if not self._text.startswith(":", self.at):
                raise _Mistake("a colon was expected after the key")
            self.at += 1
            self.fill(depth + 1, lambda node, key=key: members.__setitem__(key, node))  # type: ignore[misc]
            self._comma("}")
        self.at += 1

    def _items(self, depth: int, items: list[Node]) -> None:
        self.at = self.space(self.at + 1)
        while not self._text.startswith("]", self.at):
            self.fill(depth + 1, items.append)
            self._comma("]")
        self.at += 1

    def _comma(self, end: str) -> None:
        self.at = self.space(self.at)
        if self._text.startswith(",", self.at):
            self.at = self.space(self.at + 1)
        elif not self._text.startswith(end, self.at):
            raise _Mistake(f"a comma or {end} was expected")

    def _string(self) -> str:
        try:
            text, self.at = _scanstring(self._text, self.at + 1, False)
        except ValueError as error:
            raise _Mistake(str(error)) from None
        return text
