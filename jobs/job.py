"""The parts of a job, what each can do, and the ones that a job has that is told of files.

The phases in ``jobs.train`` know the parts by what they can do: the audit runs the same phases with others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from jobs.contract.assignment import Assignment
from jobs.contract.errors import Refused
from jobs.contract.events import ScoreSoFar
from jobs.contract.shards import BOS_TOKEN, data_sha256, file_sha256
from jobs.data.byte_counts import ByteCounts
from jobs.data.shards import training_shards, validation_tokens
from jobs.kernels.trial import Choice, choose
from jobs.log import Log
from jobs.model import Transformer, build_model, compile_in_place
from jobs.packing import Packer
from jobs.recipe import Budget, Evaluation, Recipe
from jobs.scoring import DocumentLearner, LanguageModel, Learner, Scores, score_documents, score_stream
from jobs.world import World

TOKENS_CHECKED = 2**20  # of the training shards: enough to see that they were made with another tokenizer


class ValidationStream(Protocol):
    """The stream that is scored."""

    @property
    def tokens(self) -> Tensor:
        """int64 [N + 1]."""

    @property
    def bytes_N(self) -> Tensor:
        """int64: the bytes of text that each target stands for."""

    @property
    def document_starts(self) -> Sequence[int]:
        """The positions of the BOS tokens."""


class ModelSource(Protocol):
    """Where the models of a job come from."""

    def new(self) -> Transformer:
        """The model at step 0, the same on every rank."""


class Packing(Protocol):
    """How a model becomes an artifact."""

    def pack(self, model: nn.Module, path: Path, log: Log) -> int:
        """Pack ``model`` into ``path``, by rank 0; its bytes. On return every rank can read it."""


class Scoring(Protocol):
    """How a model is scored on the stream."""

    def score(
        self,
        model: LanguageModel,
        evaluation: Evaluation,
        log: Log | None,
        learner: Learner | DocumentLearner | None = None,
    ) -> Scores:
        """The whole stream under ``evaluation``; with ``log``, its running score becomes events.

        A learner of documents has its own context and takes the place of ``evaluation``.
        """


@dataclass(frozen=True, kw_only=True)
class Names:
    """By which results say what they come from, and the bytes of the program, which count."""

    program_sha256: str
    code_bytes: int
    data_sha256: str
    tokenizer_sha256: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is the same for the trunk and every arm of one job."""

    recipe: Recipe
    assignment: Assignment
    world: World
    names: Names
    stream: ValidationStream
    models: ModelSource
    packing: Packing
    scoring: Scoring
    kernel: Choice  # of attention


def job_of(recipe: Recipe, assignment: Assignment, program: Path, world: World) -> Job:
    """The job that ``assignment`` tells of, its files read and checked.

    Raises:
        Refused: data, tokenizer and recipe do not belong together, or some of them are not there or broken.
    """
    if assignment.max_wallclock_seconds is not None:
        recipe = replace(recipe, budget=replace(recipe.budget, train_seconds=assignment.max_wallclock_seconds))
    shards_sha256 = data_sha256(assignment.data_path)
    byte_counts = ByteCounts.of_tokenizer(assignment.tokenizer_path, recipe.shape.vocab_size)
    names = Names(
        program_sha256=file_sha256(program),
        code_bytes=program.stat().st_size,
        data_sha256=shards_sha256,
        tokenizer_sha256=file_sha256(assignment.tokenizer_path),
    )
    tokens = validation_tokens(assignment.data_path)
    shards = training_shards(assignment.data_path)
    first = shards.read(0, min(shards.num_tokens, TOKENS_CHECKED))
    for kind, found in (("validation", tokens), ("training", first)):
        if int(found.max()) >= recipe.shape.vocab_size:
            raise Refused(
                f"{assignment.data_path}: {kind} token {int(found.max())} is beyond the vocabulary of "
                f"{recipe.shape.vocab_size}: shards and tokenizer do not belong together"
            )
    stream = ReadStream(
        tokens=tokens,
        bytes_N=byte_counts.of_targets(tokens),
        document_starts=(tokens == BOS_TOKEN).nonzero().flatten().tolist(),
    )
    return Job(
        recipe=recipe,
        assignment=assignment,
        world=world,
        names=names,
        stream=stream,
        models=NewModels(recipe=recipe, seed=assignment.seed, world=world),
        packing=Packer(recipe=recipe, assignment=assignment, world=world, code_bytes=names.code_bytes),
        scoring=StreamScoring(stream=stream, budget=recipe.budget, world=world),
        kernel=choose(recipe, world, forced=assignment.kernel),
    )


@dataclass(frozen=True, kw_only=True)
class ReadStream:
    """The validation stream as it was read from its shards."""

    tokens: Tensor
    bytes_N: Tensor
    document_starts: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class NewModels:
    """Models of the recipe with the weights that the seed gives; compiled where there is a GPU."""

    recipe: Recipe
    seed: int
    world: World

    def new(self) -> Transformer:
        model = build_model(self.recipe, seed=self.seed, device=self.world.device)
        if self.world.compiles:
            torch.compiler.reset()  # of what an arm before this one compiled: the number of graphs is limited
            compile_in_place(model)
        return model


@dataclass(frozen=True, kw_only=True)
class StreamScoring:
    """Scores by the loops of ``jobs.scoring``."""

    stream: ValidationStream
    budget: Budget
    world: World

    def score(
        self,
        model: LanguageModel,
        evaluation: Evaluation,
        log: Log | None,
        learner: Learner | DocumentLearner | None = None,
    ) -> Scores:
        tokens, bytes_N, starts = self.stream.tokens, self.stream.bytes_N, self.stream.document_starts

        def progress(position: int, running_bpb: float) -> None:
            if log:
                log.event(ScoreSoFar(position=position, running_bpb=running_bpb, seconds=log.seconds()))

        if isinstance(learner, DocumentLearner):
            return score_documents(tokens, bytes_N, starts, learner=learner, world=self.world, progress=progress)
        return score_stream(
            model,
            tokens,
            bytes_N,
            evaluation.windows(tokens.numel() - 1, self.budget.sequence_length, starts),
            world=self.world,
            batch_tokens=self.budget.max_micro_batch_tokens,
            learner=learner,
            progress=progress,
        )
