"""What a README is written from: the draft of its numbers, and the expressions of what was measured of each seed.

The field reads scores off the logs, so scores, losses, steps and training times are taken from them; the rest is from
the results.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ledger.derivation import Expression
from ..ledger.ledger import Draft
from ..logs.runs import Evaluation
from ..records.to_beat import ToBeat
from ..runs.results import Run
from .candidate import Candidate, Seed
from .files import log_file, result_file


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a README is written from."""

    draft: Draft
    found: Candidate
    ablation: Run
    against: ToBeat | None
    record: bool
    title: str  # a mark or more
    figures: tuple[str, ...]


class Measured:
    """The expressions of what was measured, by what it is."""

    def __init__(self, found: Candidate) -> None:
        self.found = found
        self.seeds = tuple(found.seeds.values())

    def of_result(self, key: str) -> Callable[[Seed], Expression]:
        return lambda seed: f"{result_file(seed.result.seed, self.found.arm)} {key}"

    def of_log(self, fact: str, key: str) -> Callable[[Seed], Expression]:
        """``key`` in the line where the log states the fact."""
        return lambda seed: f"{log_file(seed.result.seed)}:{seed.log.facts[fact].line} {key}"

    def of_line(self, evaluation: Callable[[Seed], Evaluation | None], key: str) -> Callable[[Seed], Expression]:
        def at(seed: Seed) -> Expression:
            found = evaluation(seed)
            assert found is not None, "asked of every seed before"
            return f"{log_file(seed.result.seed)}:{found.line} {key}"

        return at

    def bpb(self, seed: Seed) -> Expression:
        return f"{log_file(seed.result.seed)}:{seed.final.line} val_bpb"

    def loss(self, seed: Seed) -> Expression:
        return f"{log_file(seed.result.seed)}:{seed.final.line} val_loss"

    def train_seconds(self, seed: Seed) -> Expression:
        return ["quotient", self.of_log("train_time_ms", "train_time")(seed), 1000]

    def over(self, statistic: str, of: Callable[[Seed], Expression]) -> Expression:
        """A statistic over the seeds; of one seed its value."""
        values = [of(seed) for seed in self.seeds]
        return [statistic, *values]

    def every(self, evaluation: Callable[[Seed], Evaluation | None]) -> bool:
        return all(evaluation(seed) is not None for seed in self.seeds)

    @property
    def nats_per_bpb(self) -> Expression:
        return ["quotient", self.over("mean", self.loss), self.over("mean", self.bpb)]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the seed table: what it is of a seed, and which rows below have it too."""

    title: str
    of: Callable[[Seed], Expression]
    form: str
    unit: str = ""
    bold: bool = False
    mean: bool = True
    std: bool = False


def planned(found: Candidate) -> list[tuple[int, int]]:
    """Where the plan names each seed for the first time: the batch, and the place in it."""
    places: dict[int, tuple[int, int]] = {}
    for at, batch in enumerate(found.run.plan.planned):
        for of, seed in enumerate(batch.seeds):
            places.setdefault(seed, (at, of))
    return list(places.values())


def hardware(draft: Draft, found: Candidate) -> str:
    """The machine, as its job names it; both, where one trained and another scored."""
    first = found.first.result
    file = result_file(first.seed, found.arm)
    scored = draft.text(f"{file} machine.device")
    if first.trunk.machine is None or first.trunk.machine.device == first.machine.device:
        return scored
    return f"{draft.text(f'{file} trunk.machine.device')}, scored on {scored}"


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns are words."""
    rule = ["---" if at < left else "---:" for at in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
