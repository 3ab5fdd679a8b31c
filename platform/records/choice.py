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
from .final_line import any_claimed, final_of, is_claimed, label_of, mean_is_claimed
from .folder import ReadRecord, number_in_name, seed_in_name
from .numbers import Status
from .reconcile import ANY, LOSSES, SCORES, reconcile

_SIDE_RUN = re.compile(
    r"ablat|baseline"
    r"|(?:^|[/_. -])(?:re-?run|second|repro)"
    r"|(?:^|[/_. -])(?:debug|smoke|no|without|prev|previous|old|sweep|draft|local|proxy|test|compare|diag)"
    r"(?=$|[/_. -])",
    re.I,
)
_WHAT_IT_DOES = re.compile(r"(?:train(?:ing)?|eval(?:uation)?|scor(?:e|ing)|test|ttt|final|log)(?![a-z])[-_.]?|[-_]")
_IDENTIFYING = (*SCORES, *LOSSES, "total_bytes", "model_bytes", "steps", "roundtrip", "in_training")
LOSS_LABEL = "val_loss (the last validation)"
_LEAST_DIGITS = 4  # of a number that can tell one run from another


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The logs of the claim, in the order of their names."""

    seeds: tuple[SeedEvidence, ...]
    label: str | None  # the kind of line that is the score
    missing: tuple[int, ...]  # seeds that the record lists and no log has
    unscored: tuple[SeedEvidence, ...]  # of the claim, with a log that ends before the score
    aside: tuple[SeedEvidence, ...]  # what the other logs of the folder measured: re-runs, ablations, other seeds
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A log and the seed that it is taken for."""

    log: LogFile
    run: LogRun
    seed: int | None
    training: LogRun | None = None  # the run in another file that this evaluation belongs to, where that is known

    @property
    def key(self) -> tuple[str, int]:
        return self.run.file, self.run.number


def seed_of_run(log: LogFile, run: LogRun) -> int | None:
    """The seed a run is of: what its log's name says, else what it prints; a mere number in a name comes last.

    Of several seeds in one file each run says its own.
    """
    named = seed_in_name(log.file)
    if named is not None and len(log.counted) == 1:
        return named
    return run.seed_logged if run.seed_logged is not None else number_in_name(log.file)


def choose(record: ReadRecord) -> Claimed:
    """The logs of the claim of ``record`` and their scores."""
    notes = [
        f"{log.file} prints seed {log.used.seed_logged}"
        for log in record.logs
        if log.used
        and len(log.counted) == 1
        and seed_in_name(log.file) is not None
        and log.used.seed_logged not in (None, seed_in_name(log.file))
    ]
    scores = [figure for figure in record.claims.figures if figure.quantity in SCORES and not figure.loose]
    all_logs = [
        _Chosen(log=log, run=run, seed=seed_of_run(log, run))
        for log in record.logs
        if log.file not in record.copies
        for run in log.counted
    ]
    printed = [logged for logged in all_logs if logged.run.dialect != "results" and logged.run.candidates]
    scored = printed or [logged for logged in all_logs if logged.run.candidates]  # tables stand in for logs
    if not scored:
        return _by_loss(record, all_logs, notes)
    logs = _distinct_runs(_joined(scored, all_logs, notes), notes)
    listed = _listed(record.claims.seeds, scores)
    selected = sorted(_select(logs, listed, scores, notes), key=lambda logged: logged.key)
    label = label_of([logged.run for logged in selected], scores)
    evidence = [_evidence(logged, selected, logs, label, scores) for logged in selected]
    seeds = tuple(one for one in evidence if _is_scored(one, scores))
    unscored = tuple(one for one in evidence if not _is_scored(one, scores))
    if seeds and not _recognised(record.claims.figures, seeds):
        notes.append("no printed number of the claim is in these logs: they are of another run")
        seeds = unscored = ()
    notes += _left_out(logs, seeds, label)
    notes += [
        f"{one.run.file} ends before an evaluation of the shipped model; its last line: {one.run.last}"
        for one in unscored
    ]
    found = {seed for one in seeds for seed in (one.seed, one.run.seed_logged)}
    missing = tuple(seed for seed in listed if seed not in found)
    if len(missing) <= sum(one.seed is None for one in seeds):
        missing = ()  # of logs that do not say their seed
    taken = {(run.file, run.number) for one in (*seeds, *unscored) for run in one.logs}
    aside = tuple(_alone(logged) for logged in all_logs if logged.key not in taken)
    return Claimed(seeds=seeds, label=label, missing=missing, unscored=unscored, aside=aside, notes=tuple(notes))


