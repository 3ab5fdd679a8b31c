"""How fast this machine is now: a product of matrices and a copy in memory, on all of its cards at once.

Machines of one name differ in clocks, power limits, cooling and neighbours, and each of these moves the time of a step.
All cards work at the same time, as they do in a job: what they share, power and air, is shared here too.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from jobs.clock import DeviceMark, HostMark
from jobs.contract.errors import Refused
from jobs.world import CPU, World

SECONDS_A_REPEAT = 0.02  # many calls of a fast card, one of a slow one
FEWEST_REPEATS, MOST_REPEATS = 5, 25
FREE_SHARE = 0.9  # of a card's memory; where less is free somebody uses it: it would be slowed, and measured wrongly


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a device is given to do, and for how long."""

    side: int  # of the square matrices
    copied_bytes: int
    warm_up_seconds: float  # of each of the two: a card that was idle needs a while to raise its clocks
    measured_seconds: float  # about; of each of the two


ON_CARDS = Load(side=8192, copied_bytes=2**30, warm_up_seconds=1.5, measured_seconds=1.5)
ON_CPU = Load(side=1024, copied_bytes=2**26, warm_up_seconds=0.1, measured_seconds=0.25)


def print_speed() -> None:
    """Print ``measured`` of the cards that are visible and free, or of the CPU, as a line of JSON."""
    cards = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    free = [card for card in cards if _is_free(card)]
    if cards and not free:
        print(f"none of {len(cards)} cards is free: less than {FREE_SHARE:.0%} of their memory is", file=sys.stderr)
        sys.exit(Refused.exit_status)
    print(json.dumps(measured(free, ON_CARDS) if cards else measured([CPU], ON_CPU)), flush=True)


def measured(devices: list[torch.device], load: Load) -> dict[str, object]:
    """Of each device every repeat: TFLOP/s of a product in the dtype of a job, GB/s read and written by a copy."""
    dtype = World(device=devices[0]).compute_dtype
    product_seconds = _seconds_a_call({device: _product(device, dtype, load.side) for device in devices}, load)
    copy_seconds = _seconds_a_call({device: _copy(device, load.copied_bytes) for device in devices}, load)
    return {
        "device": devices[0].type,
        "dtype": str(dtype).removeprefix("torch."),
        "matmul_tflops": [[2 * load.side**3 / one / 1e12 for one in repeats] for repeats in product_seconds],
        "copy_gb_per_s": [[2 * load.copied_bytes / one / 1e9 for one in repeats] for repeats in copy_seconds],
    }


def _product(device: torch.device, dtype: torch.dtype, side: int) -> Callable[[], object]:
    # Random numbers: of zeros, fewer transistors switch, and a card runs faster than it ever does in a job.
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    result = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=result)


def _copy(device: torch.device, count: int) -> Callable[[], object]:
    source = torch.randint(256, (count,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _seconds_a_call(calls: dict[torch.device, Callable[[], object]], load: Load) -> list[list[float]]:
    """Of each device, seconds of one call in every repeat."""
    begun, rounds, warm = time.perf_counter(), 0, 0.0
    while rounds < 1 or warm < load.warm_up_seconds:
        _one_repeat(calls, 1)
        rounds, warm = rounds + 1, time.perf_counter() - begun
    many = max(1, round(SECONDS_A_REPEAT / (warm / rounds)))
    repeats = [_one_repeat(calls, many)]
    while len(repeats) < FEWEST_REPEATS or (
        len(repeats) < MOST_REPEATS and fmean(map(max, repeats)) * many * len(repeats) < load.measured_seconds
    ):
        repeats.append(_one_repeat(calls, many))
    return [list(of_device) for of_device in zip(*repeats, strict=True)]


def _one_repeat(calls: dict[torch.device, Callable[[], object]], many: int) -> list[float]:
    """Seconds of one of ``many`` calls on each device; the devices work side by side."""
    marks = []
    for device, call in calls.items():
        with _current(device):
            begin = _mark(device)
            for _ in range(many):
                call()
            marks.append((begin, _mark(device)))
    return [begin.seconds_until(end) / many for begin, end in marks]


def _current(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _mark(device: torch.device) -> Any:
    return DeviceMark() if device.type == "cuda" else HostMark(time.perf_counter())


def _is_free(card: torch.device) -> bool:
    free_bytes, total_bytes = torch.cuda.mem_get_info(card)
    return free_bytes > FREE_SHARE * total_bytes
