"""A recipe made small, its arms with it, and the real evaluation of an arm on streams that the audit makes up.

The evaluation is ``train.score_arm``, with its artifact, its files and its scoring loop; a job is told other tokens.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jobs.artifact import load_into, unpack
from jobs.audit.ledger import Ledger, Stream
from jobs.audit.streams import chance
from jobs.contract.assignment import ARTIFACT_FILE, LOG_FILE, RESULT_FILE, WEIGHTS_FILE, Assignment
from jobs.contract.records import TrunkRecord, read_result
from jobs.contract.shards import SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION
from jobs.job import Job, Names, NewModels, StreamScoring
from jobs.kernels.trial import ON_A_CPU
from jobs.log import Log
from jobs.model import Transformer, build_model
from jobs.packing import Packer
from jobs.recipe import Evaluation, Recipe
from jobs.scoring import DocumentLearner, LanguageModel, Learner, Scores
from jobs.train import score_arm
from jobs.world import World

VOCABULARY, LENGTH = 64, 32
TRAINING_TOKENS = 4096  # of chance, for quantizers that calibrate on training data
PROBE, CANARY = "probe", "canary"  # what a full stream allows in hundreds of steps a canary must allow in few
NOISE = 0.1  # on every parameter of a trunk, so that no layer that starts at zero hides what comes before it


def toy_recipe(recipe: Recipe, sizes: str) -> Recipe:
    """``recipe`` with a small vocabulary, short sequences, and adaptations and evaluation of these sizes."""
    return replace(
        recipe,
        shape=replace(recipe.shape, vocab_size=VOCABULARY, embedding_std=0.02),
        budget=replace(recipe.budget, sequence_length=LENGTH, max_micro_batch_tokens=16 * LENGTH),
        evaluation=made_small(recipe.evaluation, sizes),
        arms={name: made_small(arm, sizes) for name, arm in recipe.arms.items()},
    )


def made_small(technique: Any, sizes: str) -> Any:
    """``technique`` at the ``sizes`` that its class says in ``audit``, and so the techniques inside it.

    A number there is the most that the knob may be, ``{"times": x}`` multiplies it; a knob that is None stays so.
    """
    values = {field.name: getattr(technique, field.name) for field in fields(technique)}
    changes = {name: made_small(value, sizes) for name, value in values.items() if is_dataclass(value)}
    for name, size in getattr(technique, "audit", {}).get(sizes, {}).items():
        if (value := values[name]) is not None:
            changes[name] = type(value)(value * size["times"]) if isinstance(size, dict) else min(value, size)
    return replace(technique, **changes)


class Trunk:
    """A trunk of a small recipe in ``folder``, and a data folder that holds the validation tokens of the moment."""

    def __init__(self, recipe: Recipe, folder: Path, *, seed: int) -> None:
        self.recipe, self.folder, self.seed = recipe, folder, seed
        self.path, self.data_path = folder / "trunk", folder / "data"
        self.packed_weights = self.packed_weights_otherwise = ""  # names of the weights in the artifact, once made

    @property
    def artifact(self) -> Path:
        return self.path / ARTIFACT_FILE

    def new_model(self) -> Transformer:
        return build_model(self.recipe, seed=self.seed, device=torch.device("cpu"))

    def make(self, *, noise: float) -> None:
        """Write the weights of step 0 with ``noise`` on every parameter, and pack them as the recipe packs.

        They are packed twice, with other validation tokens in the data folder.
        """
        self.path.mkdir(parents=True)
        self.data_path.mkdir()
        training = chance(TRAINING_TOKENS, vocab_size=self.recipe.shape.vocab_size, seed=self.seed)
        write_shard(self.data_path / "toy_train_000000.bin", training)
        model = self.new_model()
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=noise)
        torch.save(model.state_dict(), self.path / WEIGHTS_FILE)
        (self.path / LOG_FILE).write_text("")
        self.packed_weights_otherwise = self._packed_beside(training[1:])
        self.packed_weights = self._packed_beside(training.flip(0))

    def put_validation(self, tokens: Tensor) -> None:
        """Make these the validation tokens of the data folder."""
        write_shard(self.data_path / "toy_val_000000.bin", tokens)

    def _packed_beside(self, validation: Tensor) -> str:
        """Pack the trunk while these are the validation tokens; the name of the weights in the artifact."""
        self.put_validation(validation)
        ledger = Ledger(world=World())
        models = Models(self, ledger)
        job, _ = toy_job(models, Stream(validation, ledger), ledger)
        job.packing.pack(models.averaged(), self.artifact, Log(self.path, writes=False))
        return ledger.artifacts[-1]


class Models:
    """Where an evaluation gets its model from."""

    def __init__(self, trunk: Trunk, ledger: Ledger) -> None:
        self.trunk, self._ledger = trunk, ledger

    def packed(self) -> Any:
        """The model as the artifact holds it."""
        model = self.trunk.new_model()
        load_into(model, unpack(self.trunk.artifact))
        return self._ledger.watch(model)

    def averaged(self) -> Any:
        """The model before it was rounded and packed."""
        model = self.trunk.new_model()
        model.load_state_dict(torch.load(self.trunk.path / WEIGHTS_FILE, weights_only=True))
        return self._ledger.watch(model)


Evaluate = Callable[[Models, Stream, Ledger], Tensor]
"""The loss of every target in nats, in stream order, float32 [N]; what was scored and learned is told to the ledger."""


def toy_job(models: Models, stream: Stream, ledger: Ledger) -> tuple[Job, "WatchedScoring"]:
    """A job on tokens that the audit makes up, whose parts write down what is done with them; and its scoring."""
    trunk = models.trunk
    recipe, world = trunk.recipe, ledger.world
    assignment = Assignment(
        seed=trunk.seed,
        data_path=trunk.data_path,
        tokenizer_path=trunk.folder,
        output_path=trunk.folder,
        trunk_path=trunk.path,
        arms=(),
        max_wallclock_seconds=None,
    )
    source = NewModels(recipe=recipe, seed=trunk.seed, world=world)
    packer = Packer(recipe=recipe, assignment=assignment, world=world, code_bytes=0)
    scoring = WatchedScoring(StreamScoring(stream=stream, budget=recipe.budget, world=world), ledger)
    job = Job(
        recipe=recipe,
        assignment=assignment,
        world=world,
        names=Names(program_sha256="audit", code_bytes=0, data_sha256="audit", tokenizer_sha256="audit"),
        stream=stream,
        models=WatchedModels(source, ledger),
        packing=WatchedPacking(packer, source, ledger),
        scoring=scoring,
        kernel=ON_A_CPU,
    )
    return job, scoring


@dataclass(frozen=True)
class WatchedModels:
    """Models whose output head tells the ledger what it says."""

    source: NewModels
    ledger: Ledger

    def new(self) -> Transformer:
        model: Transformer = self.ledger.watch(self.source.new())
        return model


@dataclass(frozen=True)
class WatchedPacking:
    """Packing that tells the ledger which weights the artifact holds."""

    packer: Packer
    source: NewModels
    ledger: Ledger

    def pack(self, model: nn.Module, path: Path, log: Log) -> int:
        size = self.packer.pack(model, path, log)
        holds = self.source.new()
        load_into(holds, unpack(path))
        self.ledger.packed(holds)
        return size


@dataclass
class WatchedScoring:
    """Scoring that tells the ledger what was scored and learned, and keeps the losses."""

    inner: StreamScoring
    ledger: Ledger
    losses: Tensor | None = None

    def score(
        self,
        model: LanguageModel,
        evaluation: Evaluation,
        log: Log | None,
        learner: Learner | DocumentLearner | None = None,
    ) -> Scores:
        if log is None:  # a diagnosis, not the score
            return self.inner.score(model, evaluation, log, learner)
        self.ledger.scoring(model)
        scores = self.inner.score(model, evaluation, log, learner)
        self.ledger.events.extend(scores.events)
        self.losses = scores.nll_N
        return scores


def evaluation_of(arm: str) -> Evaluate:
    """The recipe's own evaluation of ``arm``: what a job does with a trunk, from its files to the result."""

    def evaluate(models: Models, stream: Stream, ledger: Ledger) -> Tensor:
        job, scoring = toy_job(models, stream, ledger)
        with contextlib.redirect_stdout(io.StringIO()):
            score_arm(job, UNTRAINED, arm, end_to_end=False)
        losses = scoring.losses
        result = read_result(models.trunk.folder / arm / RESULT_FILE)
        if losses is None or result.val_loss_nats != float(losses.double().sum()) / stream.num_targets:
            raise ValueError(f"{arm}: the loss in {RESULT_FILE} is not the mean of the losses that the loop gave")
        return losses

    return evaluate


def declared_protocol(trunk: Trunk, arm: str) -> str:
    """What the result says that the last evaluation of ``arm`` left."""
    return read_result(trunk.folder / arm / RESULT_FILE).protocol


UNTRAINED = TrunkRecord(
    trunk_sha256="audit",
    program_sha256="audit",
    weights_sha256="audit",
    artifact_sha256="audit",
    recipe="audit",
    scale="audit",
    seed=0,
    data_sha256="audit",
    tokenizer_sha256="audit",
    parameters=0,
    model_bytes=0,
    steps=0,
    train_tokens=0,
    train_seconds=0.0,
    step_ms_mean=0.0,
    step_ms_median=0.0,
    machine=None,
)


def write_shard(path: Path, tokens: Tensor) -> None:
    """``tokens`` as the challenge's shards are written."""
    header = np.zeros(SHARD_HEADER_INTS, dtype="<i4")
    header[:3] = SHARD_MAGIC, SHARD_VERSION, tokens.numel()
    path.write_bytes(header.tobytes() + tokens.numpy().astype("<u2").tobytes())
