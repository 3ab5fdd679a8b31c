"""A trained model to its artifact: calibrate, prune, round, fit, compress, write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from jobs.artifact import Encoded, pack
from jobs.calibration import Calibration
from jobs.contract.assignment import Assignment
from jobs.contract.errors import Diverged
from jobs.contract.files import write_bytes
from jobs.contract.records import ARTIFACT_LIMIT_BYTES
from jobs.dialect import where_bytes_went
from jobs.log import Log
from jobs.model import tensor_kinds
from jobs.recipe import Recipe
from jobs.world import World


@dataclass(frozen=True, kw_only=True)
class Packer:
    """Packs as the recipe says."""

    recipe: Recipe
    assignment: Assignment
    world: World
    code_bytes: int  # of the program, which count as well

    def pack(self, model: nn.Module, path: Path, log: Log) -> int:
        """Quantize and pack ``model`` into ``path``, by rank 0; its bytes. On return every rank can read it.

        Meanwhile the other ranks wait, so that rank 0 takes their cores as well. The bytes do not depend on how many.

        Raises:
            Diverged: a weight is no number.
        """
        for name, tensor in model.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise Diverged(f"the training diverged: some weights of {name} are NaN or infinite; nothing is packed")
        recipe, compressor, kinds = self.recipe, self.recipe.compressor, tensor_kinds(model)
        calibration = Calibration(
            world=self.world,
            data_path=self.assignment.data_path,
            sequence_length=recipe.budget.sequence_length,
            vocab_size=recipe.shape.vocab_size,
            seed=self.assignment.seed,
        )
        begun = log.seconds()
        statistics = recipe.quantizer.calibrate(model, calibration)
        if statistics:
            log.line(f"calibration:{log.seconds() - begun:.1f}s reserved:{recipe.quantizer.reserve_seconds:.1f}s")
        if self.world.is_main:
            cores = cores_here()
            state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            with torch_threads(torch.get_num_threads() if recipe.quantizer.sums_depend_on_threads else cores):
                if recipe.pruning:
                    state, line = recipe.pruning.prune(state, kinds)
                    log.line(line)
                tensors = recipe.quantizer.encode(state, kinds, statistics)

            def packed_bytes(candidates: list[Encoded]) -> int:
                return len(pack(candidates, compressor.codec, compressor.compress))

            if recipe.fitting:
                at_once = max(1, cores // compressor.threads)
                with torch_threads(cores):
                    fitted = recipe.fitting.fit(tensors, packed_bytes, code_bytes=self.code_bytes, at_once=at_once)
                tensors, line = fitted
                log.line(line)
            artifact = pack(tensors, compressor.codec, compressor.compress)
            if len(artifact) + self.code_bytes > ARTIFACT_LIMIT_BYTES:
                for line in where_bytes_went(tensors, kinds, packed_bytes):
                    log.line(line)
            write_bytes(path, artifact)
        self.world.wait()
        return path.stat().st_size


def cores_here() -> int:
    """The cores that this process may run on; a container's share of their time is not known."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with ``count`` threads on the CPU; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
