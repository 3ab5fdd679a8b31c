"""The training loop: steps until the clock or the step limit ends the run."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jobs.clock import StepClock
from jobs.contract.events import StepDone, ValidationDone
from jobs.data.loader import SequentialLoader, micro_batches
from jobs.divergence import LossWatch
from jobs.log import Log
from jobs.recipe import MetaTraining, Recipe, TrainingOptimizer
from jobs.world import World

FIRST_STEPS_LOGGED = 10  # one by one, then every budget.log_every


@dataclass(kw_only=True)
class Trained:
    """What a training run cost. The clock runs over optimizer steps and data; validation is outside."""

    clock: StepClock
    steps: int = 0

    @property
    def train_seconds(self) -> float:
        return self.clock.seconds

    @property
    def step_seconds(self) -> list[float]:
        return self.clock.step_seconds

    @property
    def step_ms_mean(self) -> float:
        """Without the first step, which pays for what is made once."""
        return 1000 * statistics.fmean(self.step_seconds[1:] or self.step_seconds or [0.0])

    @property
    def step_ms_median(self) -> float:
        return 1000 * statistics.median(self.step_seconds[1:] or self.step_seconds or [0.0])


def train(
    recipe: Recipe,
    model: nn.Module,
    data_path: Path,
    *,
    world: World,
    log: Log,
    validate: Callable[[], tuple[float, float]],
    now: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Train ``model`` in place, and leave the averaged weights in it where the recipe averages.

    Args:
        validate: returns (loss in nats, bits per byte) of the model as it is.
        now: the clock, in seconds; a GPU has its own.

    Raises:
        Diverged: the loss has become none; see ``LossWatch``. All ranks see the same loss.

    Distributed: every rank calls it; rank 0's clock decides the rate and the end, so that all ranks agree.
    """
    budget = replace(recipe.budget, train_seconds=recipe.budget.train_seconds - recipe.quantizer.reserve_seconds)
    sequences = micro_batches(
        batch_tokens=budget.batch_tokens,
        sequence_length=budget.sequence_length,
        max_micro_batch_tokens=budget.max_micro_batch_tokens,
        world=world,
    )

    def new_loader() -> SequentialLoader:
        return SequentialLoader(data_path, sequence_length=budget.sequence_length, world=world)

    with log.phase("warmup"):
        _warm_up(recipe, model, new_loader(), sequences, world=world, log=log)
    optimizer = recipe.optimizer.build(model, world)
    averaging = recipe.averaging.start(model) if recipe.averaging else None
    rounding = recipe.fake_quantization.attach(model, recipe.quantizer) if recipe.fake_quantization else None
    clock = StepClock(world, now=now)
    watch = LossWatch(vocab_size=recipe.shape.vocab_size, spared_steps=FIRST_STEPS_LOGGED)
    loader, trained = new_loader(), Trained(clock=clock)
    validated_at = -1

    def report_validation() -> None:
        nonlocal validated_at
        validated_at = trained.steps
        clock.settle()
        with log.phase("validate"), weights_themselves(rounding):
            loss, bpb = validate()
        log.line(
            f"step:{trained.steps}/{budget.iterations} val_loss:{loss:.4f} val_bpb:{bpb:.4f} "
            f"train_time:{_ms(trained):.0f}ms step_avg:{_ms(trained) / max(1, trained.steps):.2f}ms"
        )
        log.event(ValidationDone(step=trained.steps, val_loss_nats=loss, val_bpb=bpb, train_ms=_ms(trained)))

    while True:
        if budget.validate_every and trained.steps % budget.validate_every == 0:
            report_validation()
        if trained.steps >= budget.iterations:
            break
        if clock.elapsed >= budget.train_seconds:
            clock.settle()  # only what the clock really says ends a run
        if clock.elapsed >= budget.train_seconds:
            at = f"step:{trained.steps}/{budget.iterations}"
            log.line(f"stopping_early: wallclock_cap train_time:{_ms(trained):.0f}ms {at}")
            break
        clock.begin()
        scale = recipe.schedule.scale(step=trained.steps, elapsed_seconds=clock.elapsed, budget=budget)
        if rounding and (line := rounding.update(step=trained.steps, scale=scale)):
            log.line(line)
        loss = take_step(
            model, loader, optimizer, sequences, step=trained.steps, scale=scale, world=world, meta=recipe.meta_training
        )
        if averaging:
            averaging.update(step=trained.steps + 1, scale=scale)
        clock.end()
        trained.steps += 1
        if trained.steps <= FIRST_STEPS_LOGGED or trained.steps % budget.log_every == 0:
            clock.settle()
            mean_loss = float(world.sum(loss.clone())) / budget.batch_tokens
            log.line(
                f"step:{trained.steps}/{budget.iterations} train_loss:{mean_loss:.4f} "
                f"train_time:{_ms(trained):.0f}ms step_avg:{_ms(trained) / trained.steps:.2f}ms"
            )
            log.event(
                StepDone(
                    step=trained.steps,
                    train_loss=mean_loss,
                    train_ms=_ms(trained),
                    step_ms=1000 * clock.step_seconds[-1],
                    lr_scale=scale,
                )
            )
            watch.see(mean_loss, step=trained.steps)
    if validated_at != trained.steps:
        report_validation()
    if rounding:
        rounding.turn(False)
    if averaging:
        log.line(averaging.apply())
    return trained


@contextmanager
def weights_themselves(rounding: Any) -> Iterator[None]:
    """Inside, nothing is rounded: what is validated are the weights that will be averaged and packed."""
    was_on = rounding is not None and rounding.is_on
    if was_on:
        rounding.turn(False)
    yield
    if was_on:
        rounding.turn(True)


def take_step(
    model: nn.Module,
    loader: SequentialLoader,
    optimizer: TrainingOptimizer,
    sequences: list[int],
    *,
    step: int,
    scale: float,
    world: World,
    meta: MetaTraining | None = None,
) -> torch.Tensor:
    """One optimizer step over all micro-batches; returns this rank's summed loss, nats, without waiting for it."""
    total = torch.zeros((), device=world.device)
    batch_targets = sum(sequences) * loader.sequence_length * world.size
    for count in sequences:
        inputs, targets = loader.next(count)
        loss = model(inputs, targets)
        (loss / batch_targets).backward()
        total += loss.detach()
        if meta:
            meta.add_gradient(model, inputs, targets, step=step, batch_targets=batch_targets)
    optimizer.step(step=step, scale=scale)
    if world.device.type == "cuda":
        loader.prefetch(sequences[0])
    return total


def _warm_up(
    recipe: Recipe, model: nn.Module, loader: SequentialLoader, sequences: list[int], *, world: World, log: Log
) -> None:
    """Steps that compile and fill caches; the weights are put back, loader and optimizer are thrown away."""
    steps = recipe.budget.warmup_steps
    if not steps:
        return
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = recipe.optimizer.build(model, world)
    rounding = recipe.fake_quantization.attach(model, recipe.quantizer) if recipe.fake_quantization else None
    for step in range(steps):
        if rounding:
            rounding.turn(step >= steps - steps // 2)  # both graphs are compiled before the clock runs
        take_step(model, loader, optimizer, sequences, step=step, scale=1.0, world=world, meta=recipe.meta_training)
        if step + 1 == steps or (step + 1) % 10 == 0:
            log.line(f"warmup_step:{step + 1}/{steps}")
    if rounding:
        rounding.turn(False)
    model.load_state_dict(saved)


def _ms(trained: Trained) -> float:
    return 1000 * trained.train_seconds
