"""Which line of a log is the score.

The last evaluation of a log can be a diagnostic or a diverged trial, the best one is one before quantization. So the
likeliest kind of line counts (TTT, then sliding, then round trip; eight decimals before four), unless what the record
claims is another line.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from ..logs.runs import KINDS, Evaluation, LogRun
from .figure import Figure
from .numbers import Status, agreement

HEADLINES = ("claim", "mean")  # statistics of a score that is not one seed's


def is_claimed(bpb: Decimal, figures: Iterable[Figure]) -> bool:
    """Whether one of ``figures`` prints ``bpb``: to its digits, so one off is another score."""
    same = (Status.EXACT, Status.ROUNDED, Status.TRUNCATED)
    return any(agreement(figure.number, bpb) in same for figure in figures)


def any_claimed(evaluations: Iterable[Evaluation], figures: Sequence[Figure]) -> bool:
    return any(is_claimed(evaluation.bpb.decimal, figures) for evaluation in evaluations)


def mean_is_claimed(runs: Sequence[LogRun], scores: Sequence[Figure]) -> bool:
    """Whether the mean of the runs, under any label that all of them have, is a mean that the record claims."""
    means = [figure for figure in scores if figure.statistic == "mean"]
    headlines = means or [figure for figure in scores if figure.statistic == "claim"]
    return any(is_claimed(_mean(finals), headlines) for finals in by_label(runs).values() if len(finals) == len(runs))


def by_label(runs: Sequence[LogRun]) -> dict[str, list[Evaluation]]:
    """The last line of each label of each run, the likeliest label first.

    Where a run was cut off before the exact line, its rougher twin stands in: a killed log costs no other its digits.
    """
    lines: dict[str, list[Evaluation]] = {}
    exact = {
        evaluation.name: evaluation.label
        for run in runs
        for evaluation in run.candidates
        if "_exact" in evaluation.label
    }
    for run in runs:
        own = {evaluation.label for evaluation in run.candidates}
        seen = set()
        for evaluation in run.candidates:
            twin = exact.get(evaluation.label, evaluation.label)
            label = evaluation.label if twin in own else twin
            if label not in seen:
                seen.add(label)
                lines.setdefault(label, []).append(evaluation)
    return dict(sorted(lines.items(), key=lambda item: _likelihood(item[1])))


def _likelihood(finals: Sequence[Evaluation]) -> tuple[int, int]:
    return KINDS.index(finals[0].kind), -max(final.decimals for final in finals)


def label_of(runs: Sequence[LogRun], scores: Sequence[Figure]) -> str | None:
    """The kind of line that is the score: the likeliest that most runs have, unless the claim is another one."""
    labels = by_label(runs)
    if not labels:
        return None
    most = max(len(finals) for finals in labels.values())
    likeliest = next(label for label, finals in labels.items() if len(finals) == most)
    for claimed in headlines(scores):
        found = next((label for label, finals in labels.items() if _supported(finals, claimed)), None)
        if found is not None:
            return found
    return likeliest


def headlines(scores: Sequence[Figure]) -> list[list[Figure]]:
    """What the record claims as its score, what says so most plainly first.

    The ``val_bpb`` of the submission file; the README's headline; whatever is printed of all seeds.
    """
    claims = [figure for figure in scores if figure.statistic in HEADLINES]
    in_file = [figure for figure in claims if figure.file.endswith(".json")]
    top = [figure for figure in in_file if re.fullmatch(r"val_bpb(?:_mean)?|mean_val_bpb|bpb", figure.item)]
    groups = [top, in_file, [figure for figure in claims if figure.item.startswith("headline")], claims]
    return [group for group in groups if group]


def _supported(finals: Sequence[Evaluation], headlines: Sequence[Figure]) -> bool:
    return is_claimed(_mean(finals), headlines) or any_claimed(finals, headlines)


def _mean(finals: Sequence[Evaluation]) -> Decimal:
    return sum((final.bpb.decimal for final in finals), Decimal(0)) / len(finals)


def final_of(run: LogRun, label: str | None, scores: Sequence[Figure] = ()) -> Evaluation | None:
    """The score of ``run`` under the record's label, the claimed one of several; else its own likeliest line."""
    own = [evaluation for evaluation in run.candidates if evaluation.label == label]
    own = own or [
        evaluation for evaluation in run.candidates if label and evaluation.label == label.replace("_exact", "")
    ]
    own = own or list(run.candidates[:1])
    return next(
        (evaluation for evaluation in own if is_claimed(evaluation.bpb.decimal, scores)), own[0] if own else None
    )
