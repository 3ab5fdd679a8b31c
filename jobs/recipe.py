"""A recipe: one field for each choice, and what a technique of each family must be able to do.

The folder ``jobs/techniques/<family>/`` holds the techniques of a family; the family's protocol is its name in
CamelCase. A new technique is one file in that folder. A new family is a protocol and a field here, and a folder.

A block has a layer, which says whose weights it has, and stands at one or more places, which count the blocks in the
order in which they run. A technique of a block is built for a layer. A technique that is built once for all blocks is
given the layers in that order, and told at which place the model is.

Shapes are written in names: B sequences, T positions, D model width, H query heads, G key/value heads, K head width,
V vocabulary, N targets of a stream.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import torch
from torch import Tensor, nn

from jobs.artifact import Encoded
from jobs.calibration import Calibration
from jobs.knobs import Count, CountOrZero, Positive, PositiveOrZero
from jobs.quantization import Grid
from jobs.scoring import DocumentLearner, Learner, Window
from jobs.techniques.depth.once import EveryBlockOnce
from jobs.world import World


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the model that are no technique."""

    vocab_size: Count = 1024  # token ids, at least as many as the tokenizer has
    num_layers: Annotated[int, "2 or more"] = 9  # blocks
    model_dim: Count = 512  # width of the residual stream
    num_heads: Count = 8  # query heads
    num_kv_heads: Count = 4  # key/value heads; fewer than num_heads: grouped queries
    tied_embeddings: bool = True  # the token table is the output head
    embedding_std: PositiveOrZero = 0.005  # of the token table at step 0
    q_gain_init: float = 1.5  # of every query head, after the query norm
    logit_softcap: Positive = 30.0  # logits are 30 tanh(logits / 30), Gemma 2, arXiv 2408.00118

    @property
    def head_dim(self) -> int:
        return self.model_dim // self.num_heads


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long, and on how much, one trunk is trained."""

    train_seconds: Positive = 600.0  # of optimizer steps; validation is not counted, as the rules say
    iterations: Count = 20_000  # upper limit of steps; the clock usually ends the run first
    warmup_steps: CountOrZero = 20  # compile and cache; weights, optimizer and data are put back afterwards
    batch_tokens: Count = 524_288  # of one optimizer step, over all ranks
    sequence_length: Count = 1024  # tokens of a training sequence
    max_micro_batch_tokens: Count = 98_304  # of one forward pass on one rank; a larger share is accumulated
    validate_every: CountOrZero = 1000  # steps; 0: only after the last
    log_every: Count = 200  # steps


class FeedForward(Protocol):
    """The position-wise half of a block."""

    def build(self, shape: Shape, layer: int) -> nn.Module:
        """A module [B, T, D] -> [B, T, D] of ``jobs.layers.Linear``, the last of them with ``starts_at_zero``."""


class Attention(Protocol):
    """How queries, keys and values become the heads' outputs."""

    def build(self, shape: Shape, layer: int) -> nn.Module:
        """A causal module (q [B, T, H, K], k [B, T, G, K], v [B, T, G, K]) -> [B, T, H, K]."""


class AttentionOutput(Protocol):
    """What happens to the heads' outputs before the output projection."""

    def build(self, shape: Shape, layer: int) -> nn.Module | None:
        """A module (y [B, T, H, K], v [B, T, G, K], input [B, T, D]) -> [B, T, H, K]; None: not in this layer."""


class Values(Protocol):
    """What is added to the values of some layers."""

    def build(self, shape: Shape, order: Sequence[int]) -> nn.Module:
        """A module (place, v [B, T, G, K], v at place 0 or None there, ids [B, T]) -> v, one for all blocks."""


class Position(Protocol):
    """How queries and keys learn where they stand."""

    def build(self, shape: Shape, sequence_length: int) -> nn.Module:
        """A module [B, T, heads, K] -> the same shape, for queries and keys alike."""


