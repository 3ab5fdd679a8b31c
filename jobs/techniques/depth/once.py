from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EveryBlockOnce:
    """Every block once, in the order of the layers.

    Source: what a transformer is when nothing else is said.
    """

    def order(self, num_layers: int) -> tuple[int, ...]:
        return tuple(range(num_layers))
