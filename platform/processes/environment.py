"""What a program that we start finds in its environment: the machine's settings, nothing of ours."""

from collections.abc import Mapping

DROPPED = frozenset(
    {
        # Its own assignment: a MAX_WALLCLOCK_SECONDS left in somebody's shell would change the experiment.
        *(
            "SEED",
            "DATA_PATH",
            "TOKENIZER_PATH",
            "OUTPUT_PATH",
            "TRUNK_PATH",
            "ARMS",
            "MAX_WALLCLOCK_SECONDS",
            "FORCE",
            "RUN_ID",
        ),
        # Our import path: a job sees the standard library's `platform`.
        *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "LD_PRELOAD"),
        # Another launcher's, where the launch itself was started by one.
        *(
            "RANK",
            "LOCAL_RANK",
            "WORLD_SIZE",
            "LOCAL_WORLD_SIZE",
            "GROUP_RANK",
            "ROLE_RANK",
            "MASTER_ADDR",
            "MASTER_PORT",
        ),
    }
)
DROPPED_PREFIXES = ("MLFLOW_", "RAY_", "TUNE_", "TORCHELASTIC_", "PET_", "FAIRWAY_", "PYTEST_")
# Secrets: a job needs none, and logs travel.
DROPPED_SUFFIXES = (
    *("TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "_PWD", "_KEY"),
    *("CREDENTIALS", "AUTH_CONFIG", "DATABASE_URL"),
)
BARE = ("PATH", "HOME", "LD_LIBRARY_PATH")  # without which an interpreter may not find its own libraries


def kept(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a program gets of the environment of its machine."""
    return {
        name: value
        for name, value in inherited.items()
        if name not in DROPPED and not name.startswith(DROPPED_PREFIXES) and not name.upper().endswith(DROPPED_SUFFIXES)
    }


def bare(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a program gets that has to work on a machine where nobody has set anything for it."""
    return {name: inherited[name] for name in BARE if name in inherited}
