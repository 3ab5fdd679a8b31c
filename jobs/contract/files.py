"""Files that survive: read with their types checked, written so that a reader sees all of them or nothing.

A record is a frozen dataclass, a file is its JSON. Its first key is ``schema_version``: a file of an older version is
brought up to date by the dataclass's own ``upgraded``, one of a newer version is refused. A field that came later has a
default, and a file without it is read with that.
"""

import json
import os
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from jobs.contract.errors import Refused

Record = TypeVar("Record")

SCHEMA_VERSION = 2  # of every record; what changed: 2, a result holds its trunk's record and both say their machine


def read_record(kind: type[Record], path: Path) -> Record:
    """The record in the file ``path``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not one of ``kind``; names the file, the key, what was found and what belongs there.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Refused(f"{path}: cannot be read as JSON: {error}") from error
    try:
        return from_data(kind, found)
    except ValueError as error:
        raise Refused(f"{path}: not a {kind.__name__}: {error}") from error


def from_data(kind: type[Record], found: Any) -> Record:
    """The record that JSON's ``found`` is, of this version or an older one. Raises ValueError as ``read_record``."""
    if not isinstance(found, dict):
        raise ValueError(f"it holds {_described(found)}, not names with values")
    version = found.get("schema_version", 1)
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"it is of schema {version!r}, this Fairway reads 1 to {SCHEMA_VERSION}")
    content = {name: value for name, value in found.items() if name != "schema_version"}
    upgraded = getattr(kind, "upgraded", None)
    if version < SCHEMA_VERSION and upgraded is not None:
        try:
            content = upgraded(content, version)
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None
    return _checked(kind, content, "")


def to_data(record: Any) -> dict[str, Any]:
    """What ``from_data`` reads."""
    return {"schema_version": SCHEMA_VERSION, **asdict(record)}


def write_record(path: Path, record: Any) -> None:
    """Write ``record`` as JSON, all of it or nothing."""
    write_text(path, json.dumps(to_data(record), indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write ``text``, all of it or nothing, whoever else writes the same file at the same time."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``, all of it or nothing; on the disk before anybody sees it.

    Raises:
        OSError: the disk is full or the folder is not there; nothing is left behind then.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _checked(kind: Any, value: Any, key: str) -> Any:
    """``value`` of JSON as ``kind`` has it. Raises ValueError, which names ``key``, where it is another thing."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_of(kind, value, key)
    if origin in (Union, types.UnionType):
        for one in inner:
            try:
                return _checked(one, value, key)
            except ValueError:
                continue
    elif origin is tuple and isinstance(value, list | tuple) and len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_checked(inner[0], one, f"{key}[{at}]") for at, one in enumerate(value))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        return {name: _checked(inner[1], one, f"{key}.{name}") for name, one in value.items()}
    elif (origin is Literal and value in inner) or kind is Any or (kind is type(None) and value is None):
        return value
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif kind in (int, bool, str) and type(value) is kind:
        return value
    elif kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{key or 'it'} is {_described(value)}, where {_named(kind)} belongs")


def _dataclass_of(kind: Any, value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{key or 'it'} is {_described(value)}, where a {kind.__name__} belongs")
    known = {one.name: one for one in fields(kind)}
    place = f"{key}." if key else ""
    needed = [name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING]
    if missing := [name for name in needed if name not in value]:
        raise ValueError(f"{', '.join(f'{place}{name}' for name in missing)} missing")
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"nobody knows {', '.join(f'{place}{name}' for name in unknown)}")
    return kind(**{name: _checked(known[name].type, one, f"{place}{name}") for name, one in value.items()})


def _named(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_named(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}
    return str(words.get(kind) or getattr(kind, "__name__", kind))


def _described(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
