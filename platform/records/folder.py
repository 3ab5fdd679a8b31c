"""A record folder to what it holds: files, logs without copies, claims, and the runs that the claim is about."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..logs.log import LogFile, read_log
from ..logs.results import ENDINGS
from ..logs.text import PACKED, safe, small_text
from . import json_lines, readme, submission_file
from .figure import Claims, Figure
from .quantities import BPB, DIMENSIONS

MOST_FILES = 5_000
MOST_LOGS = 500
MOST_DEPTH = 8
MOST_OPENED = 50  # files whose names do not tell whether they are logs
END_BYTES = 1 << 16  # read of such a file: a log has its scores, or its last steps, at its end

_LOG_NAMES = re.compile(r".*\.(?:log|txt|out)$|.*log[^.]*$", re.I)
_PERHAPS_LOG_NAMES = re.compile(r"[^.]*$|.*\.(?:stdout|stderr|err|console|(?:seed|run|rank)?[-_]?\d{1,9})$", re.I)
_PACKED_LOG_NAMES = re.compile(r".*(?:log|train|seed).*\.(?:gz|bz2|xz|zst|zip|7z)$", re.I)
_LOG_LINE = re.compile(rb"\d/\d+ (?:train_|val_)?loss: ?\d|val_loss: ?\d[\d.]* val_bpb: ?\d")
_NO_LOG_NAMES = re.compile(r"(?:requirements|readme|license|notice|tokenizer|vocab|constraints)[^/]*$", re.I)
_SUBMISSION_NAMES = re.compile(r".*submission.*\.json$", re.I)
_LOG_FOLDERS = re.compile(r"(?:train(?:ing)?_?)?logs?|runs?|seeds?[_-]?\d*|outputs?|results?", re.I)
_README_NAMES = re.compile(r"readme(?:\.(?:md|txt|markdown|rst))?$", re.I)
_SEED_NAMED = re.compile(r"seed[_=-]?(\d{1,9})(?!\d|\.\d)", re.I)
_S_NAMED = re.compile(r"(?:^|[^a-z])s[_=-]?(\d{1,9})(?!\d|\.\d)(?!.*[_-]\d+\.\w+$)", re.I)
_NUMBER_LAST = re.compile(r"(?<!\d)[_-](\d{1,9})(?=\.\w+$)")
_NO_SCORE = re.compile(
    r'"val_bpb"\s*:\s*(?:NaN|-?Infinity|true|false|-?[\d.]+[eE]\+?\d{2,}'
    r'|"\s*(?:[tT][bB][dD]|[tT][oO][dD][oO]|[nN]/?[aA]|pending|fill.{0,20}|[xX?_-]+(?:\.[xX?_-]+)?|<[^"]{1,40}>|\.{2,})\s*")'
)


@dataclass(frozen=True, kw_only=True)
class RecordFiles:
    """The files of a record by what they are for; paths relative to it."""

    folder: Path
    logs: tuple[str, ...]
    submissions: tuple[str, ...]
    readme: str | None
    others: dict[str, int]  # name -> bytes
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReadRecord:
    """Everything read of a record, before a log is matched with a claim."""

    files: RecordFiles
    logs: tuple[LogFile, ...]  # those that hold a run
    copies: dict[str, str]  # file -> the file it is a byte copy of
    claims: Claims
    notes: tuple[str, ...]
    unread: tuple[str, ...]  # submission files whose score is there and cannot be read


def seed_in_name(name: str) -> int | None:
    """The seed that a file name gives by that word: ``train_s64_seed42.log``, ``log_s7.txt``.

    A mere s before another number is a stride: ``h100_s64_42.log``.
    """
    own = name.rpartition("/")[2]
    match = _SEED_NAMED.search(own) or _S_NAMED.search(own)
    return int(match[1]) if match else None


def number_in_name(name: str) -> int | None:
    """The number that ends a file name, perhaps a seed: ``ternary_log_1337.txt``, ``run_1.log``."""
    match = _NUMBER_LAST.search(name.rpartition("/")[2])
    return int(match[1]) if match else None


def records_under(folder: Path) -> list[Path]:
    """The record folders at or below ``folder``: ``folder`` itself where no folder below it is one."""
    walked = [(path, names) for path, _, names in _walk(folder)]
    records: set[Path] = set()
    for told in (_SUBMISSION_NAMES.match, _named_like_log):  # a submission file makes a record, else a log does
        above = {parent for path in records for parent in path.parents}
        for path, names in walked:
            inside = path in records or not records.isdisjoint(path.parents)
            if not inside and path not in above and any(map(told, names)):
                records.add(path)
    names_of = dict(walked)
    records = {_whole_record(path, names_of) for path in records}
    return [folder] if not records or folder in records else sorted(records)


def _whole_record(path: Path, names_of: dict[Path, list[str]]) -> Path:
    """The folder above, where this one only holds the logs of what is described there."""
    above = names_of.get(path.parent, [])
    described = any(_README_NAMES.match(name) or name.endswith(".py") for name in above)
    return path.parent if described and _LOG_FOLDERS.fullmatch(path.name) else path


def is_record(folder: Path) -> bool:
    """Whether there is anything in ``folder`` or below it that a record could consist of."""
    files = _files(folder)
    return bool(files.submissions or files.logs or files.readme)


def read(folder: Path) -> ReadRecord:
    """Read the record in ``folder``."""
    files = _files(folder)
    notes = list(files.notes)
    logs, copies = _logs(files, notes)
    seeds = [seed_in_name(log.file) for log in logs] + [run.seed_logged for log in logs for run in log.counted]
    names = [log.file for log in logs if log.file not in copies]
    claims = _claims(files, frozenset(seed for seed in seeds if seed is not None), names, notes)
    unread = tuple(name for name in _own_submissions(files) if _is_unread(files.folder / name, name, claims))
    return ReadRecord(files=files, logs=logs, copies=copies, claims=claims, notes=tuple(notes), unread=unread)


def _walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As os.walk, without links, hidden folders and depth without end."""
    count = 0
    for path, folders, names in os.walk(folder, followlinks=False):
        here = Path(path)
        depth = len(here.parts) - len(folder.parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        if depth >= MOST_DEPTH:
            folders.clear()
        count += len(names)
        yield here, folders, sorted(names)
        if count > MOST_FILES * 20:
            return


def _named_like_log(name: str) -> bool:
    name = _unpacked_name(name)
    if name.lower().endswith(ENDINGS):
        return True
    return bool(_LOG_NAMES.match(name)) and not _NO_LOG_NAMES.match(name) and not name.endswith((".py", ".json", ".md"))


def _unpacked_name(name: str) -> str:
    """``train.log`` of ``train.log.gz``."""
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in PACKED else name


def _files(folder: Path) -> RecordFiles:
    logs: list[str] = []
    submissions: list[str] = []
    readmes: list[str] = []
    others: dict[str, int] = {}
    perhaps: list[str] = []
    notes: list[str] = []
    count = 0
    for path, _, names in _walk(folder):
        for name in names:
            count += 1
            if count > MOST_FILES:
                break
            file = path / name
            relative = file.relative_to(folder).as_posix()
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode):
                notes.append(f"{safe(relative)} is a {_special(status.st_mode)}; not followed")
                continue
            if _SUBMISSION_NAMES.match(name):
                submissions.append(relative)
            elif _README_NAMES.match(name) and path == folder:
                readmes.append(relative)
            elif _named_like_log(name) and len(logs) < MOST_LOGS:
                logs.append(relative)
            else:
                others[relative] = status.st_size
                if _PERHAPS_LOG_NAMES.match(name):
                    perhaps.append(relative)
                elif _PACKED_LOG_NAMES.match(name):
                    notes.append(f"{safe(relative)} is packed; not read")
    for relative in perhaps[:MOST_OPENED]:
        if _ends_as_log(folder / relative) and len(logs) < MOST_LOGS:
            logs.append(relative)
            del others[relative]
    if len(perhaps) > MOST_OPENED:
        notes.append(f"{len(perhaps) - MOST_OPENED} files whose names say nothing; not read")
    if count > MOST_FILES:
        notes.append(f"more than {MOST_FILES:,} files; the rest is not read")
    return RecordFiles(
        folder=folder,
        logs=tuple(sorted(logs)),
        submissions=tuple(sorted(submissions, key=lambda name: (name.count("/"), name != "submission.json", name))),
        readme=min(readmes, key=lambda name: (name.lower() != "readme.md", name)) if readmes else None,
        others=others,
        notes=tuple(notes),
    )


