"""Lines that say that a model learns after its training is over: test-time training, under any spelling.

Whether a score counts depends on the order: text may be learned from once it has been scored, not before. A log cannot
prove an order, but it can show the wrong one, and it can speak of learning at all. Spellings that are known are a table
with sources; a line that only looks like learning is kept as one of unknown kind, which is never a pass.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from jobs.contract.labels import LEARNED_FIRST_WORDS, SCORE_FIRST_WORDS

LEARNED_FIRST = "learned before it was scored"
SCORE_FIRST = "score first"
UNKNOWN = "of unknown order"

MOST_BLOCKS = 500  # of one run


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """A way to write such lines, and which order a reader may take them for."""

    pattern: str  # searched in the line, letters of either case
    order: str
    source: str


def _first(words: Iterable[str]) -> str:
    """An expression for lines that begin with one of these words."""
    return rf"^(?:{'|'.join(map(re.escape, words))})"


# The first that matches decides.
SPELLINGS = (
    Spelling(pattern=_first(SCORE_FIRST_WORDS), order=SCORE_FIRST, source="our own jobs, in the words of #549 and #77"),
    Spelling(
        pattern=_first(LEARNED_FIRST_WORDS), order=LEARNED_FIRST, source="our own jobs, in those of #462 and #410"
    ),
    Spelling(
        pattern=r"^(?:final_\w*)?(?:ttt_(?:chunk|phased|progress)\b|tt(?:p|pp|pr|tg):|legal_ttt)",
        order=SCORE_FIRST,
        source="PR #549 and its successors (chunks), #1610 and its successors (phases): score, then learn",
    ),
    Spelling(
        pattern=r"score[-_ ]?first|beginning ttt eval timer",
        order=SCORE_FIRST,
        source="public logs from 2026-04 on",
    ),
    Spelling(
        pattern=r"ttt[\]\s_:-]*epochs?[\s:=#]*\d+\s*(?:/|of)\s*\d(?!.*\b(?:chunk|doc))",
        order=LEARNED_FIRST,
        source="PR #462, #518 and their forks: whole passes over the validation text, one evaluation after them",
    ),
    Spelling(
        pattern=r"ttt:phase\d|ttt:all_d",
        order=LEARNED_FIRST,
        source="PR #410: two phases over the validation text, one evaluation after them",
    ),
    Spelling(
        pattern=r"pre[-_ ]?quant\w*[\]\s_:-]*(?:ttt|adapt|fine)|ttt[\s_:-]*pre[-_ ]?quant",
        order=LEARNED_FIRST,
        source="PR #1423, #1482, #1735 and others (not accepted: #402, #677): learned before the weights are quantized",
    ),
)
_KNOWN = [(re.compile(spelling.pattern, re.I), spelling.order) for spelling in SPELLINGS]

# What looks like learning: its names, its settings, or steps and epochs that come with a loss.
_NAMES = (
    r"(?<![a-z])ttt|ttt(?![a-z])|test[-_ ]?time|(?<![a-z])tta(?![a-z])|(?<![a-z])slot(?![a-z])|adapt(?!er)"
    r"|pre[-_ ]?quant\w*[-_ ](?:train|learn|tun|opt|epoch|step|sgd|adam)|prequential|fine[-_ ]?tun|dyn\w*[-_ ]?eval"
    r"|on(?:line)?[-_ ]?(?:the[-_ ])?(?:fly|val\w*|eval\w*)[-_ ](?:learn|train|updat|sgd|adam|fit|optim|grad)"
    r"|online[-_ ](?:learn|train|updat|sgd|adam|gradient|optim)|continual|memoriz|self[-_ ]?(?:train|distil)"
    r"|(?:learn|train|tun|fitt?|optimi[sz]|updat|overfit|refin|warm)\w*[-_ ](?:on|over|to|with|from)[-_ ]"
    r"(?:the[-_ ])?(?:val|eval|test|held|score|whole)"
    r"|(?<![a-z])(?:val\w*|eval|test|post|held\w*)[-_ ]?(?:set[-_ ])?"
    r"(?:train(?!ing (?:loss|time))|tun(?:e|ing)|fit|learn|sgd|adam|optim|refin|epochs?|pass(?:es)?\b)"
    r"|post[-_ ]?train\w*|inner[-_ ]?loop|meta[-_ ]?(?:step|learn|grad)|fast[-_ ]?weights?|hypernet|delta[-_ ]?rule"
    r"|(?:unigram|bigram|trigram|hash|kv|suffix|neural|pointer|n-?gram)[-_ ]?(?:order\d*[-_ ])?"
    r"(?:cache|mix|tilt|blend|lookup)"
    r"|(?<![a-z])(?:n-?gram\d*|knn|hedge)(?![a-z])|ppm(?![a-z])|(?<![a-z])lora(?:[-_ ]rank)?[ =:]"
    r"|(?:bias|logit|scale|temperature|embedding|head|norm)\w*[-_ ](?:tun|fit|learn|adapt|optimi[sz]|updat)"
    r"|(?:tuning|training|optimi[sz]ation|learning) at (?:inference|eval\w*|test)|transductive"
    r"|backprop|backward pass|gradient (?:step|descent|update)|(?:grad|optim\w*|opt|sgd|adamw?|muon)[-_ ]?steps?"
    r"|(?<![a-z])(?:sgd|adamw?|rmsprop|lbfgs)(?![a-z])"
)
_SETTINGS = r"(?<![a-z])(?:lr|learning[-_ ]?rate)(?![a-z])[\s:=]*[\d.]|epochs?[\s:=#]*\d"
_STEPS = r"(?<![a-z])(?:steps?|iter\w*|pass|round|update|epoch)[\s:=#]*\d+\b.{0,80}loss"
# Something that is done to a model, in one line with the text that it is scored on.
_DONE = (
    r"(?<![a-z])(?:re-?)?(?:train(?:ed|ing)?|learn\w*|fit(?:ted|ting)?|tun(?:e|ed|ing)|optimi[sz]\w*|updat\w*|refin\w*"
    r"|distil\w*|overfit\w*|calibrat\w*|search|accumulat\w*|hebbian|reptile|kalman|backward|ft|epochs?|continued"
    r"|adapters?|gather\w*|estimat\w*|solv\w*|refresh\w*|recover\w*|rehears\w*|personali[sz]\w*|correct\w*|nudg\w*"
    r"|minimi[sz]\w*|evolution\w*|posterior|hessians?|adaround|\w*lora|qat|sign_?sgd|its?|iters?|inner|durchlauf|passe?)"
    r"(?![a-z])"
)
_TO_WHAT = (
    r"(?<![a-z])(?:val(?:id(?:ation)?)?|evals?|evaluation|held[-_ ]?out|inference|scored|scoring|score"
    r"|validi\w+|per[-_ ]?(?:doc\w*|window|chunk|sequence)|per batch of windows|test (?:set|text|tokens?|data|docs?))"
    r"(?![a-z])(?!_(?:time|loss|bpb))"
)
_BOTH = rf"{_DONE}.*{_TO_WHAT}|{_TO_WHAT}.*{_DONE}"
_LOOKS = re.compile(f"{_NAMES}|{_SETTINGS}|{_STEPS}|{_BOTH}", re.I)
# A line without any of these is none: told in a microsecond.
_PARTS = (
    b"ttt", b"ttp", b"time", b"tta", b"slot", b"adapt", b"pre", b"tun", b"val", b"online", b"on-line", b"continual",
    b"memori", b"self-", b"self ", b"selft", b"learn", b"train", b"fit", b"refin", b"post", b"inner", b"meta", b"fast",
    b"hyper", b"delta", b"cache", b"mix", b"gram", b"knn", b"ppm", b"hedge", b"lora", b"back", b"grad", b"sgd", b"adam",
    b"muon", b"rmsprop", b"lbfgs", b"lr", b"learning", b"epoch", b"loss", b"scor", b"opt", b"test", b"doc", b"infer",
    b"held",
)  # fmt: skip

_WHAT = (
    r"(?<![a-z])(?:val(?:id(?:ation)?)?|evals?|evaluation|held[-_ ]?out|inference|scored|scoring|score"
    r"|validi\w+|per[-_ ]?(?:doc\w*|window|chunk|sequence)|per batch of windows|test (?:set|text|tokens?|data|docs?))"
    r"(?![a-z])(?!_(?:time|loss|bpb))"
)
_BOTH = rf"{_DONE}.*{_TO_WHAT}|{_TO_WHAT}.*{_DONE}"
_LOOKS = re.compile(f"{_NAMES}|{_SETTINGS}|{_STEPS}|{_BOTH}", re.I)
# The same as few letters that most lines do not have, to pass over these lines quickly.
_HINT = re.compile(
    rb"(?i)ttt|ttp|test.?time|tta|slot|adapt|prequan|preque|pre.quan|tun|eval|val|on.?line|continual|memori|self.?(?:train|dist)|learn"
    rb"|train|fit|refin|post|inner|meta|fast|hyper|delta|cache|mix|gram|knn|ppm|hedge|lora|backprop|backward|grad|sgd"
    rb"|adam|muon|rmsprop|lbfgs|\blr|epoch|loss|scor|opt|test|docs|infer|held"
)

_WHAT = r"(?:ttt\w*|slot|adapt\w*|test[-_ ]?time\w*|tta|prequant\w*|fine[-_ ]?tun\w*|\w+ cache)"
_OFF = re.compile(
    rf"(?:{_WHAT}|epochs?|steps?|enabled?)(?:[_ ](?:enabled?|on|steps?|epochs?|iters?|mode|lr|passes))?\s*[:=]\s*"
    r"(?:0(?:\.0*)?(?![\d./])|false|off|none|no\b|disabled?|null|n/a|skip\w*)"
    rf"|\b(?:no|without|skip\w*|not|disabled?|off)[\s:_-]+(?:\w+[\s_-]+){{0,2}}{_WHAT}"
    rf"|{_WHAT}\W+(?:is |was )?(?:off|disabled|skipped|not (?:used|run|enabled))",
    re.I,
)
_INNOCENT = re.compile(
    r"(?:gptq|hessian)(?!.*(?<![a-z])val)|(?:ema|swa|lawa):|applying (?:ema|swa)|late_qat|qat:|selective_prune"
    r"|random tokens|no val data|no gradient|inference_mode"
    r"|(?<![a-z])(?:blocks?|layers?|h)[.\[]\d+[.\]]\w|^\s*(?:tok_emb|lm_head)|\btrain_(?:loader|time|batch|seq|shards)"
    r"|calibrat\w* (?:on|with|from|over) (?!.*\bval)|(?:freed?|freeing|deleted|released|dropped|cleared)\b.*\bstate"
    r"|\bstate\b.*(?:freed|deleted|released|dropped|cleared)",
    re.I,
)
_CONFIGURATION = re.compile(r"(?:\w+[:=]\S+\s+){2,}\w+[:=]\S+\s*")  # settings on one line
_GOES_ON = re.compile(r"loss|epoch|pass|time|elapsed|\d/\d", re.I)
_OF_A_LAYER = re.compile(r"(?<![a-z])(?:blocks?|layers?|h)[.\[]\d+[.\]][\w.]*(?:ttt|slot|adapt)", re.I)
_SETTING = re.compile(r"\s*[\w.]+\s*[:=]\s*[\w.+/-]*\s*")
_STRONG = re.compile(r"(?<![a-z])(?:ttt|slot|tta|adapt\w*|prequant\w*|test_?time)(?![a-z])|ttt(?![a-z])", re.I)
_SETTING_ON = re.compile(
    r"\s*\w*(?<![a-z])(?:ttt|slot|tta|test_time_training|test_time|adapt(?:ation)?)(?:_(?:enabled?|on|eval))?"
    r"\s*[:=]\s*(?:true|1|yes|on|enabled)\s*"
    r"|\s*(?:eval\w*_mode|mode|evaluation)\s*[:=]\s*\w*(?:ttt|slot|tta|adapt)\w*\s*",
    re.I,
)
_SECONDS = re.compile(
    r"(?:time|elapsed|took|in|duration|wallclock|total|t)\W{0,3}(?P<number>\d{1,9}(?:\.\d+)?)\s?"
    r"(?P<unit>ms|s|secs?|seconds|m|min|minutes)\b",
    re.I,
)
_FACTOR = {"ms": Decimal("0.001"), "m": Decimal(60), "min": Decimal(60), "minutes": Decimal(60)}


@dataclass(kw_only=True)
class Learning:
    """A block of such lines: those of one form, between two evaluations."""

    order: str  # LEARNED_FIRST, SCORE_FIRST or UNKNOWN
    text: str  # its first line
    first_line: int
    last_line: int
    last_text: bytes

    def goes_on(self, line: int, text: bytes) -> None:
        self.last_line, self.last_text = line, text

    @property
    def seconds(self) -> Decimal | None:
        """The largest time that the first or the last line tells: clocks run on from line to line."""
        last = self.last_text.decode("utf-8", errors="replace")
        return max(filter(None, map(seconds_in, (self.text, last))), default=None)


def hints(line: bytes) -> bool:
    """Whether the line can speak of learning at all; quick."""
    small = line.lower()
    return any(map(small.__contains__, _PARTS))


def order_in(text: str) -> str | None:
    """Of which order the learning is that a line speaks of; None where it speaks of none, or says that it is off."""
    for pattern, order in _KNOWN:
        if pattern.search(text):
            return None if _OFF.search(text) and not re.search(r"\d/\d", text) else order
    if _CONFIGURATION.fullmatch(text) and not _STRONG.search(text) and not _GOES_ON.search(text):
        return None
    named = _STRONG.search(text) is not None and not _OF_A_LAYER.search(text)
    if _OFF.search(text) or not (named or (_LOOKS.search(text) and not _INNOCENT.search(text))):
        return None
    return UNKNOWN


def is_setting(text: str) -> bool:
    """Whether the line is nothing but the name of a setting and its value."""
    return _SETTING.fullmatch(text) is not None


def names_learning(text: str) -> bool:
    """Whether a setting is one of test-time training, and not switched off."""
    return _STRONG.search(text) is not None and not _OFF.search(text)


def switches_on(text: str) -> bool:
    """Whether a setting switches such a thing on."""
    return _SETTING_ON.fullmatch(text) is not None


def seconds_in(text: str) -> Decimal | None:
    """The largest time of the line."""
    times = [
        Decimal(match["number"]) * _FACTOR.get(match["unit"].lower(), Decimal(1)) for match in _SECONDS.finditer(text)
    ]
    return max(times, default=None)