def _by_loss(record: ReadRecord, all_logs: Sequence[_Chosen], notes: list[str]) -> Claimed:
    """The logs of a record in nats per token, whose logs print no bits per byte: every run that is not an ablation.

    Seeds that neither a name nor a line gives are those of the claim, where there are as many, in the names' order.
    """
    with_loss = [logged for logged in all_logs if logged.run.last_loss]
    main = [logged for logged in with_loss if not _SIDE_RUN.search(logged.log.file)] or with_loss
    losses = [figure for figure in record.claims.figures if figure.quantity in LOSSES and not figure.loose]
    listed = _listed(record.claims.seeds, losses)
    if len(listed) == len(main) and all(logged.seed is None for logged in main):
        main = [replace(logged, seed=seed) for logged, seed in zip(main, listed, strict=True)]
    if listed and any(logged.seed in listed for logged in main):
        main = [logged for logged in main if logged.seed in listed]
    seeds = tuple(SeedEvidence(seed=logged.seed, run=logged.run, final=None) for logged in main)
    found = {seed for one in seeds for seed in (one.seed, one.run.seed_logged)}
    missing = tuple(seed for seed in listed if seed not in found)
    if len(missing) <= sum(one.seed is None for one in seeds):
        missing = ()
    if seeds:
        notes.append("the logs print losses and no bits per byte: the score is in nats per token")
    taken = {logged.key for logged in main}
    aside = tuple(_alone(logged) for logged in all_logs if logged.key not in taken)
    label = LOSS_LABEL if seeds else None
    return Claimed(seeds=seeds, label=label, missing=missing, unscored=(), aside=aside, notes=tuple(notes))


def _alone(logged: _Chosen) -> SeedEvidence:
    return SeedEvidence(seed=logged.seed, run=logged.run, final=final_of(logged.run, None), training=logged.training)


def _is_scored(evidence: SeedEvidence, scores: Sequence[Figure]) -> bool:
    """Whether a log has a score: a validation in the middle of a training is one only where it is claimed."""
    final = evidence.final
    return final is not None and (final.kind != "in-training" or is_claimed(final.bpb.decimal, scores))


def _joined(logs: Sequence[_Chosen], all_logs: Sequence[_Chosen], notes: list[str]) -> list[_Chosen]:
    """Scoring logs that print no seed, with the training log each belongs to: by what both print, or the only one."""
    scoring = [logged for logged in logs if logged.run.complete and not logged.run.trained and logged.seed is None]
    training = [logged for logged in all_logs if logged.run.trained and not logged.run.complete]
    joined: dict[tuple[str, int], _Chosen] = {}
    for logged in scoring:
        fits = [other for other in training if _shared(logged.run, other.run)]
        if len(fits) != 1 and len(scoring) == 1 == len(training):
            fits = training
        if len(fits) == 1:
            (other,) = fits
            joined[logged.key] = replace(logged, seed=other.seed, training=other.run)
            notes.append(f"{logged.log.file} scores what {other.log.file} trained")
    trained = {(one.training.file, one.training.number) for one in joined.values() if one.training}
    return [joined.get(logged.key, logged) for logged in logs if logged.key not in trained]


