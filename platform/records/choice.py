"""Which logs are those of the claim, and which of their lines is its score.

The last evaluation of a log can be a diagnostic or a diverged trial, the best one is one before quantization. So the
likeliest kind of line counts (TTT, then sliding, then round trip; eight decimals before four), unless what the record
claims is another line; and where the claim is nowhere in the logs, there is no log of it, and no score.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from .evidence import SeedEvidence
from .figure import Figure
from .folder import ReadRecord, number_in_name, seed_in_name
from .log import LogFile
from .numbers import Status, agreement
from .reconcile import LOSSES, SCORES, reconcile
from .runs import KINDS, Evaluation, LogRun

_SIDE_RUN = re.compile(
    r"ablat|baseline|debug|smoke|no[_-]|without|prev|old|sweep|draft|local|proxy|\btest|compare|diag", re.I
)
_IDENTIFYING = (*SCORES, *LOSSES, "total_bytes", "model_bytes", "code_bytes", "steps", "roundtrip", "in_training")
_LEAST_DIGITS = 4  # of a number that can tell one run from another


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The logs of the claim, in the order of their names."""

    seeds: tuple[SeedEvidence, ...]
    label: str | None  # the kind of line that is the score
    missing: tuple[int, ...]  # seeds that the record lists and no log has
    notes: tuple[str, ...]


def seed_of_log(log: LogFile) -> int | None:
    """The seed a log is for: what its name says, else what it prints; a mere number in a name comes last."""
    named = seed_in_name(log.file)
    if named is not None:
        return named
    printed = log.used.seed_logged if log.used else None
    return printed if printed is not None else number_in_name(log.file)


def choose(record: ReadRecord) -> Claimed:
    """The logs of the claim of ``record`` and their scores."""
    notes: list[str] = []
    scores = [figure for figure in record.claims.figures if figure.quantity in SCORES and not figure.loose]
    logs = [log for log in record.logs if log.file not in record.copies and log.used and log.used.candidates]
    logs = _distinct_runs(logs, notes)
    listed = tuple(dict.fromkeys([*record.claims.seeds, *(one.seed for one in scores if one.seed is not None)]))
    selected = _select(logs, listed, scores)
    label = _label([log.used for log in selected if log.used], scores)
    seeds = _evidence(selected, logs, label, scores)
    if seeds and not _recognised(record.claims.figures, seeds):
        notes.append("no printed number of the claim is in these logs: they are of another run")
        seeds = ()
    found = {seed for one in seeds for seed in (one.seed, one.run.seed_logged)}
    missing = tuple(seed for seed in listed if seed not in found)
    for log in record.logs:
        named, used = seed_in_name(log.file), log.used
        if named is not None and used and used.seed_logged not in (None, named):
            notes.append(f"{log.file} prints seed {used.seed_logged}")
    return Claimed(seeds=seeds, label=label, missing=missing, notes=tuple(notes))


def _distinct_runs(logs: list[LogFile], notes: list[str]) -> list[LogFile]:
    """Each run once: a console log and a file log of one run print the same score, steps and seed."""
    kept: dict[tuple[object, ...], LogFile] = {}
    for log in sorted(logs, key=lambda log: (seed_in_name(log.file) is None, log.file)):
        run = log.used
        assert run is not None
        final = run.candidates[0]
        key = (final.bpb.text, final.label, run.whole("steps_done"), run.seed_logged)
        precise = final.decimals >= 8 and run.trained
        if precise and key in kept:
            notes.append(f"{log.file} is the same run as {kept[key].file}")
            continue
        kept[key if precise else (log.file,)] = log
    return sorted(kept.values(), key=lambda log: log.file)


def _select(logs: list[LogFile], listed: tuple[int, ...], scores: Sequence[Figure]) -> list[LogFile]:
    main = [log for log in logs if not _SIDE_RUN.search(log.file)] or logs
    by_seed = {seed: [log for log in logs if _has_seed(log, seed)] for seed in listed}
    trained = [log for log in main if log.used and log.used.trained]
    apart = [log for log in main if log not in trained and not _belongs_to(log, trained)]
    pool = sorted(trained + apart, key=lambda log: log.file) or main
    if any(by_seed.values()):
        chosen = [_best_of_seed(found, seed, scores) for seed, found in by_seed.items() if found]
        everything = [log for found in by_seed.values() for log in found if log in main]
        wider = (one for one in (chosen, everything, pool) if _mean_is_claimed(one, scores))
        return sorted({log.file: log for log in next(wider, chosen)}.values(), key=lambda log: log.file)
    if len(pool) > 1 and not _mean_is_claimed(pool, scores):
        printed = [log for log in pool if _is_printed(log, scores)]
        pool = printed or pool
    return pool


def _has_seed(log: LogFile, seed: int) -> bool:
    """Whether the log is for the seed: by its name where that says so; else by what it prints."""
    return seed_of_log(log) == seed or (
        log.used is not None and log.used.seed_logged == seed and seed_in_name(log.file) is None
    )


