"""Every benchmark, one after the other: `make bench`. Figures are ratios within one run, or medians and spread."""

import subprocess
import sys
from pathlib import Path

import platform

BENCHMARKS = (
    "commands",
    "launching",
    "step",
    "operators",
    "muon",
    "scoring",
    "adapting",
    "packing",
    "scripts",
    "arms",
    "byte_model",
    "judge",
    "tracking",
    "audit_confusion",
    "gpu",
)


def main() -> int:
    print(f"{platform.platform()}, {platform.machine()}, Python {platform.python_version()}", flush=True)
    status = 0
    for name in BENCHMARKS:
        if not (Path(__file__).parent / f"{name}.py").exists():
            continue
        print(f"\n--- {name}", flush=True)
        status |= subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
