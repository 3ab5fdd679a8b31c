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
    selected = sorted(_select(logs, listed, scores, notes), key=lambda logged: logged.log.file)
    label = label_of([logged.run for logged in selected], scores)
    seeds = tuple(_evidence(logged, selected, logs, label, scores) for logged in selected)
    if seeds and not _recognised(record.claims.figures, seeds):
        notes.append("no printed number of the claim is in these logs: they are of another run")
        seeds = ()
    notes += _left_out(logs, seeds, label)
    found = {seed for evidence in seeds for seed in (evidence.seed, evidence.run.seed_logged)}
    missing = tuple(seed for seed in listed if seed not in found)
    if len(missing) <= sum(evidence.seed is None for evidence in seeds):
        missing = ()  # of logs that do not say their seed
    return Claimed(seeds=seeds, label=label, missing=missing, notes=tuple(notes))


def _listed(seeds: Sequence[int], scores: Sequence[Figure]) -> tuple[int, ...]:
    """The seeds of the claim; a line of prose may tell of any seed, so it counts where nothing else lists them."""
    of_seeds = [score for score in scores if score.seed is not None]
    tables = [score.seed for score in of_seeds if score.group]
    listed = [*seeds, *tables] or [score.seed for score in of_seeds]
    return tuple(dict.fromkeys(seed for seed in listed if seed is not None))


def _left_out(logs: Sequence[_Chosen], seeds: Sequence[SeedEvidence], label: str | None) -> list[str]:
    """That there are logs of more seeds than are claimed, scored in the same way, and what the mean is with them."""
    claimed = {seed for evidence in seeds for seed in (evidence.seed, evidence.run.seed_logged)}
    more: dict[int, Decimal] = {}
    for logged in logs:
        final = final_of(logged.run, label)
        if logged.seed is None or logged.seed in claimed or _SIDE_RUN.search(logged.log.file):
            continue
        if final and final.label == label:
            more.setdefault(logged.seed, final.bpb.decimal)
    scores = [evidence.final.bpb.decimal for evidence in seeds if evidence.final] + list(more.values())
    if not more or not seeds:
        return []
    mean = sum(scores, Decimal(0)) / len(scores)
    return [f"seeds run and not claimed: {', '.join(map(str, more))}; with them the mean is {mean:.8f}"]


def _distinct_runs(logs: list[_Chosen], notes: list[str]) -> list[_Chosen]:
    """Each run once: a console log and a file log of one run print the same score, steps and seed."""
    kept: dict[tuple[object, ...], _Chosen] = {}
    for logged in sorted(logs, key=lambda logged: (seed_in_name(logged.log.file) is None, logged.log.file)):
        final = logged.run.candidates[0]
        key: tuple[object, ...] = (logged.log.file,)
        if final.decimals >= 8 and logged.run.trained:  # four decimals may be the same by chance
            key = (final.bpb.text, final.label, logged.run.whole("steps_done"), logged.run.seed_logged)
        if key in kept:
            notes.append(f"{logged.log.file} is the same run as {kept[key].log.file}")
        kept.setdefault(key, logged)
    return sorted(kept.values(), key=lambda logged: logged.log.file)


def _select(
    logs: list[_Chosen], listed: Sequence[int], scores: Sequence[Figure], notes: list[str]
) -> Iterable[_Chosen]:
    """The logs of the listed seeds; without a list, those whose mean or whose scores are claimed."""
    main = [logged for logged in logs if not _SIDE_RUN.search(logged.log.file)] or logs
    seeds_trained = {logged.seed for logged in main if logged.run.trained}
    pool = [logged for logged in main if logged.run.trained or logged.seed not in seeds_trained]
    by_seed = {seed: [logged for logged in logs if _has_seed(logged, seed)] for seed in listed}
    chosen = [_best_of_seed(of_seed, seed, scores) for seed, of_seed in by_seed.items() if of_seed]
    chosen += _by_their_score([seed for seed, of_seed in by_seed.items() if not of_seed], main, chosen, scores, notes)
    if chosen:
        everything = [logged for of_seed in by_seed.values() for logged in of_seed if logged in main]
        wider = (
            some for some in (chosen, everything, pool) if mean_is_claimed([logged.run for logged in some], scores)
        )
        return {logged.log.file: logged for logged in next(wider, chosen)}.values()
    if len(pool) > 1 and not mean_is_claimed([logged.run for logged in pool], scores):
        return [logged for logged in pool if any_claimed(logged.run.candidates, scores)] or pool
    return pool


def _has_seed(logged: _Chosen, seed: int | None) -> bool:
    """Whether the log is for the seed: by its name where that says so; else by what it prints."""
    unnamed = seed_in_name(logged.log.file) is None
    return logged.seed == seed or (unnamed and seed is not None and logged.run.seed_logged == seed)


def _best_of_seed(logs: list[_Chosen], seed: int, scores: Sequence[Figure]) -> _Chosen:
    of_seed = [score for score in scores if score.seed == seed and score.statistic == "value"] or list(scores)

    def rank(logged: _Chosen) -> tuple[object, ...]:
        return (
            not any_claimed(logged.run.candidates, of_seed),
            bool(_SIDE_RUN.search(logged.log.file)),
            KINDS.index(logged.run.candidates[0].kind),
            not logged.run.trained,
            logged.log.file,
        )

    return min(logs, key=rank)


def _by_their_score(
    seeds: Sequence[int], main: Sequence[_Chosen], taken: list[_Chosen], scores: Sequence[Figure], notes: list[str]
) -> list[_Chosen]:
    """Logs of seeds that neither a name nor a line gives: those that hold the score which is printed for the seed."""
    matched: list[_Chosen] = []
    for seed in seeds:
        claimed = [score for score in scores if score.seed == seed and score.statistic == "value"]
        used = {logged.log.file for logged in (*taken, *matched)}
        fits = [
            logged for logged in main if logged.log.file not in used and any_claimed(logged.run.candidates, claimed)
        ]
        if len(fits) == 1:
            (logged,) = fits
            notes.append(
                f"the score of seed {seed} is in {logged.log.file}, which prints seed {logged.run.seed_logged}"
            )
            matched.append(_Chosen(log=logged.log, run=logged.run, seed=seed))
    return matched


def _evidence(
    logged: _Chosen, selected: Sequence[_Chosen], logs: Sequence[_Chosen], label: str | None, scores: Sequence[Figure]
) -> SeedEvidence:
    """The log with the one that belongs to it: where training and scoring are apart, each has facts of the seed."""
    others = [other for other in logs if other not in selected and other.log is not logged.log]
    partners = [other.run for other in others if logged.seed is not None and _has_seed(other, logged.seed)]
    partner = logged.log.trained_alone or next((run for run in partners if run.trained is not logged.run.trained), None)
    return SeedEvidence(seed=logged.seed, run=logged.run, final=final_of(logged.run, label, scores), training=partner)


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
    telling = [replace(figure, quantity=ANY.get(figure.quantity, figure.quantity)) for figure in telling]
    findings = reconcile(telling, seeds)
    return any(finding.status in (Status.EXACT, Status.ROUNDED, Status.TRUNCATED) for finding in findings)