def _ends_as_log(file: Path) -> bool:
    """Whether there are steps or scores, with numbers, at the end of a file."""
    try:
        with file.open("rb") as lines:
            lines.seek(max(0, file.stat().st_size - END_BYTES))
            return bool(_LOG_LINE.search(lines.read(END_BYTES)))
    except OSError:
        return False


def _special(mode: int) -> str:
    return "link" if stat.S_ISLNK(mode) else "named pipe" if stat.S_ISFIFO(mode) else "special file"


def _logs(files: RecordFiles, notes: list[str]) -> tuple[tuple[LogFile, ...], dict[str, str]]:
    logs: list[LogFile] = []
    for name in files.logs:
        try:
            log = read_log(files.folder / name, name)
        except OSError as error:
            notes.append(f"{safe(name)} cannot be read: {error.strerror}")
            continue
        if log.runs:
            logs.append(log)
    copies: dict[str, str] = {}
    by_content: dict[str, list[LogFile]] = {}
    for log in logs:
        by_content.setdefault(log.sha256, []).append(log)
    for same in by_content.values():
        original = min(same, key=_anonymity)
        copies.update({log.file: original.file for log in same if log is not original})
    return tuple(logs), copies


def _anonymity(log: LogFile) -> tuple[bool, bool, int, str]:
    """Lowest for the log whose name says most of it."""
    name = log.file
    return seed_in_name(name) is None, number_in_name(name) is None, name.count("/"), name


