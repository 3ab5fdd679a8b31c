"""Did a setting land? What was asked of a script, held against what it reads and against what it prints.

Nothing is said where nothing can be known: a name that an incomplete source does not show is unknown, and a value that
is not printed, or printed as something else (``embed_lr:{token_lr}``), contradicts nothing.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from ..errors import nearest
from ..logs.dialects import CODE_STARTS, RULE
from ..logs.prefix import prefix_of
from ..logs.text import safe
from .part import Variable
from .source import Source

MOST_LINES = 20_000  # of a log in front of the first step; configurations have some 200
LONGEST_LINE = 20_000  # characters
LEAST_PREFIXED = 3  # lines that a launcher's prefix stands in front of; fewer are sentences
LEAST_CODE = 3  # lines that begin as code in a dump of the script
LEAST_DECIMALS = 3  # of a number that was rounded where nothing tells how it was printed

# What Python, torch and CUDA read for themselves, whatever a script reads.
_OF_LIBRARIES = re.compile(
    r"(?:CUDA|NCCL|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|OMP|MKL|OPENBLAS|NUMEXPR|GLOO|KMP|GOMP|NVIDIA|CUBLAS|CUDNN|XLA"
    r"|PYTHON|HF|HUGGINGFACE|TRANSFORMERS|TOKENIZERS|WANDB|MLFLOW|RAY|LD|UCX|FI|IB|NVTE|XDG)(?:_\w+)?|PYTHON[A-Z]+"
    r"|PATH|HOME|USER|LANG|LC_\w+|TMPDIR|TERM|SHELL|TZ|RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|MASTER_(?:ADDR|PORT)"
)
_STEP = re.compile(
    r"(?:\[?(?:train(?:ing)?\W{0,2})?(?:step|iter(?:ation)?|it)\b\W{0,4}\d+|\d+/\d+\b).{0,120}?(?<![A-Za-z])loss"
    r"|step:\d+/\d+ ",
    re.I,
)
_VALUE = (
    r"[\w.]+\([^()]*\)|<[^>]*>|\"[^\"]*\"|'[^']*'|\[[^\]]*\]|\([^()]*\)|\d{1,3}(?:,\d{3})+(?![\d,.])"
    r"|[^\s,;|{}()\[\]]*[^\s,;|{}()\[\].:]"
)
_PAIR = re.compile(
    rf"\s*[\"']?-{{0,2}}(?P<name>[A-Za-z_][\w.\-/]*)[\"']?\s*(?P<mark>=>|->|[:=])\s*(?P<value>{_VALUE})\s*(?:[,;|]\s*)?"
)
_SINGLE = re.compile(
    r"\s*[\"']?-{0,2}(?P<name>[A-Za-z_][\w.\-/]*)[\"']?\s*(?::|=>|->|=|\s{2,}|\t)\s*(?P<value>\S.*?)?,?\s*"
)
_WRAPPER = re.compile(
    r"(?:(?P<label>[\w .\-]{0,60}?)[:=] *)?(?P<name>[A-Za-z_][\w.]{0,60})? ?[({] *(?P<inside>.*?) *[)}]?[,.]?"
)
_LABEL = re.compile(r"(?:\[(?P<tag>[^\]]{1,40})\]|(?P<label>[\w ./\-]{1,60}):) +(?=\S+ *[:=])")
_NESTED = re.compile(r"^[A-Za-z_]\w*[=:](?!//)")
_OWNERS = re.compile(
    r"hp|hps|h|args?|arguments|cfg|conf|opt|options|self|flags|env|environment|namespace|dict|\w*config(?:uration)?"
    r"|settings?|\w*(?:hparams?|params|parameters?|args)"
)
_TAG = re.compile(r"[\d:.,\-/ TZ]+|rank\W?\d+|info|debug|main|root|gpu\W?\d+|master", re.I)
_SPACES = re.compile(r"\s{9,}")
_TRUE, _FALSE = frozenset(("true", "yes", "on", "y", "t")), frozenset(("false", "no", "off", "n", "f"))
_NOTHING = frozenset(("none", "null", ""))


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A setting that the script does not read, as far as its text tells."""

    name: str
    unknown: bool  # the text does not decide it: it may be read
    hint: str  # the nearest name that it does read, as ``; did you mean 'TTT_LR'?``; may be empty
    why: str = ""  # it is unknown

    def __str__(self) -> str:
        if self.unknown:
            return f"{self.name}: whether the script reads it cannot be told, since {self.why}{self.hint}"
        return f"{self.name}: the script never reads it{self.hint}"


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A setting that the script prints otherwise than it was asked for."""

    name: str
    asked: str
    printed: str
    line: int  # of the log, from 1
    text: str  # of that line, safe to show

    def __str__(self) -> str:
        return (
            f"{self.name}: asked for {self.asked}, and the script prints {self.printed} (line {self.line}: {self.text})"
        )


def unread(source: Source, settings: Mapping[str, str]) -> tuple[Unread, ...]:
    """The settings that the script never reads, and those of which it cannot be told.

    What Python, torch and CUDA read for themselves (``OMP_NUM_THREADS``, ``NCCL_DEBUG``) is none of them.
    """
    names = [one.name for one in source.variables]
    found = []
    for name in settings:
        if name in names or _OF_LIBRARIES.fullmatch(name):
            continue
        hint = nearest(name, names) or nearest(name.upper(), names)
        flag = f"--{name.lower()}"
        options = [one for one in source.flags if one.lower().replace("-", "_") == flag.replace("-", "_")]
        if options and not hint:
            hint = f"; it takes {options[0]} on its command line"
        found.append(Unread(name=name, unknown=not source.whole, hint=hint, why=source.why_not_whole))
    return tuple(found)


def contradictions(source: Source, text: str, settings: Mapping[str, str]) -> tuple[Contradiction, ...]:
    """The settings that a log prints otherwise in front of the first training step.

    A setting counts as landed where any line prints it as asked. Compared are whole names: that of the variable, in
    letters of either case, and those that the source gives to its value.

    Args:
        text: the log so far; a last line that has not ended says nothing.
        settings: what was asked, as the environment holds it.
    """
    readers = {name: _reader(source, name) for name in settings}
    printed_as = Counter(label for one in readers.values() for label in one.labels)
    wanted = {  # a label that two settings could be printed under says nothing
        label: name for name, one in readers.items() for label in one.labels if printed_as[label] == 1
    }
    disagreeing: dict[str, Contradiction] = {}
    landed: set[str] = set()
    for number, line in _configuration(text):
        for label, value in _pairs(line):
            name = wanted.get(_bare(label), "")
            if not name:
                continue
            agrees = readers[name].agrees(settings[name], value)
            if agrees:
                landed.add(name)
            elif agrees is False and name not in disagreeing:
                disagreeing[name] = Contradiction(
                    name=name, asked=settings[name], printed=safe(value), line=number, text=safe(line.strip())
                )
    return tuple(one for name, one in disagreeing.items() if name not in landed)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """How a script takes and prints one variable."""

    labels: frozenset[str]  # in lower case
    kind: str | None
    is_path: bool
    is_rounded: bool | None  # None: the text does not tell

    def agrees(self, asked: str, printed: str) -> bool | None:
        """Whether a printed value is the one that was asked for; None where the two cannot be compared."""
        asked, printed = asked.strip(), printed.strip().strip("\"'")
        if asked == printed:
            return True
        if self.kind == "str" and not self.is_path:
            return None if _has_words(printed) and not _has_words(asked) else False
        if self.is_path:
            return _file(asked) == _file(printed) if "/" in printed or "/" in asked else False
        a, b = _number(asked), _number(printed)
        if a is not None and b is not None:
            return a == b or self._rounds(a, printed) or (self.kind == "bool" and bool(a) == bool(b))
        if asked.lower() in _NOTHING or printed.lower() in _NOTHING:
            other = b if asked.lower() in _NOTHING else a
            return (asked.lower() in _NOTHING and printed.lower() in _NOTHING) or (other == 0 or None)
        if a is not None or (b is not None and self.kind in ("int", "float", "bool")):
            return None  # 600s, 8 layers, a list: something else, or in another unit
        return None if _has_words(printed) and not _has_words(asked) else False

    def _rounds(self, asked: Decimal, printed: str) -> bool:
        """Whether ``printed`` is ``asked`` with fewer digits, where it may have been printed so."""
        decimals = len(printed.lower().partition("e")[0].partition(".")[2])
        if self.is_rounded is False or (self.is_rounded is None and decimals < LEAST_DECIMALS and "e" not in printed):
            return False
        number = float(_number(printed) or 0)
        if "e" in printed.lower():
            return math.isclose(float(asked), number, rel_tol=0.51 * 10.0**-decimals)
        return abs(float(asked) - number) <= 0.500001 * 10.0**-decimals


def _reader(source: Source, name: str) -> _Reader:
    variable = next((one for one in source.variables if one.name == name), None)
    labels = {name.lower()} | ({one.lower() for one in variable.attributes} if variable else set())
    if variable is not None:
        labels -= {one.lower() for one in variable.derived}
    for other in source.variables:  # another variable's value has that name
        if other.name != name:
            labels -= {one.lower() for one in other.attributes} | {other.name.lower()}
            labels -= {one.lower() for one in other.derived} - {name.lower()}
    shown = {label: [one for one in source.shown if _bare(one.label) == label] for label in labels}
    labels = {
        label
        for label in labels
        if not shown[label] or any(one.of.lower() in labels | {name.lower()} for one in shown[label])
    }
    formats = [one.is_rounded for label in labels for one in shown[label]]
    return _Reader(
        labels=frozenset(labels),
        kind=variable.kind if variable else None,
        is_path=bool(re.search(r"(?:PATH|DIR|FILE|FILES|FOLDER|ROOT)$", name)) and not _is_number_kind(variable),
        is_rounded=any(formats) if formats else None,
    )


def _is_number_kind(variable: Variable | None) -> bool:
    return variable is not None and variable.kind in ("int", "float", "bool")


def _configuration(text: str) -> Iterator[tuple[int, str]]:
    """The ended lines in front of the first training step, with their numbers; no dump of the script."""
    lines = text.split("\n")[:-1][:MOST_LINES]
    raw = [line.rstrip("\r")[:LONGEST_LINE].encode("utf-8", errors="replace") for line in lines]
    prefix = prefix_of(raw)
    bare = [prefix.off(line) for line in raw]
    if sum(a != b for a, b in zip(raw, bare, strict=True)) < LEAST_PREFIXED:
        bare = raw
    code = [index for index, line in enumerate(bare) if CODE_STARTS.match(line)]
    dumped: set[int] = set()
    if len(code) >= LEAST_CODE:
        rules = [index for index, line in enumerate(bare) if RULE.match(line) and index > code[LEAST_CODE - 1]]
        dumped = set(range(code[0], rules[0] if rules else len(bare)))
    for index, line in enumerate(bare):
        if index in dumped:
            continue
        shown = line.decode("utf-8", errors="replace")
        if _STEP.match(shown.strip()):
            return
        yield index + 1, shown


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """The names and values of a line that is made of them; none of a sentence in which some stand."""
    inside = _SPACES.sub(" " * 8, line.strip())
    for _ in range(3):
        found = _all_pairs(inside)
        if found:
            yield from found
            return
        label, wrapped = _LABEL.match(inside), _WRAPPER.fullmatch(inside)
        if label is not None and (_TAG.fullmatch(label["tag"]) if label["tag"] else _is_owner(label["label"])):
            inside = inside[label.end() :]
        elif wrapped is not None and _is_owner(wrapped["name"] or wrapped["label"] or "dict"):
            inside = wrapped["inside"]
        else:
            break
    single = _SINGLE.fullmatch(inside)
    if single is not None:
        yield single["name"], single["value"] or ""


def _is_owner(words: str) -> bool:
    """Whether what stands in front of pairs says that they are the configuration, and not of a part of it."""
    last = re.split(r"[\s.]+", words.strip().lower())[-1]
    return bool(_OWNERS.fullmatch(last) or _TAG.fullmatch(last))


def _all_pairs(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    if text.endswith(("}", ")")) and not {"{", "("} & set(text):  # the last line of a table over several
        text = text[:-1]
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            return []
        if _NESTED.search(match["value"]):  # ``muon:lr=0.02 momentum:0.9``: of a part, not of the whole
            return []
        found.append((match["name"], match["value"]))
        at = match.end()
    return found


def _bare(label: str) -> str:
    """A printed name without what it is a part of, in lower case: ``args.seed`` is ``seed``, ``ttt.seed`` is not."""
    owner, _, name = label.lower().replace("/", ".").rpartition(".")
    bare = name if not owner or _OWNERS.fullmatch(owner) else label.lower()
    return bare.replace("-", "_")


def _number(text: str) -> Decimal | None:
    lower = text.lower()
    if lower in _TRUE or lower in _FALSE:
        return Decimal(lower in _TRUE)
    try:
        number = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _has_words(text: str) -> bool:
    return bool(re.search(r"\s", text.strip()))


def _file(text: str) -> str:
    return text.rstrip("/").rpartition("/")[2]
