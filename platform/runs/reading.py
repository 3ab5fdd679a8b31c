"""Records of any version, read with their types checked: what jobs, trials and launches left.

A file says its ``schema_version``: one of an older version is brought up to date, one of a newer version is refused. A
field that came later has a default, and a file without it is read with that. A wrong type is one clear error.
"""

import functools
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from jobs.contract.files import SCHEMA_VERSION
from jobs.contract.records import ArmResult, TrunkRecord

Record = TypeVar("Record")


class NotJson(ValueError):
    """A file that was not written to its end, or was overwritten: there is nothing in it to keep."""


SHOWN = 60  # characters of a value that belongs elsewhere


def read_trunk(path: Path) -> TrunkRecord:
    """The record in a ``trunk.json``. Raises ValueError, naming the file, when it is not there or not one."""
    return _there(TrunkRecord, path)


def read_result(path: Path) -> ArmResult:
    """The record in a ``result.json``. Raises ValueError, naming the file, when it is not there or not one."""
    return _there(ArmResult, path)


def completed(result: ArmResult, trunk: TrunkRecord) -> ArmResult:
    """``result`` with the whole record of its trunk, where schema 1 wrote it and it holds a part of that."""
    partial = result.trunk.weights_sha256 is None and result.trunk_sha256 == trunk.trunk_sha256
    return replace(result, trunk=trunk) if partial else result


def read_record(kind: type[Record], path: Path, **known: Any) -> Record:
    """The record in the file ``path``; ``known`` are fields of it that no file holds.

    Raises:
        FileNotFoundError: there is none.
        NotJson: it is cut off or empty, or holds something else than text.
        ValueError: it is not one of ``kind``; names the file, the key, what was found and what belongs there.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise NotJson(f"{path}: cannot be read as JSON: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    try:
        return from_data(kind, content, **known)
    except ValueError as error:
        raise ValueError(f"{path}: not a {kind.__name__}: {error}") from error


def from_data(kind: type[Record], found: Any, **known: Any) -> Record:
    """The record that JSON's ``found`` is, of this version or an older one. Raises ValueError as ``read_record``."""
    if not isinstance(found, dict):
        raise ValueError(f"it holds {_described(found)}, not names with values")
    version = found.get("schema_version", 1)
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"it is of schema {version!r}, this Fairway reads 1 to {SCHEMA_VERSION}")
    content = {name: value for name, value in found.items() if name != "schema_version"}
    upgraded = UPGRADES.get(kind) or getattr(kind, "upgraded", None)
    if version < SCHEMA_VERSION and upgraded is not None:
        try:
            content = upgraded(content, version)
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None
    return _checked(kind, {**content, **known}, "")


def _checked(kind: Any, value: Any, key: str) -> Any:
    """``value`` of JSON as ``kind`` has it. Raises ValueError, which names ``key``, where it is another thing."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_of(kind, value, key)
    if origin in (Union, types.UnionType):
        for option in inner:
            try:
                return _checked(option, value, key)
            except ValueError:
                continue
    elif origin is tuple and isinstance(value, list | tuple) and len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_checked(inner[0], item, f"{key}[{at}]") for at, item in enumerate(value))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        return {name: _checked(inner[1], item, f"{key}.{name}") for name, item in value.items()}
    elif (origin is Literal and value in inner) or kind is Any or (kind is type(None) and value is None):
        return value
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif kind in (int, bool, str) and type(value) is kind:
        return value
    elif kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"{key or 'it'} is {_described(value)}, where {_named(kind)} belongs")


def _dataclass_of(kind: Any, value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{key or 'it'} is {_described(value)}, where a {kind.__name__} belongs")
    known, needed = _fields_of(kind)
    place = f"{key}." if key else ""
    if missing := [name for name in needed if name not in value]:
        raise ValueError(f"{', '.join(f'{place}{name}' for name in missing)} missing")
    if unknown := [name for name in value if name not in known]:
        raise ValueError(f"nobody knows {', '.join(f'{place}{name}' for name in unknown)}")
    return kind(**{name: _checked(known[name], item, f"{place}{name}") for name, item in value.items()})


@functools.cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """The type of each field of a dataclass, and the fields that have no default."""
    found = fields(kind)
    needed = [one.name for one in found if one.default is MISSING and one.default_factory is MISSING]
    return {one.name: one.type for one in found}, needed


def _named(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_named(option) for option in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false", type(None): "null"}
    return str(words.get(kind) or getattr(kind, "__name__", kind))


def _described(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _there(kind: type[Record], path: Path) -> Record:
    try:
        return read_record(kind, path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None


# --- files of older versions ------------------------------------------------------------------------------------------


def _trunk_of_schema_1(old: dict[str, Any], version: int) -> dict[str, Any]:
    machine = {name: old.pop(name) for name in ("world_size", "device", "torch_version")}
    return {**old, "machine": machine}


def _result_of_schema_1(old: dict[str, Any], version: int) -> dict[str, Any]:
    """Schema 1 copied values of the trunk, and said the machine of the scoring job alone."""
    machine = {name: old.pop(name) for name in ("world_size", "device", "torch_version")}
    copied = ("parameters", "steps", "train_seconds", "step_ms_mean", "step_ms_median")
    same = ("recipe", "scale", "seed", "program_sha256", "data_sha256", "tokenizer_sha256")
    trunk = {
        "trunk_sha256": old.pop("trunk_sha256"),
        **{name: old[name] for name in same},
        **{name: old.pop(name) for name in copied},
        **dict.fromkeys(("weights_sha256", "artifact_sha256", "model_bytes", "train_tokens", "machine")),
    }
    return {**old, "trunk": trunk, "machine": machine}


UPGRADES: dict[type, Callable[[dict[str, Any], int], dict[str, Any]]] = {
    TrunkRecord: _trunk_of_schema_1,
    ArmResult: _result_of_schema_1,
}
