"""A small checkout in a temporary folder: a jobs/ with a few techniques, recipes and scales."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.program.recipe import Choices, load

WriteFiles = Callable[[dict[str, str]], Path]

JOBS = {
    "jobs/knobs.py": """
        from typing import Annotated

        Count = Annotated[int, "1 or more"]
        Positive = Annotated[float, "above 0"]
    """,
    "jobs/recipe.py": '''
        """What a recipe consists of."""

        from dataclasses import dataclass
        from typing import Annotated, Protocol

        from jobs.knobs import Count, Positive


        @dataclass(frozen=True, kw_only=True)
        class Shape:
            """Sizes."""

            num_layers: Annotated[int, "2 or more"] = 9
            width: float = 1.5  # of a layer, in # of heads
            tied: bool = True


        @dataclass(frozen=True, kw_only=True)
        class Budget:
            """How long."""

            train_seconds: Positive = 600.0
            batch_tokens: Count


        class FeedForward(Protocol):
            """The position-wise half of a block."""


        class Embedding(Protocol):
            """What is done to the embedding."""


        class Averaging(Protocol):
            """Which average is packed."""


        class Schedule(Protocol):
            """The learning rate's scale: a knob of optimizers."""


        class Optimizer(Protocol):
            """How gradients become updates."""


        class RunningAverage(Protocol):
            """No family: it has no folder."""


        class Evaluation(Protocol):
            """Which context."""


        class Adaptation(Protocol):
            """What may be learned."""


        @dataclass(frozen=True, kw_only=True)
        class Recipe:
            name: str
            scale: str
            shape: Shape
            budget: Budget
            feed_forward: FeedForward
            optimizer: Optimizer
            embedding: tuple[Embedding, ...] = ()
            averaging: Averaging | None = None
            evaluation: Evaluation
            arms: dict[str, Adaptation]
    ''',
    "jobs/train.py": """
        from jobs.recipe import Recipe


        def main(recipe: Recipe, program: str) -> None:
            print(recipe)
    """,
    "jobs/techniques/feed_forward/relu.py": '''
        from dataclasses import dataclass

        from jobs.knobs import Positive


        @dataclass(frozen=True, kw_only=True)
        class Relu:
            """max(x, 0), as
            everybody does.

            Source: Fukushima 1969;
            again in 2010.

            More.
            """

            hidden_multiple: Positive = 2.0  # hidden width over model width
            layers: tuple[int, ...] = ()
            names: tuple[str, ...] = ("a", "b")
            rates: dict[str, float] | None = None
            betas: tuple[float, float] = (0.9, 0.95)
            limit: int | None = None  # of what; "#": text
    ''',
    "jobs/techniques/feed_forward/leaky.py": '''
        from dataclasses import dataclass, field
        from typing import ClassVar, Literal


        @dataclass(frozen=True, kw_only=True)
        class Leaky:
            """Like relu, and leaks."""

            kind: ClassVar[str] = "leaky"
            slope: float  # of the negative half
            sign: Literal["plus", "minus", "none"] = "plus"
            power: Literal[1, 2] = 2
            rates: dict[str, float] = field(default_factory=dict)


        @dataclass
        class State:
            """Not frozen, so no technique."""

            x: int = 0


        @dataclass(frozen=True, kw_only=True)
        class _Detail:
            y: int = 0
    ''',
    "jobs/techniques/embedding/hash.py": '''
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class Hash:
            """Hashes."""

            buckets: int = 1000
    ''',
    "jobs/techniques/embedding/smear.py": '''
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class Smear:
            """Smears."""
    ''',
    "jobs/techniques/embedding/_shared.py": """
        X = 1
    """,
    "jobs/techniques/averaging/ema.py": """
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class Ema:
            decay: float = 0.997
    """,
    "jobs/techniques/schedule/cosine.py": '''
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class Cosine:
            """Half a cosine."""

            steps: int = 100
            final: float = 0.0
    ''',
    "jobs/techniques/schedule/linear.py": """
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class Linear:
            steps: int = 10
    """,
    "jobs/techniques/optimizer/sgd.py": '''
        from dataclasses import dataclass

        from jobs.recipe import Schedule


        @dataclass(frozen=True, kw_only=True)
        class Sgd:
            """Stochastic gradient descent."""

            rate: float = 0.1
            schedule: Schedule
            then: Schedule | None = None
            phases: tuple[Schedule, ...] = ()
    ''',
    "jobs/techniques/evaluation/aligned.py": """
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class Aligned:
            length: int | None = None
    """,
    "jobs/techniques/adaptation/nothing.py": """
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class Nothing:
            pass
    """,
    "jobs/techniques/adaptation/sgd.py": """
        from dataclasses import dataclass


        @dataclass(frozen=True, kw_only=True)
        class SgdAdaptation:
            epochs: int = 10
            rate: float = 0.002
    """,
}

RECIPES = {
    "recipes/base.yaml": """
        question: Does it work?
        source: "PR #1"
        budget: {batch_tokens: 1000}
        feed_forward: {relu: {hidden_multiple: 3}}
        optimizer: {sgd: {schedule: {cosine: {steps: 50, final: 0.1}}}}
        embedding: [hash, smear]
        averaging: ema
        evaluation: aligned
        arms: {plain: nothing}
    """,
    "recipes/child.yaml": """
        question: Does the child work?
        base: base
        shape: {num_layers: 11}
        arms:
          plain: nothing
          sgd: {sgd: {epochs: 30}}
    """,
    "recipes/scales/eight_h100.yaml": """
        machine: {processes: 8, gpus: 8, cpus: 16, data_path: data/x, tokenizer_path: data/y.model}
    """,
    "recipes/scales/laptop.yaml": """
        machine: {processes: 2, gpus: 0, cpus: 2, corpus: embedded}
        budget: {train_seconds: 60, batch_tokens: {times: 0.01}}
        techniques:
          adaptation.sgd: {epochs: {times: 0.1}}
          cosine: {steps: {times: 0.1}}
    """,
}


@pytest.fixture
def write(tmp_path: Path) -> WriteFiles:
    """Writes files, by path and text, into the test's folder, which it returns; texts may be indented."""

    def write_files(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        return tmp_path

    return write_files


@pytest.fixture
def checkout(write: WriteFiles) -> Path:
    """The small checkout's root."""
    return write(JOBS | RECIPES)


@pytest.fixture
def load_text(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Choices]:
    """``load_text(text, scale)``: the choices of a recipe ``mine`` beside ``base``, with this text.

    Messages name files as a person in the checkout would.
    """
    monkeypatch.chdir(checkout)

    def load_it(text: str, scale: str | None = "laptop") -> Choices:
        path = checkout / "recipes" / "mine.yaml"
        path.write_text(text)
        return load(path, scale, checkout)

    return load_it
