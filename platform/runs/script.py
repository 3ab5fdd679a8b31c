"""A program that is not of this checkout, as a plan holds it: somebody's script, what it is told and how it is read."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

SEED, DATA, TOKENIZER = "SEED", "DATA_PATH", "TOKENIZER_PATH"  # the community's names


@dataclass(frozen=True, kw_only=True)
class Script:
    """One file that runs unchanged, steered by environment variables, read by what it prints.

    An arm is a training of its own here: the script runs once for every seed and arm.
    """

    name: str  # of its file
    files: dict[str, str] = field(default_factory=dict)  # that it needs beside it: the sha256 of each, by its name
    environment: dict[str, str] = field(default_factory=dict)  # of every arm
    arms: dict[str, dict[str, str]]  # what each sets beside that
    seed_env: str = SEED
    data_env: str = DATA
    tokenizer_env: str = TOKENIZER
    score: str | None = None  # the label of the line that counts; None: the reader of logs chooses
    allow_ignored: bool = False  # run it though it does not read, or prints otherwise, what it is told
    shim: tuple[str, ...] = ()  # of ``files``: modules that are put in front of what it imports

    def settings(self, arm: str, seed: int) -> dict[str, str]:
        """What it is told of its arm and seed."""
        return {**self.environment, **self.arms[arm], self.seed_env: str(seed)}

    def name_sha256(self, program_sha256: str) -> str:
        """The name of a run of it: of the script, its files and its environment. Arms can be added to a run."""
        parts: list[tuple[str, Mapping[str, str]]] = [("files", self.files), ("environment", self.environment)]
        parts += [("names", {"seed": self.seed_env, "data": self.data_env, "tokenizer": self.tokenizer_env})]
        lines = [program_sha256, *(f"{what} {name}={said}" for what, of in parts for name, said in sorted(of.items()))]
        return hashlib.sha256("\n".join([*lines, *self.shim]).encode()).hexdigest()
