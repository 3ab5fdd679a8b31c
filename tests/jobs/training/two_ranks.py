"""What two processes of gloo find out together; each writes rank_<n>.json into the folder that it is given.

    python -m torch.distributed.run --standalone --nproc-per-node 2 two_ranks.py FOLDER

The truth of each check is computed by the same code in one process, on every rank; the tests assert on the numbers.
"""

import json
import sys
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import platform

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT))
platform.__path__ = [str(ROOT / "platform")]  # what conftest.py does for pytest

# ruff: noqa: E402
from jobs.adapting import SharedSteps, agreed_sha256, rate_groups, row_batches, weights_sha256
from jobs.calibration import Calibration
from jobs.clock import HostMark, StepClock
from jobs.model import Transformer
from jobs.techniques.evaluation.sliding import Sliding
from jobs.world import World, joined_world
from tests.jobs import tiny
from tests.jobs.adapted import score_adapted, setting_of
from tests.jobs.tiny import ALONE, LENGTH, every, model_of, noisy, small

STREAM = tiny.stream(301)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined_world() as world:
        found = {
            "world": of_world(world),
            "optimizers": {str(case): of_optimizer(case, world) for case in every("optimizer", switched=True)},
            "clipping": {str(local): of_clipping(world, clips_locally=local) for local in (False, True)},
            "steps": of_shared_steps(world),
            "adaptations": {
                str(case): {count: of_adaptation(case, count, world) for count in (1, 2, LENGTH + 1, 300)}
                for case in every("adaptation", switched=True)
            },
            "sliding": of_sliding(world),
            "drift": of_drift(world),
            "calibration": of_calibration(folder, world),
            "clock": of_clock(world),
        }
        (folder / f"rank_{world.rank}.json").write_text(json.dumps(found))


def difference(model: Transformer, other: Transformer) -> float:
    """The largest difference of any two parameters."""
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return max(float((one - two).detach().abs().max()) for one, two in pairs)


def of_world(world: World) -> dict[str, Any]:
    mixed = [torch.full((2,), 1.0 + world.rank), torch.full((1,), world.rank, dtype=torch.float64), torch.ones(3)]
    world.sum_all(mixed)
    part, finish = world.scatter_sum(torch.arange(4.0).view(4, 1) * (world.rank + 1))
    finish()
    return {
        "sum": world.sum(torch.tensor([1.0, 2.0]) * (world.rank + 1)).tolist(),
        "sum_all": [one.tolist() for one in mixed],
        "told_by_main": world.told_by_main(0.1 + world.rank)(),
        "gather": world.gather(torch.tensor([[10 * world.rank], [10 * world.rank + 1]])).tolist(),
        "scatter_sum": part.flatten().tolist(),
        "shares": [world.share(total) for total in (0, 1, 2, 5)],
    }


def of_clock(world: World) -> dict[str, Any]:
    """Steps of 1, 2 and 3 seconds on rank 0, ten times as long on rank 1; a device that is behind."""
    moments = accumulate((0, 1, 0, 2, 0, 3), lambda before, seconds: before + seconds * (1 + 9 * world.rank))
    told = iter(list(moments))
    clock = StepClock(world, mark=lambda: HostMark(float(next(told))))
    elapsed = []
    for _ in range(3):
        clock.begin()
        clock.end()
        elapsed.append(clock.elapsed)
    clock.settle()
    return {"elapsed": elapsed, "steps": clock.step_seconds}


def set_gradients(model: Transformer, *, seed: int, share: World = ALONE) -> None:
    """Two random gradients a parameter: their sum alone, one of them on each of two ranks."""
    for place, parameter in enumerate(model.parameters()):
        halves = [
            torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1000 * seed + 2 * place + rank))
            for rank in (0, 1)
        ]
        parameter.grad = halves[0] + halves[1] if share.size == 1 else halves[share.rank]


def of_optimizer(case: tiny.Case, world: World) -> dict[str, Any]:
    """Three steps, shared out and alone; with decay and, unless each rank clips its own, with clipping."""
    wanted = {"muon_weight_decay": 0.1, "adam_weight_decay": 0.1}
    wanted |= {} if case.knobs.get("clips_locally") else {"clip_norm": 0.3}
    known = tiny.catalog().technique(case.family, case.name).knobs
    made = case.made(**{knob: value for knob, value in wanted.items() if knob in known})
    shared, alone = noisy(model_of(small())), noisy(model_of(small()))
    optimizers = made.build(shared, world), made.build(alone, ALONE)
    for step in range(3):
        set_gradients(shared, seed=step, share=world)
        set_gradients(alone, seed=step)
        optimizers[0].step(step=step, scale=0.5)
        optimizers[1].step(step=step, scale=0.5)
    return {"difference": difference(shared, alone), "sha256": weights_sha256(shared)}


