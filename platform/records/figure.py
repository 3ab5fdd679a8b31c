"""A figure that a README or a submission file prints, with its address and what it says it is."""

from dataclasses import dataclass, field

from .numbers import Printed


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One printed number.

    Args:
        item: what it is called where it stands: row and column, or the key.
        quantity: of ``quantities``; ``label`` for the score of one kind of log line, ``any`` for any evaluation.
        statistic: value (of one seed), mean, std, sem (the standard error of the mean), variance, max, min, range,
            spread; claim: a mean or one seed's; overall: the mean or the maximum, else one seed's.
        seed: whose value it is; None where it is not one seed's.
        group: figures of one column or key; a mean may have been worked out from the printed values of its group.
        log: the figure is of this log's run.
        unsure: another column of its table has the same quantity; it is this one's where the other rows agree with it.
        loose: it stands among numbers of other runs (an ablation, a code block): no match is no contradiction.
    """

    file: str
    line: int
    item: str
    number: Printed
    quantity: str
    statistic: str = "value"
    seed: int | None = None
    group: str = ""
    loose: bool = False
    label: str = field(default="")
    log: str = ""
    unsure: bool = False

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A difference printed in BPB and in nats: their ratio says which conversion was used."""

    file: str
    line: int
    raw: str
    bpb: Printed
    nats: Printed

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class PrintedTest:
    """A one-sample t test that a README prints: against a number, with t and perhaps p."""

    file: str
    line: int
    against: Printed
    t: Printed | None
    df: Printed | None
    p: Printed | None

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Everything that the files which people wrote say, and what could not be read of them."""

    figures: tuple[Figure, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    tests: tuple[PrintedTest, ...] = ()
    seeds: tuple[int, ...] = ()  # that a file lists as the seeds of the claim
    notes: tuple[str, ...] = ()
    track: str = ""
    unread: int = 0  # numbers of a submission file whose key says nothing that a log has
    unread_cells: int = 0  # numbers in tables of a README whose rows say of no run what they are
