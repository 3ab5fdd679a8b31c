from dataclasses import dataclass

from jobs.contract.errors import Refused
from jobs.knobs import CountOrZero


@dataclass(frozen=True, kw_only=True)
class RecurrentDepth:
    """Some blocks in a row are run several times: a deeper model of the same weights.

    The layers run as 0 ... first - 1, then 1 + extra_passes times first ... last, then last + 1 ... L - 1. The passes
    share all weights, gains, scales and mixes included; U-Net skips pair the blocks as they are run. Here blocks recur
    from the first step on. The records switch that on at 35 to 50 % of the time, for steps that are faster until then;
    PR #1204 measured 0.001 BPB for it, once.

    Source: PRs #1285 (4 to 5, one extra pass), #1394 (4 to 5, two) and #1493 (3 to 5, two) of the field.
    """

    first_layer: CountOrZero = 3  # of the run of blocks
    last_layer: CountOrZero = 5  # of the run of blocks
    extra_passes: CountOrZero = 2  # over them, after the first; 0: every block once

    small = {"laptop": {"first_layer": 1, "last_layer": 2}, "smoke": {"first_layer": 1, "last_layer": 2}}

    def order(self, num_layers: int) -> tuple[int, ...]:
        first, last = self.first_layer, self.last_layer
        if not 0 <= first <= last < num_layers or self.extra_passes < 0:
            raise Refused(
                f"depth.recurrent: layers {first} to {last}, {self.extra_passes} extra passes; possible are layers "
                f"from 0 to {num_layers - 1}, the first not behind the last, and 0 or more passes"
            )
        recurring = tuple(range(first, last + 1))
        return (*range(first), *recurring * (1 + self.extra_passes), *range(last + 1, num_layers))