class Normalization(Protocol):
    """What the input of each half of a block goes through."""

    def build(self, shape: Shape, layer: int) -> nn.Module:
        """A module [B, T, D] -> [B, T, D]."""


class Depth(Protocol):
    """Which blocks are run, in which order."""

    def order(self, num_layers: int) -> tuple[int, ...]:
        """The layers as they are run, each of 0 ... num_layers - 1 at least once; place i is that of the i-th."""


class Residual(Protocol):
    """How a block's halves meet the residual stream."""

    def build(self, shape: Shape, layer: int) -> nn.Module:
        """A module (x, x0, attention, feed_forward, norm) -> x: the whole block. x0 is the normed embedding.

        ``attention``, ``feed_forward`` and ``norm`` are called with, and return, [B, T, D]; attention exactly once.
        """


class Skips(Protocol):
    """Paths from earlier blocks to later ones."""

    def build(self, shape: Shape, order: Sequence[int]) -> nn.Module:
        """A module with ``enter(place, x, outputs)`` before each block and ``leave(x, outputs)`` after the last.

        ``outputs`` are the blocks' outputs so far, by place, each [B, T, D].
        """


class Embedding(Protocol):
    """What is done to the token embedding besides looking it up."""

    def build(self, shape: Shape) -> nn.Module:
        """A module with ``before_norm(x, ids)`` and ``after_norm(x, ids)``, x [B, T, D], ids [B, T]; both causal."""


class Initialization(Protocol):
    """The weights at step 0."""

    def initialize(self, model: nn.Module) -> None:
        """Set the linear layers of ``model`` from torch's global generator; layers flagged ``starts_at_zero`` to 0."""


class TrainingOptimizer(Protocol):
    """What an optimizer can do once it is built."""

    def step(self, *, step: int, scale: float) -> None:
        """Average the gradients over the ranks, update every parameter at ``scale`` times the peak rate, clear."""


class Optimizer(Protocol):
    """How gradients become updates."""

    def build(self, model: nn.Module, world: World) -> TrainingOptimizer:
        """The optimizer over all parameters of ``model``; each parameter is in exactly one group."""


class Schedule(Protocol):
    """The learning rate's scale over the run."""

    def scale(self, *, step: int, elapsed_seconds: float, budget: Budget) -> float:
        """Share of the peak rate in [0, 1], before step ``step`` after ``elapsed_seconds`` of optimizer steps."""


class RunningAverage(Protocol):
    """An average of the weights that is being taken."""

    def update(self, *, step: int, scale: float) -> None:
        """After the optimizer's step ``step`` (from 1), done at ``scale`` of the peak rate."""

    def apply(self) -> str:
        """Put the average into the model, in the parameters' own dtypes; the log line that says what was applied."""


class Averaging(Protocol):
    """Which average of the weights is packed and scored."""

    def start(self, model: nn.Module) -> RunningAverage:
        """Begin averaging from the weights that ``model`` has now."""


class FakeQuantization(Protocol):
    """Training on rounded weights."""

    def attach(self, model: nn.Module, quantizer: "Quantizer") -> Any:
        """A switch over the layers of ``model``: ``turn(on)``; ``update(step=, scale=) -> str | None`` each step."""


class MetaTraining(Protocol):
    """What is added to the gradient of some steps so that the weights adapt well later."""

    def add_gradient(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, step: int, batch_targets: int) -> None:
        """Add to every parameter's ``grad``, or do nothing at this step; the weights come out as they went in."""


class Pruning(Protocol):
    """Weights that are set to zero before they are rounded."""

    def prune(self, state: dict[str, Tensor], kinds: dict[str, str]) -> tuple[dict[str, Tensor], str]:
        """The state with zeros in it, and the log line that says how many."""


