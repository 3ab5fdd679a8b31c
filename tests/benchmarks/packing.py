"""Quantizing and packing a model of 27 million parameters: seconds and bytes of each quantizer and codec."""

import time

import torch

from jobs.artifact import pack
from jobs.model import build_model, tensor_kinds
from jobs.techniques.compressor.brotli import Brotli
from jobs.techniques.compressor.lzma import Lzma
from jobs.techniques.compressor.zlib import Zlib
from jobs.techniques.compressor.zstd import Zstd
from jobs.techniques.quantizer.gptq_lite import GptqLite
from jobs.techniques.quantizer.row_wise import RowWise

from .recipes import recipe_object

WEIGHT_STD = 0.05  # of the matrices: about what training with weight decay 0.04 leaves; assumed, not measured


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


if __name__ == "__main__":
    main()
