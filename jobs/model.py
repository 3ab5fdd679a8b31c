"""The transformer: the wiring that all recipes share; what differs between them is built by their techniques.

Shapes: B sequences, T positions, D model width, H query heads, G key/value heads, K head width, V vocabulary.
Precision: linear weights and control vectors are float32, embedding tables and activations in the compute dtype
(bfloat16 on a GPU, float32 on a CPU); query/key norms and the loss are float32.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.contract.errors import Refused
from jobs.layers import Linear, placed, rms_norm, role_of
from jobs.recipe import Recipe

IGNORED = -100  # a target that is not counted
MATRIX_KINDS = ("attention", "feed_forward", "projection")  # of ``tensor_kinds``: the linear layers but the head


class Transformer(nn.Module):
    """ids [B, T] -> logits [B, T, V]; ids + targets -> summed loss in nats."""

    # What the techniques build is called through methods of theirs; see the protocols in recipe.py.
    embedding: Any
    skips: Any

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape = recipe.shape
        check_recipe(recipe)
        self.logit_softcap = shape.logit_softcap
        self.order = recipe.depth.order(shape.num_layers)  # of the layers, by place
        if set(self.order) != set(range(shape.num_layers)):
            raise ValueError(f"depth: runs the layers {self.order}, which are not all of 0 to {shape.num_layers - 1}")
        self.table = placed(nn.Embedding(shape.vocab_size, shape.model_dim), "token_table")
        self.embedding = placed(nn.ModuleList([technique.build(shape) for technique in recipe.embedding]), "embedding")
        self.values = placed(
            nn.ModuleList([technique.build(shape, self.order) for technique in recipe.values]), "values"
        )
        self.blocks = nn.ModuleList([Block(recipe, layer) for layer in range(shape.num_layers)])
        self.skips = placed(nn.ModuleList([technique.build(shape, self.order) for technique in recipe.skips]), "skips")
        self.head = None
        if not shape.tied_embeddings:
            self.head = placed(Linear(shape.model_dim, shape.vocab_size, starts_at_zero=True), "head")
        for path, module in self.named_modules():
            if isinstance(module, nn.Linear):
                raise ValueError(
                    f"{path}: torch.nn.Linear; techniques build with jobs.layers.Linear, by which initialization, "
                    f"optimizer, QAT and quantizer know a linear layer"
                )

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """The normed residual stream after the last block, [B, T, D]: what the head reads."""
        x = self.table(ids_BT)
        for technique in self.embedding:
            x = technique.before_norm(x, ids_BT)
        x = rms_norm(x)
        for technique in self.embedding:
            x = technique.after_norm(x, ids_BT)
        x0, first_values = x, None
        outputs: list[Tensor] = []
        for place, layer in enumerate(self.order):
            for skip in self.skips:
                x = skip.enter(place, x, outputs)
            x, values = self.blocks[layer](place, x, x0, ids_BT, first_values, self.values)
            first_values = values if first_values is None else first_values
            outputs.append(x)
        for skip in self.skips:
            x = skip.leave(x, outputs)
        return rms_norm(x)

    def logits(self, hidden: Tensor, added: Tensor | None = None) -> Tensor:
        """[..., D] -> float32 [..., V], softly capped; ``added`` [..., V] goes in before the cap.

        Only for the positions that are asked for.
        """
        raw = self.head(hidden) if self.head is not None else F.linear(hidden, self.table.weight.to(hidden.dtype))
        if added is not None:
            raw = raw + added
        return self.logit_softcap * torch.tanh(raw.float() / self.logit_softcap)

    def forward(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Sum over the targets of -log p(target), nats, float32; targets equal to ``IGNORED`` count nothing."""
        logits_NV = self.logits(self.hidden(ids_BT)).flatten(0, 1)
        return F.cross_entropy(logits_NV, targets_BT.flatten(), reduction="sum", ignore_index=IGNORED)


class Block(nn.Module):
    """One attention, one feed-forward and a norm, which the residual technique joins to the residual stream."""

    residual: Any

    def __init__(self, recipe: Recipe, layer: int) -> None:
        super().__init__()
        self.residual = placed(recipe.residual.build(recipe.shape, layer), "residual", layer)
        self.norm = placed(recipe.normalization.build(recipe.shape, layer), "norm", layer)
        self.attention = placed(CausalSelfAttention(recipe, layer), "attention", layer)
        self.feed_forward = placed(recipe.feed_forward.build(recipe.shape, layer), "feed_forward", layer)

    def forward(
        self, place: int, x: Tensor, x0: Tensor, ids_BT: Tensor, first_values: Tensor | None, value_paths: nn.ModuleList
    ) -> tuple[Tensor, Tensor]:
        """x [B, T, D] after the block, and the values of its attention."""
        values = x  # until attention is called

        def attention(n_BTD: Tensor) -> Tensor:
            nonlocal values
            y_BTD, values = self.attention(place, n_BTD, ids_BT, first_values, value_paths)
            return y_BTD

        x = self.residual(x, x0, attention, self.feed_forward, self.norm)
        return x, values


