"""Machines by hand, as fast as a test wants them."""

from platform.runs.node import Checkout, Node, Probe

CHECKOUT = Checkout(commit="991bb5f2" * 5, diff_sha256=None, changed_files=0, new_files=0)


def probe(tflops: float, gb_per_s: float = 3000.0) -> Probe:
    return Probe(
        time="2026-04-01T10:00:00+00:00",
        launch="one",
        seconds=9.5,
        device="cuda",
        dtype="bfloat16",
        matmul_tflops=((0.99 * tflops, tflops, 1.01 * tflops),),
        copy_gb_per_s=((gb_per_s,) * 3,),
    )


def node(hostname: str, tflops: float | None = 800.0, gb_per_s: float = 3000.0) -> Node:
    """A machine without cards in its listing; ``tflops`` None: its probe failed."""
    failed = Probe(time="2026-04-01T10:00:00+00:00", launch="one", seconds=1.0, failed="no card is free")
    return Node(
        hostname=hostname,
        cpu="a processor",
        cores=16,
        memory_bytes=2**37,
        cards=(),
        driver=None,
        cuda=None,
        python="3.12.1",
        torch="2.13.0",
        ray="2.60.0",
        checkout=CHECKOUT,
        probe=failed if tflops is None else probe(tflops, gb_per_s),
    )
