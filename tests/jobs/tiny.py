"""Recipes, techniques, streams and corpora small enough for a test, found through the catalog.

The model is that of the naive baseline with L 3, d 64, H 4, Hkv 2, V 64, T 32. A technique that cannot be built at its
defaults in so small a model gets an entry in ``KNOBS``; nothing else here needs an edit when techniques are added.
"""

import importlib
import runpy
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jobs.contract.shards import SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION
from jobs.log import Log
from jobs.model import Transformer, build_model
from jobs.recipe import Budget, Recipe, Shape
from jobs.world import World
from platform.program import catalog as catalogs
from platform.program.catalog import Catalog, Technique
from platform.program.knobs import OneOf, Scalar, nested_family
from platform.program.recipe import entry_program, load

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY, LENGTH = 64, 32
SHAPE = Shape(vocab_size=VOCABULARY, num_layers=3, model_dim=64, num_heads=4, num_kv_heads=2)
BUDGET = Budget(
    train_seconds=600.0,
    iterations=4,
    warmup_steps=0,
    batch_tokens=4 * LENGTH,
    sequence_length=LENGTH,
    max_micro_batch_tokens=2 * LENGTH,
    validate_every=0,
    log_every=1,
)
KNOBS: dict[str, dict[str, Any]] = {
    "recurrent": {"first_layer": 1, "last_layer": 1},
    "parallel": {"first_layer": 1},
    "rotary": {"dims": 8},
    "row_wise": {"keep_elements": 256},
    "gptq_lite": {"keep_elements": 256},
    "adaptive_bits": {"keep_elements": 256, "sequences": 4},
    "full_gptq": {"keep_elements": 256, "sequences": 4},
    "sliding": {"stride": 8},
    "document_isolated": {"stride": 8},
    "pre_eval": {"epochs": 2, "batch_sequences": 3, "learning_rate": 0.01},
    "score_first": {"chunk_targets": 80, "batch_sequences": 2, "epochs": 2, "learning_rate": 0.05},
    "two_phase": {"first_epochs": 2, "second_epochs": 2, "last_blocks": 1, "batch_sequences": 3},
    "document_lora": {"chunk_targets": 16, "context_tokens": 32, "batch_documents": 2},
}
NESTED = {"quantizer": "row_wise", "adaptation": "score_first"}  # what a technique of techniques is tried with
WITHOUT_MODEL = {  # families that leave the model's function alone; every other one must pass the model's tests
    "optimizer", "schedule", "averaging", "fake_quantization", "meta_training", "pruning", "quantizer", "fitting",
    "compressor", "evaluation", "adaptation",
}  # fmt: skip
ALONE = World()
TEXT_VOCABULARY = 330  # 4 special pieces, 256 bytes, and what is left for letters and words
ENGLISH = ["The quick brown fox jumps over the lazy dog; the dog does not mind at all.\n" * 9, "the fox, a dog " * 9]
TEXTS = [  # most of what is in them only bytes can write
    *ENGLISH,
    "def scale(step):\n    return 1 - step / 10  # two  spaces,   three,\tand a tab\n" * 3,
    "Größe, naïve façade, Ærøskøbing – “quoted” … 東京は大きい。 😀👩‍👩‍👧 e\u0301\u0302 \u200b end",
    "x",
    "ends with spaces   ",
    "counting 0123456789 to a 10000000 " * 5,
]


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    return catalogs.read(ROOT)


@dataclass(frozen=True)
class Case:
    """A technique with the knobs that a test sets; everything else is its default or in ``KNOBS``."""

    family: str
    name: str
    knobs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = ",".join(f"{knob}={value}" for knob, value in self.knobs.items())
        return f"{self.family}.{self.name}" + (f":{told}" if told else "")

    def made(self, **knobs: Any) -> Any:
        return technique(self.family, self.name, **self.knobs, **knobs)


def technique(family: str, name: str, **knobs: Any) -> Any:
    """The technique at its defaults, but for ``KNOBS`` and ``knobs``; nested ones that it needs are filled in."""
    found = catalog().technique(family, name)
    given = {**KNOBS.get(name, {}), **knobs}
    for knob in found.knobs.values():
        inner = nested_family(knob.kind)
        if knob.required and inner and knob.name not in given:
            given[knob.name] = technique(inner, NESTED[inner])
    return getattr(importlib.import_module(found.module), found.class_name)(**given)