class CausalSelfAttention(nn.Module):
    """Projections, query/key norm, positions and a learned gain for each head, around the recipe's attention.

    Source: QK-norm arXiv 2010.04245; gain per query head, initially 1.5, from the modded-nanogpt lineage.
    """

    def __init__(self, recipe: Recipe, layer: int) -> None:
        super().__init__()
        shape = recipe.shape
        self.num_heads, self.num_kv_heads = shape.num_heads, shape.num_kv_heads
        self.query = Linear(shape.model_dim, shape.num_heads * shape.head_dim)
        self.key = Linear(shape.model_dim, shape.num_kv_heads * shape.head_dim)
        self.value = Linear(shape.model_dim, shape.num_kv_heads * shape.head_dim)
        self.output = Linear(shape.num_heads * shape.head_dim, shape.model_dim, starts_at_zero=True)
        self.q_gain = nn.Parameter(torch.full((shape.num_heads,), shape.q_gain_init))
        self.position = recipe.position.build(shape, recipe.budget.sequence_length)
        self.heads = recipe.attention.build(shape, layer)
        after = [technique.build(shape, layer) for technique in recipe.attention_output]
        self.after_heads = nn.ModuleList([module for module in after if module is not None])

    def forward(
        self, place: int, n_BTD: Tensor, ids_BT: Tensor, first_values: Tensor | None, value_paths: nn.ModuleList
    ) -> tuple[Tensor, Tensor]:
        q_BTHK = self.query(n_BTD).unflatten(-1, (self.num_heads, -1))
        k_BTGK = self.key(n_BTD).unflatten(-1, (self.num_kv_heads, -1))
        v_BTGK = self.value(n_BTD).unflatten(-1, (self.num_kv_heads, -1))
        for path in value_paths:
            v_BTGK = path(place, v_BTGK, first_values, ids_BT)
        q_BTHK, k_BTGK = self.position(rms_norm(q_BTHK.float())), self.position(rms_norm(k_BTGK.float()))
        q_BTHK = q_BTHK * self.q_gain.to(q_BTHK.dtype)[:, None]
        y_BTHK = self.heads(q_BTHK, k_BTGK, v_BTGK)
        for module in self.after_heads:
            y_BTHK = module(y_BTHK, v_BTGK, n_BTD)
        return self.output(y_BTHK.flatten(-2)), v_BTGK


def build_model(recipe: Recipe, *, seed: int, device: torch.device) -> Transformer:
    """The recipe's model on ``device`` with the weights that ``seed`` gives; the same on every rank and device.

    On a GPU the embedding tables are rounded to bfloat16, everything else is float32.
    """
    torch.manual_seed(seed)
    model = Transformer(recipe)
    nn.init.normal_(model.table.weight, std=recipe.shape.embedding_std)
    recipe.initialization.initialize(model)
    if device.type == "cuda":
        for module in model.modules():
            if isinstance(module, nn.Embedding) and not role_of(module.weight).keeps_float32:
                module.to(torch.bfloat16)
    return model.to(device)


def compile_in_place(model: Transformer) -> None:
    """Compile the loss, which training calls, and ``hidden``, which scoring calls; weights and names stay."""
    model.hidden = torch.compile(model.hidden, dynamic=False)  # type: ignore[method-assign]
    model.compile(dynamic=False)


def tensor_kinds(model: nn.Module) -> dict[str, str]:
    """The kind of every tensor of the state dict, as ``Role`` says it; of a buffer ``control``."""
    kinds = {name: role_of(parameter).kind for name, parameter in model.named_parameters()}
    return {name: kinds.get(name, "control") for name in model.state_dict()}


def check_recipe(recipe: Recipe) -> None:
    """Refuse, before anything is trained, sizes that no model has and what would be found out after the training.

    Raises:
        Refused: names the knob, what was found and what is possible.
    """
    shape, budget = recipe.shape, recipe.budget
    counts = {
        "shape.vocab_size": shape.vocab_size,
        "shape.num_layers": shape.num_layers - 1,  # U-Net skips and value mixing need two
        "shape.model_dim": shape.model_dim,
        "shape.num_heads": shape.num_heads,
        "shape.num_kv_heads": shape.num_kv_heads,
        "budget.iterations": budget.iterations,
        "budget.batch_tokens": budget.batch_tokens,
        "budget.sequence_length": budget.sequence_length,
        "budget.log_every": budget.log_every,
    }
    for name, count in counts.items():
        if count < 1:
            least = 2 if name == "shape.num_layers" else 1
            raise Refused(f"{name}: found {count + least - 1}, it must be at least {least}")
    if shape.model_dim % shape.num_heads or shape.head_dim % 2:
        raise Refused(f"model_dim {shape.model_dim} over num_heads {shape.num_heads} must be an even whole head width")
    if shape.num_heads % shape.num_kv_heads:
        raise Refused(f"num_heads {shape.num_heads} must be a multiple of num_kv_heads {shape.num_kv_heads}")
    next(iter(recipe.evaluation.windows(budget.sequence_length + 1, budget.sequence_length, (0,))))
    if 0 < budget.train_seconds <= recipe.quantizer.reserve_seconds:  # no seconds at all: untrained on purpose
        raise Refused(
            f"quantizer.reserve_seconds: {recipe.quantizer.reserve_seconds} of the {budget.train_seconds} seconds of "
            f"budget.train_seconds leave nothing to train in"
        )
