"""Where every number of a record folder comes from, and whether it still does: ``ledger.json``, beside the numbers.

Each number that the README and the submission file print has an entry: the text as printed, the expression that it is
worked out by from files of the same folder (see ``derivation``), and the format it is printed in. The ledger has the
sha256 of every file of the folder, and in full every line of the README that has a digit: words may be added to a
README, numbers may not. Who has the folder can do all of it again, without the run that it was made of.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract.shards import file_sha256

from .derivation import Expression, Folder, LedgerError, derive, formatted, shown

LEDGER_FILE, README_FILE, SUBMISSION_FILE = "ledger.json", "README.md", "submission.json"
SCHEMA = "fairway ledger 1"
MOST_LEDGER_BYTES = 8 << 20

_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a folder that its ledger does not support."""

    file: str
    line: int = 0  # from 1; 0 where it is not about a line
    key: str = ""  # of the submission file
    printed: str = ""
    derived: str = ""  # "" where there is nothing to set against it
    note: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else f"{self.file} {self.key}".strip()

    def __str__(self) -> str:
        against = f", the ledger derives {self.derived}" if self.derived else ""
        return f"{self.where}: {self.note}: {self.printed}{against}" if self.printed else f"{self.where}: {self.note}"


# --- writing numbers down ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A number, or a text with digits in it, and where it is from.

    ``origin`` is an expression; or ``["in", ADDRESS]`` where the text stands at the address, perhaps among others; or
    ``["given"]`` where the author said so and no file does.
    """

    printed: str
    origin: Expression
    form: str = ""

    @staticmethod
    def read(data: Any) -> "Entry":
        """Raises LedgerError where ``data`` is none."""
        if not isinstance(data, dict) or not isinstance(data.get("printed"), str):
            raise LedgerError(f"{shown(data)} is no entry")
        return Entry(printed=data["printed"], origin=data.get("from"), form=str(data.get("format", "")))

    def as_json(self) -> dict[str, Any]:
        return {"printed": self.printed, "from": self.origin, **({"format": self.form} if self.form else {})}

    def unsupported(self, folder: Folder) -> str | None:
        """What the files give instead, or why they give nothing; None where they give what is printed."""
        try:
            if self.origin == ["given"]:
                return None
            if isinstance(self.origin, list) and self.origin[:1] == ["in"] and len(self.origin) == 2:
                text = derive(self.origin[1], folder)
                return (
                    None if _bare(self.printed) in _bare(str(text)) else f"nothing like it at {shown(self.origin[1])}"
                )
            derived = formatted(derive(self.origin, folder), self.form)
        except LedgerError as error:
            return str(error)
        return None if derived == self.printed else derived


_FIRST_MARK = 0xF0000  # a private character stands for each entry until its text is known
_MARK = re.compile("[\U000f0000-\U000ffffd]")


class Draft:
    """Numbers on their way into texts: each stands there as a mark, which ``page`` and ``document`` resolve."""

    def __init__(self, path: Path) -> None:
        self.folder = Folder(path)
        self._entries: list[Entry] = []

    def number(self, origin: Expression, form: str) -> str:
        """The mark of a number that is worked out from the files of the folder."""
        return self._mark(Entry(printed=formatted(derive(origin, self.folder), form), origin=origin, form=form))

    def has(self, origin: Expression) -> bool:
        """Whether the files give a value; a test of scores without spread does not."""
        try:
            derive(origin, self.folder)
        except LedgerError:
            return False
        return True

    def text(self, origin: Expression) -> str:
        """The mark of a text of the files, as it stands there."""
        return self._mark(Entry(printed=formatted(derive(origin, self.folder), ""), origin=origin))

    def quoted(self, printed: str, address: str) -> str:
        """The mark of a text that stands at the address.

        Raises:
            LedgerError: it does not.
        """
        entry = Entry(printed=printed, origin=["in", address])
        if problem := entry.unsupported(self.folder):
            raise LedgerError(f"{printed!r}: {problem}")
        return self._mark(entry)

    def given(self, printed: str) -> str:
        """The mark of a text that the author gives."""
        return self._mark(Entry(printed=printed, origin=["given"]))

    def value(self, mark: str) -> str:
        """The text that a mark stands for."""
        return self._entries[ord(mark) - _FIRST_MARK].printed

    def page(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """A page of text, and the ledger of its lines that have a digit.

        Raises:
            LedgerError: a digit is in it that no mark stands for: somebody typed a number.
        """
        lines = [self._resolved(line, f"line {number}") for number, line in enumerate(text.split("\n"), 1)]
        ledger = [{"line": number, **line} for number, line in enumerate(lines, 1) if _DIGIT.search(line["text"])]
        return "\n".join(line["text"] for line in lines), ledger

    def document(self, tree: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
        """A JSON document, and the ledger of its values and keys that have a digit. Raises as ``page`` does."""
        ledger = [
            {"key": _MARK.sub(lambda mark: self.value(mark[0]), key), **resolved}
            for key, text in leaves(tree)
            if _DIGIT.search((resolved := self._resolved(text, key))["text"])
        ]

        def literal(match: re.Match[str]) -> str:
            entry = self._entries[ord(match["mark"]) - _FIRST_MARK]
            is_number = entry.form and not match["colon"]
            return entry.printed if is_number else json.dumps(entry.printed, ensure_ascii=False) + match["colon"]

        text = json.dumps(tree, indent=2, ensure_ascii=False)
        text = re.sub(f'"(?P<mark>{_MARK.pattern})"(?P<colon>:?)', literal, text)
        return _MARK.sub(lambda mark: json.dumps(self.value(mark[0]), ensure_ascii=False)[1:-1], text) + "\n", ledger

    def _mark(self, entry: Entry) -> str:
        if "\n" in entry.printed or _MARK.search(entry.printed):
            raise LedgerError(f"{entry.printed!r} cannot be printed on one line")
        self._entries.append(entry)
        return chr(_FIRST_MARK + len(self._entries) - 1)

    def _resolved(self, text: str, where: str) -> dict[str, Any]:
        if _DIGIT.search(_MARK.sub("", text)):
            raise LedgerError(f"{where} has a number that nothing measured: {text}")
        entries = [self._entries[ord(mark) - _FIRST_MARK] for mark in _MARK.findall(text)]
        numbers = [entry.as_json() for entry in entries if _DIGIT.search(entry.printed)]
        return {"text": _MARK.sub(lambda mark: self.value(mark[0]), text), "numbers": numbers}


def write(folder: Path, head: Mapping[str, Any], origins: Mapping[str, str], pages: Mapping[str, list[Any]]) -> None:
    """Write the ledger of the folder.

    Args:
        head: what the folder is of: run, arm, program.
        origins: every other file of the folder, and the file of the run that it is a copy of, "" where it is none.
        pages: what ``page`` and ``document`` gave for the README and the submission file.
    """
    files = {
        name: {"sha256": file_sha256(folder / name), **({"origin": origin} if origin else {})}
        for name, origin in sorted(origins.items())
    }
    content = {"schema": SCHEMA, **head, "files": files, "numbers": dict(pages)}
    (folder / LEDGER_FILE).write_text(_laid_out(content) + "\n", encoding="utf-8")


def _laid_out(value: Any, indent: str = "") -> str:
    """JSON for people: a number's entry, an expression or a file on one line."""
    if not _holds_objects(value):
        return json.dumps(value, ensure_ascii=False)
    names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value] if isinstance(value, dict) else None
    opening, closing = "{}" if names is not None else "[]"
    parts = [
        f"\n{indent} {names[at] if names else ''}{_laid_out(member, indent + ' ')}"
        for at, member in enumerate(_members(value))
    ]
    return f"{opening}{','.join(parts)}\n{indent}{closing}"


