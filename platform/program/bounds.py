"""What numbers a knob takes, by its name: a name means the same wherever it is used.

A technique whose knob is called like one of these has its bounds with it; under another name any number is taken.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Bounds:
    """``low`` to ``high``, both included unless said otherwise."""

    low: float = -inf
    high: float = inf
    above: bool = False  # ``low`` itself is not taken
    below: bool = False  # ``high`` itself is not taken

    def take(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        low = "" if self.low == -inf else f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        high = "" if self.high == inf else f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        if low and high and not self.above and not self.below:
            return f"{self.low:g} to {self.high:g}"
        return " and ".join(part for part in (low, high) if part)


ANYTHING = Bounds()
POSITIVE = Bounds(low=0, above=True)
NOT_NEGATIVE = Bounds(low=0)
ONE_OR_MORE = Bounds(low=1)
SHARE = Bounds(low=0, high=1)
MEMORY = Bounds(low=0, high=1, below=True)  # of a running mean

BOUNDS = {
    **dict.fromkeys(
        (
            *("vocab_size", "model_dim", "num_heads", "num_kv_heads"),
            *("iterations", "batch_tokens", "sequence_length", "max_micro_batch_tokens", "log_every"),
            *("buckets", "dim", "rank", "hidden_dim", "ntk_reference_length", "length", "stride"),
            *("epochs", "chunk_targets", "batch_sequences", "batch_documents", "context_tokens", "every", "sequences"),
            *("newton_schulz_steps", "trials", "target_bytes", "smallest_block"),
        ),
        ONE_OR_MORE,
    ),
    **dict.fromkeys(
        ("train_seconds", "logit_softcap", "base", "hidden_multiple", "temperature", "epsilon", "start_below"), POSITIVE
    ),
    **dict.fromkeys(
        (
            *("warmup_steps", "validate_every", "embedding_std", "momentum_warmup_steps"),
            *("learning_rate", "matrix_learning_rate", "table_learning_rate", "control_learning_rate"),
            *("head_learning_rate", "inner_learning_rate", "first_learning_rate", "second_learning_rate"),
            *("weight_decay", "muon_weight_decay", "adam_weight_decay", "clip_norm", "decoder_multiplier"),
            *("frozen_blocks", "first_layers", "last_layers", "last_blocks", "first_epochs", "second_epochs"),
            *("reserve_seconds", "smallest_limit", "keep_elements", "larger_than", "damping", "threshold", "radius"),
            *("smallest_side", "seed"),
        ),
        NOT_NEGATIVE,
    ),
    **dict.fromkeys(("momentum", "momentum_start", "second_momentum", "beta1", "beta2", "decay"), MEMORY),
    **dict.fromkeys(("fraction", "final_fraction", "top_share", "bottom_share"), SHARE),
    "num_layers": Bounds(low=2),  # U-Net skips and value mixing need two
    "dims": Bounds(low=2),
    "clip_quantile": Bounds(low=0, high=1, above=True),
    "matrix_bits": Bounds(low=2, high=8),
    "feed_forward_bits": Bounds(low=2, high=8),
    "token_table_bits": Bounds(low=2, high=16),
    "table_bits": Bounds(low=2, high=16),
    "level": Bounds(low=1, high=22),
    "preset": Bounds(low=0, high=9),
    "quality": Bounds(low=0, high=11),
}
