"""Run folders made of real contract records, for every test that reads a run: no job has to run for them."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from jobs.contract.events import ScoreSoFar, to_line
from jobs.contract.files import write_record
from jobs.contract.records import PRE_EVAL, SCORE_FIRST, ArmResult, Machine, TrunkRecord
from platform.runs.audits import ArmAudit, Audit
from platform.runs.paths import RunPaths
from platform.runs.plan import Failure, Plan, write_failure
from platform.runs.planning import extend

MACHINE = Machine(world_size=2, device="cpu", torch_version="2.13.0")
RESULT_FIELDS = {field.name for field in fields(ArmResult)}
DATA_SHA, TOKENIZER_SHA, TEXT_SHA = "b2" * 32, "c3" * 32, "d4" * 32
SCORED_TOKENS, SCORED_BYTES = 40_000, 100_000
MakeRun = Callable[..., "RunFolder"]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards and tokenizer, of a few documents, that no job has to have."""
    from tests.finished import small_data

    return small_data(tmp_path_factory.mktemp("tiny") / "data")


@dataclass(frozen=True)
class RunFolder:
    """A run on disk; its methods write the files that jobs and trials write."""

    plan: Plan

    @property
    def path(self) -> Path:
        return self.plan.run_path

    def trunk_record(self, seed: int, steps: int = 40) -> TrunkRecord:
        return TrunkRecord(
            trunk_sha256=f"{seed:064x}",
            program_sha256=self.plan.program_sha256,
            weights_sha256="e5" * 32,
            artifact_sha256="f6" * 32,
            recipe=self.plan.recipe,
            scale=self.plan.scale,
            seed=seed,
            data_sha256=DATA_SHA,
            tokenizer_sha256=TOKENIZER_SHA,
            parameters=1_000_000,
            model_bytes=700_000,
            steps=steps,
            train_tokens=steps * 8192,
            train_seconds=45.25,
            step_ms_mean=105.5,
            step_ms_median=104.0,
            phases={"data": 1.5, "train": 50.5, "warmup": 5.25, "pack": 3.25},
            machine=MACHINE,
        )

    def trunk(self, seed: int, *, steps: int = 40) -> TrunkRecord:
        """Write a trunk with its metrics.jsonl: loss 6 / sqrt(step), a validation at the end."""
        trial, record = self.plan.trial(seed), self.trunk_record(seed, steps)
        trial.trunk.folder.mkdir(parents=True, exist_ok=True)
        changes = (
            *(("data start", 0.0), ("data end", 1.5), ("train start", 1.5), ("warmup start", 1.5)),
            *(("warmup end", 6.75), ("train end", 52.0), ("pack start", 52.0), ("pack end", 55.25)),
        )
        events: list[dict[str, object]] = [
            {"event": "phase", "phase": one.split()[0], "state": one.split()[1], "seconds": seconds}
            for one, seconds in changes
        ]
        events += [
            {
                "event": "step",
                "step": step,
                "train_loss": 6 / math.sqrt(step),
                "train_ms": 105.5 * step,
                "step_ms": 105.5,
                "lr_scale": 1 - step / steps,
            }
            for step in range(1, steps + 1)
        ]
        last = {"event": "validation", "step": steps, "val_loss_nats": 1.2, "val_bpb": 0.7, "train_ms": 105.5 * steps}
        text = "".join(json.dumps(one) + "\n" for one in [*events, last])
        trial.trunk.metrics.write_text(text + '{"event":"step","st')  # cut off by a kill
        trial.trunk.log.write_text(f"seed:{seed}\nstep:{steps}/{steps} train_loss:1.0\n")
        write_record(trial.trunk.record, record)
        return record

    def result(self, seed: int, arm: str, val_bpb: float, **changes: object) -> ArmResult:
        """Write a result with this score; ``changes`` are fields of ArmResult, or of its trunk's record."""
        of_trunk = {name: changes.pop(name) for name in list(changes) if name not in RESULT_FIELDS}
        trunk = replace(self.trunk_record(seed), **of_trunk)  # type: ignore[arg-type]
        adapts = arm != "no_ttt"
        result = ArmResult(
            recipe=self.plan.recipe,
            scale=self.plan.scale,
            arm=arm,
            adaptation="pre_eval" if adapts else "no_adaptation",
            protocol=PRE_EVAL if adapts else SCORE_FIRST,
            seed=seed,
            program_sha256=self.plan.program_sha256,
            trunk=trunk,
            data_sha256=DATA_SHA,
            tokenizer_sha256=TOKENIZER_SHA,
            val_loss_nats=val_bpb * math.log(2) * SCORED_BYTES / SCORED_TOKENS,
            val_bpb=val_bpb,
            scored_tokens=SCORED_TOKENS,
            scored_bytes=SCORED_BYTES,
            aligned_val_bpb=val_bpb + 0.02,
            artifact_bytes=750_000 + seed,
            model_bytes=700_000 + seed,
            code_bytes=50_000,
            adapt_seconds=8.5 if adapts else 0.0,
            eval_seconds=20.25 if adapts else 10.5,
            phases={"read": 0.5, **({"adapt": 8.5} if adapts else {}), "score": 10.0},
            end_to_end=True,
            machine=MACHINE,
        )
        result = replace(result, **changes)  # type: ignore[arg-type]
        paths = self.plan.trial(seed).paths.arm(arm)
        paths.folder.mkdir(parents=True, exist_ok=True)
        curve = range(1000, SCORED_TOKENS + 1, 1000)
        events = (ScoreSoFar(position=at, running_bpb=val_bpb * (1 + 40 / at), seconds=at / 1000) for at in curve)
        paths.metrics.write_text("".join(map(to_line, events)))
        paths.log.write_text(f"final_{arm}_exact val_loss:{result.val_loss_nats:.8f} val_bpb:{val_bpb:.8f}\n")
        write_record(paths.result, result)
        return result

    def audit(self, **verdicts: str) -> None:
        """Write what the audit says: of each arm what its program declares, or what ``verdicts`` say."""
        arms = {}
        for arm in self.plan.arms:
            declared = PRE_EVAL if arm != "no_ttt" else SCORE_FIRST
            verdict = verdicts.get(arm, declared)
            arms[arm] = ArmAudit(verdict=verdict, declared=declared, agrees=verdict == declared, detectors={})
        found = Audit(program_sha256="", recipe=self.plan.recipe, scale="laptop", sizes={}, seconds=1.0, arms=arms)
        write_record(self.plan.paths.audit, found)

    def failure(self, seed: int, arms: tuple[str, ...], **changes: object) -> Failure:
        """Write a failure of these arms; ``changes`` are fields of Failure."""
        failure = Failure(
            seed=seed, phase="score", arm=arms[0], reason="exit status 1", log_tail="Traceback ...", arms=arms
        )
        failure = replace(failure, **changes)  # type: ignore[arg-type]
        folder = self.plan.trial(seed).paths.folder
        folder.mkdir(parents=True, exist_ok=True)
        write_failure(self.plan.trial(seed).paths.failure, failure)
        self.plan.trial(seed).paths.job_log.write_text(failure.log_tail)
        return failure


