"""A training step of our naive baseline against a plain straight-line loop of the same model.

The plain model below has no techniques, no protocols and no options; both start from the same weights, see the same
batches and must end with the same loss, or the comparison means nothing. On a GPU both are compiled.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.data.loader import SequentialLoader
from jobs.loop import take_step
from jobs.model import build_model
from jobs.muon import NEWTON_SCHULZ
from jobs.world import World

from .measure import in_turn, milliseconds, ratio
from .recipes import embedded_corpus, recipe_object

LAYERS, WIDTH, HEADS, GROUPS, VOCABULARY, ROTATED = 4, 128, 4, 2, 1024, 32
SEQUENCES, LENGTH = 16, 256


class PlainBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        head = WIDTH // HEADS
        self.mix = nn.Parameter(torch.stack((torch.ones(WIDTH), torch.zeros(WIDTH))))
        self.attn_scale, self.mlp_scale = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.ones(WIDTH))
        self.q = nn.Parameter(torch.empty(WIDTH, WIDTH))
        self.k, self.v = (
            nn.Parameter(torch.empty(GROUPS * head, WIDTH)),
            nn.Parameter(torch.empty(GROUPS * head, WIDTH)),
        )
        self.o = nn.Parameter(torch.empty(WIDTH, WIDTH))
        self.gain = nn.Parameter(torch.full((HEADS,), 1.5))
        self.up, self.down = nn.Parameter(torch.empty(2 * WIDTH, WIDTH)), nn.Parameter(torch.empty(WIDTH, 2 * WIDTH))

    def forward(self, x: Tensor, x0: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = self.mix[0] * x + self.mix[1] * x0
        n = F.rms_norm(x, (WIDTH,))
        batch, length, _ = x.shape
        q = F.rms_norm(F.linear(n, self.q).view(batch, length, HEADS, -1), (WIDTH // HEADS,))
        k = F.rms_norm(F.linear(n, self.k).view(batch, length, GROUPS, -1), (WIDTH // HEADS,))
        v = F.linear(n, self.v).view(batch, length, GROUPS, -1)
        q, k = rotate(q, cos, sin) * self.gain[:, None], rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True
        )
        x = x + self.attn_scale * F.linear(y.transpose(1, 2).reshape(batch, length, WIDTH), self.o)
        return x + self.mlp_scale * F.linear(F.relu(F.linear(F.rms_norm(x, (WIDTH,)), self.up)).square(), self.down)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(VOCABULARY, WIDTH))
        self.blocks = nn.ModuleList([PlainBlock() for _ in range(LAYERS)])
        self.skip = nn.Parameter(torch.ones(LAYERS // 2, WIDTH))
        self.frequency = 10_000.0 ** -(torch.arange(0, ROTATED, 2) / ROTATED)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        angle = torch.outer(torch.arange(ids.size(1), dtype=torch.float32), self.frequency)[None, :, None]
        cos, sin = angle.cos(), angle.sin()
        x = x0 = F.rms_norm(F.embedding(ids, self.table), (WIDTH,))
        kept = []
        for layer in range(LAYERS // 2):
            x = self.blocks[layer](x, x0, cos, sin)
            kept.append(x)
        for layer in range(LAYERS // 2):
            x = self.blocks[LAYERS // 2 + layer](x + self.skip[layer] * kept.pop(), x0, cos, sin)
        logits = 30 * torch.tanh(F.linear(F.rms_norm(x, (WIDTH,)), self.table).flatten(0, 1) / 30)
        return F.cross_entropy(logits, targets.flatten())


class PlainTraining:
    """Muon one matrix after the other, AdamW for the rest, in the order of a script."""

    def __init__(self, model: Plain, knobs: object, steps: int) -> None:
        self.model, self.knobs, self.steps, self.step_number = model, knobs, steps, 0
        blocks = [one for one in model.blocks.parameters() if one.ndim == 2 and one.size(0) > 2]
        self.matrices = [(one, torch.zeros_like(one)) for one in blocks]
        known = {id(one) for one in blocks}
        rest = [one for one in model.parameters() if id(one) not in known and one is not model.table]
        self.adam = torch.optim.AdamW(
            [
                {"params": [model.table], "lr": knobs.table_learning_rate},
                {"params": rest, "lr": knobs.control_learning_rate},
            ],
            betas=(0.9, 0.95),
            weight_decay=0.0,
            fused=True,
        )

    def step(self, ids: Tensor, targets: Tensor) -> Tensor:
        loss = self.model(ids, targets)
        loss.backward()
        share = min(1.0, self.step_number / self.knobs.momentum_warmup_steps)
        momentum = (1 - share) * self.knobs.momentum_start + share * self.knobs.momentum
        self.adam.step()
        a, b, c = NEWTON_SCHULZ
        with torch.no_grad():
            for weight, buffer in self.matrices:
                gradient = weight.grad
                buffer.mul_(momentum).add_(gradient)
                x = gradient + momentum * buffer
                x = x / (x.norm() + 1e-7)
                tall = x.size(0) > x.size(1)
                x = x.T if tall else x
                for _ in range(5):
                    gram = x @ x.T
                    x = a * x + (b * gram + c * gram @ gram) @ x
                x = x.T if tall else x
                rate = self.knobs.matrix_learning_rate * max(1.0, weight.size(0) / weight.size(1)) ** 0.5
                weight.add_(x, alpha=-rate)
        for parameter in self.model.parameters():
            parameter.grad = None
        self.step_number += 1
        return loss.detach()


def copy_weights(ours: nn.Module, plain: Plain) -> None:
    """The plain model with the weights of ours."""
    state = ours.state_dict()
    with torch.no_grad():
        plain.table.copy_(state["table.weight"])
        plain.skip.copy_(state["skips.0.skip_weights"])
        for number, block in enumerate(plain.blocks):
            for name, theirs in {
                "mix": "residual.resid_mix",
                "attn_scale": "residual.attn_scale",
                "mlp_scale": "residual.mlp_scale",
                "q": "attention.query.weight",
                "k": "attention.key.weight",
                "v": "attention.value.weight",
                "o": "attention.output.weight",
                "gain": "attention.q_gain",
                "up": "feed_forward.up.weight",
                "down": "feed_forward.down.weight",
            }.items():
                getattr(block, name).copy_(state[f"blocks.{number}.{theirs}"])


def main() -> None:
    torch.set_num_threads(1)
    recipe = recipe_object("naive_baseline", "laptop")
    world = World()
    data_path = embedded_corpus().data_path
    ours = build_model(recipe, seed=1337, device=world.device)
    plain = Plain()
    copy_weights(ours, plain)
    optimizer = recipe.optimizer.build(ours, world)
    training = PlainTraining(plain, recipe.optimizer, recipe.budget.iterations)
    our_loader = SequentialLoader(data_path, sequence_length=LENGTH, world=world)
    plain_loader = SequentialLoader(data_path, sequence_length=LENGTH, world=world)
    losses: tuple[list[float], list[float]] = ([], [])

    def our_step() -> None:
        step = len(losses[0])
        loss = take_step(ours, our_loader, optimizer, [SEQUENCES], step=step, scale=1.0, world=world)
        losses[0].append(float(loss) / (SEQUENCES * LENGTH))

    def plain_step() -> None:
        losses[1].append(float(training.step(*plain_loader.next(SEQUENCES))))

    times = in_turn(our_step, plain_step, rounds=40)
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    print(f"  naive_baseline at laptop scale, {SEQUENCES} x {LENGTH} tokens, eager, one thread, 40 steps of each")
    print(f"  ours  {milliseconds(times[0])} a step\n  plain {milliseconds(times[1])} a step")
    print(f"  ours / plain: {ratio(*times)}; losses differ by {apart:.1e} nats at most")
    if apart > 0.02:
        raise SystemExit("the two loops do not train the same model: the ratio means nothing")


if __name__ == "__main__":
    main()
