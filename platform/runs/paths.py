"""Where every file of a run lives: the only module on the platform side that knows what a file is called.

runs/
  trunks/<trunk text sha256[:12]>-<data sha256[:8]>-8xgpu/seed_1337/    a training, shared by every recipe that has it
  leaky_cosine-991bb5f2/                                          a run: recipe and program
    plan.json recipe.yaml train_gpt.py audit.json launch.jsonl report.md report.json results.csv figures/
    seed_1337/                                                    a trial
      job.log failure.json
      no_ttt/                                                     an arm: the files that jobs/contract/ names
  mlflow.db mlartifacts/
"""

from dataclasses import dataclass
from pathlib import Path

from jobs.contract.assignment import ARTIFACT_FILE, LOG_FILE, METRICS_FILE, RESULT_FILE, TRUNK_FILE

NODE_FILE = "node.json"


@dataclass(frozen=True)
class RunPaths:
    """The files of one run: a program, named by its sha256, and its seeds."""

    folder: Path

    @staticmethod
    def of(runs: Path, recipe: str, program_sha256: str) -> "RunPaths":
        """The run of this program under ``runs``, whether or not it is there yet."""
        return RunPaths(runs / f"{recipe}-{program_sha256[:8]}")

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def program(self) -> Path:
        return self.folder / "train_gpt.py"

    @property
    def files(self) -> Path:
        """What a script needs beside itself."""
        return self.folder / "files"

    @property
    def readable(self) -> Path:
        """What the program was squeezed from; not there where it runs as it was written."""
        return self.folder / "train_gpt_readable.py"

    @property
    def audit(self) -> Path:
        """What the audit says of each arm's legality."""
        return self.folder / "audit.json"

    @property
    def given_up(self) -> Path:
        """There only while the seeds that are left are not worth running."""
        return self.folder / "given_up.json"

    @property
    def events(self) -> Path:
        """What the launches of this run did, one line of JSON each."""
        return self.folder / "launch.jsonl"

    @property
    def report_md(self) -> Path:
        return self.folder / "report.md"

    @property
    def report_json(self) -> Path:
        return self.folder / "report.json"

    @property
    def results_csv(self) -> Path:
        return self.folder / "results.csv"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def lock(self) -> Path:
        """Held while the plan or the program is written."""
        return self.folder / ".lock"

    def seed(self, seed: int) -> "TrialPaths":
        """The files of one seed, whether or not it is there yet."""
        return TrialPaths(self.folder / f"seed_{seed}")


@dataclass(frozen=True)
class TrialPaths:
    """The files of one seed of a run; ``folder`` is the job's OUTPUT_PATH."""

    folder: Path

    @property
    def job_log(self) -> Path:
        """What torchrun and all ranks printed, every attempt one after the other."""
        return self.folder / "job.log"

    @property
    def failure(self) -> Path:
        """There only while the trial stands as failed."""
        return self.folder / "failure.json"

    @property
    def lock(self) -> Path:
        """Held as long as a process of the trial lives."""
        return self.folder / ".lock"

    def arm(self, arm: str) -> "ArmPaths":
        return ArmPaths(self.folder / arm)


@dataclass(frozen=True)
class ArmPaths:
    """What scoring one arm left."""

    folder: Path

    @property
    def result(self) -> Path:
        return self.folder / RESULT_FILE

    @property
    def rejected(self) -> Path:
        """A result that the trial did not accept, kept for the curious."""
        return self.folder / "result.rejected.json"

    @property
    def log(self) -> Path:
        return self.folder / LOG_FILE

    @property
    def metrics(self) -> Path:
        return self.folder / METRICS_FILE

    @property
    def work(self) -> Path:
        """The folder that a script works in, and what it left there."""
        return self.folder / "work"

    @property
    def ended(self) -> Path:
        """How a script ended, once it has."""
        return self.folder / "ended.json"

    @property
    def node(self) -> Path:
        """The machine that scored it."""
        return self.folder / NODE_FILE


@dataclass(frozen=True)
class TrunkPaths:
    """What one training run left; ``folder`` is the job's TRUNK_PATH."""

    folder: Path

    @staticmethod
    def of(runs: Path, trunk_text_sha256: str, data_sha256: str, machine: str, seed: int) -> "TrunkPaths":
        """The trunk of this training text, data, machine and seed under ``runs``, whether or not it is there yet."""
        name = "-".join(filter(None, (trunk_text_sha256[:12], data_sha256[:8], machine)))
        return TrunkPaths(runs / "trunks" / name / f"seed_{seed}")

    def alike(self, machine: str) -> "list[TrunkPaths]":
        """Those beside it of the same training text on this kind of machine, whatever their data and seed."""
        of_data = self.folder.parent
        found = of_data.parent.glob(f"{of_data.name.split('-')[0]}-*/seed_*/{TRUNK_FILE}")
        return [TrunkPaths(path.parent) for path in sorted(found) if path.parts[-3].endswith(f"-{machine}")]

    @property
    def record(self) -> Path:
        return self.folder / TRUNK_FILE

    @property
    def artifact(self) -> Path:
        return self.folder / ARTIFACT_FILE

    @property
    def log(self) -> Path:
        return self.folder / LOG_FILE

    @property
    def metrics(self) -> Path:
        return self.folder / METRICS_FILE

    @property
    def node(self) -> Path:
        """The machine that trained it."""
        return self.folder / NODE_FILE

    @property
    def lock(self) -> Path:
        """Held by the trial that trains or reads this trunk for the first time."""
        return self.folder / ".lock"


def tracker_database(runs: Path) -> Path:
    """The MLflow database of these runs, where no other tracking server is named."""
    return runs / "mlflow.db"


def tracker_artifacts(runs: Path) -> Path:
    return runs / "mlartifacts"
