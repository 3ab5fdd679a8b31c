"""Sliding evaluation with logits for the scored positions only, against logits for every position that is read."""

import torch

from jobs.data.shards import validation_tokens
from jobs.model import build_model
from jobs.scoring import score_stream
from jobs.world import World

from .measure import in_turn, ratio
from .recipes import embedded_corpus, recipe_object

TARGETS = 4096


class EveryPosition:
    """The model, with a head that works on all positions before the scored ones are picked."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def hidden(self, ids_BT: torch.Tensor) -> torch.Tensor:
        return self.model.logits(self.model.hidden(ids_BT))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def main() -> None:
    torch.set_num_threads(1)
    recipe = recipe_object("leaky_cosine", "laptop")
    model = build_model(recipe, seed=1337, device=torch.device("cpu"))
    tokens = validation_tokens(embedded_corpus().data_path)[: TARGETS + 1]
    length = recipe.budget.sequence_length

    def score(scored_by: object) -> float:
        windows = recipe.evaluation.windows(TARGETS, length, [])
        ones = torch.ones(TARGETS, dtype=torch.int64)
        return score_stream(scored_by, tokens, ones, windows, world=World(), batch_tokens=8192).loss_nats

    assert abs(score(model) - score(EveryPosition(model))) < 1e-5
    ours, every = in_turn(lambda: score(model), lambda: score(EveryPosition(model)), rounds=7)
    rate = TARGETS / sorted(ours)[len(ours) // 2]
    what = f"sliding, stride {recipe.evaluation.stride} of {length}, laptop model, one thread"
    print(f"  {what}: {rate:,.0f} targets a second")
    print(f"  scored positions only / every position: {ratio(ours, every)} of the time")


if __name__ == "__main__":
    main()
