"""What the lines of a log have in front of what the program printed: times, ranks, hosts, levels, names of files.

    (train pid=1234) step:100/20000 ..      2026-04-01T10:00:00.123+02:00 step:100/20000 ..      0: step:100/20000 ..

No list of loggers: a line whose beginning is known (a step, a setting, a size, a score) shows what stands in front of
it, and what many such lines show is the file's prefix. Where they differ it is general (any digits for digits), where
they are the same it is literal.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from .text import PACKED, raw_lines

SAMPLE_BYTES = 1 << 20  # of the beginning of a file, where a dump of the script may stand
END_BYTES = 1 << 13  # of a file, which most often tell
ENOUGH = 150  # lines whose beginning is known
LONGEST = 200  # characters of a prefix
LEAST_LINES = 3  # that show the same prefix, with two beginnings among them; or half of all that show one
MOST_SHAPES = 8

# How lines of a training log begin, in any dialect; what stands in front of the first of these is no part of it.
_BEGINNINGS = re.compile(
    r"(?<![\w./])(?<![A-Za-z]-)(?:"
    r"(?:warmup_)?step: ?\d+/\d+ |\d+/\d+ (?:train|val)_loss: ?\d|seed: ?\d|world_size: ?\d|params:\d+ L:"
    r"|(?:model_params|val_tokens|train_batch_tokens|iterations|max_wallclock_seconds): ?\d|budget:\d"
    r"|val_loader:.{1,100}tokens:\d|stopping_early:.{1,60}\d|peak memory[^{]{1,30}\d|Running PyTorch \d"
    r"|(?:Serialized model|Total submission size|Code size)[^{:]{0,40}: ?\d"
    r"|(?:final|quantized|legal_ttt|diagnostic|DIAGNOSTIC)[\w +-]{0,80} val_loss: ?\d"
    r"|step[ :=]+\d+\b[^{]{0,40}loss"
    r")"
)
_TOKEN = re.compile(r"\d+|[A-Za-z]+|[ \t]+|[^\w\s]|_|.", re.S)
_ENDS = tuple(" \t:])|>\"'}-=")


class Prefix:
    """The prefix of one file; takes it off the lines that have it."""

    def __init__(self, pattern: "re.Pattern[bytes] | None" = None) -> None:
        self._pattern = pattern

    def __bool__(self) -> bool:
        return self._pattern is not None

    def off(self, line: bytes) -> bytes:
        """The line without the file's prefix."""
        if self._pattern is None:
            return line
        match = self._pattern.match(line)
        return line[match.end() :] if match else line


def prefix_of(lines: Iterable[bytes]) -> Prefix:
    """The prefix that these lines of a file have in common; an empty one where there is none."""
    shown: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    beginnings: dict[tuple[str, ...], set[str]] = defaultdict(set)
    known = 0
    for line in lines:
        if b":" not in line and b"=" not in line:
            continue
        text = line[: 2 * LONGEST].decode("latin-1")
        match = _BEGINNINGS.search(text)
        if match is None or match.start() > LONGEST:
            continue
        known += 1
        if known > ENOUGH:
            break
        prefix = text[: match.start()]
        if not prefix.strip() or not prefix.endswith(_ENDS):
            continue
        tokens = _TOKEN.findall(prefix)
        shape = tuple(map(_kind, tokens))
        shown[shape].append(tokens)
        beginnings[shape].add(re.sub(r"\d+", "", match[0]))
    common = [
        (len(samples), _pattern(samples))
        for shape, samples in shown.items()
        if 2 * len(samples) >= known or (len(samples) >= LEAST_LINES and len(beginnings[shape]) > 1)
    ]
    if not common:
        return Prefix()
    common.sort(key=lambda counted: (-counted[0], counted[1]))
    patterns = "|".join(pattern for _, pattern in common[:MOST_SHAPES])
    return Prefix(re.compile(rf"(?:{patterns})".encode("latin-1")))


def prefix_in(path: Path) -> Prefix:
    """The prefix of the file at ``path``; from its end where that tells that there is none. Raises OSError."""
    if path.suffix.lower() not in PACKED:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - END_BYTES))
            ends = file.read().replace(b"\0", b"").split(b"\n")[1:]
        bare = sum(_BEGINNINGS.match(line.decode("latin-1")) is not None for line in ends)
        if bare >= LEAST_LINES and not prefix_of(ends):
            return Prefix()
    return prefix_of(_sample(path))


def _sample(path: Path) -> Iterator[bytes]:
    size = 0
    for line in raw_lines(path):
        size += len(line.content) + 1
        yield line.content
        if size > SAMPLE_BYTES:
            return


def _kind(token: str) -> str:
    if token.isdigit():
        return "0"
    return "a" if token.isalpha() and token.isascii() else " " if token.isspace() else token


def _pattern(samples: list[list[str]]) -> str:
    """One expression for prefixes of one shape."""
    parts = []
    for tokens in zip(*samples, strict=True):
        kind = _kind(tokens[0])
        same = len(set(tokens)) == 1
        if kind == "0":
            parts.append(r"\d+")
        elif kind == " ":
            parts.append(r"[ \t]+" if not same or len(tokens[0]) > 1 else re.escape(tokens[0]))
        else:
            parts.append(re.escape(tokens[0]) if same else "[A-Za-z]+")
    return "".join(parts)