def _best_of_seed(logs: list[LogFile], seed: int, scores: Sequence[Figure]) -> LogFile:
    of_seed = [one for one in scores if one.seed == seed and one.statistic == "value"] or list(scores)

    def rank(log: LogFile) -> tuple[object, ...]:
        run = log.used
        assert run is not None
        return (
            not any(_supports(one, run.candidates) for one in of_seed),
            bool(_SIDE_RUN.search(log.file)),
            KINDS.index(run.candidates[0].kind),
            not run.trained,
            log.file,
        )

    return min(logs, key=rank)


def _supports(figure: Figure, evaluations: Iterable[Evaluation]) -> bool:
    return any(_agrees(figure, one.bpb.decimal) for one in evaluations)


def _agrees(figure: Figure, bpb: Decimal) -> bool:
    return agreement(figure.number, bpb) in (Status.EXACT, Status.ROUNDED, Status.TRUNCATED)


def _is_printed(log: LogFile, scores: Sequence[Figure]) -> bool:
    return log.used is not None and any(_supports(figure, log.used.candidates) for figure in scores)


def _mean_is_claimed(logs: Sequence[LogFile], scores: Sequence[Figure]) -> bool:
    runs = [log.used for log in logs if log.used]
    means = [figure for figure in scores if figure.statistic == "mean"]
    headlines = means or [figure for figure in scores if figure.statistic == "claim"]
    return any(
        _mean_supported(headlines, finals) for finals in _finals_by_label(runs).values() if len(finals) == len(runs)
    )


def _mean_supported(headlines: Sequence[Figure], finals: Sequence[Evaluation]) -> bool:
    mean = sum((one.bpb.decimal for one in finals), Decimal(0)) / len(finals)
    return any(_agrees(figure, mean) for figure in headlines)


def _finals_by_label(runs: Sequence[LogRun]) -> dict[str, list[Evaluation]]:
    """The last line of each label of each run, the likeliest label first."""
    found: dict[str, list[Evaluation]] = {}
    for run in runs:
        seen = set()
        for one in run.candidates:
            if one.label not in seen:
                seen.add(one.label)
                found.setdefault(one.label, []).append(one)
    return dict(sorted(found.items(), key=lambda item: (KINDS.index(item[1][0].kind), -item[1][0].decimals)))


def _belongs_to(log: LogFile, trained: Sequence[LogFile]) -> bool:
    """Whether an evaluation-only log is of a seed that was trained in another log."""
    return any(seed_of_log(log) == seed_of_log(other) for other in trained)


def _label(runs: Sequence[LogRun], scores: Sequence[Figure]) -> str | None:
    """The kind of line that is the score: the likeliest that most runs have, unless the claim is another one."""
    labels = _finals_by_label(runs)
    if not labels:
        return None
    most = max(len(finals) for finals in labels.values())
    likeliest = next(label for label, finals in labels.items() if len(finals) == most)
    headlines = [figure for figure in scores if figure.statistic in ("claim", "mean")]
    if not headlines or _headline_support(labels[likeliest], headlines):
        return likeliest
    supported = [label for label, finals in labels.items() if _headline_support(finals, headlines)]
    return next(iter(supported), likeliest)


def _headline_support(finals: Sequence[Evaluation], headlines: Sequence[Figure]) -> bool:
    return _mean_supported(headlines, finals) or any(_supports(figure, finals) for figure in headlines)


def final_of(run: LogRun, label: str | None, scores: Sequence[Figure] = ()) -> Evaluation | None:
    """The score of ``run`` under the record's label; its own likeliest line where it has none of that label."""
    labelled = [one for one in run.candidates if one.label == label] or list(run.candidates)
    claimed = [
        one
        for one in labelled
        if one.label == labelled[0].label and any(_agrees(figure, one.bpb.decimal) for figure in scores)
    ]
    return next(iter(claimed or labelled), None)


def _evidence(
    selected: Sequence[LogFile], logs: Sequence[LogFile], label: str | None, scores: Sequence[Figure]
) -> tuple[SeedEvidence, ...]:
    found = []
    for log in selected:
        run, seed = log.used, seed_of_log(log)
        assert run is not None
        training = log.trained_alone
        if not run.trained and training is None:
            others = [other for other in logs if other is not log and other.used and other.used.trained]
            training = next((other.used for other in others if seed_of_log(other) == seed and seed is not None), None)
        if run.trained or training is None:
            companion = (
                next(
                    (
                        o.used
                        for o in logs
                        if o not in selected and o.used and not o.used.trained and _has_seed(o, seed)
                    ),
                    None,
                )
                if seed is not None
                else None
            )
            training = training or companion
        found.append(SeedEvidence(seed=seed, run=run, final=final_of(run, label, scores), training=training))
    return tuple(found)


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
    return any(not _is_contradiction(one.status) for one in reconcile(telling, seeds))


def _is_contradiction(status: Status) -> bool:
    return status in (Status.MISMATCH, Status.NO_LOG, Status.OFF_BY_ONE, Status.MEAN_OF_ROUNDED)
