"""The detectors: what must hold for an evaluation whose score is to count, each with a figure and its threshold.

None of them reads code. An evaluation is run on streams that differ where it must not matter, and its losses, its
artifact and its ledger are compared. CPU, one thread, float32: what must not matter must not change a bit.

N targets: target i is token i + 1. V vocabulary.

Source: detectors D1 to D9 and D13 of our survey of the field's records; conditions C1 (no token before it is scored),
C2 (a distribution over the whole vocabulary, fixed before the target is seen), C3 (score before update), C4 (one pass).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from jobs.audit.ledger import Ledger, Stream
from jobs.audit.streams import FIRST_ID, chance, changed_from, documents, with_token
from jobs.audit.toy import LENGTH, VOCABULARY, Evaluate, Models, Trunk
from jobs.world import World

PROBE_DOCUMENTS = (75, 20, 55)  # tokens; with chunks of 32: one of three chunks, one of one, one of two
CANARY_TARGETS = 1024
REPEATED_TARGETS = 256  # in each of two copies
STANDARD_ERRORS = 5.0  # a false alarm of chance once in three million
SUM_TOLERANCE = 1e-4  # of a distribution's sum: float32 over the vocabulary
EXPLAINED_NATS = 1e-5  # between a loss and the row that it was taken from: float32, another order of summation
OTHER_TOKENS = 2  # tried in the place of each probed target
ALONE = World()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a detector found. ``figure`` is None where there is no number, such as an infinite one."""

    passed: bool
    figure: float | None
    threshold: float
    about: str  # what the figure is


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One evaluation of one stream."""

    tokens: Tensor
    losses: Tensor  # [N], nats
    ledger: Ledger


def evaluated(
    evaluate: Evaluate, trunk: Trunk, tokens: Tensor, *, world: World = ALONE, keeps_rows: bool = False
) -> Evaluated:
    """Run ``evaluate`` on ``tokens``, with everything that it does written down."""
    if world.is_main:
        trunk.put_validation(tokens)
    world.wait()
    ledger = Ledger(world=world, artifact=trunk.packed_weights, keeps_rows=keeps_rows)
    with ledger.observing():
        losses = evaluate(Models(trunk, ledger), Stream(tokens, ledger), ledger)
    if losses.shape != (tokens.numel() - 1,):
        raise ValueError(f"an evaluation of {tokens.numel() - 1} targets gave losses of shape {list(losses.shape)}")
    return Evaluated(tokens=tokens, losses=losses.detach().float(), ledger=ledger)


def probe_tokens() -> Tensor:
    """The stream of most detectors."""
    return documents(PROBE_DOCUMENTS, vocab_size=VOCABULARY, seed=1)


@dataclass(kw_only=True)
class Examination:
    """One evaluation under all detectors but D13, which needs two processes.

    Args:
        evaluate: what is examined.
        plain: the same without adaptation, on the canary's trunk.
        probe: a trunk for the probes: with noise, so that all of it acts.
        canary: a trunk that predicts next to nothing, so that chance cannot be predicted worse and then better.
    """

    evaluate: Evaluate
    plain: Evaluate
    probe: Trunk
    canary: Trunk
    tokens: Tensor = field(default_factory=probe_tokens)

    @cached_property
    def base(self) -> Evaluated:
        return evaluated(self.evaluate, self.probe, self.tokens, keeps_rows=True)

    @cached_property
    def changed(self) -> dict[int, Evaluated]:
        """By k: the evaluation of the stream with other tokens from position k on."""
        return {
            k: evaluated(self.evaluate, self.probe, changed_from(self.tokens, k, vocab_size=VOCABULARY, seed=k))
            for k in self._positions()
        }

    def findings(self) -> dict[str, Finding]:
        """What each detector found, by its name."""
        own_target, total = self.own_target_and_total()
        return {
            "D1": model_causality(self.probe),
            "D2": self.causality(),
            "D3": own_target,
            "D4": total,
            "D5": self.weights_as_loaded(),
            "D6": self.untainted_artifact(),
            "D7": self.intervals(),
            "D8": self.random_canary(),
            "D9": self.repeated_stream(),
        }

    def causality(self) -> Finding:
        """D2: losses before the place from which the tokens are others do not change, those behind it do."""
        moved = [
            float((run.losses[: k - 1] - self.base.losses[: k - 1]).abs().max()) for k, run in self.changed.items()
        ]
        deaf = [k for k, run in self.changed.items() if torch.equal(run.losses[k - 1 :], self.base.losses[k - 1 :])]
        about = f"largest change of a loss before k when the tokens from k on change, nats; k {list(self.changed)}"
        if deaf:
            about += f"; no loss from {deaf[0]} on depends on the tokens there"
        return _at_most(0.0, moved, about, also=not deaf)

    def weights_as_loaded(self) -> Finding:
        """D5: the first target is scored with the weights that the artifact holds."""
        scored, packed = self.base.ledger.scored_weights, self.base.ledger.artifacts[-1]
        about = "1 where the first target is scored with other weights than the artifact's"
        return _at_most(0.0, [float(scored != packed)], about)

    def untainted_artifact(self) -> Finding:
        """D6: nothing has learned validation tokens before the artifact was packed, and they do not change it."""
        runs = [self.base, *self.changed.values()]
        steps = max(run.ledger.steps_before_artifact for run in runs)
        artifacts = {run.ledger.artifacts[-1] for run in runs}
        trunks = {self.probe.packed_weights, self.probe.packed_weights_otherwise}
        other = len(artifacts) - 1 + len(trunks) - 1
        about = "optimizer steps on validation tokens before the artifact was packed"
        if other and not steps:
            about = "artifacts that other validation tokens have made other ones"
        return _at_most(0.0, [float(steps or other)], about)

    def intervals(self) -> Finding:
        """D7: the loop scores every target once, and learns from none before that."""
        size = self.tokens.numel() - 1
        times = torch.zeros(size, dtype=torch.int64)
        early = torch.zeros(size, dtype=torch.bool)
        beyond = 0
        for event in self.base.ledger.events:
            beyond += max(0, event.end - size) + max(0, -event.begin)
            span = slice(max(0, event.begin), min(size, event.end))
            if event.kind == "score":
                times[span] += 1
            else:
                early[span] |= times[span] == 0
        unscored = (self.base.losses == 0) | ~self.base.losses.isfinite()
        counts = {
            "not scored": int(((times == 0) | unscored).sum()),
            "scored more than once": int((times > 1).sum()),
            "learned before they were scored": int(early.sum()),
            "beyond the stream": beyond,
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return _at_most(0.0, [float(sum(counts.values()))], f"wrong targets{': ' if told else ''}{told}")

    def random_canary(self) -> Finding:
        """D8: nobody predicts chance: the mean loss is not below ln V, five standard errors aside."""
        tokens = chance(CANARY_TARGETS + 1, vocab_size=VOCABULARY, seed=5)
        losses = evaluated(self.evaluate, self.canary, tokens).losses.double()
        limit = STANDARD_ERRORS * float(losses.std()) / math.sqrt(CANARY_TARGETS)
        about = f"by how much the mean loss on {CANARY_TARGETS} tokens of chance is below ln {VOCABULARY}, nats"
        return _at_most(limit, [math.log(VOCABULARY) - float(losses.mean())], about)

    def repeated_stream(self) -> Finding:
        """D9: of chance told twice, only the second time can be known; the first time nothing is gained."""
        block = chance(REPEATED_TARGETS, vocab_size=VOCABULARY, seed=9)
        tokens = torch.cat((block, block, block[:1]))
        plain = evaluated(self.plain, self.canary, tokens).losses.double()
        gains = plain - evaluated(self.evaluate, self.canary, tokens).losses.double()
        first, second = gains[: REPEATED_TARGETS - 1], gains[REPEATED_TARGETS - 1 :]
        # What the plain model loses against knowing nothing may be won back by learning that there is nothing to know.
        worse = max(0.0, float(plain[: REPEATED_TARGETS - 1].mean()) - math.log(VOCABULARY))
        limit = worse + STANDARD_ERRORS * float(first.std()) / math.sqrt(first.numel())
        about = (
            f"gain over no adaptation on the first of two equal blocks of {REPEATED_TARGETS} tokens of chance, nats; "
            f"on the second {float(second.mean()):+.4f}"
        )
        return _at_most(limit, [float(first.mean())], about)

    def _positions(self) -> list[int]:
        """Where other tokens begin: quarters, inside a scored interval, at its end, in the last window."""
        size = self.tokens.numel() - 1
        ends = sorted({event.end for event in self.base.ledger.events if event.kind == "score" and event.end < size})
        border = ends[len(ends) // 2] if ends else size // 2
        wanted = {size // 4, size // 2, 3 * size // 4, border + 1 - LENGTH // 3, border + 1, size - 2}
        return sorted(k for k in wanted if 1 < k < size)

    def own_target_and_total(self) -> tuple[Finding, Finding]:
        """D3 and D4: one distribution over the vocabulary gives the loss of whatever token is the target.

        A row of the output head explains a loss that is its -log p(target). Where rows explain all losses, each adds up
        to 1 (D4), and at a few targets the explaining row must stay when another token is the target (D3).

        Losses that no row explains come from elsewhere, from a cache or a mixture: then every token is made the target,
        each in an evaluation of its own, and what they get must add up to 1. Here D3 and D4 are one.
        """
        explaining = [self._rows(self.base, target) for target in range(self.base.losses.numel())]
        unexplained = [target for target, rows in enumerate(explaining) if not len(rows)]
        if unexplained:
            errors = [abs(self._sum_of_all(target) - 1) for target in {unexplained[0], unexplained[-1]}]
            about = (
                f"what all tokens get as the target, added up, minus 1; no row of the output head explains "
                f"{len(unexplained)} of {len(explaining)} losses"
            )
            both = _at_most(SUM_TOLERANCE, errors, about)
            return both, both
        moves = [move for target in self._probed_targets() for move in self._moves(target)]
        sums = torch.cat(explaining).double().exp().sum(dim=1)
        return (
            _at_most(0.0, moves, "largest change of a log-probability at a target when another token is the target"),
            _at_most(SUM_TOLERANCE, [float((sums - 1).abs().max())], "sum of the probabilities at a target, minus 1"),
        )

    def _rows(self, run: Evaluated, target: int) -> Tensor:
        """The rows of the output head, [rows, V], that explain the loss of ``target``."""
        if not run.ledger.rows:
            return torch.empty(0, VOCABULARY)
        rows = run.ledger.all_rows
        return rows[(rows[:, run.tokens[target + 1]] + run.losses[target]).abs() <= EXPLAINED_NATS]

    def _moves(self, target: int) -> Iterator[float]:
        """How far the row that explains the loss moves for each other token; infinite where no row explains it."""
        here = self._rows(self.base, target).double()
        for token in self._other_tokens(target)[FIRST_ID :: VOCABULARY // OTHER_TOKENS]:
            tokens = with_token(self.tokens, target + 1, token)
            there = self._rows(evaluated(self.evaluate, self.probe, tokens, keeps_rows=True), target).double()
            yield float(torch.cdist(here, there, p=math.inf).min()) if len(there) else math.inf

    def _sum_of_all(self, target: int) -> float:
        """What each token of the vocabulary gets when it is the target, added up."""
        streams = [self.tokens, *(with_token(self.tokens, target + 1, one) for one in self._other_tokens(target))]
        return math.fsum(math.exp(-evaluated(self.evaluate, self.probe, one).losses[target]) for one in streams)

    def _other_tokens(self, target: int) -> list[int]:
        return [token for token in range(VOCABULARY) if token != int(self.tokens[target + 1])]

    def _probed_targets(self) -> list[int]:
        """An early one, one whose token has followed the same token before, and one of the last."""
        pairs = list(pairwise(self.tokens.tolist()))
        text = [target for target, (_, token) in enumerate(pairs) if token >= FIRST_ID]
        again = [target for target in text if target > len(pairs) // 2 and pairs[target] in pairs[:target]]
        return sorted({text[len(text) // 5], *again[:1], text[-2]})


def model_causality(trunk: Trunk) -> Finding:
    """D1: what the model says at a position does not depend on later tokens."""
    model = Models(trunk, Ledger(world=ALONE)).packed()
    ids_BT = chance(2 * LENGTH, vocab_size=VOCABULARY, seed=3).view(2, LENGTH)
    moved = []
    with torch.no_grad():
        before = model.logits(model.hidden(ids_BT))
        for position in (1, 2, LENGTH // 2, LENGTH - 1):
            other = ids_BT.clone()
            other[:, position] = (other[:, position] + 1) % VOCABULARY
            change = (model.logits(model.hidden(other)) - before).abs()
            moved.append(float(change[:, :position].max()))
    return _at_most(0.0, moved, "largest change of a logit before a position where the token changes")


def _at_most(threshold: float, figures: Sequence[float], about: str, *, also: bool = True) -> Finding:
    """Passed where no figure is above the threshold and none is no number, and ``also`` holds."""
    worst = max(figures, key=lambda one: math.inf if math.isnan(one) else one)
    return Finding(passed=worst <= threshold and also, figure=_finite(worst), threshold=threshold, about=about)


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
