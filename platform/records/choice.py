"""Which logs are those of the claim, and of which seed each is.

A folder holds copies, console logs, logs of ablations, training and scoring apart, seeds that were run and are not
claimed, names that say another seed than the text. Where the claim is in none of the logs, there is no log of it, and
no score.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from ..logs.log import LogFile
from ..logs.runs import KINDS, LogRun
from .evidence import SeedEvidence
from .figure import Figure
from .final_line import any_claimed, final_of, label_of, mean_is_claimed
from .folder import ReadRecord, number_in_name, seed_in_name
from .numbers import Status
from .reconcile import ANY, LOSSES, SCORES, reconcile

_SIDE_RUN = re.compile(
    r"ablat|baseline"
    r"|(?:^|[/_. -])(?:debug|smoke|no|without|prev|previous|old|sweep|draft|local|proxy|test|compare|diag)"
    r"(?=$|[/_. -])",
    re.I,
)
_IDENTIFYING = (*SCORES, *LOSSES, "total_bytes", "model_bytes", "steps", "roundtrip", "in_training")
_LEAST_DIGITS = 4  # of a number that can tell one run from another


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The logs of the claim, in the order of their names."""

    seeds: tuple[SeedEvidence, ...]
    label: str | None  # the kind of line that is the score
    missing: tuple[int, ...]  # seeds that the record lists and no log has
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A log and the seed that it is taken for."""

    log: LogFile
    run: LogRun
    seed: int | None


def seed_of_log(log: LogFile) -> int | None:
    """The seed a log is for: what its name says, else what it prints; a mere number in a name comes last."""
    named = seed_in_name(log.file)
    if named is not None:
        return named
    printed = log.used.seed_logged if log.used else None
    return printed if printed is not None else number_in_name(log.file)


def choose(record: ReadRecord) -> Claimed:
    """The logs of the claim of ``record`` and their scores."""
    notes = [
        f"{log.file} prints seed {log.used.seed_logged}"
        for log in record.logs
        if log.used
        and seed_in_name(log.file) is not None
        and log.used.seed_logged not in (None, seed_in_name(log.file))
    ]
    scores = [figure for figure in record.claims.figures if figure.quantity in SCORES and not figure.loose]
    all_logs = [
        _Chosen(log=log, run=log.used, seed=seed_of_log(log))
        for log in record.logs
        if log.file not in record.copies and log.used and log.used.candidates
    ]
    logs = _distinct_runs(all_logs, notes)
    listed = _listed(record.claims.seeds, scores)
    selected = sorted(_select(logs, listed, scores, notes), key=lambda one: one.log.file)
    label = label_of([one.run for one in selected], scores)
    seeds = tuple(_evidence(one, selected, logs, label, scores) for one in selected)
    if seeds and not _recognised(record.claims.figures, seeds):
        notes.append("no printed number of the claim is in these logs: they are of another run")
        seeds = ()
    notes += _left_out(logs, seeds, label)
    found = {seed for one in seeds for seed in (one.seed, one.run.seed_logged)}
    missing = tuple(seed for seed in listed if seed not in found)
    if len(missing) <= sum(one.seed is None for one in seeds):
        missing = ()  # of logs that do not say their seed
    return Claimed(seeds=seeds, label=label, missing=missing, notes=tuple(notes))


def _listed(seeds: Sequence[int], scores: Sequence[Figure]) -> tuple[int, ...]:
    """The seeds of the claim; a line of prose may tell of any seed, so it counts where nothing else lists them."""
    of_seeds = [one for one in scores if one.seed is not None]
    tables = [one.seed for one in of_seeds if one.group]
    listed = [*seeds, *tables] or [one.seed for one in of_seeds]
    return tuple(dict.fromkeys(seed for seed in listed if seed is not None))


def _left_out(logs: Sequence[_Chosen], seeds: Sequence[SeedEvidence], label: str | None) -> list[str]:
    """That there are logs of more seeds than are claimed, scored in the same way, and what the mean is with them."""
    claimed = {seed for one in seeds for seed in (one.seed, one.run.seed_logged)}
    more: dict[int, Decimal] = {}
    for one in logs:
        final = final_of(one.run, label)
        if one.seed is None or one.seed in claimed or _SIDE_RUN.search(one.log.file):
            continue
        if final and final.label == label:
            more.setdefault(one.seed, final.bpb.decimal)
    scores = [one.final.bpb.decimal for one in seeds if one.final] + list(more.values())
    if not more or not seeds:
        return []
    mean = sum(scores, Decimal(0)) / len(scores)
    return [f"seeds run and not claimed: {', '.join(map(str, more))}; with them the mean is {mean:.8f}"]


def _distinct_runs(logs: list[_Chosen], notes: list[str]) -> list[_Chosen]:
    """Each run once: a console log and a file log of one run print the same score, steps and seed."""
    kept: dict[tuple[object, ...], _Chosen] = {}
    for one in sorted(logs, key=lambda one: (seed_in_name(one.log.file) is None, one.log.file)):
        final = one.run.candidates[0]
        key: tuple[object, ...] = (one.log.file,)
        if final.decimals >= 8 and one.run.trained:  # four decimals may be the same by chance
            key = (final.bpb.text, final.label, one.run.whole("steps_done"), one.run.seed_logged)
        if key in kept:
            notes.append(f"{one.log.file} is the same run as {kept[key].log.file}")
        kept.setdefault(key, one)
    return sorted(kept.values(), key=lambda one: one.log.file)


def _select(
    logs: list[_Chosen], listed: Sequence[int], scores: Sequence[Figure], notes: list[str]
) -> Iterable[_Chosen]:
    """The logs of the listed seeds; without a list, those whose mean or whose scores are claimed."""
    main = [one for one in logs if not _SIDE_RUN.search(one.log.file)] or logs
    seeds_trained = {one.seed for one in main if one.run.trained}
    pool = [one for one in main if one.run.trained or one.seed not in seeds_trained]
    by_seed = {seed: [one for one in logs if _has_seed(one, seed)] for seed in listed}
    chosen = [_best_of_seed(found, seed, scores) for seed, found in by_seed.items() if found]
    chosen += _by_their_score([seed for seed, found in by_seed.items() if not found], main, chosen, scores, notes)
    if chosen:
        everything = [one for found in by_seed.values() for one in found if one in main]
        wider = (some for some in (chosen, everything, pool) if mean_is_claimed([one.run for one in some], scores))
        return {one.log.file: one for one in next(wider, chosen)}.values()
    if len(pool) > 1 and not mean_is_claimed([one.run for one in pool], scores):
        return [one for one in pool if any_claimed(one.run.candidates, scores)] or pool
    return pool


def _has_seed(one: _Chosen, seed: int | None) -> bool:
    """Whether the log is for the seed: by its name where that says so; else by what it prints."""
    unnamed = seed_in_name(one.log.file) is None
    return one.seed == seed or (unnamed and seed is not None and one.run.seed_logged == seed)


def _best_of_seed(logs: list[_Chosen], seed: int, scores: Sequence[Figure]) -> _Chosen:
    of_seed = [one for one in scores if one.seed == seed and one.statistic == "value"] or list(scores)

    def rank(one: _Chosen) -> tuple[object, ...]:
        return (
            not any_claimed(one.run.candidates, of_seed),
            bool(_SIDE_RUN.search(one.log.file)),
            KINDS.index(one.run.candidates[0].kind),
            not one.run.trained,
            one.log.file,
        )

    return min(logs, key=rank)


def _by_their_score(
    seeds: Sequence[int], main: Sequence[_Chosen], taken: list[_Chosen], scores: Sequence[Figure], notes: list[str]
) -> list[_Chosen]:
    """Logs of seeds that neither a name nor a line gives: those that hold the score which is printed for the seed."""
    found: list[_Chosen] = []
    for seed in seeds:
        claimed = [one for one in scores if one.seed == seed and one.statistic == "value"]
        used = {one.log.file for one in (*taken, *found)}
        fits = [one for one in main if one.log.file not in used and any_claimed(one.run.candidates, claimed)]
        if len(fits) == 1:
            (one,) = fits
            notes.append(f"the score of seed {seed} is in {one.log.file}, which prints seed {one.run.seed_logged}")
            found.append(_Chosen(log=one.log, run=one.run, seed=seed))
    return found


def _evidence(
    one: _Chosen, selected: Sequence[_Chosen], logs: Sequence[_Chosen], label: str | None, scores: Sequence[Figure]
) -> SeedEvidence:
    """The log with the one that belongs to it: where training and scoring are apart, each has facts of the seed."""
    others = [other for other in logs if other not in selected and other.log is not one.log]
    partners = [other.run for other in others if one.seed is not None and _has_seed(other, one.seed)]
    partner = one.log.trained_alone or next((run for run in partners if run.trained is not one.run.trained), None)
    return SeedEvidence(seed=one.seed, run=one.run, final=final_of(one.run, label, scores), training=partner)


def _recognised(figures: Sequence[Figure], seeds: Sequence[SeedEvidence]) -> bool:
    """Whether any number that can tell runs apart is both claimed and in the logs; true where nothing is claimed."""
    telling = [
        figure
        for figure in figures
        if figure.quantity in _IDENTIFYING
        and figure.statistic in ("value", "claim", "mean", "max")
        and len(figure.number.value.as_tuple().digits) >= _LEAST_DIGITS
        and not figure.loose
    ]
    if not any(figure.quantity in SCORES for figure in telling):
        return True
    telling = [replace(one, quantity=ANY.get(one.quantity, one.quantity)) for one in telling]
    found = reconcile(telling, seeds)
    return any(one.status in (Status.EXACT, Status.ROUNDED, Status.TRUNCATED) for one in found)
