"""The command: tell how many seeds a gain needs, what they cost, and what a number of seeds can show.

python -m platform.power --sigma 0.0007 --margin-nats 0.005 --gain 0.004
python -m platform.power --from runs/leaky_cosine-991bb5f2 --gain 0.004
python -m platform.power --from records/.../2026-04-05_mine --against records/.../2026-04-01_theirs

Sigma and gains are in BPB, the margin in nats per token as the challenge's rule has it. Every figure that was not given
is printed with where it comes from.
"""

import json
from pathlib import Path
from typing import Any

import click

from .errors import explained
from .options import Number
from .reports import power
from .rules.challenge import dataset, limits
from .statistics.futility import SIGMA
from .statistics.power import MINUTES, MINUTES_SOURCE, USD, USD_SOURCE

CAPS = limits()
POSITIVE = Number(min=0, min_open=True)


@click.command(help="Say before the money is spent how many seeds a gain needs, and what a number of seeds can show.")
@click.option("--sigma", type=POSITIVE, help=f"Std of seeds, BPB.  [default: {SIGMA}]")
@click.option("--scores", metavar="LIST|CSV", help="Scores of seeds that tell sigma: 1.1194,1.1189,1.1200, or a CSV.")
@click.option("--from", "source", type=click.Path(path_type=Path), help="A run, a record or a CSV that tells sigma.")
@click.option("--against", metavar="LIST|CSV|FOLDER", help="The other side's scores: is the gain shown already?")
@click.option("--arm", help="Arm of that run.  [default: its first]")
@click.option("--paired-sigma", type=POSITIVE, help="Std of paired gains, BPB.")
@click.option("--gain", type=Number(), help="The true gain that you hope for, BPB.")
@click.option(
    "--margin-nats", type=Number(0), default=CAPS.margin_nats, show_default=True, help="Nats per token to beat."
)
@click.option("--nats-per-bpb", type=POSITIVE, help=f"[default: {dataset(power.DATASET).nats_per_bpb}, SP1024]")
@click.option(
    "--alpha", type=Number(0, 0.5, min_open=True), default=CAPS.alpha, show_default=True, help="One-sided level."
)
@click.option("--power", type=Number(0.05, 0.999), default=0.8, show_default=True, help="Chance to pass.")
@click.option("--against-seeds", type=click.IntRange(2, 10_000), help="Seeds of the other side.  [default: as many]")
@click.option("--gpus", type=click.IntRange(0), help="GPUs of one seed.  [default: 8, or those of the run]")
@click.option("--usd-per-gpu-hour", type=Number(0), help=f"[default: {USD}; {USD_SOURCE}]")
@click.option("--minutes-per-seed", type=Number(0), help=f"[default: {MINUTES:.0f}; {MINUTES_SOURCE}]")
@click.option("--stop-when-hopeless", is_flag=True, help="Simulate what giving up early saves and costs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained()
def main(as_json: bool, **asked: Any) -> None:
    found = power.answer(power.Asked(**asked))
    if as_json:
        print(json.dumps(power.as_json(found), indent=2, allow_nan=False))
    else:
        power.show(found)


if __name__ == "__main__":
    main()
