"""How many seeds a gain needs, what they cost, and what a given number of seeds can show; before anything is spent.

Sigma and gains are in BPB. Every figure that was not given comes with where it is from.
"""

from dataclasses import dataclass

from .futility import Outcome, StoppingRule, simulate
from .significance import Design, TestName

USD, USD_SOURCE = 2.5, "assumed: on-demand list prices of an H100 were 2 to 3 USD in 2025"
MINUTES, MINUTES_SOURCE = 25.0, "assumed: both caps of 10 minutes, and 5 for start, compiling and packing"
SEEDS_SHOWN = range(3, 11)
AT_MOST = 200  # seeds; what needs more is not going to be shown this way


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """A figure that the answer rests on, and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is planned. Amounts are in BPB."""

    sigma: Assumed
    paired_sigma: Assumed | None  # std of the gains between two arms of one trunk
    gain: float | None  # the true gain that is hoped for
    margin: float
    alpha: float
    power: float
    n_against: int | None  # seeds that the other side has already; None: to be run too, as many as the new side
    gpus: int
    usd_per_gpu_hour: Assumed
    minutes_per_seed: Assumed

    @property
    def designs(self) -> dict[TestName, Design]:
        """Every test that could be made, with what it is made against."""
        alpha, sigma = self.alpha, self.sigma.value
        designs: dict[TestName, Design] = {
            "Welch t": Design(test="Welch t", sigma=sigma, alpha=alpha, n_against=self.n_against),
            "one-sample t": Design(test="one-sample t", sigma=sigma, alpha=alpha),
            "known-sigma z": Design(test="known-sigma z", sigma=sigma, alpha=alpha, n_against=self.n_against),
        }
        if self.paired_sigma is not None:
            designs["paired t"] = Design(test="paired t", sigma=self.paired_sigma.value, alpha=alpha)
        return designs

    def seeds_to_run(self, test: TestName, n: int) -> int:
        """Seeds to pay for when the new side has ``n``: the other side too, where it is to be run."""
        both = test in ("Welch t", "known-sigma z") and self.n_against is None
        return 2 * n if both else n

    def hours(self, seeds: int) -> float:
        """On one machine, one seed after the other."""
        return seeds * self.minutes_per_seed.value / 60

    def usd(self, seeds: int) -> float:
        return self.hours(seeds) * self.gpus * self.usd_per_gpu_hour.value


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What one test needs to show the hoped gain; ``seeds`` None where ``AT_MOST`` are not enough."""

    test: TestName
    seeds: int | None  # of the new side
    seeds_to_run: int | None
    hours: float | None
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """What ``seeds`` of the new side can show: the smallest true gain, margin included, for each test."""

    seeds: int
    gains: dict[TestName, float | None]
    hours: float
    usd: float


def needed(question: Question) -> list[Needed]:
    """Seeds, hours and money of each test; empty where no gain is hoped for."""
    if question.gain is None:
        return []
    answers = []
    for test, design in question.designs.items():
        n = design.seeds_needed(question.gain - question.margin, power=question.power, at_most=AT_MOST)
        seeds = None if n is None else question.seeds_to_run(test, n)
        hours, usd = (None, None) if seeds is None else (question.hours(seeds), question.usd(seeds))
        answers.append(Needed(test=test, seeds=n, seeds_to_run=seeds, hours=hours, usd=usd))
    return answers


def detectable(question: Question) -> list[Detectable]:
    """What 3 to 10 seeds can show; hours and money are those of the new side alone."""
    return [
        Detectable(
            seeds=n,
            gains={
                test: None
                if (excess := design.detectable(n, power=question.power)) is None
                else excess + question.margin
                for test, design in question.designs.items()
            },
            hours=question.hours(n),
            usd=question.usd(n),
        )
        for n in SEEDS_SHOWN
    ]


def futility(question: Question, planned: int, test: TestName) -> list[Outcome]:
    """The rule of ``--stop-when-hopeless``, simulated: at no gain, a gain of just the margin, and the hoped gain."""
    n_against = 0 if test == "one-sample t" else planned if question.n_against is None else question.n_against
    rule = StoppingRule(test=test, planned=planned, sigma=question.sigma.value, alpha=question.alpha)
    gains = sorted({0.0, question.margin, *([question.gain] if question.gain is not None else [])})
    return [simulate(rule, excess=gain - question.margin, n_against=n_against) for gain in gains]
