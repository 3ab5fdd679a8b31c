"""The figures of README prose: the headline, means and stds, quoted log lines, named numbers.

Prose is read where it names what its number is, and left alone where the sentence is about another run (a baseline,
a PR, an ablation): a number that is not checked is better than a contradiction that is none.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

from ..logs.grammar import parse
from ..rules.challenge import limits
from .figure import Figure
from .markdown import Prose
from .numbers import NUMBER, PRINTED_NUMBER, Printed, of_match, printed, printed_std
from .quantities import BPB, BYTES, DIMENSIONS, NATS, TIME, Meaning, meaning
from .readme_tables import HIGHEST_BPB, LOWEST_BPB, OTHER_RUNS, STANDARD_ERROR, in_unit, is_about_others, seed_of

HEADLINE_LINES = 20  # of the README, from its start
HEADLINE_START = 60  # characters before the score of a headline
LONGEST_LINE = 2000

_SCORE = re.compile(
    rf"\b(?:val[ _]?)?(?:bp[bp]|score)\b\s*(?:\([^()]{{0,40}}\))?\s*(?:[:=]|of|is)?\s*(?P<value>{NUMBER})", re.I
)
_SCORE_BEFORE = re.compile(
    rf"(?<![\w.,#])(?P<value>{NUMBER})\s*(?:(?:±|\+/-)\s*{NUMBER}\s*)?"
    r"(?:(?:val[ _]?)?bp[bp]|bits[ -]per[ -]byte)\b",
    re.I,
)
_SENTENCE = re.compile(
    r"(?:(?:our |the )?(?:final|mean|average) (?:val[ _])?(?:bp[bp]|bits[ -]per[ -]byte)(?:\s*[:=]| is| of)?\s*"
    r"(?P<value>\d\.\d{3,8})|we (?:reach|achieve) (?P<reached>\d\.\d{3,8})\s*"
    r"(?:(?:val[ _])?bp[bp]|bits[ -]per[ -]byte))\s*(?:$|[.(,;]|over\b|on average)",
    re.I,
)
_GIVEN_UP = re.compile(r"discard|crash|exclud|failed", re.I)
_LOSS = re.compile(rf"(?:\bval[ _]loss\s*[:=]\s*|(?<![\w.,#])(?={NUMBER}\s*nats\b))(?P<value>{NUMBER})", re.I)
_SIZE = re.compile(rf"{PRINTED_NUMBER}\s*(?P<unit>[KM]i?B|kB|bytes?|B)\b")
_TRAIN_SECONDS = re.compile(rf"{PRINTED_NUMBER}\s*(?P<unit>s|sec)\s+(?:of )?train", re.I)
_EVAL_SECONDS = re.compile(rf"{PRINTED_NUMBER}\s*(?P<unit>s|sec)\s+(?:of )?(?:TTT )?eval", re.I)

_SEEDS = re.compile(r"\b(?P<value>\d{1,3})[- ]seeds?\b", re.I)

_LIST_MARK = r"(?:[-*+>]\s*|\d+\.\s+)?(?:\[.\]\s*)?"
_MEAN = re.compile(
    _LIST_MARK + r"(?:(?:the|our) )?(?:(?:sample|exact|overall|final|three|\d+)[- ]|seeds?[- ])*(?:mean|average)\b"
    rf"(?:[^:=|]{{0,60}}?[:=]\s*|[^:=|\d]{{0,40}}? (?:is|was|of) (?=\d\.\d)|\s+(?=\d\.\d{{3}}))(?P<value>{NUMBER})",
    re.I,
)
_STD = re.compile(
    _LIST_MARK + r"(?:(?:sample|population|inter-?seed|cross-?seed|\d+|seeds?)[- ])*(?:std|stdev|standard deviation)\b"
    rf"(?!\.? ?err| of (?:the )?mean)(?:[^:=|\d]{{0,40}}[:=]\s*|\s+(?=\.?\d))(?P<value>{NUMBER})",
    re.I,
)
_SEM = re.compile(
    rf"{_LIST_MARK}(?:(?:std|standard)\.? err(?:or)?|SEM)\b[^:=|\d]{{0,40}}[:=]\s*(?P<value>{NUMBER})", re.I
)
_SPREAD = re.compile(
    r"(?:inter|cross|across|between)[- ]?seeds?\s+(?:variance|variation|spread|range)\s*[:=]?\s*"
    rf"(?P<value>{NUMBER})",
    re.I,
)
_OF_SEED = re.compile(
    _LIST_MARK + r"\(?seed[\s_=:#]*(?P<seed>\d{1,9})\)?\s*(?:[:=]|-+)\s*"
    rf"(?P<value>{NUMBER})(?!,\d)(?:\s*bp[bp])?\s*(?:$|[(,;|])",
    re.I,
)
_SEED_LINE = re.compile(
    r"\W*(?:\w+ run,? )?`?seed[\s_=:#]*(?P<seed>\d{1,9})[`)*]*\s*(?:[:=→,(–-]|->)(?!.*\b(?:mean|average)\b)", re.I
)
_ITEM = re.compile(
    rf"{PRINTED_NUMBER}`?\s*(?P<unit>)(?P<name>bp[bp]|nats|steps|bytes|[KM]i?B)\b(?! of| code| model)", re.I
)
_ITEMS = {
    **dict.fromkeys(("bpb", "bpp"), "any_bpb"),
    "nats": "any_loss",
    "steps": "steps",
    **dict.fromkeys(("bytes", "kb", "mb", "kib", "mib"), "total_bytes"),
}
_UNITS_OF_ITEMS = {name: name for name in ("bytes", "KB", "MB", "KiB", "MiB")}
_LIST = re.compile(r"\b(?:val_)?bpbs?\s*[:=]\s*\[(?P<items>[\d.,\s]{3,400})\]", re.I)
_STOPPED = re.compile(r"stopped (?:early )?at (?P<value>\d[\d,]*)(?:/[\d,]+)? steps", re.I)
_STEPS = re.compile(r"(?<![\w.,])(?P<value>\d{1,3},\d{3}|\d{3,6}) steps\b", re.I)
_STEP_MS = re.compile(r"(?<![\w.,])(?P<value>\d{2,4}(?:\.\d+)?)\s*ms ?(?:/ ?|per )step", re.I)
_NAMED = re.compile(r"(?:[-*+]\s+|\d+\.\s+|\*\*)(?P<name>[^:`]{2,60}?)\s*:\s*(?P<text>.{1,200})$")
_TIMES = ((r"^train(?:ing)?$", "train_time"), (r"^eval(?:uation)?$", "eval_time"))  # by the whole of a name
_OF_SOMETHING_ELSE = re.compile(rf"[~≈]?{NUMBER}\s*[KMB]?\s*(?:param|token|layer|epoch|block|head|dim)", re.I)
_KEYED = re.compile(
    r"\b(?P<key>val_bpb|val_loss|step_avg|train_time|eval_time|artifact_bytes|artifact)\s*[:=]\s*"
    rf"{PRINTED_NUMBER}(?:\s*(?P<unit>[KM]i?B|kB|bytes?|ms|s|sec(?:onds)?)\b)?"
)
_QUOTED = re.compile(r"`([^`]{1,300})`")
_LOG_LINE = re.compile(r"\s*(?:step:|\d+/\d+ )")
_AT_A_STEP = re.compile(r"\bat (?:step|iter(?:ation)?) ?\d|`?\bstep:\d|`\d+/\d+ ", re.I)
_LOG_LABEL = re.compile(r"\w[\w.+-]*(?:_\w+)+(?: sliding)?")
_KEYS = {
    "val_bpb": Meaning("any_bpb"),
    "val_loss": Meaning("any_loss"),
    "step_avg": Meaning("step_ms"),
    "train_time": Meaning("train_time"),
    "eval_time": Meaning("eval_time"),
    "artifact": Meaning("total_bytes"),
    "artifact_bytes": Meaning("total_bytes"),
}


def prose_figures(block: Prose, file: str, lines_before: int, known_seeds: frozenset[int]) -> Iterator[Figure]:
    """Every figure of a line that says what it is."""
    if len(block.plain) > LONGEST_LINE or _LOG_LINE.match(block.plain):
        return
    line = _Line(block, file)
    if lines_before < HEADLINE_LINES and line.is_headline(first=lines_before == 0):
        yield from line.headline()
        return
    yield from line.statistics()
    if line.about_others or _SPREAD.search(block.plain):
        return
    yield from line.of_seeds()
    yield from line.of_one_seed(known_seeds)
    yield from line.sentence()
    yield from line.speed()
    yield from line.named()
    yield from line.keyed(known_seeds)


class _Line:
    """One line of prose, read for its figures."""

    def __init__(self, block: Prose, file: str) -> None:
        self._block = block
        self._file = file
        self._text = block.plain
        others = OTHER_RUNS.search(self._text)
        self._own = self._text[: others.start()] if others else self._text  # what stands before another run is named
        self._loose = is_about_others(block.heading) and block.level == 0
        self.about_others = others is not None or "→" in self._text or "->" in self._text

    def _figure(self, item: str, number: Printed, quantity: str, statistic: str, **more: object) -> Figure:
        on_the_way = bool(_AT_A_STEP.search(self._block.raw)) and DIMENSIONS[quantity] in (BPB, NATS)
        fields = {"loose": self._loose} | more
        fields["loose"] = fields["loose"] or on_the_way  # not every validation of a training is kept
        return Figure(
            file=self._file,
            line=self._block.line,
            item=item,
            number=number,
            quantity=quantity,
            statistic=statistic,
            **fields,  # type: ignore[arg-type]
        )

    def is_headline(self, *, first: bool) -> bool:
        """A title or a line in bold that begins with a score."""
        block = self._block
        title = block.level == 1 or (block.level == 2 and first)
        bold = block.level == 0 and block.raw.startswith(("**", "- **", "* **", "> **"))
        score = _in_range(_SCORE.search(self._own)) or _in_range(_SCORE_BEFORE.search(self._own))
        if block.code or score is None or "→" in self._own or "->" in self._own:
            return False
        return title or (bold and self._own.find(score.raw) < HEADLINE_START)

    def headline(self) -> Iterator[Figure]:
        """``val_bpb: 1.1194 (3-seed mean, std 0.0006) | 2.76890 nats | ~15.95 MB | 596s train + ~331s eval``."""
        for part in re.split(r"[|;]", self._own):
            statistic = "mean" if re.search(r"\b(?:mean|average|avg)\b", part, re.I) else "claim"
            score = _in_range(_SCORE.search(part)) or _in_range(_SCORE_BEFORE.search(part))
            loss = _in_range(_LOSS.search(part))
            number, quantity = (score, "score") if score else (loss, "loss")
            if number:
                yield self._figure(f"headline {quantity}", number, quantity, statistic)
                if count := _SEEDS.search(part):
                    yield self._figure("number of seeds", _plain(count), "seeds", "claim")
                if spread := printed_std(part):
                    yield self._figure("headline std", spread, quantity, "std")
            elif (size := _SIZE.search(part)) and not _is_the_limit(bytes_ := of_match(size, size[0].strip())):
                yield self._figure("headline size", bytes_, "total_bytes", "overall")
            for pattern, quantity in ((_TRAIN_SECONDS, "train_time"), (_EVAL_SECONDS, "eval_time")):
                if seconds := pattern.search(part):
                    yield self._figure(
                        f"headline {quantity.replace('_', ' ')}",
                        of_match(seconds, seconds[0].strip()),
                        quantity,
                        "claim",
                    )

    def statistics(self) -> Iterator[Figure]:
        """``Mean val_bpb: 1.1280 | Std: 0.0005. Inter-seed variance: 0.0015``."""
        before = ""  # the part before: what names another run may begin there
        for part in re.split(r"[|;]|(?<=\d)\.?,?\s+(?=[A-Z(])|,\s", self._text):
            if OTHER_RUNS.search(f"{before} {part}"):
                return
            before, previous = part.strip(), before
            of_score = re.search(r"bp[bp]|score", previous, re.I)
            part = before.removeprefix("(") if of_score else before  # "1.1194 BPB (std 0.0006)"
            quantity = "loss" if re.search(r"val[ _]loss|\bnats\b", part, re.I) else "score"
            if match := _SPREAD.search(part):
                yield self._figure("spread over seeds", _plain(match), quantity, "spread")
            elif self._block.code and not re.search(r"[:=]", part):
                continue  # columns, not words
            elif match := _STD.match(part):
                yield self._figure("std", _plain(match), quantity, "std")
            elif match := _SEM.match(part):
                yield self._figure("standard error", _plain(match), quantity, "sem")
            elif (match := _MEAN.match(part)) and (number := _in_range(match)):
                meant = meaning(match[0][: match.start("value") - match.start()].strip(" :=*`"))
                if meant is not None and DIMENSIONS[meant.quantity] in (BPB, NATS):
                    quantity = meant.quantity
                yield self._figure("mean", number, quantity, "mean")
                if (spread := printed_std(part)) and not STANDARD_ERROR.search(self._text):
                    yield self._figure("std", spread, quantity, "std")

    def of_seeds(self) -> Iterator[Figure]:
        """``SEED=1337: 1.20576485`` and ``bpb: [1.1927, 1.1935]``."""
        if match := _LIST.search(self._text):
            for item in match["items"].split(","):
                if number := printed(item.strip()):
                    yield self._figure("list of scores", number, "score", "claim")
            return
        match = None if _GIVEN_UP.search(self._text) else _OF_SEED.match(self._text)
        if match and (number := _in_range(match)):
            yield self._figure(f"seed {match['seed']}", number, "any_bpb", "value", seed=int(match["seed"]))

    def of_one_seed(self, known_seeds: frozenset[int]) -> Iterator[Figure]:
        """``Seed 42: 1.1281 BPB / 1.9041 nats, 6,576 steps, 15,412,630 bytes``: each with its name behind it."""
        starts = _SEED_LINE.match(self._text)
        if starts is None or int(starts["seed"]) not in known_seeds or self._block.code:
            return
        seed = int(starts["seed"])
        for match in _ITEM.finditer(self._text, starts.end()):
            quantity = _ITEMS.get(match["name"].lower())
            number = of_match(match, match[0].strip()) if quantity else None
            if quantity is None or number is None:
                continue
            if DIMENSIONS[quantity] in (BPB, NATS) and not LOWEST_BPB < number.value < HIGHEST_BPB:
                continue
            fitted = in_unit(number.with_unit(_UNITS_OF_ITEMS.get(match["name"], "")), Meaning(quantity))
            if fitted is not None:
                yield self._figure(f"seed {seed} {match['name']}", fitted, quantity, "value", seed=seed)

    def sentence(self) -> Iterator[Figure]:
        """``Final val_bpb: 1.1194``; ``We reach 1.1194 BPB (3-seed mean)``: of the logs, any evaluation."""
        match = _SENTENCE.match(self._text)
        if match is None or self._block.code or _MEAN.match(self._text):
            return
        text = match["value"] or match["reached"]
        statistic = "mean" if re.search(r"\b(?:mean|average)\b", self._text, re.I) else "claim"
        yield self._figure("score", Printed(raw=text, value=Decimal(text)), "any_bpb", statistic)
        if count := _SEEDS.search(self._text):
            yield self._figure("number of seeds", _plain(count), "seeds", "claim")

    def speed(self) -> Iterator[Figure]:
        """``stopped at 13780/20000 steps``; ``7,101 steps at 84.56 ms/step``."""
        if match := _STOPPED.search(self._text):
            yield self._figure("steps", _plain(match), "steps", "claim")
            return
        steps, pace = _STEPS.findall(self._text), _STEP_MS.findall(self._text)
        if len(steps) == 1 == len(pace):
            for item, pattern, quantity, unit in (
                ("steps", _STEPS, "steps", ""),
                ("ms/step", _STEP_MS, "step_ms", "ms"),
            ):
                if match := pattern.search(self._text):
                    yield self._figure(item, _plain(match).with_unit(unit), quantity, "claim")

    def named(self) -> Iterator[Figure]:
        """``- Code size: `47642 bytes` ``; ``- Sliding val_bpb (stride 64): **1.1748**``."""
        match = _NAMED.match(self._block.raw)
        meant = meaning(_bare(match["name"])) if match else None
        text = _bare(match["text"]) if match else ""
        if match and meant is None and re.match(r"[~≈]?[\d.,]+ ?(?:ms|s|sec|min)\b", text):
            meant = next((Meaning(quantity) for word, quantity in _TIMES if re.search(word, match["name"], re.I)), None)
        if match is None or meant is None or not re.match(r"[~≈+-]?\d", text):
            return
        number = printed(text, raw=match["text"].strip())
        number = in_unit(number, meant) if number else None
        dimension = DIMENSIONS[meant.quantity]
        if number is None or (dimension == TIME and not number.unit) or _OF_SOMETHING_ELSE.match(text):
            return
        is_score = dimension in (BPB, NATS)
        if is_score and (meant.statistic != "value" or not LOWEST_BPB < number.value < HIGHEST_BPB):
            return  # a mean or std of scores is read elsewhere
        statistic = "claim" if meant.statistic == "value" else meant.statistic
        yield self._figure(_bare(match["name"]), number, meant.quantity, statistic)

    def keyed(self, known_seeds: frozenset[int]) -> Iterator[Figure]:
        """Numbers with a log's own key: in back quotes, in a bullet or in a block of code."""
        raw = self._block.raw
        listed = self._block.code or re.match(r"[-*+]\s|\d+\.\s", raw)
        seed = seed_of(self._text, known_seeds, named=True)
        for piece in _QUOTED.findall(raw) + ([_QUOTED.sub(" ", raw)] if listed else []):
            line = parse(0, piece)
            label = line.label if line and _LOG_LABEL.fullmatch(line.label) else ""
            for match in _KEYED.finditer(piece):
                meant = _KEYS[match["key"]]
                number = of_match(match, match[0][len(match["key"]) :].lstrip(" :="))
                fitted = in_unit(number, meant) if DIMENSIONS[meant.quantity] in (BYTES, TIME) else number
                if fitted is None:
                    continue
                yield self._figure(
                    f"{label} {match['key']}".strip(),
                    fitted,
                    meant.quantity,
                    "claim" if seed is None else "value",
                    seed=seed,
                    label=label,
                    loose=self._loose or (self._block.code and seed is None),
                )


def _is_the_limit(size: Printed) -> bool:
    """The challenge's, in bytes or in megabytes of either kind."""
    return size.value in (limits().artifact_bytes, limits().artifact_bytes / Decimal(10**6))


def _plain(match: re.Match[str]) -> Printed:
    return Printed(raw=match["value"], value=Decimal(match["value"].replace(",", "").replace("_", "")))


def _in_range(match: re.Match[str] | None) -> Printed | None:
    """The number of a match where it can be a score or a loss, not a difference."""
    number = _plain(match) if match else None
    return number if number and LOWEST_BPB < number.value < HIGHEST_BPB else None


def _bare(text: str) -> str:
    return text.replace("`", "").replace("*", "").strip()
