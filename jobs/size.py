"""What a recipe's model will weigh, told without weights: a program of its own, run before any money is spent."""

import json
import sys

import torch

from jobs.contract.errors import Refused
from jobs.model import Transformer, tensor_kinds
from jobs.recipe import Recipe


def print_size(recipe: Recipe, program: str) -> None:
    """Print one line of JSON: every tensor's elements and bits in the artifact, and what a training step holds.

    ``tensors``: [kind, elements, bits, smallest_limit] of each; smallest_limit is null where the tensor is not rounded.
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
    control_bits = 16 if getattr(recipe.quantizer, "control_dtype", "float32") == "float16" else 32
    for name, tensor in model.state_dict().items():
        grid = grids[name]
        bits = grid.bits if grid else control_bits if kinds[name] == "control" else 16
        tensors.append([kinds[name], tensor.numel(), bits, grid.smallest_limit if grid else None])
    widths = [
        tensor.size(0)
        for name, tensor in model.state_dict().items()
        if kinds[name] == "feed_forward" and not name.endswith("down.weight")
    ]
    print(
        json.dumps(
            {
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "tensors": tensors,
                "hidden_over_width": sum(widths) / recipe.shape.num_layers / recipe.shape.model_dim,
                "num_layers": recipe.shape.num_layers,
                "model_dim": recipe.shape.model_dim,
                "vocab_size": recipe.shape.vocab_size,
                "batch_tokens": recipe.budget.batch_tokens,
                "sequence_length": recipe.budget.sequence_length,
                "max_micro_batch_tokens": recipe.budget.max_micro_batch_tokens,
            }
        )
    )
