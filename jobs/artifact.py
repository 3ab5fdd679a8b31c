"""The packed weights: a container of plain numbers, from which nothing can be run.

    magic "FAIRWAY1" | codec, 8 ASCII bytes | payload length, uint64 | sha256 of all the rest | compressed payload
    payload: header length, uint32 | header, JSON | the tensors' bytes, one after the other (all little-endian)

Whatever is not exactly this is refused: a bit that is flipped, missing or too many changes the hash, which is checked
before anything is unpacked; a length that is too large is refused, and a payload is never unpacked beyond the length
it claims. Of a header made on purpose every field is checked before it is used.
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.contract.errors import Refused
from jobs.rotation import unrotated

MAGIC = b"FAIRWAY1"
CODECS = ("zstd", "zlib", "lzma", "brotli", "none")
MAX_PAYLOAD_BYTES = 1 << 30  # far above any model of this challenge; a bomb ends here
HASHED_PREFIX_BYTES = len(MAGIC) + 8 + 8
PREFIX_BYTES = HASHED_PREFIX_BYTES + hashlib.sha256().digest_size
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "uint8": torch.uint8,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One tensor as it stands in an artifact.

    Either ``values`` alone in a float dtype, or integers ``values`` of ``bits`` bits (held in int8) with one float16
    ``scales`` entry a row: the tensor is values * scales. Rows are the first dimension. ``rotation_seed`` says that
    the rows were turned by that randomised Hadamard matrix before they were rounded.
    """

    name: str
    dtype: torch.dtype  # of the tensor when it is decoded
    bits: int  # of one value
    values: Tensor
    scales: Tensor | None = None
    rotation_seed: int | None = None

    def decoded(self) -> Tensor:
        """The tensor, in ``dtype``."""
        if self.scales is None:
            return self.values.to(self.dtype)
        tensor = self.values.float() * self.scales.float().view(-1, *[1] * (self.values.ndim - 1))
        if self.rotation_seed is not None:
            tensor = unrotated(tensor, self.rotation_seed)
        return tensor.to(self.dtype)


def pack(tensors: list[Encoded], codec: str, compress: Any) -> bytes:
    """The artifact file of ``tensors``; ``compress`` is the compressor's, ``codec`` its name."""
    header, blobs = [], []
    for one in tensors:
        parts = [("values", one.values)] + ([("scales", one.scales)] if one.scales is not None else [])
        entry: dict[str, Any] = {"name": one.name, "dtype": DTYPE_NAMES[one.dtype], "bits": one.bits, "parts": {}}
        if one.rotation_seed is not None:
            entry["rotation_seed"] = one.rotation_seed
        for name, part in parts:
            entry["parts"][name] = [DTYPE_NAMES[part.dtype], list(part.shape)]
            blobs.append(part.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        header.append(entry)
    text = json.dumps({"tensors": header}, separators=(",", ":")).encode()
    payload = b"".join([struct.pack("<I", len(text)), text, *blobs])
    prefix = MAGIC + codec.encode().ljust(8, b"\0") + struct.pack("<Q", len(payload))
    packed: bytes = compress(payload)
    return prefix + hashlib.sha256(prefix + packed).digest() + packed


def unpack(path: Path) -> list[Encoded]:
    """The tensors of an artifact file, on the CPU.

    Raises:
        ValueError: it is not exactly an artifact; names the file and what is wrong. Nothing of it is ever executed.
    """
    data = path.read_bytes()
    if data[:8] != MAGIC:
        raise Refused(f"{path}: not a Fairway artifact (it begins with {data[:8]!r}, not {MAGIC!r})")
    prefix, digest, packed = data[:HASHED_PREFIX_BYTES], data[HASHED_PREFIX_BYTES:PREFIX_BYTES], data[PREFIX_BYTES:]
    if hashlib.sha256(prefix + packed).digest() != digest:
        raise Refused(f"{path}: not what was packed: its {len(data)} bytes have another sha256")
    codec = prefix[8:16].rstrip(b"\0").decode("ascii", "replace")
    (length,) = struct.unpack_from("<Q", prefix, 16)
    if codec not in CODECS:
        raise Refused(f"{path}: unknown codec {codec!r}; known are {', '.join(CODECS)}")
    if length > MAX_PAYLOAD_BYTES:
        raise Refused(f"{path}: claims a payload of {length} bytes, more than {MAX_PAYLOAD_BYTES}: refused")
    try:
        payload = _decompressed(packed, codec, length)
    except ImportError:
        raise
    except Exception as error:  # each codec has its own
        raise Refused(f"{path}: the {codec} data are damaged ({error})") from None
    if len(payload) != length:
        raise Refused(f"{path}: the payload has not the {length} bytes that it claims")
    try:
        return _tensors(payload)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, struct.error) as error:
        raise Refused(f"{path}: the header does not describe the payload ({error})") from None