def _claims(files: RecordFiles, seeds: frozenset[int], logs: Sequence[str], notes: list[str]) -> Claims:
    parts: list[Claims] = []
    for name in _own_submissions(files):
        parts.append(_read(files, name, lambda text, name=name: submission_file.read(text, name), notes))
    if files.readme:
        parts.append(_read(files, files.readme, lambda text: readme.read(text, files.readme or "", seeds, logs), notes))
    return Claims(
        figures=tuple(_distinct(figure for part in parts for figure in part.figures)),
        conversions=tuple(conversion for part in parts for conversion in part.conversions),
        tests=tuple(test for part in parts for test in part.tests),
        seeds=next((part.seeds for part in parts if part.seeds), ()),
        notes=tuple(note for part in parts for note in part.notes),
        track=next((part.track for part in parts if part.track), ""),
        unread=sum(part.unread for part in parts),
        unread_cells=sum(part.unread_cells for part in parts),
    )


def _own_submissions(files: RecordFiles) -> list[str]:
    """Without those of another record inside this one."""
    above = [name for name in files.submissions if "/" not in name]
    return above or list(files.submissions)


def _is_unread(file: Path, name: str, claims: Claims) -> bool:
    """Whether a submission file, with no score read of it, is broken or gives a score that is no number."""
    if any(figure.file == name and DIMENSIONS[figure.quantity] == BPB for figure in claims.figures):
        return False
    try:
        text = small_text(file)
    except OSError:
        return True
    return bool(json_lines.parse(text).mistake or _NO_SCORE.search(text))


def _read(files: RecordFiles, name: str, reading, notes: list[str]) -> Claims:  # type: ignore[no-untyped-def]
    try:
        claims = reading(small_text(files.folder / name))
    except (OSError, ValueError) as error:
        notes.append(f"{safe(name)} cannot be read: {safe(str(error))}")
        return Claims()
    return replace(claims, notes=claims.notes)


def _distinct(figures: Iterable[Figure]) -> Iterator[Figure]:
    """Each figure once, though two patterns may have found it."""
    seen = set()
    for figure in figures:
        key = (
            figure.file,
            figure.line,
            figure.number.value,
            figure.number.unit,
            figure.quantity,
            figure.seed,
            figure.item,
        )
        if key not in seen:
            seen.add(key)
            yield figure