def _members(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _holds_objects(value: Any) -> bool:
    return any(isinstance(member, dict) or _holds_objects(member) for member in _members(value))


# --- checking them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A line of the README or a value of the submission file, as far as it has a digit."""

    file: str
    line: int = 0
    key: str = ""
    text: str

    def problem(self, note: str, printed: str = "", derived: str = "") -> Problem:
        return Problem(file=self.file, line=self.line, key=self.key, printed=printed, derived=derived, note=note)


def check(path: Path) -> list[Problem]:
    """What in the folder is not as its ledger says, re-derived from the folder's own files; empty: nothing.

    Raises:
        LedgerError: there is no ledger of this kind in the folder.
    """
    folder = Folder(path)
    ledger = _read(path)
    problems = [problem for name, known in ledger["files"].items() if (problem := _changed(folder, name, known))]
    for name, found in ((README_FILE, _lines(folder)), (SUBMISSION_FILE, _values(folder, problems))):
        items = ledger["numbers"].get(name, [])
        known = [
            _Place(file=name, line=int(item.get("line", 0)), key=str(item.get("key", "")), text=item["text"])
            for item in items
        ]
        problems += _differences(known, found)
        for place, item in zip(known, items, strict=True):
            problems += _underived(place, item["numbers"], folder)
    return problems


def entries(path: Path) -> int:
    """How many numbers the ledger of the folder has. Raises LedgerError as ``check`` does."""
    return sum(len(item["numbers"]) for items in _read(path)["numbers"].values() for item in items)


def leaves(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Each value of a JSON tree as text behind its key, and the keys of groups; dots between the levels."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            below = f"{key}.{name}" if key else str(name)
            if isinstance(value, dict):
                yield below, str(name)
            yield from leaves(value, below)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{key}[{index}]")
    elif tree is not None and not isinstance(tree, bool):
        yield key, str(tree)


def _read(path: Path) -> dict[str, Any]:
    file = path / LEDGER_FILE
    try:
        if file.stat().st_size > MOST_LEDGER_BYTES:
            raise LedgerError(f"{LEDGER_FILE} is too large to be read")
        ledger = json.loads(file.read_text(encoding="utf-8"))
        well_formed = ledger["schema"] == SCHEMA and all(
            isinstance(item["text"], str) and isinstance(item["numbers"], list)
            for items in ledger["numbers"].values()
            for item in items
        )
        well_formed = well_formed and all(isinstance(entry["sha256"], str) for entry in ledger["files"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LedgerError(f"{LEDGER_FILE} cannot be read: {error}") from None
    if not well_formed:
        raise LedgerError(f"{LEDGER_FILE} is not of the kind {SCHEMA!r}")
    return ledger


def _changed(folder: Folder, name: str, known: Mapping[str, str]) -> Problem | None:
    try:
        sha256 = file_sha256(folder.file(name))
    except (LedgerError, OSError) as error:
        return Problem(file=name, note=str(error))
    if sha256 == known["sha256"]:
        return None
    return Problem(file=name, printed=sha256[:12], derived=known["sha256"][:12], note="its sha256 is another one now")


def _underived(place: _Place, numbers: Sequence[Any], folder: Folder) -> Iterator[Problem]:
    """Numbers of one place that their expressions do not give, and digits that no entry speaks of."""
    rest = place.text
    for data in numbers:
        try:
            entry = Entry.read(data)
        except LedgerError as error:
            yield place.problem(str(error))
            continue
        before, found, rest = rest.partition(entry.printed)
        if not found or _DIGIT.search(before):
            yield place.problem("a number has no entry", place.text)
            return
        if (instead := entry.unsupported(folder)) is not None:
            yield place.problem("not what the files give", entry.printed, instead)
    if _DIGIT.search(rest):
        yield place.problem("a number has no entry", place.text)


def _differences(known: Sequence[_Place], found: Sequence[_Place]) -> Iterator[Problem]:
    """Places that are not the ledger's, in its order; lines may have moved."""
    from difflib import SequenceMatcher

    left, right = ([(place.key, place.text) for place in side] for side in (known, found))
    matcher = SequenceMatcher(None, left, right, autojunk=False) if left != right else None
    for kind, a, b, c, d in matcher.get_opcodes() if matcher else ():
        if kind == "equal":
            continue
        both = min(b - a, d - c)
        for ours, theirs in zip(known[a : a + both], found[c : c + both], strict=True):
            yield theirs.problem("not what the ledger has", *_apart(theirs.text, ours.text))
        for theirs in found[c + both : d]:
            yield theirs.problem("a number that the ledger does not have", theirs.text)
        for ours in known[a + both : b]:
            yield ours.problem("the ledger has a number that is not there", derived=ours.text)


def _apart(one: str, other: str) -> tuple[str, str]:
    """The first words in which two texts differ; the texts where they have not the same number of words."""
    words, others = one.split(), other.split()
    apart = (pair for pair in zip(words, others, strict=False) if pair[0] != pair[1])
    return next(apart, (one, other)) if len(words) == len(others) else (one, other)


def _lines(folder: Folder) -> list[_Place]:
    """Lines of the README that have a digit."""
    try:
        lines = folder.file(README_FILE).read_text(encoding="utf-8", errors="replace").split("\n")
    except LedgerError:
        return []
    numbered = enumerate(lines, 1)
    return [_Place(file=README_FILE, line=number, text=line) for number, line in numbered if _DIGIT.search(line)]


def _values(folder: Folder, problems: list[Problem]) -> list[_Place]:
    """Values and keys of the submission file that have a digit, as they are written: 1.0720 is not 1.072."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            problems.append(Problem(file=SUBMISSION_FILE, note="a key stands there twice"))
        return dict(pairs)

    try:
        text = folder.file(SUBMISSION_FILE).read_text(encoding="utf-8")
        tree = json.loads(text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=once)
    except (LedgerError, ValueError, RecursionError) as error:
        problems.append(Problem(file=SUBMISSION_FILE, note=f"cannot be read: {error}"))
        return []
    return [_Place(file=SUBMISSION_FILE, key=key, text=text) for key, text in leaves(tree) if _DIGIT.search(text)]


def _bare(text: str) -> str:
    """``text`` without what laying it out elsewhere may change: spaces, escapes, quotes, commas before a bracket."""
    return re.sub(r",(?=[)\]}])", "", re.sub(r"[\s\\`]+", "", text))
