"""Quantizing and packing a model of 27 million parameters: seconds and bytes of each quantizer and codec.

And what the cores here bring where a smaller one has to be made to fit: pairs that run in turn.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from jobs.artifact import Encoded, pack
from jobs.model import build_model, tensor_kinds
from jobs.packing import cores_here, torch_threads
from jobs.recipe import Compressor
from jobs.techniques.compressor.brotli import Brotli
from jobs.techniques.compressor.lzma import Lzma
from jobs.techniques.compressor.zlib import Zlib
from jobs.techniques.compressor.zstd import Zstd
from jobs.techniques.fitting.selective_pruning import SelectivePruning
from jobs.techniques.quantizer.gptq_lite import GptqLite
from jobs.techniques.quantizer.row_wise import RowWise

from .measure import in_turn, ratio
from .recipes import recipe_object

WEIGHT_STD = 0.05  # of the matrices: about what training with weight decay 0.04 leaves; assumed, not measured
FITTED_VALUES = 1_000_000
HALVINGS = 6
PAIRS = 5


def main() -> None:
    recipe = recipe_object("gptq_lite_414", "eight_h100")
    model = build_model(recipe, seed=1337, device=torch.device("cpu"))
    kinds = tensor_kinds(model)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator) * WEIGHT_STD if tensor.ndim == 2 else tensor
        for name, tensor in model.state_dict().items()
    }
    print(f"  {sum(tensor.numel() for tensor in state.values()):,} values, {torch.get_num_threads()} threads")
    for quantizer in (RowWise(), RowWise(smallest_limit=1.0), GptqLite(), GptqLite(smallest_limit=1.0)):
        begun = time.perf_counter()
        tensors = quantizer.encode(state, kinds, {})
        seconds = time.perf_counter() - begun
        name = f"{type(quantizer).__name__} smallest_limit={quantizer.smallest_limit}"
        print(f"  {name}: rounded in {seconds:.1f} s", flush=True)
        for compressor in (Zstd(), Lzma(), Zlib(), Brotli()) if name.startswith("GptqLite") else (Zstd(),):
            begun = time.perf_counter()
            size = len(pack(tensors, compressor.codec, compressor.compress))
            print(f"    {compressor.codec:7} {size:,} bytes in {time.perf_counter() - begun:.1f} s", flush=True)
    fitted(GptqLite().encode({"w": torch.randn(FITTED_VALUES // 1000, 1000)}, {"w": "attention"}, {}))


def fitted(tensors: list[Encoded]) -> None:
    """Print what packing two at once, and fitting with all cores, take of the time of one after the other."""
    print(
        f"  {FITTED_VALUES:,} values, {cores_here()} cores; over one after the other, median (middle half):", flush=True
    )
    for compressor in (Zstd(), Zstd(searches=False), Lzma(), Zlib()):
        name = compressor.codec + (" level 22 alone" if compressor == Zstd(searches=False) else "")
        print(f"    {name:19} {', '.join(at_once(tensors, compressor))}", flush=True)


def at_once(tensors: list[Encoded], compressor: Compressor) -> Iterator[str]:
    """Ratios of two packings, and of a fit that prunes."""

    def packed_bytes(candidates: list[Encoded]) -> int:
        return len(pack(candidates, compressor.codec, compressor.compress))

    def two(cores: int) -> None:
        with ThreadPoolExecutor(cores) as threads:
            list(threads.map(packed_bytes, (tensors, tensors)))

    def fit(cores: int, target_bytes: int) -> str:
        fitting, at_once = SelectivePruning(target_bytes=target_bytes, trials=HALVINGS), max(1, cores // threads)
        with torch_threads(cores):
            return fitting.fit(tensors, packed_bytes, code_bytes=0, at_once=at_once)[1]

    cores, threads, whole = cores_here(), compressor.threads, packed_bytes(tensors)
    tight = whole - whole // 200
    assert fit(cores, tight) == fit(1, tight), "the same is found"
    yield f"two packings {ratio(*in_turn(lambda: two(2), lambda: two(1), rounds=PAIRS))}"
    yield f"fit {ratio(*in_turn(lambda: fit(cores, tight), lambda: fit(1, tight), rounds=PAIRS))}"


if __name__ == "__main__":
    main()
