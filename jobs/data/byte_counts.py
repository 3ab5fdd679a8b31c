"""How many bytes of text a target stands for: the denominator of bits per byte."""

from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor

from jobs.contract.errors import Refused
from jobs.contract.shards import byte_tokenizer

SPACE = "▁"  # how SentencePiece writes the space in front of a word


@dataclass(frozen=True, kw_only=True)
class ByteCounts:
    """Per token id: its bytes without a leading space, whether it has one, and whether it is no text at all."""

    base_V: Tensor  # int64; 0 for control, unknown and unused ids, 1 for byte tokens
    leading_space_V: Tensor  # bool
    boundary_V: Tensor  # bool: control, unknown, unused; a space right after one of these is not in the text

    @staticmethod
    def of_tokenizer(path: Path, vocab_size: int) -> "ByteCounts":
        """The counts of a SentencePiece model, or of a byte-level tokenizer.

        Raises:
            Refused: no such file, neither of the two, or more pieces than the model has embeddings.
        """
        if (of_bytes := byte_tokenizer(path)) is not None:
            first, size = of_bytes
            _require_room(path, size, vocab_size)
            is_byte_V = (torch.arange(vocab_size) >= first) & (torch.arange(vocab_size) < size)
            return ByteCounts(
                base_V=is_byte_V.long(), leading_space_V=torch.zeros_like(is_byte_V), boundary_V=~is_byte_V
            )
        if not path.is_file():
            raise Refused(f"{path}: no such tokenizer; python -m platform.corpus makes or fetches one")
        try:
            pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise Refused(f"{path}: not a SentencePiece model ({error})") from None
        _require_room(path, pieces.vocab_size(), vocab_size)
        base, leading_space, boundary = [0] * vocab_size, [False] * vocab_size, [True] * vocab_size
        for token in range(pieces.vocab_size()):
            if pieces.is_control(token) or pieces.is_unknown(token) or pieces.is_unused(token):
                continue
            boundary[token] = False
            if pieces.is_byte(token):
                base[token] = 1
                continue
            piece = pieces.id_to_piece(token)
            leading_space[token] = piece.startswith(SPACE)
            base[token] = len(piece.removeprefix(SPACE).replace(SPACE, " ").encode())
        return ByteCounts(
            base_V=torch.tensor(base),
            leading_space_V=torch.tensor(leading_space),
            boundary_V=torch.tensor(boundary),
        )

    def of_targets(self, tokens: Tensor) -> Tensor:
        """Bytes of every target of a stream [N + 1]: int64 [N], on the CPU. A BOS target has none."""
        previous, target = tokens[:-1].cpu(), tokens[1:].cpu()
        return self.base_V[target] + (self.leading_space_V[target] & ~self.boundary_V[previous])


def _require_room(path: Path, pieces: int, vocab_size: int) -> None:
    if pieces > vocab_size:
        raise Refused(f"{path}: has {pieces} pieces, shape.vocab_size is {vocab_size}")
