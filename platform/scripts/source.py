"""What a foreign training script is, told from its text alone: it is parsed, never imported and never run.

A script that unpacks itself is unpacked here and read inside, and files of its folder that it imports are read with it.
What the text does not decide is called unknown: then ``whole`` is False, and a variable that is not found may be read
all the same.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UserError
from ..logs.unpack import MOST_SCRIPT_BYTES, look_inside
from .part import Part, Variable, examined, parsed
from .prints import Shown

MOST_BESIDE = 30  # files beside a script that it imports
_DATA = re.compile(
    r"data|dataset|token|shard|corpus|vocab|(?:^|_)(?:train|val)(?:_\w+)?_(?:files?|path|bin|dir)$", re.I
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of a script."""

    path: Path
    sha256: str
    bytes: int
    lines: int  # of the program inside, where it is packed
    variables: tuple[Variable, ...]
    whole: bool  # whether a variable that is not among them is never read
    why_not_whole: str
    imports: tuple[str, ...]  # top-level packages that it cannot start without
    optional_imports: tuple[str, ...]  # those under try or if, or inside functions
    prints: tuple[str, ...]  # how its printed lines begin
    flags: tuple[str, ...]  # options of its command line
    shown: tuple[Shown, ...] = ()
    dialect: str = ""  # of its log, of those that are known; empty: none of them
    data: tuple[str, ...] = ()  # paths and patterns of data that are written in it
    layers: tuple[str, ...] = ()  # how it is packed
    unpacked_bytes: int | None = None  # None: it is not packed
    beside: tuple[str, ...] = ()  # files of its folder that it imports

    @property
    def data_variables(self) -> tuple[str, ...]:
        """The variables that say where data and tokenizer lie, by their names."""
        return tuple(one.name for one in self.variables if _DATA.search(one.name) and one.kind in (None, "str"))


def read_source(path: Path) -> Source:
    """Read the script at ``path``.

    Raises:
        UserError: it is not there, is no Python, or is larger than any script.
    """
    content = _content(path)
    text = _text(content, path)
    parts = [_part(text, path)]
    layers: tuple[str, ...] = ()
    inside, problem = None, ""
    if parts[0].execs:
        found = look_inside(content)
        layers, problem = found.layers, found.problem
        if layers and not problem:
            try:
                inside = found.content.decode("utf-8")
                runs_text = parts[0].runs_text if parts[0].execs > 1 else ""
                parts = [replace(parts[0], runs_text=runs_text), examined(parsed(inside), "")]
            except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
                problem = f"what is packed in it is no Python: {error}"
    beside, more, skipped = _beside(path, parts)
    parts += more
    reasons = [f"it is packed, and {problem}"] if problem else []
    reasons += [reason for part in parts for reason in part.reasons] + skipped
    required = {name for part in parts for name in part.imports}
    optional = {name for part in parts for name in part.optional}
    local = {Path(name).parts[0].removesuffix(".py") for name in beside}
    return Source(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        lines=len((text if inside is None else inside).splitlines()),
        variables=_merged(one for part in parts for one in part.variables),
        whole=not reasons,
        why_not_whole="; ".join(dict.fromkeys(reasons)),
        imports=tuple(sorted(required - local)),
        optional_imports=tuple(sorted(optional - required - local)),
        prints=tuple(dict.fromkeys(one for part in parts for one in part.prints)),
        flags=tuple(dict.fromkeys(one for part in parts for one in part.flags)),
        shown=tuple(dict.fromkeys(one for part in parts for one in part.shown)),
        dialect=next((part.dialect for part in parts if part.dialect), ""),
        data=tuple(dict.fromkeys(one for part in parts for one in part.data)),
        layers=layers,
        unpacked_bytes=None if inside is None else len(inside.encode()),
        beside=beside,
    )


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a training script, such as train_gpt.py")
    size = path.stat().st_size
    if size > MOST_SCRIPT_BYTES:
        raise UserError(
            f"{path}: {size:,} bytes are too many for a script, at most {MOST_SCRIPT_BYTES:,} are read; "
            f"keep data in files beside it"
        )
    return path.read_bytes()


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: it is no text in UTF-8; save it as UTF-8, or name the script itself") from None


def _part(text: str, path: Path, file: str = "") -> Part:
    try:
        return examined(parsed(text), file)
    except SyntaxError as error:
        its = (error.text or "").strip()[:80]
        where = f"{path}:{error.lineno}" if error.lineno else f"{path}"
        raise UserError(
            f"{where}: it is no Python that this interpreter reads: {error.msg}{f' in {its!r}' if its else ''}; "
            f"correct the line, or use the Python that the script is written for"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"{path}: it cannot be parsed: {str(error) or type(error).__name__}; is it the script?"
        ) from None


def _merged(variables: Iterable[Variable]) -> tuple[Variable, ...]:
    """One for each name, in the order of their lines; what several places say of it together."""
    found: dict[str, Variable] = {}
    for one in sorted(variables, key=lambda one: (one.file, one.line)):
        other = found.get(one.name)
        found[one.name] = (
            one
            if other is None
            else replace(
                other,
                default=one.default if other.default is None else other.default,
                kind=other.kind or one.kind,
                attributes=tuple(dict.fromkeys((*other.attributes, *one.attributes))),
                derived=tuple(dict.fromkeys((*other.derived, *one.derived))),
            )
        )
    return tuple(found.values())


def _beside(path: Path, parts: list[Part]) -> tuple[tuple[str, ...], list[Part], list[str]]:
    """The files of the script's folder that it imports, what they hold, and why some of it is not known."""
    found: dict[str, Part] = {}
    skipped: list[str] = []
    todo = [module for part in parts for module in sorted(part.modules)]
    while todo:
        module = todo.pop(0)
        for name in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py"):
            file = path.parent / name
            if name in found or file == path or not file.is_file():
                continue
            if len(found) == MOST_BESIDE:
                skipped.append(f"it imports more than {MOST_BESIDE} files beside it")
                return tuple(found), list(found.values()), skipped
            try:
                found[name] = _part(_text(_content(file), file), file, name)
            except (UserError, OSError):
                skipped.append(f"{name}, which it imports, cannot be read")
                continue
            todo += sorted(found[name].modules)
    return tuple(found), list(found.values()), skipped
