"""A claim judged under named sets of rules: each check passes, fails or cannot be told, with its figure and source.

Rules are data (``platform/rules/*.yaml``, with version and source); this module knows the kinds of checks. A number
that rules take over from the challenge is written "of the challenge", and stands in challenge.yaml. What is judged is
evidence and margins: no set of rules says of a record that it is invalid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..statistics import significance
from ..statistics.significance import BPB, Amount, NatsPerByte, NatsPerToken, Scores, UnitError
from . import challenge

RULES = Path(__file__).parent
OF_THE_CHALLENGE = "of the challenge"  # in the place of a number
CHALLENGE = "pg-2026-readme"  # the rules that the challenge itself wrote down
PASS, FAIL, CANNOT_TELL = "pass", "fail", "cannot tell"
LEAST_SECONDS = 0.05  # a shorter time is a clock that was not read
NEEDS_AGAINST = "needs the record to beat (--against)"


@dataclass(frozen=True, kw_only=True)
class ScoredText:
    """What the digits of a score say of the text that it is of."""

    figure: str
    usual: bool  # the challenge's validation text, whole
    too_many: bool  # more bytes than the text has: a byte was counted twice


@dataclass(frozen=True, kw_only=True)
class SeedFacts:
    """What is measured of one seed of a claim; None where nothing measured it."""

    seed: int | None
    source: str  # the log or result that the score comes from
    bpb: float | None  # None where a record is in nats per token alone
    loss: float | None
    artifact_bytes: int | None
    train_seconds: float | None
    eval_seconds: float | None  # of the evaluation that gives the score
    all_eval_seconds: float | None  # of every evaluation of the log together
    score_first: str = ""  # "no adaptation", "score first", "learned before it was scored", else nobody can tell
    score_first_source: str = ""
    score_first_text: str = ""  # what says so
    text: ScoredText | None = None  # None where the log does not tell
    sources: Mapping[str, str] = field(default_factory=dict)  # of the other values, by their name, where they are apart

    def source_of(self, name: str) -> str:
        return self.sources.get(name, self.source)


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """How often the seeds of a claim were tried."""

    figure: str  # of each seed that was tried again, how often and why
    blameless: bool  # every attempt before the one that was scored was lost to the infrastructure
    source: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A score over seeds, as measured, with what the rules ask about."""

    name: str
    track: str
    seeds: tuple[SeedFacts, ...]
    missing_seeds: tuple[int, ...] = ()  # claimed without a log
    unscored: tuple[int | None, ...] = ()  # with a log that ends before its score
    seeds_short: int = 0  # how many more seeds are claimed than there are logs, where no list names them
    nats_per_bpb: float | None = None
    attempts: Attempts | None = None  # None where nothing tells

    @property
    def bpb(self) -> Scores[significance.BitsPerByte]:
        return Scores(tuple(seed.bpb for seed in self.seeds if seed.bpb is not None), BPB)

    @property
    def in_losses(self) -> bool:
        """Whether the logs print losses alone, so that nothing is known of bits per byte."""
        return bool(self.seeds) and all(seed.bpb is None for seed in self.seeds)

    @property
    def losses(self) -> Scores[NatsPerToken] | None:
        """Nats per token; None where a log does not print them."""
        values = [seed.loss for seed in self.seeds if seed.loss is not None]
        if self.nats_per_bpb is None or not values or len(values) != len(self.seeds):
            return None
        return Scores(tuple(values), NatsPerToken(self.nats_per_bpb))


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of a judgement."""

    rule: str
    status: str  # PASS, FAIL or CANNOT_TELL
    figure: str
    source: str
    counts: bool = True  # False: another reading, shown beside
    is_test: bool = False  # a comparison with the record to beat, whose figures matter where it passes too


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim under one set of rules."""

    name: str
    title: str
    version: str
    source: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """Fails where one check does; passes where all do."""
        statuses = {check.status for check in self.checks if check.counts}
        return FAIL if FAIL in statuses else CANNOT_TELL if CANNOT_TELL in statuses else PASS


@dataclass(frozen=True, kw_only=True)
class Rules:
    name: str
    title: str
    version: str
    source: str
    tracks: tuple[str, ...]
    checks: tuple[dict[str, Any], ...]