def load_into(model: torch.nn.Module, tensors: list[Encoded]) -> None:
    """Put the decoded ``tensors`` into ``model``; exactly its state dict, or ValueError."""
    state = model.state_dict()
    found = {one.name: one for one in tensors}
    if len(found) != len(tensors) or set(found) != set(state):
        raise Refused(
            f"the artifact is of another model: missing {sorted(set(state) - set(found))[:3]}, "
            f"unknown {sorted(set(found) - set(state))[:3]}"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            decoded = found[name].decoded()
            if decoded.shape != tensor.shape:
                raise Refused(f"{name}: shape {list(decoded.shape)} in the artifact, {list(tensor.shape)} here")
            tensor.copy_(decoded)


def _tensors(payload: bytes) -> list[Encoded]:
    (header_bytes,) = struct.unpack_from("<I", payload)
    offset = 4 + header_bytes
    tensors: dict[str, Encoded] = {}
    for entry in json.loads(payload[4:offset])["tensors"]:
        parts = {}
        for part, (dtype_name, shape) in entry["parts"].items():
            dtype = DTYPES[dtype_name]
            if any(type(side) is not int or not 0 <= side <= len(payload) for side in shape):
                raise ValueError(f"{entry['name']}: {part} has the shape {shape}")
            size = math.prod(shape) * dtype.itemsize
            if offset + size > len(payload):
                raise ValueError(f"{entry['name']}: {part} of shape {shape} goes beyond the payload")
            raw = torch.frombuffer(bytearray(payload[offset : offset + size] or b"\0"), dtype=torch.uint8)
            parts[part] = raw[:size].view(dtype).view(shape)
            offset += size
        one = Encoded(
            name=entry["name"],
            dtype=DTYPES[entry["dtype"]],
            bits=entry["bits"],
            rotation_seed=entry.get("rotation_seed"),
            **parts,
        )
        if not isinstance(one.name, str) or one.name in tensors:
            raise ValueError(f"{one.name!r} is no name, or that of two tensors")
        _check(one)
        tensors[one.name] = one
    if offset != len(payload):
        raise ValueError(f"{len(payload) - offset} bytes after the last tensor")
    return list(tensors.values())


def _check(one: Encoded) -> None:
    """Refuse a tensor that no quantizer makes."""
    if type(one.bits) is not int or not 1 <= one.bits <= 32:
        raise ValueError(f"{one.name}: a value of {one.bits} bits")
    if one.rotation_seed is not None and (type(one.rotation_seed) is not int or one.values.ndim != 2):
        raise ValueError(f"{one.name}: rotated by {one.rotation_seed!r}, shape {list(one.values.shape)}")
    if one.scales is None:
        return
    if one.values.dtype != torch.int8 or one.values.shape[:1] != one.scales.shape:
        raise ValueError(f"{one.name}: {one.scales.numel()} scales for {one.values.dtype} {list(one.values.shape)}")
    limit = 2 ** (one.bits - 1)
    if one.values.numel() and not -limit <= int(one.values.min()) <= int(one.values.max()) < limit:
        raise ValueError(f"{one.name}: a value beyond {one.bits} bits")


def _decompressed(data: bytes, codec: str, length: int) -> bytes:
    """At most ``length`` + 1 bytes of what ``data`` unpacks to: one more shows that the length is wrong."""
    if codec == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(data).read(length + 1)
    if codec == "zlib":
        import zlib

        return zlib.decompressobj().decompress(data, length + 1)
    if codec == "lzma":
        import lzma

        return lzma.LZMADecompressor(memlimit=1 << 30).decompress(data, length + 1)
    if codec == "brotli":
        import brotli

        return bytes(brotli.Decompressor().process(data, output_buffer_limit=length + 1))
    return data[: length + 1]
