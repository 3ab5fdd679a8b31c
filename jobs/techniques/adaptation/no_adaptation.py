from dataclasses import dataclass

from jobs.contract.records import SCORE_FIRST


@dataclass(frozen=True, kw_only=True)
class NoAdaptation:
    """The weights of the artifact score the whole stream as they are.

    Source: the control arm of every ablation.
    """

    protocol = SCORE_FIRST
    before_quantization = False

    def learner(self, model: object, setting: object) -> None:
        return None
