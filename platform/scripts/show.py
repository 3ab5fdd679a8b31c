"""What is known of a script, for people and for programs: what ``python -m platform.recipe script.py`` prints."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import Any

from ..logs.text import safe, safe_data
from ..program.squeeze import pack
from ..rules.challenge import limits
from .part import Variable
from .source import Source, read_source

WIDTH = 120
LONGEST_CELL = 60
MOST_PRINTS = 30


def is_script(path: Path) -> bool:
    """Whether ``path`` is asked about as a script, and not as a recipe."""
    return path.suffix == ".py"


def known(path: Path, *, is_json: bool) -> str:
    """What is known of the script at ``path``, as text or as JSON. Raises UserError."""
    source = read_source(path)
    if is_json:
        return json.dumps(as_json(source), indent=2) + "\n"
    return "".join(f"{line}\n" for line in _told(source))


def as_json(source: Source) -> dict[str, Any]:
    """A source as JSON has it, with what is not installed here."""
    found = {**asdict(source), "path": str(source.path), "data_variables": source.data_variables}
    found |= {"packed_bytes": packed_bytes(source), "not_installed": not_installed(source)}
    cleaned: dict[str, Any] = json.loads(json.dumps(found), object_hook=_safe)
    return cleaned


def not_installed(source: Source) -> tuple[str, ...]:
    """The packages that the script imports, always or perhaps, and this Python does not have."""
    return tuple(name for name in (*source.imports, *source.optional_imports) if not _is_here(name))


def packed_bytes(source: Source) -> int | None:
    """The bytes of the script in a form that unpacks itself (lzma in base85); None where it is packed already."""
    if source.layers:
        return None
    return len(pack(source.path.read_text(encoding="utf-8-sig")).encode())


def _told(source: Source) -> Iterator[str]:
    size = f"{source.bytes:,} bytes"
    if source.unpacked_bytes is not None:
        size += f", packed ({', '.join(source.layers)}); inside {source.unpacked_bytes:,} bytes"
    elif not source.layers:
        size += f"; packed as lzma in base85 it would be {packed_bytes(source):,}"
    yield f"{safe(str(source.path), 200)}: {source.lines:,} lines, {size} (an artifact has {limits().artifact_bytes:,})"
    yield f"sha256 {source.sha256}"
    yield from _paragraph("beside", source.beside, "it imports these files of its folder, which are read too")
    yield ""
    yield from _variables(source.variables)
    if not source.whole:
        yield from wrap(f"There may be more: {safe(source.why_not_whole, 1_000)}.", WIDTH)
    missing = set(not_installed(source))
    yield ""
    yield from _paragraph("imports", [_marked(name, missing) for name in source.imports])
    yield from _paragraph(
        "perhaps", [_marked(name, missing) for name in source.optional_imports], "under try or if, or in functions"
    )
    yield from _paragraph("options", source.flags, "of its command line")
    yield from _paragraph("data", source.data_variables, "variables that say where data and tokenizer lie")
    yield from _paragraph("", source.data, "written in it")
    yield f"dialect  {source.dialect or 'none of those that are known: which line is the score has to be said'}"
    yield from _paragraph("prints", [repr(one) for one in source.prints[:MOST_PRINTS]])
    if len(source.prints) > MOST_PRINTS:
        yield f"         and {len(source.prints) - MOST_PRINTS} more (--json has all)"


def _variables(variables: Sequence[Variable]) -> Iterator[str]:
    if not variables:
        yield "It reads no environment variable that its text names."
        return
    yield f"{len(variables)} environment variables that it reads:"
    rows = [
        (
            one.name,
            "no literal or none" if one.default is None else repr(one.default) if _is_odd(one.default) else one.default,
            one.kind or "",
            ", ".join(one.attributes),
            f"{f'{one.file}:' if one.file else 'line '}{one.line}",
        )
        for one in variables
    ]
    shown = [tuple(safe(cell, LONGEST_CELL) for cell in row) for row in rows]
    head = ("variable", "default", "kind", "in the script", "where")
    widths = [max(len(row[column]) for row in (head, *shown)) for column in range(len(head))]
    for row in (head, *shown):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _paragraph(title: str, words: Sequence[str], note: str = "") -> Iterator[str]:
    if not words:
        return
    said = ", ".join(safe(word, 100) for word in words) + (f" ({note})" if note else "")
    yield from wrap(said, WIDTH, initial_indent=f"{title:8} ", subsequent_indent=" " * 9, break_long_words=False)


def _marked(name: str, missing: set[str]) -> str:
    return f"{name} (NOT INSTALLED)" if name in missing else name


def _is_here(name: str) -> bool:
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return True
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _is_odd(text: str) -> bool:
    """Whether a text needs quotes to be seen."""
    return not text or bool(re.search(r"^\s|\s$", text))


def _safe(found: dict[str, Any]) -> dict[str, Any]:
    return {safe_data(key): _safe_value(value) for key, value in found.items()}


def _safe_value(value: Any) -> Any:
    if isinstance(value, str):
        return safe_data(value)
    return [_safe_value(one) for one in value] if isinstance(value, list) else value
