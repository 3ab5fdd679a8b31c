"""One record, examined: its runs, its score, every printed number against the logs, and the verdict."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from ..logs import forensics
from ..logs.forensics import Bytes
from ..logs.runs import described, nats_per_bpb
from ..logs.text import safe
from ..logs.unpack import Script, script
from ..rules.challenge import limits
from . import choice, conventions, folder, own_ledger
from .choice import Claimed, seed_of_run
from .conventions import StdConvention
from .evidence import Measured, SeedEvidence
from .figure import Figure
from .final_line import HEADLINES, final_of
from .folder import ReadRecord
from .numbers import Printed, Status
from .reconcile import LOSSES, SCORES, Finding, reconcile, verdict

AGREES, ROUNDING_ONLY, MISMATCH, NO_LOG = "agrees", "rounding only", "mismatch", "no log"
NOTHING_CLAIMED = "nothing claimed"
VERDICTS = (AGREES, ROUNDING_ONLY, MISMATCH, NO_LOG, NOTHING_CLAIMED)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The claimed seeds, from their logs: unrounded."""

    seeds: tuple[int | None, ...]
    bpb: tuple[float, ...]
    losses: tuple[float, ...]  # empty where a log does not print the loss
    nats_per_bpb: float | None
    files: tuple[str, ...]

    @property
    def mean_bpb(self) -> float | None:
        return statistics.fmean(self.bpb) if self.bpb else None

    @property
    def mean_loss(self) -> float | None:
        return statistics.fmean(self.losses) if self.losses else None

    @property
    def sample_std_bpb(self) -> float | None:
        return statistics.stdev(self.bpb) if len(self.bpb) > 1 else None

    @property
    def population_std_bpb(self) -> float | None:
        return statistics.pstdev(self.bpb) if len(self.bpb) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Everything that is known of a record."""

    folder: Path
    name: str
    track: str
    read: ReadRecord
    claimed: Claimed
    runs: tuple[dict[str, object], ...]  # one a log file, fields as in ``runs.described`` and more
    score: Score
    findings: tuple[Finding, ...]
    std_conventions: tuple[StdConvention, ...]
    bytes: tuple[tuple[str, Bytes], ...]  # file, what its final line divided by
    scripts: tuple[Script, ...]
    verdict: str
    seeds_short: int  # how many more seeds the record says it has than there are logs
    notes: tuple[str, ...]

    @property
    def headline(self) -> Finding | None:
        """How the claimed score stands: that of the submission file, else that of the README."""
        scores = [
            finding
            for finding in self.findings
            if finding.figure.quantity in SCORES and finding.figure.statistic in HEADLINES
        ]
        in_readme = self.read.files.readme
        return min(
            scores,
            key=lambda finding: (finding.figure.file == in_readme, finding.figure.statistic != "claim"),
            default=None,
        )

    @property
    def mismatches(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.contradicts]

    @property
    def roundings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status.is_rounding and not finding.figure.loose]

    @property
    def explained(self) -> list[Finding]:
        """Numbers that the folder's logs have, of something else than their names say."""
        return [finding for finding in self.findings if finding.status is Status.EXPLAINED]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Logs read, those with a score, those used."""
        scored = [log for log in self.read.logs if any(run.complete for run in log.runs)]
        used = {run.file for seed in self.claimed.seeds for run in seed.logs}
        return len(self.read.logs), len(scored), len(used)

    @property
    def unsupported(self) -> list[Finding]:
        """Printed numbers that no log speaks of."""
        return [finding for finding in self.findings if finding.status is Status.NO_LOG]

    @property
    def checked(self) -> list[Finding]:
        """Printed numbers that were compared; what is wrong with a whole file is no number."""
        return [
            finding
            for finding in self.findings
            if finding.figure.number.raw
            and finding.status is not Status.NO_LOG
            and not (finding.figure.loose and not finding.status.agrees)
        ]


def examine(path: Path) -> Examined:
    """Read the record in the folder ``path`` and hold every number of it against its logs."""
    read = folder.read(path)
    scripts = _scripts(read)
    claimed = choice.choose(read)
    claimed = replace(claimed, seeds=_with_files(claimed.seeds, read, scripts))
    ratio = nats_per_bpb(seed.final for seed in claimed.seeds if seed.final)
    findings = _findings(read, claimed, ratio)
    return Examined(
        folder=path,
        name=path.resolve().name,
        track=_track(path, read),
        read=read,
        claimed=claimed,
        runs=tuple(_runs(read, claimed)),
        score=_score(claimed.seeds, ratio),
        findings=tuple(findings),
        std_conventions=tuple(conventions.std_conventions(findings, claimed.seeds)),
        bytes=tuple(_bytes(claimed.seeds)),
        scripts=scripts,
        verdict=_verdict(read, findings, claimed),
        seeds_short=_seeds_short(findings, claimed),
        notes=tuple(_notes(read, claimed, scripts, findings)),
    )


def _findings(read: ReadRecord, claimed: Claimed, ratio: float | None) -> list[Finding]:
    """Everything that is held against the logs, or against the ledger of a record of ours."""
    findings = [
        *reconcile(
            read.claims.figures,
            claimed.seeds,
            missing_seeds=len(claimed.missing),
            unscored=claimed.unscored,
            aside=claimed.aside,
        ),
        *conventions.conversions(read.claims.conversions, ratio, claimed.seeds),
        *conventions.printed_tests(read.claims.tests, read.claims.figures, claimed.seeds),
        *own_ledger.findings(read.files),
        *(_unread(name) for name in read.unread),
    ]
    if not read.logs:
        return [_untold(finding) for finding in findings]
    return [_with_the_code(finding, claimed.seeds) for finding in findings]


def _with_the_code(finding: Finding, seeds: Sequence[SeedEvidence]) -> Finding:
    """A number called the artifact that is the model alone hides a broken limit where the code makes it too large."""
    figure = finding.figure
    if figure.quantity != "total_bytes" or not finding.field.endswith("artifact_model_bytes"):
        return finding
    over = [
        (total.value, total.where)
        for seed in seeds
        if (total := seed.fact("artifact_total_bytes")) and total.value > limits().artifact_bytes
        if figure.seed in (None, seed.seed, seed.run.seed_logged)
    ]
    if not over:
        return finding
    value, where = max(over)
    note = f"the model without the code; with it {value:,.0f} bytes, over the limit"
    return replace(finding, status=Status.MISMATCH, measured=value, log=where, note=note)


def _untold(finding: Finding) -> Finding:
    """Without a log nothing is measured, so nothing is contradicted."""
    if finding.status is not Status.MISMATCH:
        return finding
    return replace(finding, status=Status.NO_LOG, note=finding.note or "not measured: there is no log")


def _unread(name: str) -> Finding:
    """A submission file whose score nobody can read agrees with nothing."""
    score = Figure(file=name, line=1, item="the file", number=Printed(raw="", value=Decimal(0)), quantity="score")
    return Finding(figure=score, status=Status.MISMATCH, note="its score cannot be read")


def _verdict(read: ReadRecord, findings: Sequence[Finding], claimed: Claimed) -> str:
    """That of the numbers; a claim with fewer logs than seeds agrees with nothing, though its numbers may."""
    scores = (*SCORES, *LOSSES)
    if not any(finding.figure.quantity in scores and not finding.figure.loose for finding in findings):
        return NOTHING_CLAIMED
    found = verdict(findings)
    complete = claimed.seeds and not claimed.missing and not _seeds_short(findings, claimed)
    return found if complete or (claimed.seeds and found == MISMATCH) else NO_LOG


def _seeds_short(findings: Sequence[Finding], claimed: Claimed) -> int:
    counts = [finding for finding in findings if finding.figure.quantity == "seeds" and finding.status is Status.NO_LOG]
    return max((int(finding.figure.number.value) - len(claimed.seeds) for finding in counts), default=0)


def _track(path: Path, read: ReadRecord) -> str:
    """``track_10min_16mb`` or the like: of the folder above, else of the submission file."""
    above = path.resolve().parent.name
    if above.startswith("track_"):
        return above
    return read.claims.track


def _runs(read: ReadRecord, claimed: Claimed) -> list[dict[str, object]]:
    finals = {(seed.run.file, seed.run.number): seed.final for seed in claimed.seeds}
    claimed_runs = {(run.file, run.number) for seed in claimed.seeds for run in seed.logs}
    scores = [figure for figure in read.claims.figures if figure.quantity in SCORES]
    runs = []
    for log, run in ((file, run) for file in read.logs for run in file.counted):
        final = finals.get((run.file, run.number)) or final_of(run, claimed.label, scores)
        fields = described(run, final, seed=seed_of_run(log, run), runs_in_file=len(log.runs))
        runs.append(
            fields
            | {
                "dialect": run.dialect,
                "claimed": (run.file, run.number) in claimed_runs,
                "copy_of": read.copies.get(run.file),
                "final_line": final.line if final else None,
                "sha256": log.sha256,
            }
        )
    return runs


def _score(seeds: Sequence[SeedEvidence], ratio: float | None) -> Score:
    losses = [float(loss.text) for seed in seeds if (loss := seed.loss)]
    return Score(
        seeds=tuple(seed.seed for seed in seeds),
        bpb=tuple(float(seed.final.bpb.text) for seed in seeds if seed.final),
        losses=tuple(losses) if len(losses) == len(seeds) else (),
        nats_per_bpb=ratio,
        files=tuple(seed.run.file for seed in seeds),
    )


def _scripts(read: ReadRecord) -> tuple[Script, ...]:
    names = [name for name in read.files.others if name.endswith(".py") and "/" not in name]
    main = [name for name in names if "train" in name and "readable" not in name] or names[:1]
    scripts = []
    for name in sorted(main)[:4]:
        try:
            scripts.append(script(read.files.folder / name, name))
        except OSError:
            continue
    return tuple(scripts)


def _with_files(seeds: Sequence[SeedEvidence], read: ReadRecord, scripts: Sequence[Script]) -> tuple[SeedEvidence, ...]:
    """The evidence of the logs and, for sizes, of the files that are in the folder."""
    code = [Measured("bytes of the file", Decimal(program.file_bytes), program.file, 0) for program in scripts]
    code += [
        Measured("bytes of the unpacked file", Decimal(program.unpacked_bytes), program.file, 0)
        for program in scripts
        if program.unpacked_bytes is not None
    ]
    found = []
    for seed in seeds:
        model = seed.fact("artifact_model_bytes")
        total = [
            Measured("model_bytes + bytes of the file", model.value + size.value, size.where, 0)
            for size in code
            if model
        ]
        found.append(replace(seed, files={"code_bytes": tuple(code), "total_bytes": tuple(total)}))
    return tuple(found)


def _bytes(seeds: Sequence[SeedEvidence]) -> list[tuple[str, Bytes]]:
    found = []
    for seed in seeds:
        scored = forensics.scored_bytes(seed.run, seed.final) if seed.final else None
        if scored:
            found.append((seed.run.file, scored))
    return found


def _notes(read: ReadRecord, claimed: Claimed, scripts: Sequence[Script], findings: Sequence[Finding]) -> list[str]:
    """What a reviewer should know beside the figures, worded as evidence."""
    notes = [*read.notes, *read.claims.notes, *(safe(note) for note in claimed.notes)]
    compared = any(
        finding.figure.quantity in (*SCORES, *LOSSES) and finding.log and not finding.figure.loose
        for finding in findings
    )
    if claimed.seeds and not compared:
        notes.append("no printed score was compared with these logs")
    notes += filter(None, [own_ledger.note(read.files)])
    if read.claims.unread_cells:
        notes.append(
            f"{read.claims.unread_cells} numbers in tables were not read: their rows do not say of which run they are"
        )
    unscored = {seed for one in claimed.unscored for seed in (one.seed, one.run.seed_logged)}
    for seed in (seed for seed in claimed.missing if seed not in unscored):
        notes.append(f"seed {seed} is claimed and has no log")
    for copy, original in read.copies.items():
        notes.append(f"{safe(copy)} is a byte copy of {safe(original)}")
    for log in read.logs:
        if len(log.runs) > 1 and log.used:
            numbers = [str(run.number) for run in log.counted]
            counts = f"run {numbers[0]} counts" if len(numbers) == 1 else f"runs {', '.join(numbers)} count"
            notes.append(f"{safe(log.file)} holds {len(log.runs)} runs; {counts}")
    for evidence in claimed.seeds:
        final = evidence.final
        told = [forensics.memorised(evidence.run), forensics.sums(evidence.run), forensics.documents(evidence.run)]
        told += [*forensics.gains(evidence.run, final), forensics.later(evidence.run, final)] if final else []
        notes += [f"{safe(evidence.run.file)}: {safe(one, 200)}" for one in told if one]
    for code in scripts:
        notes.extend(_script_notes(code, claimed))
    if claimed.label and any(evidence.final and evidence.final.label != claimed.label for evidence in claimed.seeds):
        notes.append("the seeds are scored under different labels")
    for name, scored in _bytes(claimed.seeds):
        if not scored.usual:
            notes.append(f"{safe(name)} divides by {scored.scored_bytes:,} bytes: {scored.reading}")
    return list(dict.fromkeys(notes))


def _script_notes(program: Script, claimed: Claimed) -> list[str]:
    notes = []
    if program.problem:
        notes.append(f"{safe(program.file)}: {safe(program.problem)}")
    logged = {int(fact.value) for seed in claimed.seeds if (fact := seed.fact("code_bytes"))}
    if logged and program.file_bytes not in logged:
        counted = ", ".join(f"{value:,}" for value in sorted(logged))
        notes.append(f"{safe(program.file)} has {program.file_bytes:,} bytes; the logs counted {counted} bytes of code")
    return notes


__all__ = ["LOSSES", "Examined", "Score", "examine"]
