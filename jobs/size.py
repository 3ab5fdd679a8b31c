"""What a recipe's model will weigh, told without weights: a program of its own, run before any money is spent."""

import json
import sys
from collections import Counter

import torch

from jobs.contract.errors import Refused
from jobs.layers import role_of
from jobs.model import Transformer, tensor_kinds
from jobs.recipe import Recipe


def print_size(recipe: Recipe, program: str) -> None:
    """Print one line of JSON: every tensor's elements and bits in the artifact, and what a training step holds.

    ``tensors``: [kind, elements, bits, smallest_limit] of each; smallest_limit is null where the tensor is not rounded.
    ``places``: the blocks that are run, each as often as it is; ``hidden_over_width``: their mean.
    Exits with 2, after one clear message, where the recipe is wrong.
    """
    try:
        with torch.device("meta"):
            model = Transformer(recipe)
        kinds = tensor_kinds(model)
        grids = {name: recipe.quantizer.grid(name, tensor, kinds[name]) for name, tensor in model.state_dict().items()}
    except Refused as error:
        print(f"{recipe.name}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    tensors = []
    for name, tensor in model.state_dict().items():
        grid = grids[name]
        bits = grid.bits if grid else 8 * recipe.quantizer.kept_dtype(kinds[name]).itemsize
        tensors.append([kinds[name], tensor.numel(), bits, grid.smallest_limit if grid else None])
    widths: Counter[int | None] = Counter()  # by layer
    for parameter in model.parameters():
        role = role_of(parameter)
        if role.kind == "feed_forward" and not role.starts_at_zero:
            widths[role.layer] += parameter.size(0)
    places = len(model.order)
    print(
        json.dumps(
            {
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "tensors": tensors,
                "hidden_over_width": sum(widths[layer] for layer in model.order) / places / recipe.shape.model_dim,
                "places": places,
                "model_dim": recipe.shape.model_dim,
                "vocab_size": recipe.shape.vocab_size,
                "batch_tokens": recipe.budget.batch_tokens,
                "sequence_length": recipe.budget.sequence_length,
                "max_micro_batch_tokens": recipe.budget.max_micro_batch_tokens,
            }
        )
    )
