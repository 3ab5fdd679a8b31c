"""Whether a training has come to nothing: seen in the losses that are logged anyway, so that it costs nothing."""

import math

from jobs.contract.errors import Diverged

FLAT_NATS = 2e-5  # from ln V: equal logits are within 1e-6 (float32 sums), two batches of text differ by 1e-2
AWAY_NATS = 2e-4  # from ln V: an untrained model of the usual size is 2e-3 away
FLAT_STEPS = 5  # logged ones: 1,000 steps at the defaults


class LossWatch:
    """Ends a training whose loss is no number, or that has become a model that says nothing.

    NaN is never left again. A loss of exactly ln V is that of equal logits: matrices that rates far too high have blown
    up leave the tokens nothing to say, and the weights no gradient. It counts only where the loss had been away from
    ln V before, after the first ``spared_steps``, and at five logged steps one after the other. So it cannot be a head
    that starts at zero (ln V at first, never away before), a rate of zero (a loss that is ln V to rounding whatever the
    text was so from the start), a warm-up (the same), or a model that has learned that its text is chance (no two
    batches of it agree to four digits). What diverges to any other loss, or is flat from the first step on, is trained
    to its end.

    Source: seen with rates x 10,000 in the naive baseline: 5e-7 from ln V from step 3 on.
    """

    def __init__(self, *, vocab_size: int, spared_steps: int) -> None:
        self._chance, self._spared_steps = math.log(vocab_size), spared_steps
        self._was_away = False
        self._flat = 0  # logged steps since the loss has been flat

    def see(self, loss: float, *, step: int) -> None:
        """The mean loss of ``step``, in nats, the same on every rank.

        Raises:
            Diverged: says what is wrong, and since when.
        """
        if not math.isfinite(loss):
            raise Diverged(f"the training diverged: loss is {'NaN' if math.isnan(loss) else 'infinite'} at step {step}")
        distance = abs(loss - self._chance)
        self._was_away |= distance > AWAY_NATS
        counts = self._was_away and distance <= FLAT_NATS and step > self._spared_steps
        self._flat = self._flat + 1 if counts else 0
        if self._flat >= FLAT_STEPS:
            raise Diverged(
                f"the training diverged: loss is {loss:.4f} at step {step}, ln of the vocabulary's size, as at the "
                f"{FLAT_STEPS - 1} logged steps before it: the model says nothing any more; lower rates may help"
            )