def names() -> list[str]:
    """The sets of rules that there are."""
    return sorted(path.stem for path in RULES.glob("*.yaml") if path.name != challenge.FILE.name)


@cache
def load(name: str) -> Rules:
    """The set of rules called ``name``.

    Raises:
        UserError: there is none of this name, or it names a kind of check that there is not.
    """
    import yaml

    if name not in names():
        raise UserError(f"there are no rules {name!r}{nearest(name, names())}; possible: {', '.join(names())}")
    data = yaml.safe_load((RULES / f"{name}.yaml").read_text(encoding="utf-8"))
    for check in data["checks"]:
        if check["kind"] not in _KINDS:
            raise UserError(f"rules/{name}.yaml: no kind of check {check['kind']!r}{nearest(check['kind'], _KINDS)}")
    return Rules(
        name=name,
        title=data["title"],
        version=str(data["version"]),
        source=data["source"],
        tracks=tuple(data["tracks"]),
        checks=tuple(_in_numbers(check) for check in data["checks"]),
    )


def _in_numbers(check: dict[str, Any]) -> dict[str, Any]:
    """``check`` with the numbers that it takes over from the challenge."""
    limits = challenge.limits()
    if check.get("limit") == OF_THE_CHALLENGE:
        check = check | {"limit": getattr(limits, check["value"])}
    if check.get("p_below") == OF_THE_CHALLENGE:
        check = check | {"p_below": limits.alpha}
    margin = check.get("margin")
    if margin and margin["value"] == OF_THE_CHALLENGE:
        check = check | {"margin": margin | {"value": limits.margin_nats}}
    return check


def test_of(rules: Rules) -> dict[str, Any]:
    """The comparison with the record to beat that counts under ``rules``: test, margin, p_below."""
    return next(rule for rule in rules.checks if rule["kind"] == "better" and rule.get("counts", True))


def limit_of(rules: Rules, value: str) -> tuple[float, float]:
    """The limit of bytes or seconds that ``value`` has under ``rules``, and the tolerance beyond it."""
    check = next(rule for rule in rules.checks if rule["kind"] == "at_most" and rule["value"] == value)
    return check["limit"], check.get("tolerance", 0)


def judge(claim: Claim, rules: Rules, against: Claim | None = None) -> Judgement:
    """``claim`` under ``rules``; ``against``: the record to beat."""
    checks = tuple(_check(claim, rule, against) for rule in rules.checks)
    if rules.tracks and claim.track and not any(_same_track(claim.track, track) for track in rules.tracks):
        figure = f"the claim is of {claim.track}, these rules are for {', '.join(rules.tracks)}"
        checks = (Check(rule="track", status=CANNOT_TELL, figure=figure, source=rules.source), *checks)
    return Judgement(name=rules.name, title=rules.title, version=rules.version, source=rules.source, checks=checks)


def _same_track(one: str, other: str) -> bool:
    left, right = (name.lower().removeprefix("track_").replace("-", "_") for name in (one, other))
    return left == right