@pytest.fixture
def make_run(make_run_in: MakeRun, tmp_path: Path) -> MakeRun:
    """``make_run_in`` the test's own folder, unless ``runs`` says another."""

    def make(scores: Mapping[str, Mapping[int, float]], *, runs: Path | None = None, **options: object) -> RunFolder:
        return make_run_in(runs or tmp_path / "runs", scores, **options)

    return make


@pytest.fixture(scope="session")
def make_run_in() -> MakeRun:
    """A function from a folder and ``{arm: {seed: val_bpb}}`` to a run there with trunks and results."""

    def make(
        runs: Path,
        scores: Mapping[str, Mapping[int, float]],
        *,
        seeds: tuple[int, ...] | None = None,
        recipe: str = "leaky_cosine",
        audited: bool = True,
    ) -> RunFolder:
        planned = seeds or tuple(dict.fromkeys(seed for by_seed in scores.values() for seed in by_seed))
        program = f'"""{recipe}, scale laptop."""\n'
        program_sha256 = hashlib.sha256(program.encode()).hexdigest()
        draft = Plan(
            run_path=RunPaths.of(runs, recipe, program_sha256).folder,
            recipe=recipe,
            scale="laptop",
            program_sha256=program_sha256,
            trunk_text_sha256=TEXT_SHA,
            arms=tuple(scores),
            data_path=runs.parent / "data",
            tokenizer_path=runs.parent / "data" / "tokenizer.model",
            data_sha256=DATA_SHA,
            tokenizer_sha256=TOKENIZER_SHA,
            processes=2,
            gpus=0,
            cpus=2,
            machine="2xcpu",
        )
        folder = RunFolder(extend(draft, planned))
        folder.plan.paths.program.write_text(program)
        if audited:
            folder.audit()
        folder.plan.paths.recipe.write_text("question: What does test-time training add, and what is memorisation?\n")
        for seed in planned:
            if any(seed in by_seed for by_seed in scores.values()):
                folder.trunk(seed)
        for arm, by_seed in scores.items():
            for seed, score in by_seed.items():
                folder.result(seed, arm, score)
        return folder

    return make


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, to be copied: making them takes seconds."""
    from platform.tracking import tracker

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    tracker._client(f"sqlite:///{path}").get_experiment_by_name("none")
    return path
