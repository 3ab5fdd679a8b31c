"""One arm without its files: a model adapts as its technique says, and every target of a stream is scored."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jobs.adapting import Setting
from jobs.contract.records import PRE_EVAL
from jobs.contract.shards import BOS_TOKEN
from jobs.model import Transformer
from jobs.scoring import DocumentLearner, Scores, score_documents, score_stream
from jobs.techniques.evaluation.aligned import Aligned
from jobs.world import World
from tests.jobs.tiny import ALONE, LENGTH, model_of, noisy, quiet_log, small


def setting_of(world: World = ALONE) -> Setting:
    return Setting(training_length=LENGTH, seed=1337, world=world, log=quiet_log())


def score_adapted(
    adaptation: Any,
    tokens: Tensor,
    *,
    world: World = ALONE,
    model: Transformer | None = None,
    evaluation: Any = None,
    watched: Callable[[Any], Any] = lambda learner: learner,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[Scores, Transformer]:
    """The scores of ``tokens`` under ``adaptation``, and the model as that leaves it.

    Args:
        model: changed in place; by default one with a random offset on every parameter.
        evaluation: by default windows that do not overlap.
        watched: gets the learner of a score-first adaptation and gives the one that the loop talks to.
    """
    model = model or noisy(model_of(small()))
    setting, learner = setting_of(world), None
    if adaptation.protocol == PRE_EVAL:
        adaptation.adapt(model, tokens, setting)
    else:
        learner = watched(adaptation.learner(model, setting))
    bytes_N = torch.ones(len(tokens) - 1, dtype=torch.int64)
    starts = (tokens == BOS_TOKEN).nonzero().flatten().tolist()
    if isinstance(learner, DocumentLearner):
        return score_documents(tokens, bytes_N, starts, learner=learner, world=world, progress=progress), model
    windows = (evaluation or Aligned()).windows(len(tokens) - 1, LENGTH, starts)
    scores = score_stream(
        model,
        tokens,
        bytes_N,
        windows,
        world=world,
        batch_tokens=4 * LENGTH,
        learner=learner,
        progress=progress,
    )
    return scores, model