def every(*families: str, switched: bool = False) -> list[Case]:
    """Each technique of ``families``; with ``switched`` also each of its bool and Literal knobs at each other value."""
    cases = []
    for family in families:
        for name in catalog().families[family].techniques:
            cases.append(Case(family, name))
            if switched:
                cases += [Case(family, name, knobs) for knobs in _switches(catalog().technique(family, name))]
    return cases


def _switches(found: Technique) -> Iterator[dict[str, Any]]:
    for knob in found.knobs.values():
        if isinstance(knob.kind, Scalar) and knob.kind.name == "bool":
            yield {knob.name: not knob.default}
        elif isinstance(knob.kind, OneOf):
            yield from ({knob.name: value} for value in knob.kind.values if value not in (knob.default, None))


def model_families() -> list[str]:
    """The families that a recipe's model is made of."""
    fields = {one.family for one in catalog().fields.values()}
    return [name for name in catalog().families if name in fields and name not in WITHOUT_MODEL]


@lru_cache(maxsize=1)
def base() -> Recipe:
    """The naive baseline, tiny."""
    recipe = recipe_of(entry_program(load(ROOT / "recipes" / "naive_baseline.yaml")))
    return replace(
        recipe,
        name="tiny",
        scale="toy",
        shape=SHAPE,
        budget=BUDGET,
        position=technique("position", "rotary"),
        quantizer=technique("quantizer", "row_wise"),
    )


def small() -> Recipe:
    """The base with two layers, where more would only take time."""
    return replace(base(), shape=replace(SHAPE, num_layers=2))


def recipe_of(entry: str) -> Recipe:
    """What an entry program calls RECIPE."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entry.py"
        path.write_text(entry)
        recipe: Recipe = runpy.run_path(str(path), run_name="entry")["RECIPE"]
        return recipe


def with_technique(recipe: Recipe, family: str, chosen: Any) -> Recipe:
    """``recipe`` with ``chosen`` in the field of ``family``; alone, where the field takes several."""
    place = next(one for one in catalog().fields.values() if one.family == family)
    return replace(recipe, **{place.name: (chosen,) if place.takes == "several" else chosen})


def model_of(recipe: Recipe, *, seed: int = 1337) -> Transformer:
    return build_model(recipe, seed=seed, device=ALONE.device)


def noisy(model: Transformer, size: float = 0.1) -> Transformer:
    """Every parameter moved at random, so that nothing is hidden behind a layer that starts at zero.

    The noise depends on the parameter's name and shape alone: models that share a parameter share its noise.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=size)
    return model


def stream(count: int, *, seed: int = 0, vocabulary: int = VOCABULARY) -> Tensor:
    """``count`` random tokens, int64; the first of each hundred is a BOS."""
    tokens = torch.randint(4, vocabulary, (count,), generator=torch.Generator().manual_seed(seed))
    tokens[::100] = 1
    return tokens


def quiet_log(folder: Path = Path()) -> Log:
    """A log that writes nothing."""
    return Log(folder, writes=False)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def write_shard(
    path: Path,
    tokens: Iterable[int],
    *,
    magic: int = SHARD_MAGIC,
    version: int = SHARD_VERSION,
    count: int | None = None,
) -> Path:
    """A shard as the challenge writes it, packed by hand; with a lie in its header where one is asked for."""
    body = np.asarray(list(tokens), dtype="<u2")
    header = struct.pack("<3i", magic, version, len(body) if count is None else count)
    path.write_bytes(header.ljust(4 * SHARD_HEADER_INTS, b"\0") + body.tobytes())
    return path


def train_tokenizer(folder: Path, documents: list[str], *, vocabulary: int, **options: Any) -> Path:
    """A SentencePiece model with byte fallback that changes nothing in a text; ``options`` are the trainer's."""
    import sentencepiece

    path = folder / "tokenizer.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(documents),
            model_writer=file,
            model_type="bpe",
            vocab_size=vocabulary,
            byte_fallback=True,
            normalization_rule_name="identity",
            **{"add_dummy_prefix": False, **options},
            remove_extra_whitespaces=False,
            character_coverage=0.98,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            num_threads=1,
            minloglevel=2,
        )
    return path


@lru_cache
def pieces_of(tokenizer: Path) -> Any:
    """The SentencePiece processor of a model file."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))


def tokenized(tokenizer: Path, documents: list[str]) -> list[int]:
    """One stream: each document behind a BOS."""
    pieces = pieces_of(tokenizer)
    return [token for text in documents for token in [pieces.bos_id(), *pieces.encode(text)]]