def _check(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Check:
    status, figure, source = _KINDS[rule["kind"]](claim, rule, against)
    return Check(
        rule=rule["rule"],
        status=status,
        figure=figure,
        source=source,
        counts=rule.get("counts", True),
        is_test=rule["kind"] in ("better", "below"),
    )


Told = tuple[str, str, str]  # status, figure, source
Kind = Callable[[Claim, dict[str, Any], Claim | None], Told]


def _at_most(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    """The largest value over the seeds against a limit; a tolerance is named where it is needed.

    The time of the evaluation is that of the line that gives the score. Where all evaluations of the log together are
    above the limit, the log does not tell which of them the score needed.
    """
    name, limit, tolerance = rule["value"], rule["limit"], rule.get("tolerance", 0)
    known = [(value, seed) for seed in claim.seeds if (value := getattr(seed, name)) is not None]
    if not known:
        return CANNOT_TELL, "no log prints it", ""
    value, worst = max(known, key=lambda pair: pair[0])
    source = worst.source_of(name)
    unit = "bytes" if name.endswith("bytes") else "s"
    shown, most = (f"{int(value):,}", f"{limit:,}") if unit == "bytes" else (f"{value:.1f}", f"{limit}")
    figure = f"{shown} of {most} {unit}"
    if value > limit + tolerance:
        return FAIL, f"{figure}, {value - limit:,.{0 if unit == 'bytes' else 3}f} over", source
    if value > limit:
        figure += f", {value - limit:.3f} s over, within the tolerance of {tolerance} s"
    if unit == "s" and value < LEAST_SECONDS:
        return CANNOT_TELL, f"{figure}: no time that such a thing takes", source
    if name == "eval_seconds":
        everything = max((seed.all_eval_seconds or 0.0 for seed in claim.seeds), default=0.0)
        if everything > limit:
            return CANNOT_TELL, f"{figure}; all evaluations of the log together {everything:.1f} s", source
    if len(known) < len(claim.seeds) or claim.missing_seeds or claim.seeds_short:
        return CANNOT_TELL, f"{figure}; not every seed has it", source
    return PASS, figure, source


def _logs(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    listed = ", ".join(str(seed.seed) for seed in claim.seeds)
    if claim.unscored:
        return (
            FAIL,
            f"no score in the log of seed {', '.join('?' if seed is None else str(seed) for seed in claim.unscored)}",
            "",
        )
    if not claim.seeds:
        return FAIL, "no log of the claimed run", ""
    if claim.missing_seeds:
        return FAIL, f"no log of seed {', '.join(map(str, claim.missing_seeds))}", ""
    if claim.seeds_short:
        count = len(claim.seeds)
        return FAIL, f"{count} of {count + claim.seeds_short} seeds have a log", ""
    return PASS, f"{len(claim.seeds)} ({listed})", claim.seeds[0].source.partition(":")[0]


def _score_first(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    if not claim.seeds:
        return CANNOT_TELL, "no score", ""
    said = {seed.score_first: seed for seed in reversed(claim.seeds)}
    if learned := said.get("learned before it was scored"):
        quoted = f": {learned.score_first_text}" if learned.score_first_text else ""
        return FAIL, f"text was learned before it was scored{quoted}", learned.score_first_source
    if set(said) == {"no adaptation"}:
        return PASS, "no adaptation", claim.seeds[0].score_first_source
    unclear = next((seed for seed in claim.seeds if seed.score_first not in ("no adaptation", "score first")), None)
    if unclear is None and "score first" in said:
        scored = said["score first"]
        return (
            CANNOT_TELL,
            "the log names a score-first method; a log cannot prove the order",
            scored.score_first_source,
        )
    if unclear is not None and unclear.score_first_text:
        figure = f"the log speaks of learning and does not prove the order: {unclear.score_first_text}"
        return CANNOT_TELL, figure, unclear.score_first_source
    return CANNOT_TELL, "the log does not say how it adapts", unclear.score_first_source if unclear else ""


def _below(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    """The mean loss against a target that stands in the rules; a score in bits per byte has the record to beat."""
    if not claim.in_losses:
        return _better(claim, rule, against)
    losses = [seed.loss for seed in claim.seeds if seed.loss is not None]
    result = significance.one_sample(Scores(tuple(losses), NatsPerByte()), Amount(rule["target"], NatsPerByte()))
    figure = f"mean loss {sum(losses) / len(losses):.5f}, target {rule['target']}"
    if result.p is None or result.statistic is None:
        return CANNOT_TELL if result.gain > 0 else FAIL, f"{figure}; {result.note}", claim.seeds[0].source
    figure += f", t {result.statistic:.4f}, df {len(losses) - 1}, p {result.p:.4g}"
    return PASS if result.passes(rule["p_below"]) else FAIL, figure, claim.seeds[0].source


def _text(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    """Bytes per token times tokens: another text, or bytes that are counted twice, make another unit of the score."""
    if not claim.seeds:
        return CANNOT_TELL, "no score", ""
    told = [(seed, seed.text) for seed in claim.seeds if seed.text is not None]
    for seed, text in told:
        if text.too_many:
            return FAIL, text.figure, seed.source
    for seed, text in told:
        if not text.usual:
            return CANNOT_TELL, text.figure, seed.source
    if not told or len(told) < len(claim.seeds):
        return CANNOT_TELL, "the logs do not print loss, BPB and tokens of the validation text", ""
    return PASS, told[0][1].figure, told[0][0].source


def _attempts(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    """A note, never a failure: a seed may be run again after a crash. What it may not is be chosen by its score."""
    told = claim.attempts
    if told is None:
        return CANNOT_TELL, "no file tells how often a seed was tried", ""
    return PASS if told.blameless else CANNOT_TELL, told.figure, told.source


def _unknown(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    return CANNOT_TELL, rule["figure"], ""


def _better(claim: Claim, rule: dict[str, Any], against: Claim | None) -> Told:
    if not claim.seeds:
        return CANNOT_TELL, "no score", ""
    if claim.in_losses or (against is not None and against.in_losses):
        return CANNOT_TELL, "the logs print losses and no bits per byte", claim.seeds[0].source
    if against is None or not against.seeds:
        return CANNOT_TELL, NEEDS_AGAINST, ""
    try:
        result = compare(claim, against, rule["test"], rule.get("margin"), rule.get("sigma"))
    except UnitError as error:
        return CANNOT_TELL, str(error), against.name
    figure = f"gain {result.gain:.5f}"
    figure += f" - {result.margin:.5f}" if result.margin else ""
    figure += f" {result.unit}"
    if result.p is None or result.statistic is None:
        status = CANNOT_TELL if result.gain > result.margin else FAIL
        return status, f"{figure}; {result.note}", against.name
    symbol = "z" if result.df is None else "t"
    degrees = "" if result.df is None else f", df {result.df:.4g}"
    figure += f", {symbol} {result.statistic:.4f}{degrees}, p {result.p:.4g}"
    return (PASS if result.passes(rule["p_below"]) else FAIL), figure, f"{against.name}, {result.test}"


_KINDS: dict[str, Kind] = {
    "at_most": _at_most,
    "logs": _logs,
    "score_first": _score_first,
    "better": _better,
    "below": _below,
    "text": _text,
    "attempts": _attempts,
    "unknown": _unknown,
}


def compare(
    claim: Claim, against: Claim, test: str, margin: dict[str, Any] | None = None, sigma: dict[str, Any] | None = None
) -> significance.Comparison:
    """One test of ``claim`` over ``against``, in nats per token of the claim where its logs print them.

    The record to beat is taken in its own nats where they are of the same tokenizer, else its BPB are converted with
    the claim's ratio.

    Raises:
        UnitError: the margin is in nats per token and the claim's logs do not tell how many make one BPB.
    """
    losses = claim.losses
    unit = losses.unit if losses else None
    least = amount(margin, unit) if margin else None
    spread = amount(sigma, unit) if sigma else None
    if losses is not None and unit is not None:
        return _tested(test, losses, _in_unit_of(against, losses), unit, least, spread)
    return _tested(test, claim.bpb, against.bpb, BPB, least, spread)


def _in_unit_of(against: Claim, losses: Scores[NatsPerToken]) -> Scores[NatsPerToken]:
    own = against.losses
    if own is not None:
        try:
            significance.check_same_unit(own.unit, losses.unit)
            return Scores(own.values, losses.unit)
        except UnitError:
            pass
    return against.bpb.to(losses.unit)


def amount(data: dict[str, Any], unit: NatsPerToken | None) -> Amount[Any]:
    """A rule's ``{value, unit}``; ``unit`` is that of nats per token here. Raises UnitError without one."""
    if data["unit"] == "nats per token":
        if unit is None:
            raise UnitError("the logs do not tell how many nats per token make one BPB")
        return Amount(data["value"], unit)
    return Amount(data["value"], BPB if data["unit"] == "BPB" else NatsPerByte())


def _tested(
    test: str, new: Scores[Any], against: Scores[Any], unit: Any, margin: Amount[Any] | None, sigma: Amount[Any] | None
) -> significance.Comparison:
    margin = margin.to(unit) if margin else None
    if test == "Welch t":
        return significance.welch(new, against, margin)
    if test == "known-sigma z" and sigma is not None:
        return significance.known_sigma(new, against, sigma.to(unit), margin)
    mean = Amount(significance.summarize(against.values).mean, unit)
    return significance.one_sample(new, mean, margin)


def judge_all(claim: Claim, against: Claim | None = None, only: Sequence[str] = ()) -> list[Judgement]:
    """``claim`` under every set of rules, side by side; ``only``: under these."""
    return [judge(claim, load(name), against) for name in (only or names())]