class Fitting(Protocol):
    """What is given up so that the artifact fits."""

    def fit(
        self, tensors: list[Encoded], packed_bytes: Callable[[list[Encoded]], int], *, code_bytes: int, at_once: int
    ) -> tuple[list[Encoded], str]:
        """The tensors as they will be packed, and the log line that says what was given up.

        Up to ``at_once`` calls of ``packed_bytes`` may be out at the same time; what is found does not depend on it.
        """


class Quantizer(Protocol):
    """Weights to small integers."""

    reserve_seconds: float  # kept back from the training budget for ``calibrate``
    sums_depend_on_threads: bool  # so that ``encode`` may not be given more of them than the rest of the job has

    def grid(self, name: str, tensor: Tensor, kind: str) -> Grid | None:
        """The grid that this tensor is rounded to, as far as its own weights tell; None where it is not rounded."""

    def kept_dtype(self, kind: str) -> torch.dtype:
        """Of a tensor that is not rounded, as it stands in the artifact."""

    def calibrate(self, model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
        """What the rounding must know about the model at work; called by all ranks, equal on all."""

    def label(self) -> str:
        """What the log calls the format: int8, int6, ..."""

    def encode(self, state: dict[str, Tensor], kinds: dict[str, str], statistics: dict[str, Tensor]) -> list[Encoded]:
        """Every tensor of ``state`` once, as it goes into the artifact.

        ``kinds`` as ``model.tensor_kinds`` says, ``statistics`` as ``calibrate`` returned them.
        """


class Compressor(Protocol):
    """Bytes to fewer bytes; the artifact names the codec, reading one does not need the recipe."""

    codec: str  # one of ``artifact.CODECS``

    @property
    def threads(self) -> int:
        """That ``compress`` works with."""

    def compress(self, payload: bytes) -> bytes: ...


class Evaluation(Protocol):
    """Which context each target is scored in."""

    def windows(self, num_targets: int, training_length: int, document_starts: Sequence[int]) -> Iterator[Window]:
        """Windows in stream order that score each of the targets 0..num_targets-1 exactly once.

        ``document_starts`` are the positions of the BOS tokens in the stream.
        """

    def label(self) -> str:
        """The name of this evaluator in the log's final lines."""


class Adaptation(Protocol):
    """What the model may learn from the validation stream, and through which of two doors it gets the tokens.

    A ``protocol`` of ``score_first`` has ``learner(...)``, which the scoring loop hands only what it has scored.
    A ``protocol`` of ``pre_eval`` has ``adapt(...)``, which gets all tokens before the first is scored: a diagnostic.
    """

    protocol: str
    before_quantization: bool  # adapts the averaged weights and packs the result; otherwise what the artifact holds

    def adapt(self, model: nn.Module, tokens: Tensor, setting: Any) -> None:
        """The door of ``pre_eval``: change ``model`` in place; ``tokens`` [N + 1] are the whole stream."""

    def learner(self, model: nn.Module, setting: Any) -> Learner | DocumentLearner | None:
        """The door of ``score_first``: what the scoring loop hands its chunks to; None where nothing is learned."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a number but the seed, the data and the machine."""

    name: str
    scale: str
    shape: Shape
    budget: Budget
    embedding: tuple[Embedding, ...] = ()
    depth: Depth = field(default_factory=EveryBlockOnce)
    normalization: Normalization
    residual: Residual
    attention: Attention
    position: Position
    values: tuple[Values, ...] = ()
    attention_output: tuple[AttentionOutput, ...] = ()
    feed_forward: FeedForward
    skips: tuple[Skips, ...] = ()
    initialization: Initialization
    optimizer: Optimizer
    schedule: Schedule
    averaging: Averaging | None = None
    fake_quantization: FakeQuantization | None = None
    meta_training: MetaTraining | None = None
    pruning: Pruning | None = None
    quantizer: Quantizer
    fitting: Fitting | None = None
    compressor: Compressor
    evaluation: Evaluation
    arms: dict[str, Adaptation]
