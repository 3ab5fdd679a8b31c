"""What the tests of jobs/ share: one thread, and a small corpus with a real tokenizer."""

from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.jobs import tiny

hypothesis.settings.register_profile("jobs", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("jobs")


@dataclass(frozen=True, kw_only=True)
class TextCorpus:
    """A folder of shards, the tokenizer that made them, and the validation text that they hold."""

    data_path: Path
    tokenizer_path: Path
    val_tokens: list[int]
    val_bytes: int


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TextCorpus:
    """Two training shards and one of validation; V 330, documents with BOS in front."""
    folder = tmp_path_factory.mktemp("corpus")
    tokenizer = tiny.train_tokenizer(folder, tiny.ENGLISH, vocabulary=tiny.TEXT_VOCABULARY)
    training = tiny.tokenized(tokenizer, tiny.TEXTS)
    val_texts = [*tiny.TEXTS[::-1], "A new one, with words unseen: Ωμέγα\n"]
    validation = tiny.tokenized(tokenizer, val_texts)
    half = len(training) // 2
    tiny.write_shard(folder / "text_train_000000.bin", training[:half])
    tiny.write_shard(folder / "text_train_000001.bin", training[half:])
    tiny.write_shard(folder / "text_val_000000.bin", validation)
    return TextCorpus(
        data_path=folder,
        tokenizer_path=tokenizer,
        val_tokens=validation,
        val_bytes=sum(len(text.encode()) for text in val_texts),
    )
