"""How long the commands take that people wait for: median of seven, in a process of its own each time."""

import statistics
import subprocess
import sys
import time

from .recipes import ROOT

COMMANDS = {
    "launch --help": ["platform.launch", "--help"],
    "launch --dry-run": ["platform.launch", "recipes/leaky_cosine.yaml", "--scale", "laptop", "--dry-run"],
    "recipe --program": ["platform.recipe", "recipes/leaky_cosine.yaml", "--program"],
    "catalog": ["platform.catalog"],
}


def main() -> None:
    for name, words in COMMANDS.items():
        times = []
        for _ in range(8):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, check=True)
            times.append(time.perf_counter() - begun)
        first, *rest = times
        print(f"  {name:18} {statistics.median(rest):.2f} s ({min(rest):.2f} to {max(rest):.2f}; first {first:.2f})")


if __name__ == "__main__":
    main()
