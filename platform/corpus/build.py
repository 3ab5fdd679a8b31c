"""Documents to a corpus: split by hash, train the tokenizer, write the shards, count the bytes, say what was done.

The documents are read from their files up to three times and never held: to see what there is, to train the
tokenizer, to tokenize.
"""

import struct
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from jobs.contract.shards import SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION, data_sha256, file_sha256

from .folder import TOKENIZER_FILE, Manifest, write_manifest
from .split import VAL_BYTES, split
from .tokenizer import Widths, loaded, tokenized, trained

FORMAT = 2  # goes up when the same text would make another corpus, so that folders of the old kind are not reused
SHARD_TOKENS = 10**8  # of a full training shard, as in the challenge


def build(
    folder: Path,
    *,
    name: str,
    documents: Callable[[], Iterable[str]],
    made_from: dict[str, Any],
    vocabulary: int,
    tokenizer: Path | None = None,
    val_share: float | None = None,
) -> None:
    """Fill the empty ``folder`` with the corpus of what ``documents()`` yields, the same each time it is called.

    Args:
        tokenizer: a SentencePiece model to use as it is; None trains one of ``vocabulary`` pieces.
        val_share: share of the text to validate on; None takes VAL_BYTES.

    Raises:
        UserError: fewer than two documents, or too little text for the vocabulary.
    """
    import sentencepiece

    _say(f"{name}: reading")
    parts = split(documents(), val_bytes=VAL_BYTES, val_share=val_share)
    if tokenizer is None:
        _say(f"{name}: training a tokenizer of {vocabulary} pieces")
        model = trained(parts.sample(documents()), vocabulary)
    else:
        model = tokenizer.read_bytes()
    (folder / TOKENIZER_FILE).write_bytes(model)
    pieces = loaded(model, tokenizer or folder / TOKENIZER_FILE)

    shards = {part: Shards(folder, f"{name}_{part}") for part in ("train", "val")}
    widths, counted_bytes = Widths(pieces), 0
    said = time.monotonic()
    for document, tokens in tokenized(pieces, parts.once(documents())):
        part = parts.part(document)
        shards[part].add(tokens)
        counted_bytes += widths.total(tokens) if part == "val" else 0
        if time.monotonic() > said + 5:
            said = time.monotonic()
            _say(f"{name}: {sum(writer.total for writer in shards.values()):,} tokens")
    for writer in shards.values():
        writer.close()
    _say(f"{name}: {sum(writer.total for writer in shards.values()):,} tokens in all")
    assert tokenizer or counted_bytes == parts.text_bytes["val"], f"{counted_bytes} bytes counted, {parts.text_bytes}"
    data_sha256(folder)  # reads every header back

    write_manifest(
        folder,
        Manifest(
            name=name,
            made_from=made_from,
            made_with={"python": sys.version.split()[0], "sentencepiece": sentencepiece.__version__},
            vocabulary=pieces.piece_size(),
            documents=parts.documents,
            text_bytes=parts.text_bytes,
            tokens={part: writer.total for part, writer in shards.items()},
            val_counted_bytes=counted_bytes,
            files_sha256={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        ),
    )


class Shards:
    """Writes tokens to ``<stem>_000000.bin``, ``_000001`` and so on, in the challenge's format."""

    def __init__(self, folder: Path, stem: str, shard_tokens: int = SHARD_TOKENS) -> None:
        self.folder, self.stem, self.shard_tokens = folder, stem, shard_tokens
        self.total = 0  # tokens written
        self._file: BinaryIO | None = None
        self._number = self._held = 0

    def add(self, tokens: list[int]) -> None:
        """Append ``tokens``; a document may go over the end of a shard into the next."""
        while tokens:
            if self._file is None:
                self._file = (self.folder / f"{self.stem}_{self._number:06d}.bin").open("xb")
                self._file.write(bytes(4 * SHARD_HEADER_INTS))
            room = self.shard_tokens - self._held
            now, tokens = tokens[:room], tokens[room:]
            self._file.write(struct.pack(f"<{len(now)}H", *now))
            self._held += len(now)
            self.total += len(now)
            if self._held == self.shard_tokens:
                self.close()

    def close(self) -> None:
        """Finish the last shard: its header can count its tokens now."""
        if self._file:
            self._file.seek(0)
            self._file.write(struct.pack("<3i", SHARD_MAGIC, SHARD_VERSION, self._held))
            self._file.close()
            self._file = None
            self._number += 1
            self._held = 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