def _shared(scoring: LogRun, training: LogRun) -> bool:
    """Whether two logs print the same size of artifact, or have the same name but for what they do."""
    facts = ("artifact_total_bytes", "artifact_model_bytes")
    if any(scoring.facts.get(name) and scoring.number_of(name) == training.number_of(name) for name in facts):
        return True
    stems = [_WHAT_IT_DOES.sub("", run.file.rpartition("/")[2].lower()) for run in (scoring, training)]
    return stems[0] == stems[1] and any(character.isalnum() for character in stems[0].partition(".")[0])


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
    for logged in sorted(logs, key=lambda logged: (seed_in_name(logged.log.file) is None, logged.key)):
        final, run = logged.run.candidates[0], logged.run
        key: tuple[object, ...] = logged.key
        time = run.facts.get("train_time_ms")
        if run.trained and (final.decimals >= 8 or time):  # four decimals alone may be the same by chance
            same_time = time.text if time and final.decimals < 8 else ""
            key = (final.bpb.text, final.label, run.whole("steps_done"), run.seed_logged, same_time)
        if key in kept:
            notes.append(f"{logged.log.file} is the same run as {kept[key].log.file}")
        kept.setdefault(key, logged)
    return sorted(kept.values(), key=lambda logged: logged.key)


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
        return {logged.key: logged for logged in next(wider, chosen)}.values()
    if len(pool) > 1 and not mean_is_claimed([logged.run for logged in pool], scores):
        return [logged for logged in pool if any_claimed(logged.run.candidates, scores)] or pool
    return pool


def _has_seed(logged: _Chosen, seed: int | None) -> bool:
    """Whether the log is for the seed: by its name where that says so; else by what it prints."""
    unnamed = seed_in_name(logged.log.file) is None or len(logged.log.counted) > 1
    return logged.seed == seed or (unnamed and seed is not None and logged.run.seed_logged == seed)


def _best_of_seed(logs: list[_Chosen], seed: int, scores: Sequence[Figure]) -> _Chosen:
    of_seed = [score for score in scores if score.seed == seed and score.statistic == "value"] or list(scores)

    def rank(logged: _Chosen) -> tuple[object, ...]:
        first = next((i for i, one in enumerate(of_seed) if any_claimed(logged.run.candidates, [one])), len(of_seed))
        return (
            first,
            bool(_SIDE_RUN.search(logged.log.file)),
            KINDS.index(logged.run.candidates[0].kind),
            not logged.run.trained,
            logged.key,
        )

    return min(logs, key=rank)


def _by_their_score(
    seeds: Sequence[int], main: Sequence[_Chosen], taken: list[_Chosen], scores: Sequence[Figure], notes: list[str]
) -> list[_Chosen]:
    """Logs of seeds that neither a name nor a line gives: those that hold the score which is printed for the seed."""
    matched: list[_Chosen] = []
    for seed in seeds:
        claimed = [score for score in scores if score.seed == seed and score.statistic == "value"]
        used = {logged.key for logged in (*taken, *matched)}
        fits = [logged for logged in main if logged.key not in used and any_claimed(logged.run.candidates, claimed)]
        if len(fits) == 1:
            (logged,) = fits
            notes.append(
                f"the score of seed {seed} is in {logged.log.file}, which prints seed {logged.run.seed_logged}"
            )
            matched.append(replace(logged, seed=seed))
    return matched


def _evidence(
    logged: _Chosen, selected: Sequence[_Chosen], logs: Sequence[_Chosen], label: str | None, scores: Sequence[Figure]
) -> SeedEvidence:
    """The log with the one that belongs to it: where training and scoring are apart, each has facts of the seed."""
    others = [other for other in logs if other not in selected and other.log is not logged.log]
    partners = [other.run for other in others if logged.seed is not None and _has_seed(other, logged.seed)]
    partner = logged.training or logged.log.trained_for(logged.run)
    partner = partner or next((run for run in partners if run.trained is not logged.run.trained), None)
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
