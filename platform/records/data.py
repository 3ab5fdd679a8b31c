"""An examined record as plain data for ``--json``: the field names that readers of public records use."""

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ..logs.text import safe_data
from ..rules.challenge import limits
from ..rules.claims import Claim, Judgement, compare
from ..statistics.significance import Comparison, UnitError
from .reconcile import Finding
from .record import Examined


def as_data(record: Examined, judgements: Sequence[Judgement], claim: Claim, against: Claim | None) -> dict[str, Any]:
    """Everything known of ``record``, ready for JSON."""
    score = record.score
    return {
        "record": safe_data(record.name),
        "folder": safe_data(str(record.folder)),
        "track": safe_data(record.track),
        "final_label": record.claimed.label if record.claimed.seeds else None,
        "runs": [_neutral(run) for run in record.runs],
        "score": {
            "seeds": list(score.seeds),
            "n": len(score.bpb),
            "mean_bpb": _rounded(score.mean_bpb),
            "sample_std_bpb": _rounded(score.sample_std_bpb),
            "population_std_bpb": _rounded(score.population_std_bpb),
            "mean_loss": _rounded(score.mean_loss),
            "val_bpb": list(score.bpb),
            "val_loss": list(score.losses),
            "logs": [safe_data(name) for name in score.files],
            "nats_per_bpb": _rounded(score.nats_per_bpb, 6),
        },
        "std_convention": [
            {
                "where": safe_data(convention.where),
                "printed": convention.printed,
                "ddof": convention.ddof,
                "sample": convention.sample,
                "population": convention.population,
            }
            for convention in record.std_conventions
        ],
        "agreement": {
            "headline": record.headline.status.value if record.headline else None,
            "mismatches": len(record.mismatches),
            "rounding_level": len(record.roundings),
            "verdict": record.verdict,
        },
        "mismatches": [finding_data(finding) for finding in record.mismatches],
        "roundings": [finding_data(finding) for finding in record.roundings],
        "explained": [finding_data(finding) for finding in record.explained],
        "logs": dict(zip(("read", "with_a_score", "used"), record.counts, strict=True)),
        "unsupported": [finding_data(finding) for finding in record.unsupported],
        "checked": len(record.checked),
        "verdict": record.verdict,
        "rules": {judgement.name: _judgement(judgement) for judgement in judgements},
        "significance": _significance(claim, against),
        "validation_bytes": [
            {"file": safe_data(name), "bytes": scored.scored_bytes, "margin": scored.margin, "reading": scored.reading}
            for name, scored in record.bytes
        ],
        "notes": [safe_data(note) for note in record.notes],
    }


def finding_data(finding: Finding) -> dict[str, Any]:
    """A printed number and what the logs have instead."""
    return {
        "where": safe_data(finding.figure.where),
        "item": safe_data(finding.figure.item),
        "printed": safe_data(finding.figure.number.raw),
        "measured": _number(finding.measured),
        "status": finding.status.value,
        "field": safe_data(finding.field),
        "log": safe_data(finding.log),
        "note": safe_data(finding.note),
    }


def dumps(records: Sequence[dict[str, Any]]) -> str:
    """JSON that is safe to put into a page or a terminal: plain ASCII, no markup."""
    text = json.dumps(list(records), indent=1, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _neutral(run: dict[str, object]) -> dict[str, object]:
    return {name: safe_data(value) if isinstance(value, str) else value for name, value in run.items()}


def _rounded(value: float | None, digits: int = 8) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _number(value: Decimal | None) -> float | int | None:
    if value is None:
        return None
    whole = value == value.to_integral_value() and abs(value) < 10**15
    number = int(value) if whole else float(value)
    return number if math.isfinite(number) else None


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict,
        "title": judgement.title,
        "version": judgement.version,
        "source": judgement.source,
        "checks": [
            {
                "rule": check.rule,
                "status": check.status,
                "figure": safe_data(check.figure),
                "source": safe_data(check.source),
                "counts": check.counts,
            }
            for check in judgement.checks
        ],
    }


def _significance(claim: Claim, against: Claim | None) -> dict[str, Any] | None:
    """The usual four tests, in nats per token; None without a record to beat."""
    if against is None or not claim.seeds or not against.seeds or claim.losses is None or claim.nats_per_bpb is None:
        return None
    margin_nats = limits().margin_nats
    margin = {"value": margin_nats, "unit": "nats per token"}
    try:
        tests = {
            "one_sample": compare(claim, against, "one-sample t", margin),
            "one_sample_margin0": compare(claim, against, "one-sample t"),
            "welch": compare(claim, against, "Welch t", margin),
            "welch_margin0": compare(claim, against, "Welch t"),
        }
    except UnitError:
        return None
    gain = tests["one_sample_margin0"].gain
    return {
        "previous": safe_data(against.name),
        "previous_n": len(against.seeds),
        "nats_per_bpb": _rounded(claim.nats_per_bpb, 6),
        "margin_nats": margin_nats,
        "margin_bpb": _rounded(margin_nats / claim.nats_per_bpb),
        "delta_nats": _rounded(gain),
        "delta_bpb": _rounded(gain / claim.nats_per_bpb),
        "beats_by_margin_on_mean": gain >= margin_nats,
    } | {name: _test(test) for name, test in tests.items()}


def _test(test: Comparison) -> dict[str, float | None] | None:
    if test.statistic is None or test.p is None:
        return None
    return {"t": _rounded(test.statistic), "df": _rounded(test.df), "p": _rounded(test.p)}