def of_clipping(world: World, *, clips_locally: bool) -> list[float]:
    """What is left of gradients that almost cancel, 100 on one rank and -99.9 on the other: norms of momenta."""
    model = model_of(small())
    optimizer = tiny.technique("optimizer", "muon_adam", clip_norm=0.3, clips_locally=clips_locally).build(model, world)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 100.0 if world.rank == 0 else -99.9)
    optimizer.step(step=0, scale=0.0)
    return [float(buffer.norm()) for buffer in optimizer.muon.momenta.values()]


def of_shared_steps(world: World) -> dict[str, Any]:
    """Steps on 1, 2 and 3 rows, the last of them not full: one rank has more than the other, or nothing at all."""
    found = {}
    for count in (5, LENGTH + 5, 2 * LENGTH + 5):
        [(inputs, targets)] = row_batches(STREAM[: count + 1], sequence_length=LENGTH, batch_sequences=9)
        models = noisy(model_of(small())), noisy(model_of(small()))
        losses = []
        for model, where in zip(models, (world, ALONE), strict=True):
            optimizer = torch.optim.SGD(rate_groups(model, {}), lr=0.0, momentum=0.9)
            steps = SharedSteps(model, optimizer, clip_norm=0.2, setting=setting_of(where))
            losses.append([steps.take(inputs, targets, learning_rate=0.1) for _ in range(2)])
        found[len(inputs)] = {
            "loss": max(abs(one - two) for one, two in zip(*losses, strict=True)),
            "difference": difference(*models),
            "sha256": agreed_sha256(models[0], world),
        }
    return found


def of_adaptation(case: tiny.Case, count: int, world: World) -> dict[str, Any]:
    """The first ``count`` targets of the stream, scored by two and by one."""
    tokens = STREAM[: count + 1]
    told: list[tuple[int, float]] = []
    shared, model = score_adapted(
        case.made(), tokens, world=world, progress=lambda position, bpb: told.append((position, bpb))
    )
    alone, _ = score_adapted(case.made(), tokens)
    return {
        "difference": float((shared.nll_N - alone.nll_N).abs().max()) / alone.loss_nats,
        "targets": shared.nll_N.numel(),
        "total": [count, shared.bpb],
        "told": told[-1],
        "sha256": weights_sha256(model),
    }


def of_sliding(world: World) -> float:
    found = [
        score_adapted(tiny.technique("adaptation", "no_adaptation"), STREAM, world=where, evaluation=Sliding(stride=7))[
            0
        ].nll_N
        for where in (world, ALONE)
    ]
    return float((found[0] - found[1]).abs().max())


def of_drift(world: World) -> str:
    """What is said of weights that differ by one bit on one rank."""
    model = noisy(model_of(small()))
    if world.rank == 1:
        with torch.no_grad():
            model.table.weight[0, 0] = torch.nextafter(model.table.weight[0, 0], torch.tensor(9.0))
    try:
        return agreed_sha256(model, world)
    except ValueError as error:
        return str(error)


def of_calibration(folder: Path, world: World) -> dict[str, Any]:
    """Statistics over all ranks' inputs, the same on each, and equal to those of one process that sees all of them."""
    if world.is_main:
        tiny.write_shard(folder / "some_train_000000.bin", tiny.stream(40 * LENGTH).tolist())
    world.wait()
    model = noisy(model_of(small()))

    def calibration(where: World) -> Calibration:
        return Calibration(world=where, data_path=folder, sequence_length=LENGTH, vocab_size=tiny.VOCABULARY, seed=7)

    text = calibration(world).training_text(4)
    everything = world.gather(text)
    found = {}
    for name in ("hessians", "squared_gradients"):
        shared: dict[str, Tensor] = getattr(calibration(world), name)(model, text)
        alone: dict[str, Tensor] = getattr(calibration(ALONE), name)(model, everything, batch_sequences=len(text))
        found[name] = max(float((shared[key] - alone[key]).abs().max()) for key in alone)
    own = calibration(world).generated_text(model, 4, temperature=0.8)
    return {
        **found,
        "rows": [len(text), len(own)],
        "first_of_own": own[:, 1].tolist(),
        "own_begins": own[:, 0].tolist(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
