"""Train once, score many: seconds of a run's arms from one training a seed, against training anew for every arm.

From the newest finished run of leaky_cosine at laptop scale under runs/ (`make demo` makes one), and computed for the
challenge's own budget.
"""

from platform.paths import RUNS
from platform.runs import results
from platform.runs.plan import read as read_plan

FULL_TRAIN_SECONDS, FULL_ARM_SECONDS, FULL_ARMS, FULL_SEEDS = 600, 450, 4, 3


def main() -> None:
    runs = [path for path in RUNS.glob("leaky_cosine-*") if (path / "plan.json").exists()]
    laptop = [path for path in runs if read_plan(path).scale == "laptop"]
    if laptop:
        newest = max(laptop, key=lambda path: (path / "plan.json").stat().st_mtime)
        found = results.read_run(newest)
        once = anew = 0.0
        for trunk in found.trunks.values():
            training = sum(seconds for name, seconds in trunk.phases.items() if name not in ("validate",))
            arms = [one for one in found.results if one.trunk_sha256 == trunk.trunk_sha256]
            scoring = sum(sum(one.phases.values()) for one in arms)
            once, anew = once + training + scoring, anew + training * len(arms) + scoring
        print(f"  {newest.name}: {once:.0f} s instead of {anew:.0f} s, ratio {once / anew:.2f}")
    else:
        print("  no finished laptop run under runs/: `make demo` first")
    once = FULL_SEEDS * (FULL_TRAIN_SECONDS + FULL_ARMS * FULL_ARM_SECONDS)
    anew = FULL_SEEDS * FULL_ARMS * (FULL_TRAIN_SECONDS + FULL_ARM_SECONDS)
    print(
        f"  computed for {FULL_ARMS} arms x {FULL_SEEDS} seeds of {FULL_TRAIN_SECONDS} + {FULL_ARM_SECONDS} s:"
        f" {once} s instead of {anew} s, ratio {once / anew:.2f}"
    )


if __name__ == "__main__":
    main()
