"""What a submission file claims: any of the many spellings of its keys, seeds as a list, a dict or in names.

val_bpb · std_bpb · seed_results {seed: score or dict} or [{seed: .., val_bpb: ..}] · artifact_bytes_mean · step_stop
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ..logs.text import safe
from ..rules.challenge import limits
from .figure import Claims, Conversion, Figure
from .json_lines import Leaf, Node, parse
from .numbers import Printed, printed, printed_std
from .quantities import BPB, DIMENSIONS, NATS, meaning
from .readme_tables import HIGHEST_BPB, LOWEST_BPB, in_unit, is_plausible, row_statistic

BPB_AS_LOSS = Decimal("1.6")  # a val_loss below this, with no val_bpb beside it, is a BPB value
MOST_DIGITS = 40
LARGEST_EXPONENT = 30

_OTHERS = re.compile(
    r"baseline|previous|prior|compar|reference|parent|delta|ablat|negative|hyper|config|attribution|compliance|lineage"
    r"|improvement|beats|sota|requirement|limit|budget|threshold|versions?$|_vs_|^vs_|target",
    re.I,
)
# A section of other runs than the claimed one: its numbers are right where a log of the folder has them, never wrong.
_SIDE = re.compile(
    r"diagnos|smoke|mlx|\btoy|debug|dry_?run|sanity|sweep|grid|pilot|proxy|rerun|re_run|local|side|extra", re.I
)
_SEEDS = re.compile(r"(?:random_|train_|training_)?seeds?(?:_used|_list|_run)?", re.I)
_SEED_COUNT = re.compile(r"(?:n|num|number_of)_?seeds|seeds?_count|seeds", re.I)
_SEED_KEY = re.compile(r"(?:seed[_ -]?|s)?(\d{1,9})", re.I)
_SEED_INSIDE = re.compile(r"_?seed_?(\d{1,9})_?", re.I)
_SCORES_OF_SEEDS = re.compile(
    r"(?:(?:per|all|individual|multi|three|\d)_)?(?:seeds?_?)?"
    r"(?:results?|runs?|scores?|trials?|values|metrics|validation|evaluations?|individual_runs)?(?:_per_seed)?",
    re.I,
)
_STATISTIC = re.compile(r"(?:(?:[a-z]+_|\d+_)?seeds?_)?(?:mean|average|avg|std|stdev|stddev)", re.I)
_SUMMARY = re.compile(r"|(?:.*_)?(?:results?|summary|statistics|stats|aggregate)", re.I)  # "": the top of the file
_VALUES = re.compile(r"values?", re.I)
_MEAN_IN_TEXT = re.compile(
    r"\bmean(?: val_bpb)?\s*[:=]?\s*(?P<value>\d\.\d{3,8})(?:\s*bp[bp])?(?:\s*\(?(?:std|±)[\s=:]*[\d.]+)?", re.I
)
_EXTREMES_IN_TEXT = (
    (re.compile(r"\bbest seed:? (?P<value>\d\.\d{3,8})\b", re.I), "score", "min"),
    (re.compile(r"\b(?:largest|max(?:imum)?) artifact:? (?P<value>\d[\d,]{6,12}) bytes", re.I), "total_bytes", "max"),
)
_DIFFERENCE = re.compile(r"delta|gain|improve|diff|margin", re.I)


def read(text: str, file: str) -> Claims:
    """The claims of the submission file ``text``."""
    document = parse(text)
    walk = _Walk(file=file)
    walk.seeds_of(document.root)
    walk.visit(document.root, "", None, ())
    notes = [f"{safe(file)} is no valid JSON: {safe(document.mistake)}"] if document.mistake else []
    figures = list(_bpb_under_val_loss(walk.figures, notes))
    by_seed = dict.fromkeys(figure.seed for figure in figures if figure.seed is not None)
    track = document.root.get("track") if isinstance(document.root, dict) else None
    return Claims(
        figures=tuple(figures),
        conversions=tuple(walk.conversions),
        seeds=tuple(dict.fromkeys(walk.seeds)) or tuple(by_seed),
        notes=tuple(notes),
        track=track.text if isinstance(track, Leaf) and track.kind == "string" else "",
        unread=walk.unread,
    )


@dataclass(kw_only=True)
class _Walk:
    """Collects figures on the way through the tree."""

    file: str
    seeds: list[int] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    conversions: list[Conversion] = field(default_factory=list)
    unread: int = 0

    def seeds_of(self, node: Node) -> None:
        """``seeds: [1, 2]`` or ``seed: 1``, at the top; a dict of seeds shows when it is visited."""
        if not isinstance(node, dict):
            return
        for key, value in node.items():
            if _SEED_COUNT.fullmatch(key) and isinstance(value, Leaf) and re.fullmatch(r"[0-9]{1,3}", value.text):
                self._seed_count(value, key)
            if not _SEEDS.fullmatch(key):
                continue
            if isinstance(value, list):
                self.seeds += [seed for item in value if (seed := _seed(item)) is not None]
            elif isinstance(value, Leaf) and (value.kind == "string" or not re.search("seeds", key, re.I)):
                self.seeds += map(int, re.findall(r"\d{1,9}", value.text[:200]))  # seeds: 3 is how many

    def _seed_count(self, leaf: Leaf, key: str) -> None:
        number = Printed(raw=leaf.text, value=Decimal(leaf.text))
        self.figures.append(
            Figure(file=self.file, line=leaf.line, item=key, number=number, quantity="seeds", statistic="claim")
        )

    def visit(self, node: Node, key: str, seed: int | None, path: tuple[str, ...]) -> None:
        """``key``: the nearest name above that is no seed and no position."""
        if _OTHERS.search(key):
            self.unread += isinstance(node, Leaf) and node.kind == "number"
            if isinstance(node, dict):
                self._differences(node)
        elif isinstance(node, dict):
            self._differences(node)
            own = next((value for name, value in node.items() if name.lower() == "seed"), None)
            own_seed = _seed(own) if path else None
            seed = seed if own_seed is None else own_seed
            for name, value in node.items():
                self._member(name, value, key, seed, path)
        elif isinstance(node, list):
            if _SEEDS.fullmatch(key) and all(isinstance(leaf, Leaf) for leaf in node):
                return
            numbers = [leaf for leaf in node if isinstance(leaf, Leaf)]
            aligned = bool(numbers) and len(numbers) == len(node) == len(self.seeds)
            if aligned and meaning(key) is None and _SCORES_OF_SEEDS.fullmatch(key) and _are_scores(numbers):
                key = "val_bpb"
            for index, item in enumerate(node):
                of_item = self.seeds[index] if aligned else seed
                self.visit(item, key, of_item, (*path, str(index)))
        else:
            self._leaf(node, key, seed, path)

    def _member(self, name: str, value: Node, key: str, seed: int | None, path: tuple[str, ...]) -> None:
        below = (*path, name)
        if _SEEDS.fullmatch(name) and isinstance(value, Leaf):
            return
        if match := _SEED_KEY.fullmatch(name):
            self.visit(value, key if meaning(key) else "val_bpb", int(match[1]), below)
        elif (match := _SEED_INSIDE.search(name)) and isinstance(value, Leaf):
            self.visit(value, _SEED_INSIDE.sub(" ", name).strip(" _") or "val_bpb", int(match[1]), below)
        elif _STATISTIC.fullmatch(name) and _SUMMARY.fullmatch(key) and _is_of_scores(name, value):  # mean: .., std: ..
            self.visit(value, f"val_bpb {row_statistic(name)}", seed, below)
        elif row_statistic(name) and meaning(name) is None and meaning(key):  # val_bpb: {mean: .., std: ..}
            self.visit(value, f"{key} {name}", seed, below)
        elif _VALUES.fullmatch(name) and meaning(key):  # val_bpb: {value: ..}
            self.visit(value, key, seed, below)
        else:
            self.visit(value, name, seed, below)

    def _leaf(self, leaf: Leaf, key: str, seed: int | None, path: tuple[str, ...]) -> None:
        if leaf.kind == "string":
            self.figures.extend(_in_text(leaf, key, self.file))
        figure = self._figure(leaf, key, seed, path)
        if figure is not None:
            self.figures.append(figure)
            spread = printed_std(leaf.text) if leaf.kind == "string" and seed is None else None
            if spread:
                self.figures.append(replace(figure, number=spread, statistic="std", item=f"{figure.item} std"))
        elif leaf.kind == "number":
            self.unread += 1

    def _figure(self, leaf: Leaf, key: str, seed: int | None, path: tuple[str, ...]) -> Figure | None:
        named, number = meaning(key), _number(leaf)
        if named is None or number is None:
            return None
        number = in_unit(number, named)
        if number is None or (DIMENSIONS[named.quantity] in (BPB, NATS) and number.unit):
            return None
        statistic = "claim" if named.statistic == "value" and seed is None else named.statistic
        if statistic == "max" and number.base == limits().artifact_bytes:
            return None  # the limit, not the largest artifact
        figure = Figure(
            file=self.file,
            line=leaf.line,
            item=".".join((f"seed {seed}", key)) if seed is not None else ".".join(path),
            number=number,
            quantity=named.quantity,
            statistic=statistic,
            seed=seed,
            group=f"{self.file}:{named.quantity}:{key}" if seed is not None else "",
            loose=any(_SIDE.search(section) for section in path[:-1]),
        )
        return figure if is_plausible(figure, named) else None

    def _differences(self, members: dict[str, Node]) -> None:
        """``delta_vs_pr549_nats`` beside ``delta_vs_pr549_bpb``."""
        for key, nats in members.items():
            bpb = members.get(re.sub(r"nats$", "bpb", key, flags=re.I)) if key.lower().endswith("_nats") else None
            if not (isinstance(nats, Leaf) and isinstance(bpb, Leaf) and _DIFFERENCE.search(key)):
                continue
            numbers = _number(bpb), _number(nats)
            if numbers[0] and numbers[1]:
                raw = f"{bpb.text} BPB / {nats.text} nats"
                self.conversions.append(
                    Conversion(file=self.file, line=nats.line, raw=raw, bpb=numbers[0], nats=numbers[1])
                )


def _seed(node: Node | None) -> int | None:
    known = isinstance(node, Leaf) and re.fullmatch(r"[0-9]{1,9}", node.text)
    return int(known[0]) if known else None


def _are_scores(leaves: list[Leaf]) -> bool:
    """Whether numbers without a name can be scores: of their size, and with more decimals than settings have."""
    numbers = [_number(leaf) for leaf in leaves]
    return all(number and LOWEST_BPB < number.value < HIGHEST_BPB for number in numbers) and any(
        number and number.decimals >= 3 for number in numbers
    )


def _is_of_scores(name: str, value: Node) -> bool:
    """Whether a mean or a std that does not say of what can be that of scores."""
    number = _number(value) if isinstance(value, Leaf) else None
    if number is None:
        return False
    return abs(number.value) < LOWEST_BPB if row_statistic(name) == "std" else LOWEST_BPB < number.value < HIGHEST_BPB


def _number(leaf: Leaf) -> Printed | None:
    if len(leaf.text) > MOST_DIGITS or leaf.kind == "word":
        return None
    if leaf.kind == "number":
        value = Decimal(leaf.text)
        return Printed(raw=leaf.text, value=value) if abs(value.adjusted()) <= LARGEST_EXPONENT else None
    return printed(leaf.text, raw=leaf.text) if re.match(r"\s*[~≈+\-]?\s*\.?\d", leaf.text) else None


def _bpb_under_val_loss(figures: list[Figure], notes: list[str]) -> Iterator[Figure]:
    """Where no BPB is printed beside it, a ``val_loss`` below 1.6 is the BPB."""
    with_bpb = {figure.seed for figure in figures if figure.quantity in ("score", "ttt", "sliding")}
    for figure in figures:
        low = figure.quantity == "loss" and figure.statistic != "std" and figure.number.value < BPB_AS_LOSS
        if low and figure.seed not in with_bpb:
            printed_as = f"{safe(figure.item)} {safe(figure.number.raw)}"
            notes.append(f"{safe(figure.where)}: {printed_as} is a BPB value under the name of a loss")
            yield replace(figure, quantity="score")
        else:
            yield figure


def _in_text(leaf: Leaf, key: str, file: str) -> Iterator[Figure]:
    """``3-seed mean: 1.1194 (std 0.0006)`` in a blurb: the first mean is the record's own."""
    for pattern, quantity, statistic in _EXTREMES_IN_TEXT:
        if found := pattern.search(leaf.text):
            number = Printed(raw=found["value"], value=Decimal(found["value"].replace(",", "")))
            yield Figure(
                file=file,
                line=leaf.line,
                item=f"{key}: {statistic}",
                number=number,
                quantity=quantity,
                statistic=statistic,
            )
    match = _MEAN_IN_TEXT.search(leaf.text)
    if match is None or re.search(r"beat|previous|\bsota\b|baseline", leaf.text[: match.start()], re.I):
        return
    number = Printed(raw=match["value"], value=Decimal(match["value"]))
    figure = Figure(file=file, line=leaf.line, item=f"{key}: mean", number=number, quantity="score", statistic="mean")
    yield figure
    if spread := printed_std(match[0]):
        yield replace(figure, item=f"{key}: std", number=spread, statistic="std")
